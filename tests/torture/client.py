"""
One client: it locks, reads the counter, writes it plus one, and unlocks, again and again, in all the ways that there are.

It is a process of its own, so that it can be frozen and killed, and it trusts nobody, itself least: it never looks whether
its lease is over before it writes.  What it asks and what it is told goes into a file, for others to judge.
"""

from __future__ import annotations

import json
import secrets
import sys
import time
from typing import Any

from tests.torture.asking import Asker, GiveUp, Settings, kept_in
from tests.torture.board import Phase
from tests.torture.job import Job
from tests.torture.record import Kind, Told
from tests.torture.steward import Steward


class Client(Asker):
    """A client that wants one lock at a time."""

    def _turn(self) -> bool:
        """Lock, write once or more, unlock; return whether the last write is known to be kept."""
        return self._increment(self._dice.choice(sorted(self._settings.leases)))

    def _increment(self, selector: str) -> bool:
        self._begin()
        fence, lease, told = self._acquire(selector)
        written = False
        while True:
            self._show(Phase.HOLDING)
            if self._chance(0.03):
                # Too long, on purpose.
                self._rest(0.5 * lease, 1.5 * lease)
            else:
                self._rest(0.0, 0.02)
            more = self._chance(0.15)
            written, told, released = self._put(selector, fence, told, at_once=self._manner.at_once and not more)
            if released:
                return written
            if self._chance(0.03):
                # It forgets the lock, which has to end by itself.
                self._ticket = ""
                return written
            # A write that is still on its way would undo the next one as long as the lock is held.
            if not (more and written) or self._loose:
                break
            if self._chance(0.3):
                fence, lease, told = self._acquire(selector)
        self._release(selector, fence)
        return written

    def _acquire(self, selector: str) -> tuple[int, float, dict[str, Any]]:
        """Take the lock, or find out that it is held already; return its fence, its lease, and the value that is there."""
        self._show(Phase.ASKING)
        idempotency_key = self._retry()
        enough = time.monotonic() + self._dice.uniform(0.5, 6.0)
        while True:
            self._still_wanted()
            told, value = self._lock(selector, idempotency_key)
            if told.fence:
                if self._manner.separately:
                    value = self._read(selector)
                return told.fence, told.lease, value
            if told.status == 202:
                self._queue(enough, lambda: self._release(selector, 0))
            elif told.status == 410:
                self._ticket = ""
                idempotency_key = self._retry()
            else:
                self._rest(0.02, 0.2)

    def _retry(self) -> str:
        return secrets.token_hex(8) if self._manner.known else ""

    def _lock(self, selector: str, idempotency_key: str) -> tuple[Told, dict[str, Any]]:
        """Ask for the lock once."""
        waits = self._manner.waits
        patience = self._manner.patience + waits
        if waits and self._chance(0.05):
            # It hangs up while it waits.
            patience = self._dice.uniform(0.0, 0.3)
        # It takes its ticket from a 404 too. Without an owner, another client here would get the lock that came with it.
        headers = {"x-owner": self._settings.name, **({"prefer": f"wait={waits}"} if waits else {})}
        if idempotency_key and not self._ticket:
            headers["idempotency-key"] = idempotency_key
        sent = self._sent(Kind.LOCK, selector, reads=not self._manner.separately)
        method, target = ("POST", "/lock") if self._manner.separately else ("GET", "")
        told, content = self._ask(sent, method, target, headers=headers, patience=patience)
        return told, kept_in(content)

    def _read(self, selector: str) -> dict[str, Any]:
        while True:
            self._still_wanted()
            told, content = self._ask(self._sent(Kind.READ, selector, reads=True), "GET", "?lock=0")
            if told.status in {200, 404}:
                return kept_in(content)
            self._rest(0.02, 0.2)

    def _put(
        self, selector: str, fence: int, before: dict[str, Any], *, at_once: bool
    ) -> tuple[bool, dict[str, Any], bool]:
        """
        Write the next value.

        :returns: whether it is known to be kept; the value that is there by that; whether the lock is gone.
        """
        value = self._value_after(fence, before)
        for _ in range(20):
            told = self._write(selector, value, at_once=at_once)
            if told.status == 204:
                return True, value, at_once
            if told.status in {410, 423}:
                self._ticket = ""
                raise GiveUp
            if self._chance(0.3):
                break
            self._rest(0.02, 0.2)
        if at_once:
            # The lock may be gone or not.
            self._release(selector, fence)
            return False, value, True
        return False, value, False

    def _release(self, selector: str, fence: int) -> None:
        """Let go, and forget the ticket unless it is known to have let go."""
        self._show(Phase.RELEASING)
        for _ in range(10):
            method = self._dice.choice(["POST", "PUT"])
            told, _ = self._ask(self._sent(Kind.RELEASE, selector, fence=fence, releases=True), method, "/unlock")
            if told.status == 200:
                return
            if self._chance(0.1):
                break
            self._rest(0.02, 0.3)
        self._ticket = ""


def main() -> None:
    """Be a client of some role until the end."""
    settings = Settings(**json.loads(sys.argv[1]))
    {"client": Client, "job": Job, "steward": Steward}[settings.role](settings).run()


if __name__ == "__main__":
    main()
