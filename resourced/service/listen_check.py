"""Whether an endpoint can be listened on: its address is bound for a moment, and nobody can connect meanwhile."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path
from typing import Any

from twisted.internet.abstract import isIPv6Address
from twisted.internet.endpoints import serverFromString
from twisted.internet.protocol import Factory


def is_in_use(listen: str) -> bool:
    """
    Say whether somebody listens on an endpoint already.

    :param listen: an endpoint string of Twisted.
    :raises OSError: nobody can listen there.
    """
    binder: Any = _Binder()
    errors: list[BaseException] = []
    serverFromString(binder, listen).listen(Factory()).addErrback(lambda failure: errors.append(failure.value))
    for error in errors:
        if isinstance(error, OverflowError):
            # The port is too large.
            raise OSError(str(error))
        raise error
    return bool(binder.in_use)


class _Binder:
    """
    Takes the place of the reactor for an endpoint, and binds what it should listen on.

    :ivar in_use: whether that belongs to somebody else at present.
    """

    in_use = False

    def listenTCP(self, port: int, factory: object, backlog: int = 50, interface: str = "") -> None:  # noqa: ARG002
        with socket.socket(socket.AF_INET6 if isIPv6Address(interface) else socket.AF_INET) as listening:
            # Connections of an earlier process that are still being closed are no obstacle to the daemon either.
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listening.bind((interface, port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                self.in_use = True

    def listenSSL(self, port: int, factory: object, contextFactory: object, **options: Any) -> None:  # noqa: ARG002
        self.listenTCP(port, factory, **options)

    def listenUNIX(self, address: str, factory: object, *options: object, **more: object) -> None:  # noqa: ARG002
        folder = Path(address).parent
        # To bind it would make the file.
        if not folder.is_dir():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    def adoptStreamPort(self, fileDescriptor: int, *options: object) -> None:  # noqa: ARG002
        """It listens already."""
        os.close(fileDescriptor)
