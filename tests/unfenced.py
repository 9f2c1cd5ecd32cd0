"""
The real daemon without one of its safeguards, to show that tests notice when it is missing. For tests only.

Its first argument names what is left out, separated by commas:

* ``fencing``: the store takes every write, whoever leads and whoever holds the lock;
* ``guard``: each daemon believes that it is the only one;
* ``one-server``: connections may reach any server;
* ``beat``: a commit need not change the leader's row;
* ``lease``: whoever was the leader once goes on to believe that, and reads what a server has, be it old;
* ``still``: who stands by takes over from whoever serves, without waiting for anything;
* ``whole``: a request for several things may get a part of them;
* ``kept``: nothing that falls free is kept for a request for several things.

The other arguments are those of ``resourced``.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

from resourced import tap
from resourced.locks.pools.matching import PoolRequest
from resourced.locks.state import joints
from resourced.model import Batch, Write
from resourced.service.guard import Guard
from resourced.service.leadership import TakeOver, Verdict
from resourced.storage import statements
from resourced.storage.leader_lease import LEADER_LEASE, LeaderLease
from resourced.storage.sql.mysql import MySQL
from resourced.storage.sql.pool import Transaction
from resourced.storage.sql.server_identity import OneServer, ServerIdentity, identity_of
from resourced.storage.sql.statement import Statement
from resourced.storage.sql_store import SQLStore
from resourced.storage.statements import claim
from resourced.wants import Want


class UnfencedStore(SQLStore):
    """A store that asks nobody who they are."""

    async def ping(self) -> None:
        await self.database.read(lambda transaction: transaction.query("SELECT owner FROM server WHERE id = 1"))

    def _claim(self, transaction: Transaction, epoch: int, fence: int = 0, event: int = 0) -> None:
        transaction.execute(
            "UPDATE server SET fence = CASE WHEN fence < %s THEN %s ELSE fence END WHERE id = 1", (fence, fence)
        )

    def _apply(self, transaction: Transaction, epoch: int, batch: Batch) -> None:
        # An event of its id may be there already: that is a fence too.
        super()._apply(transaction, epoch, replace(batch, events=[]))

    def _check_holders(self, transaction: Transaction, writes: list[Write]) -> None:
        """Let everyone write."""


class NoGuard:
    """A guard that anybody holds at any time."""

    lag = LEADER_LEASE

    async def locate(self) -> str:
        return "everywhere"

    async def drop(self) -> None:
        """Nothing is held."""

    async def hold(self) -> bool:
        return True

    async def release(self) -> None:
        """Nothing is held."""


def no_guard(reactor: object, dialect: object) -> Guard:
    return NoGuard()


def admit_all(one: OneServer, identity: ServerIdentity) -> None:
    """Let every server be the right one."""
    one.identity = identity


def claim_nothing(row: int, epoch: int, owner: str, fence: int, event: int) -> Statement:
    """Find the leader's row, and change only what was given out."""
    whole = claim(row, epoch, owner, fence, event)
    return whole._replace(text=whole.text.replace("beat = beat + 1, ", ""))


def polite(rank: int, wants: tuple[Want, ...], *, yields: bool) -> PoolRequest:
    """Let a request yield, whatever it says."""
    return PoolRequest(rank, wants, yields=True)


class Careless(MySQL):
    """A dialect that reads whatever a node has."""

    def _look_at(self, connection: Any, *, reads: bool) -> None:
        self.one.admit(identity_of(connection))


def main() -> None:
    missing = sys.argv.pop(1).split(",")
    if "fencing" in missing:
        vars(tap)["SQLStore"] = UnfencedStore
    if "guard" in missing:
        vars(tap)["guard_of"] = no_guard
    if "one-server" in missing:
        OneServer.admit = admit_all  # type: ignore[assignment, method-assign]
    if "beat" in missing:
        statements.claim = claim_nothing
    if "lease" in missing:
        LeaderLease.held = lambda _: True  # type: ignore[method-assign, assignment]
        vars(tap)["MySQL"] = Careless
    if "still" in missing:
        TakeOver.judge = lambda *_: Verdict.FREE  # type: ignore[method-assign]
    if "whole" in missing:
        PoolRequest.complete = property(lambda self: any(need.kept for need in self.needs))  # type: ignore[method-assign, assignment]
    if "kept" in missing:
        vars(joints)["PoolRequest"] = polite
    tap.main()


if __name__ == "__main__":
    main()
