"""What is held, as its user has it: one lock, or several units."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from resourced.calls.answers import Answer
from resourced.calls.errors import LockLost, Rejected
from resourced.calls.values import decoded
from resourced.client.grant import Grant, Granted
from resourced.client.held_ticket import HeldTicket
from resourced.client.servers import Servers


class Holding:
    """
    What is common to all that is held. Every method raises ``LockLost`` from the moment on when it is not, or cannot be known to be.

    It is renewed for as long as somebody can release it: whoever has this object, or the block that it belongs to. After that it ends. In a process that is forked from the one that holds the lock it counts as lost, and nothing is done
    about it there.

    :ivar ticket: what the server knows the holder by. Keep it secret: it is all that is needed to use the lock.
    :ivar owner: who the holder said it is; empty if it left that to the server.
    """

    def __init__(self, held: HeldTicket) -> None:
        self._held = held
        self.ticket = held.grant.ticket
        self.owner = held.grant.owner

    @property
    def lease(self) -> int:
        """For how many whole seconds the server holds the lock for a holder that is silent, as it last said."""
        return self._held.lease

    @property
    def left(self) -> float:
        """For how many seconds the lock is certainly held, if the server is not heard of again; 0 if it is not held."""
        return self._held.left

    @property
    def reason(self) -> LockLost | None:
        """Why it is lost; None if it is not."""
        return self._held.reason

    def lost(self) -> Deferred[LockLost]:
        """Wait for the loss of the lock. It never comes if the lock is let go of; each caller has a Deferred of its own."""
        return self._held.loss.wait()

    def check(self) -> None:
        """Return if the lock is held: for a long piece of work that asks now and then. It may be called in any thread."""
        self._held.check()

    async def release(self) -> None:
        """
        Let go of the lock as its block ends, if that was not done before. If no server can be told it ends with its lease.

        A lock that is another block's is left to that.

        :raises LockLost: it was lost before.
        """
        await self._held.release()

    def release_aside(self) -> None:
        """Do so without waiting for it, where nothing can be waited for."""
        self._held.release_aside()

    def belong(self, block: object) -> None:
        """Be released as soon as the object is gone that would have released it at the end of a block."""
        self._held.belong(block)

    def stop(self) -> None:
        """Have no more to do with the lock."""
        self._held.stop()

    def look(self) -> None:
        """Find out at once how the lock stands: for whoever knows that time has passed which no timer has noticed."""
        self._held.look()

    async def learn(self, answer: Answer) -> None:
        """Keep or lose the lock, by what the server said to its renewal."""
        await self._held.learn(answer)

    def confirmed(self, sent: float, lease: int) -> None:
        """
        Know from the server that the lock is held.

        :param sent: when the request that it answered was about to be sent: the lease began later.
        """
        self._held.confirmed(sent, lease)


class HeldUnit:
    """
    A selector that is held, and its data. Its methods raise ``LockLost`` as soon as it is not held.

    :ivar resource: what is locked: the name of the resource,
    :ivar selector: and of the selector.
    :ivar fence: grows with every grant; hand it to whatever the lock protects.
    :ivar want: which of the wants it was given for, from 0.
    """

    def __init__(self, held: HeldTicket, granted: Granted) -> None:
        self._held = held
        self._unit = granted.unit
        self.resource, self.selector, self.fence = granted.unit
        self.want = granted.want
        self._text = granted.text
        self._data: tuple[Any, ...] = ()

    @property
    def text(self) -> str | None:
        """The JSON text that was there when the lock was got, or that was written since; None if there is none."""
        return self._text

    @property
    def data(self) -> Any:
        """
        What ``text`` stands for, decoded once; None if there is none.

        :raises Rejected: it is JSON that Python does not take (``code`` is ``bad_data``).
        """
        if not self._data:
            self._data = (None if self._text is None else decoded(self._text),)
        return self._data[0]

    def check(self) -> None:
        """Return if it is held: for a long piece of work that asks now and then. It may be called in any thread."""
        self._held.check(self._unit)

    async def write(self, value: Any, *, unlock: bool = False) -> None:
        """
        Write a value as JSON.

        :param unlock: let go of the lock in the same step.
        :raises TypeError: the value cannot be JSON; or ``ValueError``. Nothing was sent then.
        """
        await self.write_text(json.dumps(value, ensure_ascii=False, allow_nan=False), unlock=unlock)

    async def write_text(self, text: str, *, unlock: bool = False) -> None:
        """
        Write a JSON text, which is kept byte for byte.

        :raises Rejected: it is not JSON (``code`` is ``bad_json``), or something else is wrong with it.
        """
        await self._store("PUT", text, unlock=unlock)

    async def delete(self, *, unlock: bool = False) -> None:
        """Delete the data; there may be none."""
        await self._store("DELETE", None, unlock=unlock)

    async def unlock(self, *, out: str = "") -> None:
        """
        Let go of it before the block ends. Nothing can be done with it from then on. This is done to its end, whoever cancels it.

        :param out: why the unit is to go out of service in the same step; empty to let others have it.
        :raises NotFound: it is no unit, so it cannot go out of service (``code`` is ``no_card``). It was let go of all the same.
        :raises Unreachable: no server could be told; the lock ends with its lease.
        """
        await self._held.unlock_unit(self._unit, out)

    async def _store(self, method: str, text: str | None, *, unlock: bool) -> None:
        await self._held.store(method, self._unit, text, unlock=unlock)
        self._text, self._data = text, ()


class Held(Holding, HeldUnit):
    """A lock that is held."""

    def __init__(self, servers: Servers, reactor: IReactorTime, grant: Grant, *, borrowed: bool = False) -> None:
        """
        Begin to hold it.

        :param borrowed: whether it is another block's, which will release it.
        """
        held = HeldTicket(servers, reactor, grant, borrowed=borrowed)
        Holding.__init__(self, held)
        HeldUnit.__init__(self, held, grant.units[0])


class HeldUnits(Holding):
    """
    Several units that are held at once, with one lease. If any of them is lost, that is the loss of all.

    :ivar units: in the order of the wants; also those that were let go of.
    """

    def __init__(self, servers: Servers, reactor: IReactorTime, grant: Grant, *, borrowed: bool = False) -> None:
        """Begin to hold them; else as ``Held``."""
        held = HeldTicket(servers, reactor, grant, borrowed=borrowed)
        super().__init__(held)
        self.units = tuple(HeldUnit(held, granted) for granted in grant.units)

    async def unlock(self, *, out: Mapping[str, str] | None = None) -> None:
        """
        Let go of all of them before the block ends. Nothing can be done with them from then on. This is done to its end, whoever cancels it.

        :param out: which of them are to go out of service, and why, such as ``{"phones/p7": "does not boot"}``.
        :raises Rejected: something else is named there (``code`` is ``not_held``). Nothing was done then.
        :raises NotFound: one is no unit (``code`` is ``no_card``). All were let go of all the same.
        :raises Unreachable: no server could be told; they end with their lease.
        """
        held = {f"{unit.resource}/{unit.selector}": unit for unit in self._held.units}
        if others := sorted(set(out or ()) - set(held)):
            raise Rejected(f"{others[0]!r} is not among the units that are held.", "not_held")
        await self._held.unlock({held[name]: why for name, why in (out or {}).items()})
