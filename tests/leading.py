"""To be the leader of a store at once, whoever was before: what a daemon does only when it knows that the other one has gone."""

from __future__ import annotations

from resourced.locks.journal.group_commit import GroupCommitJournal
from resourced.model import Snapshot
from resourced.storage.interface import Store


async def lead(store: Store) -> Snapshot:
    """Begin a term of one's own."""
    return await store.begin_term(await store.look())


async def open_journal(journal: GroupCommitJournal, store: Store) -> None:
    """Let a journal begin a term of its own."""
    await journal.open(await store.look())
