"""A request, its answer, and what is wrong with it if there is no usable answer. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from resourced.calls.errors import ClientError, Conflict, NotFound, Refused, Rejected, Unreachable

#: The most bytes that an answer may have.
LARGEST_ANSWER: Final = 64 * 2**20

#: What a server says when it has certainly not done what it was asked.
NOT_DONE: Final = frozenset({"standby", "overloaded", "not_owner"})

#: From a status to its error; all others are ``Rejected``.
REFUSALS: Final[Mapping[int, type[ClientError]]] = {
    401: Refused,
    403: Refused,
    404: NotFound,
    409: Conflict,
    412: Conflict,
    423: Conflict,
}
#: What is not found by these words is a thing, not a path that the server does not know.
THINGS: Final = frozenset({"unknown_resource", "no_data", "no_card", "unknown_node"})


class Away(Exception):
    """
    There is no usable answer, and there may be one later or elsewhere.

    :ivar unclear: whether what was asked may have been done.
    :ivar pause: seconds to wait before the next try, if the server said so.
    :ivar foreign: the status of an answer that is not from resourced, and will be no other if it is asked again; else 0.
    """

    def __init__(self, sentence: str, *, unclear: bool, pause: float = 0.0, foreign: int = 0) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.unclear = unclear
        self.pause = pause
        self.foreign = foreign

    @property
    def final(self) -> ClientError:
        """The error that an answer stands for which is not from resourced."""
        if self.foreign < 400:
            return Unreachable(self.sentence, "bad_answer")
        return (Refused if self.foreign in {401, 403} else Rejected)(self.sentence, "bad_answer")


@dataclass(frozen=True, slots=True)
class Request:
    """
    What is asked of a server.

    :ivar path: percent-encoded, with the query.
    :ivar timeout: seconds until the whole answer has to be there.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes | None
    timeout: float

    def headers_with(self, common: Mapping[str, str]) -> dict[str, str]:
        """Return all headers to send, with those that go with every request."""
        kind = {} if self.body is None else {"content-type": "application/json"}
        return {**common, **self.headers, **kind}


@dataclass(frozen=True, slots=True)
class Answer:
    """
    What a server answered.

    :ivar headers: the first value of each, by its name in small letters.
    :ivar fields: the JSON object of its body; empty if there is none.
    :ivar sent: when its request was about to be sent, by the client's clock.
    :ivar repeated: whether an earlier try may have been done too.
    """

    status: int
    headers: Mapping[str, str]
    fields: Mapping[str, Any]
    sent: float
    repeated: bool = False

    def header(self, name: str) -> str:
        """Return a header; without it, nothing."""
        return self.headers.get(name, "")

    def number(self, name: str) -> int | None:
        """Return a header that is a whole number."""
        value = self.header(name)
        return int(value) if value.isdecimal() and len(value) < 20 else None

    def items(self, name: str) -> list[Any]:
        """Return a field that is a list."""
        items = self.fields.get(name)
        return items if isinstance(items, list) else []

    @property
    def code(self) -> str:
        """The word of an error; nothing, if it is none."""
        return str(self.fields.get("code", ""))

    @property
    def error(self) -> ClientError:
        """The error that it stands for."""
        kind = REFUSALS.get(self.status, Rejected)
        if kind is NotFound and self.code not in THINGS:
            kind = Rejected
        return kind(str(self.fields.get("error") or f"The server answered {self.status}."), self.code)


def answer_of(url: str, status: int, headers: Mapping[str, str], body: bytes, sent: float) -> Answer:
    """
    Make of a response what it means.

    :raises Away: nothing, or nothing that could be gone by.
    """
    try:
        fields = json.loads(body) if body else {}
    except (ValueError, RecursionError):
        fields = None
    answer = Answer(status, headers, fields if isinstance(fields, dict) else {}, sent)
    if status >= 500 or status in {408, 429}:
        sentence = str(answer.fields.get("error") or f"It answered {status}.")
        pause = float(answer.number("retry-after") or 0)
        raise Away(f"{url}: {sentence}", unclear=answer.code not in NOT_DONE, pause=pause)
    if not isinstance(fields, dict) or (status >= 300 and status != 304 and not answer.code):
        kind = (answer.header("content-type").partition(";")[0].strip() or "something else")[:100]
        where = f" and points to {place}" if (place := answer.header("location")[:200]) else ""
        raise Away(
            f"{url}: It answered {status} with {kind}{where}, not as resourced does. Perhaps a proxy did, or the URL is wrong.",
            unclear=status < 400,
            foreign=status,
        )
    return answer
