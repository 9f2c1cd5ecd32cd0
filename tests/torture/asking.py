"""What every client can do: it asks over one connection at a time, and writes down what it asks and what it is told."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import random
import socket
import struct
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.torture.board import Board, Phase
from tests.torture.record import LOST, PARTIAL, Kind, Sent, Told, line


@dataclass(frozen=True, slots=True)
class Settings:
    """
    What a client has to know.

    :ivar name: no two clients have the same, nor two lives of one.
    :ivar ports: where the daemons are, or may be.
    :ivar leases: by selector (with its resource and a slash before it), the lease in seconds.
    :ivar role: what it does, see ``tests.torture.client``.
    """

    name: str
    index: int
    seed: str
    key: str
    ports: list[int]
    leases: dict[str, float]
    log: str
    board: str
    role: str

    def spelled(self) -> str:
        return json.dumps(asdict(self))


@dataclass(frozen=True, slots=True)
class Manner:
    """
    How one client goes about it.

    :ivar waits: for how many seconds it lets the server wait for the lock; 0 for one that polls.
    :ivar separately: whether it takes the lock first, and reads then without it.
    :ivar at_once: whether it lets go in the same step as it writes.
    :ivar known: whether its first request can be known again.
    :ivar thrifty: whether it uses a ticket again that it has let go with.
    :ivar fickle: how likely it is to ask another daemon each time.
    :ivar patience: for how many seconds it waits for an answer that should be there at once.
    """

    waits: int
    separately: bool
    at_once: bool
    known: bool
    thrifty: bool
    fickle: float
    patience: float


def manner(index: int, dice: random.Random) -> Manner:
    """Give each client another manner; the first sixteen have all of them."""
    return Manner(
        waits=dice.choice([1, 2, 5]) if index % 2 else 0,
        separately=bool(index & 2),
        at_once=bool(index & 4),
        known=bool(index & 8),
        thrifty=dice.random() < 0.5,
        fickle=dice.choice([0.0, 0.0, 0.0, 0.2]),
        patience=dice.choice([0.7, 1.2, 2.0]),
    )


class HangUp(Exception):
    """The client has had enough, and closes the connection."""


class GiveUp(Exception):
    """The client ends its round, as it cannot or does not want to go on."""


class Asker:
    """A client with its chance and its record; what it does in a round is said by those who are made of it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._dice = random.Random(settings.seed)
        self._manner = manner(settings.index, self._dice)
        self._board = Board(Path(settings.board))
        self._log = os.open(settings.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._parent = os.getppid()
        self._server = settings.index % len(settings.ports)
        self._connection: http.client.HTTPConnection | None = None
        self._number = 0
        self._round = 0
        self._value = 0
        # What it has in hand.
        self._ticket = ""
        # Whether a request of this round may still be on its way to the server, and be done there at any time.
        self._loose = False
        self._last = False

    def run(self) -> None:
        """Go on until the end has come, and then until one more round is done."""
        while os.getppid() == self._parent:
            self._last = self._board.ending
            if self._board.paused and not self._last:
                self._show(Phase.RESTING)
                self._rest(0.02, 0.05)
                continue
            done = False
            with suppress(GiveUp):
                done = self._turn()
            if self._last and done:
                self._show(Phase.DONE)
                return
            self._show(Phase.RESTING)
            self._rest(0.0, 0.03)

    def _turn(self) -> bool:
        """Do a round; return whether it is known to have been done whole."""
        raise NotImplementedError

    def _begin(self) -> None:
        """Begin a round, with a new ticket or with one that is known to have let go."""
        self._round += 1
        if not self._manner.thrifty or self._loose or self._chance(0.1):
            self._ticket = ""
        self._loose = False

    # -- What is done with a lock

    def _value_after(self, fence: int, before: dict[str, Any]) -> dict[str, Any]:
        """Return what is to be written where a value is."""
        self._value += 1
        return {
            "counter": before.get("counter", 0) + 1,
            "name": f"{self._settings.name}:{self._value}",
            "before": before.get("name", ""),
            "fence": fence,
            "padding": "x" * self._dice.choice([0, 10, 3000]),
        }

    def _write(self, selector: str, value: dict[str, Any], *, at_once: bool, lease: int = 0) -> Told:
        """Send a value once."""
        self._show(Phase.WRITING)
        sent = self._sent(
            Kind.WRITE,
            selector,
            fence=value["fence"],
            write=value["name"],
            before=value["before"],
            counter=value["counter"],
            releases=at_once,
            lease=lease,
        )
        return self._ask(sent, "PUT", "?unlock=1" if at_once else "", body=json.dumps(value).encode())[0]

    # -- A request

    def _sent(self, kind: Kind, selector: str, **more: Any) -> Sent:
        self._number += 1
        ticket = hashlib.sha256(self._ticket.encode()).hexdigest()[:16] if self._ticket else ""
        return Sent(self._settings.name, self._number, self._round, kind, selector, 0.0, ticket, **more)

    def _ask(
        self,
        sent: Sent,
        method: str,
        target: str,
        *,
        headers: dict[str, str] | None = None,
        body: bytes | None = None,
        patience: float = 0.0,
    ) -> tuple[Told, dict[str, Any]]:
        """Send a request and return what came back, with the whole of its body."""
        path = f"/resource/{sent.selector}{target}" if sent.selector else target
        if self._chance(self._manner.fickle):
            self._elsewhere()
        told = Told(sent.number, 0.0, LOST)
        content: dict[str, Any] = {}
        sent.at = time.monotonic()
        os.write(self._log, line(sent))
        began = False
        try:
            connection = self._connected(patience or self._manner.patience)
            began = True
            self._send(connection, method, path, headers or {}, body)
            if sent.kind == Kind.WRITE:
                self._show(Phase.AWAITING)
            self._tire()
            content = self._receive(connection, sent, told)
        except HangUp as hang_up:
            told.code = "hung up"
            told.status = PARTIAL if hang_up.args else LOST
        except (OSError, http.client.HTTPException) as error:
            told.code = type(error).__name__
            if not began and body is not None:
                told.status = PARTIAL
        told.at = time.monotonic()
        os.write(self._log, line(told))
        self._loose = self._loose or told.status == LOST
        if told.status in {LOST, PARTIAL, 503}:
            self._elsewhere()
        return told, content

    def _tire(self) -> None:
        """Hang up now and then in the middle of waiting for an answer."""
        if self._chance(0.01):
            self._rest(0.0, 0.05)
            raise HangUp

    def _connected(self, patience: float) -> http.client.HTTPConnection:
        if self._connection is None:
            connection = http.client.HTTPConnection("127.0.0.1", self._settings.ports[self._server], timeout=patience)
            connection.connect()
            self._connection = connection
        self._connection.sock.settimeout(patience)
        return self._connection

    def _send(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        headers: dict[str, str],
        body: bytes | None,
    ) -> None:
        connection.putrequest(method, path)
        for name, text in (("x-api-key", self._settings.key), ("x-ticket", self._ticket), *headers.items()):
            if text:
                connection.putheader(name, text)
        if body is None:
            connection.endheaders()
            return
        connection.putheader("content-length", str(len(body)))
        connection.endheaders()
        half = len(body) // 2
        connection.send(body[:half])
        if self._chance(0.02):
            raise HangUp("in the middle")
        if self._chance(0.3):
            self._rest(0.0, 0.01)
        connection.send(body[half:])

    def _receive(self, connection: http.client.HTTPConnection, sent: Sent, told: Told) -> dict[str, Any]:
        answer = connection.getresponse()
        content = answer.read()
        if answer.will_close:
            self._hang_up()
        body: dict[str, Any] = json.loads(content) if content else {}
        told.status = answer.status
        told.code = body.get("code", body.get("health", ""))
        told.fence = int(answer.getheader("x-fence", "0"))
        told.lease = int(answer.getheader("x-lease", "0"))
        told.released = body.get("unlocked", False)
        ticket = answer.getheader("x-ticket", "")
        if ticket:
            self._ticket = ticket
            told.ticket = hashlib.sha256(ticket.encode()).hexdigest()[:16]
        if sent.reads and answer.status == 200:
            told.value = kept_in(body).get("name", "")
        told.got = tuple(
            (unit["want"], f"{unit['resource']}/{unit['selector']}", unit["fence"], kept_in(unit).get("name", ""))
            for unit in body.get("got", [])
        )
        if "left" in body:
            told.left = [f"{unit['resource']}/{unit['selector']}" for unit in body["left"]]
        return body

    def _elsewhere(self) -> None:
        self._hang_up()
        self._server = (self._server + 1) % len(self._settings.ports)

    def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if connection.sock is not None and self._chance(0.3):
            # As if the network were cut: a reset, and no farewell.
            with suppress(OSError):
                connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()

    # -- Chance and time

    def _queue(self, enough: float, leave: Callable[[], object]) -> None:
        """Wait before the next try, or give the place up, or forget it."""
        self._show(Phase.QUEUED)
        if time.monotonic() > enough and not self._last:
            leave()
            raise GiveUp
        if self._chance(0.005):
            self._ticket = ""
            raise GiveUp
        if not self._manner.waits:
            self._rest(0.01, 0.15)

    def _still_wanted(self) -> None:
        """Leave a round that began before the end had come, if it cannot go on."""
        if os.getppid() != self._parent:
            raise GiveUp

    def _chance(self, probability: float) -> bool:
        return not self._last and self._dice.random() < probability

    def _rest(self, least: float, most: float) -> None:
        time.sleep(self._dice.uniform(least, most))

    def _show(self, phase: Phase) -> None:
        self._board.show(self._settings.index, phase)


def kept_in(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the value that an answer tells of a selector; nothing if there is none."""
    value: dict[str, Any] = json.loads(body.get("data") or "{}")
    return value
