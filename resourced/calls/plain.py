"""
Calls without a reactor, for programs that ask something and end. Each request blocks the program.

Twisted takes longer to import than most requests take. So a command that needs nothing of it does without.
"""

from __future__ import annotations

import http.client
import ssl
import time
from collections.abc import Coroutine, Mapping
from functools import cached_property
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from threading import Thread
from typing import Any, TypeVar
from urllib.parse import urlsplit

from resourced.calls.answers import LARGEST_ANSWER, Answer, Away, Request, answer_of
from resourced.calls.api import Calls
from resourced.calls.retries import Retries
from resourced.clock import elapsed

T = TypeVar("T")


class PlainClient(Calls):
    """A client whose coroutines never wait for anybody else: ``run`` runs them."""

    @cached_property
    def _servers(self) -> Retries:
        wire = PlainWire({"x-api-key": self._key, "accept": "application/json"})
        return Retries(self._urls, wire, sleep, elapsed, timeout=self._timeout, retry_timeout=self._retry_timeout)


def run(work: Coroutine[Any, Any, T]) -> T:
    """
    Do the work of a coroutine that waits for nothing but the methods of a ``PlainClient``, and ``sleep``.

    :returns: what it returns.
    """
    try:
        work.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    work.close()
    raise RuntimeError("It waits for something that only a reactor could bring.")


async def sleep(seconds: float) -> None:
    """Let time pass."""
    time.sleep(max(0.0, seconds))


class PlainWire:
    """
    Sends requests, each over a connection of its own.

    :param headers: go with every request.
    """

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = headers

    async def exchange(self, url: str, request: Request) -> Answer:
        sent = elapsed()
        outcome: list[tuple[int, Mapping[str, str], bytes] | Away] = []

        def work() -> None:
            try:
                outcome.append(self._exchange(url, request))
            except Away as away:
                outcome.append(away)

        # How long a name server takes, or a server that sends byte after byte, is out of anybody's hands but by going on without it.
        thread = Thread(target=work, daemon=True)
        thread.start()
        thread.join(request.timeout)
        if not outcome:
            raise _silence(url, request, unclear=True)
        [found] = outcome
        if isinstance(found, Away):
            raise found
        return answer_of(url, *found, sent)

    def _exchange(self, url: str, request: Request) -> tuple[int, Mapping[str, str], bytes]:
        where = urlsplit(url)
        # The scope of an IPv6 address is written %25 in a URL (RFC 6874), and is nothing to the server.
        address, _, scope = str(where.hostname).partition("%25")
        kind = HTTPSConnection if where.scheme == "https" else HTTPConnection
        connection = kind(f"{address}%{scope}" if scope else address, where.port, timeout=request.timeout)
        connected = False
        try:
            connection.connect()
            connected = True
            host = f"[{address}]" if ":" in address else address
            headers = {"host": f"{host}:{connection.port}", **request.headers_with(self._headers)}
            connection.request(request.method, where.path + request.path, request.body, headers)
            response = connection.getresponse()
            body = response.read(LARGEST_ANSWER + 1)
            if len(body) > LARGEST_ANSWER:
                raise Away(f"{url}: The answer has more than {LARGEST_ANSWER} bytes.", unclear=True)
            # Nothing, unless it was cut short, which is an error only here.
            body += response.read()
        except TimeoutError as error:
            # As long as the thread is waited for: either may be over first.
            raise _silence(url, request, unclear=connected) from error
        except (OSError, HTTPException) as error:
            raise Away(f"{url}: {_why(error)}", unclear=connected) from error
        finally:
            connection.close()
        headers = {}
        for name, value in response.getheaders():
            headers.setdefault(name.lower(), value)
        return response.status, headers, body


def _silence(url: str, request: Request, *, unclear: bool) -> Away:
    return Away(f"{url}: No answer within {request.timeout:g} seconds.", unclear=unclear)


def _why(error: Exception) -> str:
    """Say what went wrong with a connection."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"Its certificate is not to be trusted: {error.verify_message}."
    if isinstance(error, http.client.IncompleteRead):
        return "The answer was cut short."
    sentence = str(getattr(error, "strerror", "") or error).strip() or type(error).__name__
    return sentence if sentence.endswith(".") else f"{sentence}."
