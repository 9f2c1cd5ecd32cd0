"""Which key may do what."""

from __future__ import annotations

import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from resourced.auth.keys import DEFAULT, Identity, Keys, Permission, digest_of, key_of
from resourced.errors import Forbidden, NotAuthorized

pytestmark = pytest.mark.trial

READ, LOCK, WRITE = Permission.READ, Permission.LOCK, Permission.WRITE
NOTHING = Permission(0)


def permission(keys: Keys, key: bytes) -> Permission:
    """What a key may do."""
    try:
        return keys.authorize(key, NOTHING).permission
    except NotAuthorized:
        return NOTHING


class RoleTests(SynchronousTestCase):
    def setUp(self):
        self.keys = Keys("r", "l", "w")

    def test_roles(self):
        """Each key may do what its variable stands for."""
        self.assertEqual(permission(self.keys, b"r"), READ)
        self.assertEqual(permission(self.keys, b"l"), READ | LOCK)
        self.assertEqual(permission(self.keys, b"w"), READ | LOCK | WRITE)

    def test_unknown_key(self):
        """A key that is only nearly right may do nothing."""
        for key in (b"", b"x", b"R", b"rr", b"r ", b"r\x00", b"\xff"):
            self.assertEqual(permission(self.keys, key), NOTHING)

    def test_unset_role(self):
        """A role without a key is open to nobody, also not to the empty key."""
        keys = Keys("r", "", "")
        self.assertEqual(permission(keys, b""), NOTHING)
        self.assertRaises(NotAuthorized, keys.authorize, b"", READ)
        self.assertRaises(NotAuthorized, keys.authorize, b"r", WRITE)

    def test_one_key_in_two_roles(self):
        """A key in two roles has both of them."""
        self.assertEqual(permission(Keys("same", "same", "other"), b"same"), READ | LOCK)

    def test_one_party(self):
        """The three keys are one key_name, who may touch everything."""
        for key in (b"r", b"l", b"w"):
            identity = self.keys.authorize(key, READ)
            self.assertEqual(identity.name, DEFAULT)
            self.assertTrue(identity.may_touch("printer"))

    def test_refusals(self):
        """No key, an unknown key and a key without the permission are all unauthorized, and no key is repeated."""
        for presented, needed, part in (
            (b"", READ, "x-api-key"),
            (b"topsecret", READ, "not known"),
            (b"r", LOCK, "may not lock"),
            (b"l", WRITE, "may not write"),
            (b"r", LOCK | WRITE, "may not lock and write"),
        ):
            error = self.assertRaises(NotAuthorized, self.keys.authorize, presented, needed)
            self.assertEqual(error.code, "unauthorized")
            self.assertIn(part, error.sentence)
            self.assertNotIn("topsecret", error.sentence)

    def test_allow(self):
        """All that is needed must be granted, not just some of it."""
        identity = Identity("ci", READ | LOCK)
        identity.allow(LOCK)
        self.assertRaises(NotAuthorized, identity.allow, LOCK | WRITE)
        self.assertRaises(NotAuthorized, Identity("ci", NOTHING).allow, READ)

    def test_prefixes(self):
        """A key may be for some resources only, by how their names begin."""
        identity = Identity("ci", READ, ("ci/", "test"))
        for name in ("ci/1", "ci/", "test", "tests"):
            identity.require(name)
        for name in ("ci", "printer", "", "Test"):
            self.assertRaises(Forbidden, identity.require, name)

    def test_within(self):
        """What a key may know of, out of all names with a prefix, is a number of ranges that do not overlap, in order."""
        everything = Identity("a", Permission.READ)
        self.assertEqual([everything.within(""), everything.within("x")], [[""], ["x"]])
        bound = Identity("a", Permission.READ, ("b", "ba", "d", "a\U0001f600", "a\uffff", "dd"))
        self.assertEqual(bound.within(""), ["a\uffff", "a\U0001f600", "b", "d"])
        self.assertEqual([bound.within(prefix) for prefix in ("b", "bb", "ddd")], [["b"], ["bb"], ["ddd"]])
        self.assertEqual(bound.within("a"), ["a\uffff", "a\U0001f600"])
        self.assertEqual(bound.within("c"), [])

    def test_every_key_is_compared(self):
        """Whichever key is presented, it is compared with each of the three, in constant time and at equal length."""
        compared = []

        def compare(left, right):
            compared.append((len(left), len(right)))
            return hmac_compare(left, right)

        hmac_compare = hmac.compare_digest
        self.patch(hmac, "compare_digest", compare)
        self.keys.adopt({digest_of(b"other"): Identity("ci", READ)})
        for key in (b"r", b"l", b"w", b"other", b"unknown", b"x" * 10000):
            compared.clear()
            permission(self.keys, key)
            self.assertEqual(compared, [(32, 32)] * 3)

    @given(st.binary(max_size=40))
    def test_only_the_three_keys(self, key):
        """Whatever bytes are presented, only the three keys open anything."""
        self.assertEqual(permission(self.keys, key) == NOTHING, key not in {b"r", b"l", b"w"})


