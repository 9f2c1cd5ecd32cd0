"""Which ciphers TLS endpoints of the daemon take: only such that a stolen key does not open what was recorded before."""

from __future__ import annotations

from typing import Final

from twisted.internet import _sslverify
from twisted.internet.ssl import AcceptableCiphers

#: For TLS 1.2, as OpenSSL spells it; TLS 1.3 has no others.
CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:DHE+CHACHA20"


def require_forward_secrecy() -> None:
    """
    Let every TLS endpoint that is made from now on take these ciphers only.

    The description of an endpoint has no word for ciphers, neither ``ssl:`` nor ``tls:``, and Twisted's own choice takes RSA key exchange
    too. That choice has no public name.
    """
    _sslverify.defaultCiphers = AcceptableCiphers.fromOpenSSLCipherString(CIPHERS)
