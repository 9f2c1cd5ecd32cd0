"""The nodes of a cluster: which of them to ask at once, so that no other has to pass a request on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import ip_address
from math import inf
from typing import Final
from urllib.parse import urlsplit

from twisted.internet.defer import Deferred

from resourced.addresses import base
from resourced.calls.answers import Answer, Away, Request
from resourced.client.wire import Wire

#: Of how many resources it is known who decides about them.
SUBJECTS: Final = 4096
#: Seconds within which a node has to answer that was never asked before.
PROBE: Final = 2.0
#: For how many seconds a node is left alone that did not answer.
AVOIDED: Final = 30.0


class Nodes:
    """
    Remembers which node has answered for a resource.

    A cluster may be behind a proxy, and its nodes in a network of their own. What is at such a URL here may be something else. So a node is asked directly
    once it has said here that it is this node, which is found out aside. A server elsewhere is never left for one of this machine, nor an
    encrypted one for one that is not.

    :param urls: the servers that the client was given.
    """

    def __init__(self, urls: Sequence[str], wire: Wire, seconds: Callable[[], float]) -> None:
        self._given = frozenset(urls)
        self._encrypted = all(url.startswith("https:") for url in urls)
        self._local = any(map(_is_local, urls))
        self._wire = wire
        self._seconds = seconds
        self._owners: dict[str, str] = {}
        self._reached: set[str] = set()
        self._probes: dict[str, Deferred[Answer]] = {}
        self._avoided: dict[str, float] = {}

    def owner(self, subject: str) -> str:
        """Return the URL of the node to ask about something; nothing if any server may be asked."""
        url = self._owners.get(subject, "")
        return url if url in self._reached or url in self._given else ""

    def told(self, subject: str, url: str) -> None:
        """
        Take note of which node has answered.

        :param url: as it was said; empty if it was not.
        """
        self._owners.pop(subject, None)
        if not subject or not (url := self._usable(url)):
            return
        if len(self._owners) >= SUBJECTS:
            del self._owners[next(iter(self._owners))]
        self._owners[subject] = url
        known = url in self._reached or url in self._given or url in self._probes
        if not known and self._seconds() >= self._avoided.get(url, -inf):
            self._probe(url)

    def refused(self, subject: str) -> None:
        """Take note that a node does not decide about something any more."""
        self._owners.pop(subject, None)

    def lost(self, url: str) -> None:
        """Take note that a node did not answer."""
        self._reached.discard(url)
        self._avoided[url] = self._seconds() + AVOIDED
        self._owners = {subject: owner for subject, owner in self._owners.items() if owner != url}

    def close(self) -> None:
        """Find out nothing more."""
        for probe in list(self._probes.values()):
            probe.cancel()

    def _usable(self, url: str) -> str:
        try:
            url = base(url) if url else ""
        except ValueError:
            return ""
        if (self._encrypted and not url.startswith("https:")) or (_is_local(url) and not self._local):
            return ""
        return url

    def _probe(self, url: str) -> None:
        probe = Deferred.fromCoroutine(self._wire.exchange(url, Request("GET", "/cluster", {}, None, PROBE)))
        self._probes[url] = probe

        def reached(answer: Answer) -> None:
            if not any(
                node.get("here") and self._usable(str(node.get("url", ""))) == url for node in answer.items("nodes")
            ):
                raise Away(f"{url}: It is not that node.", unclear=False)
            self._reached.add(url)

        def over(outcome: object) -> None:
            del self._probes[url]
            if outcome is not None:
                self._avoided[url] = self._seconds() + AVOIDED

        probe.addCallback(reached).addBoth(over)


def _is_local(url: str) -> bool:
    """Tell whether a URL means the machine of whoever uses it."""
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
