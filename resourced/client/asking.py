"""What is asked for, and how: one lock, or several things at once."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from resourced.calls.answers import Answer
from resourced.calls.errors import LockLost, Unreachable
from resourced.calls.paths import arguments, path
from resourced.calls.values import Waiting
from resourced.client.grant import Fenced, Grant, Granted, Want, got


@dataclass(frozen=True, slots=True)
class LockOptions:
    """
    How a lock is asked for, as ``Client.lock`` has it.

    :ivar wait: seconds to wait for it.
    :ivar poll: seconds that a server is asked to wait in one request.
    :ivar lease: the lease to ask for, in whole seconds; 0 to have the resource's.
    """

    wait: float
    poll: float
    ticket: str
    owner: str
    holds: Sequence[str]
    on_queued: Callable[[Waiting], object] | None
    on_lost: Callable[[LockLost], object] | None
    lease: int = 0
    priority: int = 0

    @property
    def headers(self) -> dict[str, str]:
        """What to say with each request for it."""
        headers = {"x-owner": self.owner} if self.owner else {}
        if self.holds:
            headers["x-holds"] = ", ".join(self.holds)
        if self.priority:
            headers["x-priority"] = str(self.priority)
        return headers


class Asked(Protocol):
    """
    What is asked for.

    :ivar root: what stands before ``/lock`` and ``/unlock`` where it is renewed and given up.
    :ivar about: the paths of what it is about.
    :ivar method: that of the request for it.
    :ivar body: that of the request for it.
    :ivar name: how a sentence names it.
    """

    @property
    def root(self) -> str: ...
    @property
    def about(self) -> frozenset[str]: ...
    @property
    def method(self) -> str: ...
    @property
    def body(self) -> bytes | None: ...
    @property
    def name(self) -> str: ...

    def target(self, lease: int) -> str:
        """Return where to ask for it, with a lease or with its own."""

    def offered(self, answer: Answer) -> bool:
        """Tell whether an answer gives it for a short time only, until it is used."""

    def grant(self, answer: Answer, ticket: str, owner: str) -> Grant:
        """
        Return what an answer gives.

        :raises Unreachable: it does not say (``code`` is ``bad_answer``).
        """


@dataclass(frozen=True, slots=True)
class One:
    """A selector by name."""

    resource: str
    selector: str

    method = "GET"
    body = None

    @property
    def root(self) -> str:
        return path(self.resource, self.selector)

    @property
    def about(self) -> frozenset[str]:
        return frozenset({self.root})

    @property
    def name(self) -> str:
        return f"the lock of {self.resource}/{self.selector}"

    def target(self, lease: int) -> str:
        return self.root + arguments(lease=lease or None)

    def offered(self, answer: Answer) -> bool:
        # Where there is no data yet.
        return answer.status == 404

    def grant(self, answer: Answer, ticket: str, owner: str) -> Grant:
        fence = answer.number("x-fence")
        if fence is None:
            raise Unreachable("The server gave a lock, but did not say which.", "bad_answer")
        text = answer.fields.get("data") if answer.status == 200 else None
        return Grant(ticket, owner, (Granted(Fenced(self.resource, self.selector, fence), text),))


@dataclass(frozen=True, slots=True)
class Several:
    """
    Several things at once: all of them, or none.

    :ivar yields: whether to let others have what it waits for, until everything is free at the same time.
    """

    wants: tuple[Want, ...]
    yields: bool = False

    root = ""
    method = "POST"

    @property
    def about(self) -> frozenset[str]:
        return frozenset(want.path for want in self.wants)

    @property
    def body(self) -> bytes:
        return json.dumps({"want": [want.fields for want in self.wants], "yield": self.yields}).encode()

    @property
    def name(self) -> str:
        return "what is wanted of " + ", ".join(sorted({want.resource for want in self.wants}))

    def target(self, lease: int) -> str:
        return "/lock" + arguments(lease=lease or None)

    def offered(self, answer: Answer) -> bool:  # noqa: ARG002
        return False

    def grant(self, answer: Answer, ticket: str, owner: str) -> Grant:
        units = got(answer)
        if not units:
            raise Unreachable("The server gave units, but did not say which.", "bad_answer")
        return Grant(ticket, owner, units, joint=True)
