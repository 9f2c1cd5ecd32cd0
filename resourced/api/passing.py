"""
Any node takes any request: what another one has to answer is passed on to it, and its answer is brought back.

There is never more than one hop. A request that was passed on carries a mark. A node that gets a marked request for what it does not own
answers 503.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.web.iweb import IResponse

from resourced.api.base import Handling
from resourced.api.owners import Groups, Locator, Subject, is_lock_request, locator
from resourced.api.params import header, presented_key, wait_of
from resourced.api.responses import waits
from resourced.auth.keys import Keys, Permission
from resourced.cluster.interface import Mine, Moving, Owner, Ownership, Peer
from resourced.deferreds import waiting_for, wake
from resourced.errors import Forbidden, NotOwner, OwnerAway, ResourcedError
from resourced.http.request import EdgeRequest
from resourced.metrics.collect import PASSED, REFUSED, TAKEN_IN
from resourced.partitions import NodeState
from resourced.passing.headers import NODE, client_of, passed_on
from resourced.passing.peers import Exchange, Peers
from resourced.passing.relay import begin, body_of, is_short, relay
from resourced.quotas import Quotas

#: After how many seconds the owner is asked again that did not answer, unless there is another one before.
PAUSE: Final = 0.5
#: How many seconds an owner has to answer what it was asked for, once it is the owner no more.
LAST_WORD: Final = 1.0

#: The path of a node, which is asked itself.
NODE_ROUTE: Final = "/cluster/{node}"

#: What a node says that has certainly not done what it was asked.
_NOT_DONE: Final = frozenset({NotOwner.code, "standby", "shutting_down"})


@dataclass(frozen=True, slots=True)
class Asked:
    """
    A request, and how its route answers it.

    :ivar passed_on: whether it says that it comes from another node.
    """

    label: str
    handler: Handling
    request: EdgeRequest
    names: Mapping[str, str]
    passed_on: bool

    async def answer(self) -> bytes:
        """Answer here."""
        return await self.handler(self.request, **self.names)

    @property
    def may_wait(self) -> bool:
        """Whether it may wait for a lock."""
        return is_lock_request(self.label, self.request)

    @property
    def repeatable(self) -> bool:
        """Whether to ask twice comes to the same as once."""
        return self.may_wait and any(header(self.request, name) for name in (b"x-ticket", b"idempotency-key"))


class Passing:
    """
    Lets the node that owns a resource answer.

    :param longest_wait: the most that a request may wait for a lock, in seconds.
    :param usual_wait: how long one waits that does not say, in seconds.
    :param count: is told of each request between nodes, in which direction it went.
    """

    def __init__(
        self,
        clock: IReactorTime,
        keys: Keys,
        quotas: Quotas,
        groups: Groups,
        ownership: Ownership,
        peers: Peers,
        *,
        longest_wait: float,
        usual_wait: float,
        count: Callable[[str], object],
    ) -> None:
        self._clock = clock
        self._keys = keys
        self._quotas = quotas
        self._groups = groups
        self._ownership = ownership
        self._peers = peers
        self._longest_wait = longest_wait
        self._usual_wait = usual_wait
        self._count = count
        self._waiters: list[Deferred[None]] = []
        # Requests that were passed on, with the partition that each is about, if it is about one, and the node that was asked.
        self._under_way: dict[Exchange, tuple[int | None, Peer]] = {}
        self._closing = False
        self._here = b""
        self._look()
        ownership.listen(self._changed)

    def around(self, label: str, methods: Sequence[str], handler: Handling) -> Handling:
        """
        Return what answers a route: its handler, or the node that owns what a request is about.

        :param label: the path of the route, with its arguments in braces.
        """
        locate = locator(label, methods[0])
        if locate is None and label != NODE_ROUTE:
            return handler

        @wraps(handler)
        async def handle(request: EdgeRequest, **names: str) -> bytes:
            headers = request.requestHeaders
            taken_in = self._peers.sent(headers)
            if taken_in:
                request.channel.attribute(request, client_of(headers, request.channel.peer))
                self._count(TAKEN_IN)
            asked = Asked(label, handler, request, names, passed_on(headers))
            try:
                return await (self._answer_of_node(asked) if locate is None else self._answer(asked, locate))
            except NotOwner:
                if taken_in:
                    self._count(REFUSED)
                raise

        return handle

    def stop_waiting(self) -> None:
        """Let nobody wait for another node any more, because this one is about to end; places in queues are kept there."""
        self._closing = True
        for exchange in list(self._under_way):
            exchange.hurry(0.0)
        wake(self._waiters)

    # -- Who answers

    async def _answer_of_node(self, asked: Asked) -> bytes:
        """Ask the node that a request is about."""
        self._keys.authorize(presented_key(asked.request), Permission(0))
        number = asked.names["node"]
        for node in self._ownership.nodes():
            if str(node.id) == number and node.state is NodeState.UP and not (node.here or asked.passed_on):
                return await self._pass_on(Peer(node.id, node.url), None, asked)
        return await asked.answer()

    async def _answer(self, asked: Asked, locate: Locator) -> bytes:
        request = asked.request
        request.setHeader(NODE, self._here)
        # A stranger's request is passed on to nobody.
        self._keys.authorize(presented_key(request), Permission(0))
        try:
            subject = locate(request, asked.names)
            partition = await self._groups.partition(subject)
        except ResourcedError as error:
            # What is about nothing that there is has the same answer at each node.
            try:
                return await asked.answer()
            except NotOwner:
                raise error from None
        return await self._answer_of_owner(asked, subject, partition)

    async def _answer_of_owner(self, asked: Asked, subject: Subject, partition: int) -> bytes:
        """Ask the owner, and again if another one turns out to be it, or may become it while the request waits."""
        tried: set[Owner] = set()
        until: float | None = None
        while True:
            owner = self._ownership.owner_of_partition(partition)
            tried.add(owner)
            try:
                return await self._ask(owner, partition, asked)
            except (NotOwner, OwnerAway) as refusal:
                unclear = isinstance(refusal, OwnerAway) and refusal.unclear
                if asked.passed_on or self._closing or (unclear and not asked.repeatable):
                    raise
                self._groups.forget(subject)
                partition = await self._groups.partition(subject)
                if self._ownership.owner_of_partition(partition) not in tried:
                    continue
                now = self._clock.seconds()
                if until is None:
                    until = now + self._wait(asked)
                if now >= until:
                    raise
            tried.clear()
            await waiting_for(self._waiters, min(until - now, PAUSE), self._clock)
            if self._closing:
                raise NotOwner("This node is being stopped. Try again.")
            _shorten(asked.request, max(0.0, until - self._clock.seconds()))

    async def _ask(self, owner: Owner, partition: int, asked: Asked) -> bytes:
        if isinstance(owner, Mine):
            asked.request.setHeader(NODE, self._here)
            return await asked.answer()
        if isinstance(owner, Moving):
            raise NotOwner("No node decides about this at this moment. Try again.")
        if asked.passed_on:
            raise NotOwner("Another node decides about this. Try again.")
        return await self._pass_on(owner, partition, asked)

    async def _pass_on(self, owner: Peer, partition: int | None, asked: Asked) -> bytes:
        """
        Pass a request on to its owner, and return what is left to be written of the answer.

        :raises resourced.errors.NotOwner: it is not the owner.
        :raises resourced.errors.OwnerAway: it does not answer.
        """
        request = asked.request
        identity = self._keys.authorize(presented_key(request), Permission(0))
        if resource := asked.names.get("resource"):
            try:
                identity.require(resource)
            except Forbidden:
                # The route refuses it, and says first what the key may not do anywhere.
                return await asked.answer()
        self._quotas.count_request(identity.name)
        request.notes.update(key=identity.name, node=owner.node)
        wait = self._wait(asked)
        if wait:
            waits(request)
        self._count(PASSED)
        exchange = self._peers.send(owner.url, request, wait)
        self._under_way[exchange] = (partition, owner)
        try:
            response = await exchange.response
        finally:
            del self._under_way[exchange]
        if not is_short(response):
            begin(request, response)
            request.setHeader(NODE, owner.url.encode())
            return await relay(request, response)
        body = await _whole(response, owner)
        if response.code == 503 and (refusal := _error(body)).get("code") in _NOT_DONE:
            raise NotOwner(str(refusal.get("error")))
        begin(request, response)
        request.setHeader(NODE, owner.url.encode())
        return body

    def _wait(self, asked: Asked) -> float:
        return wait_of(asked.request, self._longest_wait, self._usual_wait) if asked.may_wait else 0.0

    # -- What changes

    def _changed(self) -> None:
        self._look()
        wake(self._waiters)
        for exchange, (partition, owner) in self._under_way.items():
            if partition is not None and self._ownership.owner_of_partition(partition) != owner:
                exchange.hurry(LAST_WORD)

    def _look(self) -> None:
        self._here = next((node.url.encode() for node in self._ownership.nodes() if node.here), b"")


async def _whole(response: IResponse, owner: Peer) -> bytes:
    try:
        return await body_of(response)
    except CancelledError:
        raise
    except Exception:  # noqa: BLE001 - whatever it was, there is no answer
        raise OwnerAway(f"The answer of the node at {owner.url} broke off.", unclear=True) from None


def _error(body: bytes) -> dict[str, Any]:
    """Return what an answer with an error says; nothing, if it is not one of ours."""
    try:
        said = json.loads(body)
    except ValueError:
        said = None
    return said if isinstance(said, dict) else {}


def _shorten(request: EdgeRequest, wait: float) -> None:
    """Let a request wait for so many seconds, whatever it said."""
    path, mark, query = request.uri.partition(b"?")
    pieces = [piece for piece in query.split(b"&") if not piece.startswith(b"wait=")] if mark else []
    request.uri = path + (b"?" + b"&".join(pieces) if pieces else b"")
    # The arguments of a plain request are shared by all that say the same.
    request.args = {name: values for name, values in request.args.items() if name != b"wait"}
    request.requestHeaders.setRawHeaders(b"prefer", [b"wait=%d" % wait])
