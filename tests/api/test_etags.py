"""What entity tags are asked for, and which data has them."""

from __future__ import annotations

import re
from time import perf_counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from resourced.api.etags import Precondition, precondition

pytestmark = pytest.mark.trial

#: What may stand between the quotes.
TAGS = st.text(st.sampled_from("!#az09,*/W~"), max_size=5)


class PreconditionTests(SynchronousTestCase):
    def test_anything(self):
        """A star stands for whatever there is, and for nothing if there is nothing."""
        for field in (b"*", b" * ", b"\t*"):
            self.assertEqual(precondition(field, wanted=True), Precondition(wanted=True, anything=True))
            self.assertTrue(precondition(field, wanted=True).passes("a"))
            self.assertFalse(precondition(field, wanted=True).passes(""))
            self.assertFalse(precondition(field, wanted=False).passes("a"))
            self.assertTrue(precondition(field, wanted=False).passes(""))

    def test_empty_tag(self):
        """An empty tag is the tag of nothing that there is; where there is nothing it is not there either."""
        self.assertFalse(precondition(b'""', wanted=True).passes(""))
        self.assertTrue(precondition(b'""', wanted=False).passes(""))

    def test_weak(self):
        """A weak tag is good enough to know data again, and not to replace it."""
        self.assertFalse(precondition(b'W/"a"', wanted=True).passes("a"))
        self.assertFalse(precondition(b'W/"a"', wanted=False).passes("a"))
        self.assertTrue(precondition(b'W/"a", "a"', wanted=True).passes("a"))

    @given(
        st.lists(st.tuples(TAGS, st.booleans(), st.sampled_from([",", ", ", "\t,", " ,, ,"])), min_size=1, max_size=5),
        TAGS,
    )
    def test_lists(self, parts, other):
        """A list has exactly the tags that are in it, however it is spaced, and whatever is in a tag."""
        field = "".join(f'{"W/" if weak else ""}"{tag}"{comma}' for tag, weak, comma in parts).encode()
        for tag in [other, *(tag for tag, _, _ in parts)]:
            strong = bool(tag) and tag in {each for each, weak, _ in parts if not weak}
            there = bool(tag) and tag in {each for each, _, _ in parts}
            self.assertEqual(precondition(field, wanted=True).passes(tag), strong)
            self.assertEqual(precondition(field, wanted=False).passes(tag), not there)

    @given(st.text(st.sampled_from('"W/*, a\x7f\t'), max_size=12).map(str.encode))
    def test_anything_else(self, field):
        """What is neither is an error, as a slower reader sees it too."""
        tag = rb'(W/)?"[!#-~\x80-\xff]*"'
        right = re.fullmatch(rb"[ \t,]*(\*|%s([ \t]*,[ \t,]*%s)*)[ \t,]*" % (tag, tag), field)
        if right:
            precondition(field, wanted=True)
        else:
            self.assertRaises(ValueError, precondition, field, wanted=True)

    def test_long_nonsense(self):
        """What is made to be slow to read is not."""
        for field in (b"," * 100_000 + b"x", b'"a",' * 50_000 + b"x", b'W/"' * 50_000, b"\t" * 100_000 + b'"'):
            began = perf_counter()
            self.assertRaises(ValueError, precondition, field, wanted=False)
            self.assertLess(perf_counter() - began, 10)
