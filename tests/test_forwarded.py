"""Whom a request is from, when it comes through proxies, and when it only says so."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from resourced.forwarded import TrustedProxies

pytestmark = pytest.mark.trial

PROXIES = TrustedProxies.parse("10.0.0.0/8, 2001:db8::1 ,unix")


class TrustTests(SynchronousTestCase):
    def test_who_is_trusted(self):
        """Addresses and networks of both families, also as a socket for both tells them, and Unix sockets if that is said."""
        for peer in ("10.1.2.3", "::ffff:10.1.2.3", "2001:db8::1", "2001:0db8:0::1", "unix"):
            self.assertTrue(PROXIES.trust(peer), peer)
        for peer in ("11.1.2.3", "2001:db8::2", "-", "", "localhost"):
            self.assertFalse(PROXIES.trust(peer), peer)
        for peer in ("10.1.2.3", "unix", "127.0.0.1"):
            self.assertFalse(TrustedProxies.parse("").trust(peer), peer)

    def test_what_is_no_address(self):
        """A name, or a network with bits too many, is refused."""
        for text in ("proxy.example", "10.0.0.1/8", "10.0.0", "1,2"):
            with self.assertRaises(ValueError):
                TrustedProxies.parse(text)


class ClientTests(SynchronousTestCase):
    def client(self, *, forwarded: str = "", x: str = "") -> str:
        return PROXIES.client("10.0.0.1", [forwarded.encode()] if forwarded else [], [x.encode()] if x else [])

    def test_nothing_said(self):
        """A proxy that says nothing is the client."""
        self.assertEqual(self.client(), "10.0.0.1")

    def test_one_proxy(self):
        """The last address is the client's, with a port or without, whatever the client has put before it."""
        for x in ("192.0.2.7", "1.1.1.1, 192.0.2.7", "garbage, 192.0.2.7", "192.0.2.7:4711", ",,192.0.2.7"):
            self.assertEqual(self.client(x=x), "192.0.2.7", x)
        for x in ("2001:db8::7", "[2001:db8::7]", "[2001:db8::7]:4711"):
            self.assertEqual(self.client(x=x), "2001:db8::7", x)
        self.assertEqual(self.client(x="::ffff:192.0.2.7"), "192.0.2.7")

    def test_several_proxies(self):
        """Trusted proxies are passed over, up to whoever is none."""
        self.assertEqual(self.client(x="1.1.1.1, 192.0.2.7, 10.9.9.9, 2001:db8::1"), "192.0.2.7")
        self.assertEqual(self.client(x="10.9.9.8, 10.9.9.9"), "10.9.9.8")

    def test_broken(self):
        """What is no address ends the list: the proxy that said it is the client."""
        for x in ("unknown", "192.0.2.7, _hidden", "192.0.2.7, 999.1.1.1", "192.0.2.7,", "192.0.2.7, a b"):
            self.assertEqual(self.client(x=x), "10.0.0.1", x)
        self.assertEqual(self.client(x="192.0.2.7, nonsense, 10.9.9.9"), "10.9.9.9")

    def test_forwarded(self):
        """The standard's header is read too, with quotes, brackets, ports, and other parameters."""
        for forwarded in (
            "for=192.0.2.7",
            "For=192.0.2.7;proto=https;by=10.0.0.1",
            'proto=http; for="192.0.2.7:4711"',
            "for=1.1.1.1, for=192.0.2.7",
            "for=1.1.1.1, for=192.0.2.7, for=10.3.3.3",
        ):
            self.assertEqual(self.client(forwarded=forwarded), "192.0.2.7", forwarded)
        self.assertEqual(self.client(forwarded='for="[2001:db8::7]:4711"'), "2001:db8::7")
        self.assertEqual(self.client(forwarded="for=192.0.2.7, proto=http"), "10.0.0.1")

    def test_both(self):
        """If both are there they have to agree; else one of them is the client's own."""
        self.assertEqual(self.client(forwarded="for=192.0.2.7", x="192.0.2.7"), "192.0.2.7")
        self.assertEqual(self.client(forwarded="for=1.1.1.1", x="192.0.2.7"), "10.0.0.1")

    @given(st.lists(st.binary(max_size=60), max_size=3), st.lists(st.binary(max_size=60), max_size=3))
    def test_anything(self, forwarded: list[bytes], x: list[bytes]):
        """Whatever is said, the answer is an address."""
        client = PROXIES.client("10.0.0.1", forwarded, x)
        self.assertRegex(client, r"[0-9a-f:.]+")