class OtherKeysTests(SynchronousTestCase):
    def setUp(self):
        self.keys = Keys("r", "", "")

    def test_beside_the_three(self):
        """A key that was given beside the three is known by its own name, role and prefixes; the three stay what they are."""
        ci = Identity("ci", READ | LOCK, ("test-",))
        self.keys.adopt({digest_of(b"k"): ci})
        self.assertEqual(self.keys.authorize(b"k", LOCK), ci)
        self.assertRaises(NotAuthorized, self.keys.authorize, b"k", WRITE)
        self.assertEqual(self.keys.authorize(b"r", READ).name, DEFAULT)

    def test_in_place_of_those_before(self):
        """What is given later replaces all that was given before."""
        self.keys.adopt({digest_of(b"old"): Identity("ci", READ), digest_of(b"kept"): Identity("ci", READ)})
        self.keys.adopt({digest_of(b"kept"): Identity("ci", READ | LOCK), digest_of(b"new"): Identity("qa", READ)})
        self.assertEqual(permission(self.keys, b"old"), NOTHING)
        self.assertEqual(permission(self.keys, b"kept"), READ | LOCK)
        self.assertEqual(self.keys.authorize(b"new", READ).name, "qa")
        self.keys.adopt({})
        self.assertEqual(permission(self.keys, b"kept"), NOTHING)

    def test_the_key_of_a_variable(self):
        """A key that a variable has too would have two names: it is refused, and all is as before."""
        self.keys.adopt({digest_of(b"old"): Identity("ci", READ)})
        others = {digest_of(b"new"): Identity("qa", READ), digest_of(b"r"): Identity("ops", READ)}
        error = self.assertRaises(ValueError, self.keys.adopt, others)
        self.assertIn("ops", str(error))
        self.assertEqual(permission(self.keys, b"old"), READ)
        self.assertEqual(permission(self.keys, b"new"), NOTHING)

    def test_no_key_at_all(self):
        """Without any variable there must be a key at least, now and later."""
        keys = Keys("", "", "")
        self.assertRaises(ValueError, keys.adopt, {})
        keys.adopt({digest_of(b"k"): Identity("ci", READ)})
        self.assertRaises(ValueError, keys.adopt, {})
        self.assertEqual(permission(keys, b"k"), READ)


class PresentedKeyTests(SynchronousTestCase):
    def test_x_api_key(self):
        """The key comes in x-api-key."""
        self.assertEqual(key_of([b"k"], []), b"k")
        self.assertEqual(key_of([b" k "], []), b"k")

    def test_bearer(self):
        """Or it comes as a bearer token; the scheme may be written in any case."""
        for value in (b"Bearer k", b"bearer k", b"BEARER   k ", b"Bearer\tk"):
            self.assertEqual(key_of([], [value]), b"k")

    def test_x_api_key_comes_first(self):
        """With both, x-api-key counts; an empty one is none."""
        self.assertEqual(key_of([b"a"], [b"Bearer b"]), b"a")
        self.assertEqual(key_of([b""], [b"Bearer b"]), b"b")

    def test_no_key(self):
        """No header, an empty one or another scheme is no key."""
        for authorization in ([], [b""], [b"Basic azpr"], [b"Bearer"], [b"Bearer "], [b"Bearerk"], [b"k"]):
            self.assertEqual(key_of([], authorization), b"")

    def test_repeated_header(self):
        """A header that comes twice must say the same twice; else it is not ours to choose."""
        self.assertEqual(key_of([b"k", b"k"], []), b"k")
        self.assertEqual(key_of([], [b"Bearer k", b"Bearer k"]), b"k")
        error = self.assertRaises(NotAuthorized, key_of, [b"a", b"b"], [])
        self.assertIn("more than one x-api-key", error.sentence)
        self.assertRaises(NotAuthorized, key_of, [], [b"Bearer a", b"Bearer b"])
        self.assertRaises(NotAuthorized, key_of, [b"a", b""], [])

    @given(st.lists(st.binary(max_size=20), max_size=3), st.lists(st.binary(max_size=20), max_size=3))
    def test_any_headers(self, x_api_key, authorization):
        """Whatever the headers hold, there is a key or a refusal."""
        try:
            self.assertIsInstance(key_of(x_api_key, authorization), bytes)
        except NotAuthorized:
            self.assertTrue(len(set(x_api_key)) > 1 or len(set(authorization)) > 1)
