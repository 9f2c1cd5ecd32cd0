"""Where a store is, and how it is asked: what every client is made with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from resourced.addresses import base


class Access:
    """What a client of any kind knows of the servers of its store."""

    def __init__(
        self,
        url: str | Sequence[str],
        key: str,
        *,
        owner: str = "",
        timeout: float = 10.0,
        retry_timeout: float = 60.0,
        poll: float = 25.0,
    ) -> None:
        """
        Make a client of a store. It connects to nothing yet.

        :param url: where the server is, such as ``https://locks.example:9501``; or several of these, if others stand by.
        :param key: the API key.
        :param owner: who this is, for people who look at locks: at most 255 printable characters. Without it, the name of the key.
        :param timeout: seconds that a server may take to answer, beside what it was asked to wait.
        :param retry_timeout: seconds to go on trying while no server answers.
        :param poll: seconds that a server is asked to wait for a lock in one request; it may let a request wait less.
        :raises ValueError: it is no URL of a server.
        """
        self._urls = [base(one) for one in ([url] if isinstance(url, str) else url)]
        if not self._urls:
            raise ValueError("there is no URL of a server")
        self._key = key
        self._owner = owner
        self._timeout = timeout
        self._retry_timeout = retry_timeout
        self._poll = poll
        # What a client has in each place where it is used, such as a thread.
        self._places: dict[Any, Any] = {}

    @property
    def _named(self) -> dict[str, str]:
        """The headers that say who this is, if that was said."""
        return {"x-owner": self._owner} if self._owner else {}

    def __getstate__(self) -> dict[str, Any]:
        """A client goes to another process without what it has in this one."""
        return {**self.__dict__, "_places": {}}
