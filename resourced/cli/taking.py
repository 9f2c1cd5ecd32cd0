"""How ``run`` gets what its command runs with: it enters what is held around it, and waits for the rest."""

from __future__ import annotations

import shlex
from contextlib import suppress
from dataclasses import dataclass
from typing import NoReturn

from resourced.cli.names import write_lock, write_name
from resourced.cli.nesting import Around
from resourced.cli.process import CliProcess
from resourced.cli.waiting import Waits
from resourced.cli.wanting import Taken, Wanted
from resourced.client import Conflict, Held, HeldUnits, Holder, LockLost, NotAcquired, NotFound, Waiting
from resourced.model import LockKey


@dataclass(frozen=True, slots=True)
class Asking:
    """
    How to ask, as the options of ``run`` say it.

    :ivar wait: for how many seconds; None to wait forever.
    :ivar create: whether to create the resource if it is not there.
    :ivar yields: whether to have nothing kept while it waits for several things.
    """

    wait: float | None
    create: bool
    lease: int
    priority: int
    yields: bool


async def acquire(
    process: CliProcess,
    around: Around,
    key: LockKey,
    wait: float | None,
    ticket: str = "",
    *,
    creates: str = "",
    lease: int = 0,
    priority: int = 0,
) -> Held:
    """
    Wait for a lock, and tell how that goes, unless that is not wanted.

    :param around: what is held meanwhile, so that the server can tell who would wait for itself.
    :param ticket: of a lock that is held already, so that there is nothing to wait for.
    :param lease: the lease to ask for, in seconds; 0 to have the resource's.
    :param creates: what would create the resource if it is not there; without it, the command that does.
    :raises LockLost: that one is not held any more.
    """

    def is_lost(_: Waiting) -> NoReturn:
        raise LockLost(f"The ticket does not hold {write_lock(*key)}.", "", *key, 0)

    async def look() -> Holder | None:
        return (await process.client.state(*key, limit=1)).holder

    with Waits(process.reactor, write_lock(*key), look) as waits:
        told = is_lost if ticket else None if process.quiet else waits.update
        lock = process.client.lock(
            *key, wait=wait, ticket=ticket, holds=around.tickets, lease=lease, priority=priority, on_queued=told
        )
        try:
            return await lock.acquire()
        except NotAcquired as error:
            if process.quiet:
                raise
            await waits.look()
            raise NotAcquired(f"Somebody else has the lock: {waits.standing}.", error.position) from None
        except NotFound as error:
            how = creates or f"resourcectl create {shlex.quote(write_name(key.resource))}"
            raise NotFound(f"{error.sentence} To create it: {how}", error.code) from None


async def take(process: CliProcess, around: Around, wanted: Wanted, asking: Asking) -> Taken:
    """
    Take what is wanted, all of it or nothing.

    :param around: what is held around this process, and entered.
    :raises resourced.client.ClientError: it is not to be had.
    """
    entered = [held for lock in wanted.locks if (held := await _enter(process, around, lock)) is not None]
    left = wanted.without([LockKey(held.resource, held.selector) for held in entered])
    if not left.wants:
        return Taken(entered, None)
    try:
        if (lock := left.only_lock) is not None:
            return Taken(entered, await _acquire(process, around, lock, asking))
        return Taken(entered, await _acquire_several(process, around, left, asking))
    except BaseException:
        for held in entered:
            held.stop()
        raise


async def _enter(process: CliProcess, around: Around, key: LockKey) -> Held | None:
    """Return the lock if it is held around this process already, and goes on to be so afterwards; else nothing."""
    outer = around.at(key)
    if outer is None:
        return None
    try:
        return await process.client.keep(*key, outer.ticket, outer.fence)
    except (LockLost, NotFound):
        return None


async def _acquire(process: CliProcess, around: Around, key: LockKey, asking: Asking) -> Held:
    wait, lease, priority = asking.wait, asking.lease, asking.priority
    try:
        return await acquire(process, around, key, wait, creates="say --create.", lease=lease, priority=priority)
    except NotFound:
        if not asking.create:
            raise
    # Somebody else may be quicker.
    with suppress(Conflict):
        await process.client.create(key.resource)
    return await acquire(process, around, key, wait, lease=lease, priority=priority)


async def _acquire_several(process: CliProcess, around: Around, wanted: Wanted, asking: Asking) -> HeldUnits:
    async def look() -> Holder | None:
        return None

    with Waits(process.reactor, str(wanted), look) as waits:
        locks = process.client.locks(
            *wanted.wants,
            yields=asking.yields,
            wait=asking.wait,
            holds=around.tickets,
            lease=asking.lease,
            priority=asking.priority,
            on_queued=None if process.quiet else waits.update,
        )
        try:
            return await locks.acquire()
        except NotAcquired as error:
            if process.quiet:
                raise
            raise NotAcquired(f"Others have what is wanted: {waits.standing}.", error.position) from None
