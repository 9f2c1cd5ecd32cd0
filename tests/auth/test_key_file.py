"""What a key file may say, what is made of it, and what is said about one that is wrong."""

from __future__ import annotations

import os
import random
import tempfile
import tomllib
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from resourced.auth.key_file import LARGEST, ROLES, KeyFile, entry, parse
from resourced.auth.keys import Identity, Keys, Permission, digest_of
from resourced.errors import ConfigurationError, NotAuthorized

pytestmark = pytest.mark.trial

READ = Permission.READ
LOCK = Permission.READ | Permission.LOCK
WRITE = LOCK | Permission.WRITE
DIGEST = digest_of(b"k")
#: One that is right, to be spoilt.
RIGHT = f"""[[key]]
name = "ci"
role = "lock"
hash = "sha256:{DIGEST.hex()}"
prefixes = ["test-"]
"""


class ParseTests(SynchronousTestCase):
    def test_entries(self):
        """Each entry has a name, a role that includes those before it, a hash, and prefixes if it has any."""
        text = f"""
        # Who this is for may stand in a comment.
        [[key]]
        name = "ci"
        role = "read"
        hash = "sha256:{"0a" * 32}"

        [[key]]
        prefixes = ["test-", ".", "Gerät "]
        hash = 'sha256:{"BC" * 32}'
        role = "lock"
        name = "Prüf stand"

        [[key]]
        name = "ci"
        role = "write"
        hash = "sha256:{"de" * 32}"
        """
        self.assertEqual(
            parse(text),
            {
                b"\x0a" * 32: Identity("ci", READ),
                b"\xbc" * 32: Identity("Prüf stand", LOCK, ("test-", ".", "Gerät ")),
                b"\xde" * 32: Identity("ci", WRITE),
            },
        )

    def test_nothing_in_it(self):
        """A file may be empty, or be comments only."""
        self.assertEqual(parse(""), {})
        self.assertEqual(parse("# None yet.\n"), {})

    def wrong(self, text):
        """Return what is said about a file, which must be one line and repeat nothing secret."""
        said = str(self.assertRaises(ValueError, parse, text))
        self.assertTrue(said.isprintable(), said)
        self.assertNotIn(DIGEST.hex(), said)
        self.assertNotIn("s3cret", said)
        return said

    def test_no_toml(self):
        """What is no TOML is told by its line and column; none of the text is repeated."""
        self.assertEqual(self.wrong(RIGHT + "name = s3cret"), "line 6, column 8 is not TOML")
        self.assertEqual(self.wrong("[[key"), "its end is not TOML")
        self.assertIn("not TOML", self.wrong("x = {s3cret = 1, s3cret = 2}"))
        self.assertIn("not TOML", self.wrong("a = " + "[" * 100_000))
        self.assertIn("not TOML", self.wrong("a = " + "9" * 5000))

    def test_something_else(self):
        """What belongs to no entry is not passed over: it may be one that is misspelt."""
        for text in ("s3cret = 1", "[[keys]]\nname = 's3cret'", "[key]\nname = 's3cret'", "key = 's3cret'", "[other]"):
            self.assertEqual(self.wrong(text), "something in it belongs to no [[key]]", text)

    def test_fields(self):
        """A field that is missing, wrong or unknown is told by the number of its entry and its name, without the value."""
        for old, new, said in (
            ('name = "ci"', "", "entry 2 (line 5) has no name"),
            ('name = "ci"', "name = 5", "entry 2 (line 5) has no name"),
            ('name = "ci"', 'name = ""', "entry 2 (line 5) has no name"),
            ('name = "ci"', 'name = " ci"', "entry 2 (line 5) has no name"),
            ('name = "ci"', 'name = "c\\ti"', "entry 2 (line 5) has no name"),
            ('name = "ci"', f'name = "{"n" * 256}"', "entry 2 (line 5) has no name"),
            ('role = "lock"', "", "entry 2 (line 5) has no role"),
            ('role = "lock"', 'role = "s3cret"', "entry 2 (line 5) has no role"),
            ('role = "lock"', 'role = ["read", "lock"]', "entry 2 (line 5) has no role"),
            ('"sha256:', '"', "entry 2 (line 5) has no hash"),
            ('"sha256:', '"sha512:', "entry 2 (line 5) has no hash"),
            ('"sha256:', '"sha256:0', "entry 2 (line 5) has no hash"),
            (f'"sha256:{DIGEST.hex()}"', '"s3cret"', "entry 2 (line 5) has no hash"),
            (f'"sha256:{DIGEST.hex()}"', "7", "entry 2 (line 5) has no hash"),
            ('hash = "sha256', 'key = "sha256', "entry 2 (line 5) has a field other than"),
            ("prefixes =", "prefix =", "entry 2 (line 5) has a field other than"),
            ('["test-"]', "[]", "entry 2 (line 5) has prefixes that are no list"),
            ('["test-"]', '"test-"', "entry 2 (line 5) has prefixes that are no list"),
            ('["test-"]', '["test-", ""]', "entry 2 (line 5) has prefixes of which number 2 is empty"),
            (
                '["test-"]',
                '["te\\u0000st-"]',
                "entry 2 (line 5) has prefixes of which number 1 has a control character",
            ),
            ('["test-"]', '[["test-"]]', "entry 2 (line 5) has prefixes of which number 1 is not a string"),
            ('["test-"]', f'["{"p" * 256}"]', "entry 2 (line 5) has prefixes of which number 1 is longer"),
        ):
            self.assertIn(old, RIGHT)
            first = entry("first", "read", digest_of(b"first"))
            self.assertIn(said, self.wrong(first + RIGHT.replace(old, new)), new)

    def test_no_table(self):
        """An entry that is no table at all has no name either."""
        self.assertIn("entry 1 has no name", self.wrong("key = ['s3cret']"))

    def test_line_of_an_entry(self):
        """The line of an entry is told if it is plain to see, and else not rather than wrongly."""
        wrong = '  [[ key ]] # This one\nname = ""\n'
        self.assertIn("entry 2 (line 7) has no name", self.wrong(f"\n{RIGHT}{wrong}"))
        self.assertIn("entry 1 has no name", self.wrong('[[key]]\nname = """\n[[key]]\n"""'))
        self.assertIn("entry 1 has no name", self.wrong('key = [{name = ""}]'))

    def test_same_hash_twice(self):
        """One key cannot be two entries, however its hash is spelled."""
        again = entry("qa", "write", DIGEST).replace(DIGEST.hex(), DIGEST.hex().upper())
        self.assertEqual(self.wrong(RIGHT + again), "entry 2 (line 6) has the hash of an entry before it")

    @given(st.text(max_size=200))
    def test_any_text(self, text):
        """Whatever the text, there are keys or a sentence."""
        try:
            parse(text)
        except ValueError as error:
            self.assertTrue(str(error).isprintable())

    @given(st.data())
    def test_damaged_text(self, data):
        """A file that was cut off, or in which a piece is missing, has its keys or a sentence, and nobody more than it says."""
        text = RIGHT + entry("qa", "write", digest_of(b"q"))
        start = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(start, len(text)))
        try:
            found = parse(text[:start] + text[end:])
        except ValueError as error:
            self.assertNotIn(DIGEST.hex()[:20], str(error))
        else:
            self.assertLessEqual(len(found), 2)

    @given(
        st.text(min_size=1, max_size=255).filter(lambda name: name.isprintable() and name.strip() == name),
        st.sampled_from(sorted(ROLES)),
        st.binary(min_size=32, max_size=32),
        st.lists(st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=255), max_size=3),
    )
    def test_there_and_back(self, name, role, digest, prefixes):
        """Whatever is written down is read again as it was."""
        self.assertEqual(
            parse(entry(name, role, digest, prefixes)), {digest: Identity(name, ROLES[role], tuple(prefixes))}
        )


class KeyFileTests(SynchronousTestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name, "keys.toml")
        self.keys = Keys("", "", "variable")
        self.file = KeyFile(str(self.path), self.keys)
        self.events: list[LogEvent] = []
        observer = cast(ILogObserver, self.events.append)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def write(self, *entries):
        self.path.write_text("\n".join(entries))
        self.path.chmod(0o644)

    def knows(self, key):
        try:
            return bool(self.keys.authorize(key, READ))
        except NotAuthorized:
            return False

    def logged(self):
        """Return the level and the text of each event since the last time."""
        said = [(event["log_level"].name, event["log_format"].format(**event)) for event in self.events]
        self.events.clear()
        return said

    def unusable(self):
        """Return why the file cannot be used, after the words that each such sentence begins with."""
        sentence = self.assertRaises(ConfigurationError, self.file.load).sentence
        begin = f"RESOURCED_KEYS (--keys) cannot be used: {self.path}: "
        self.assertTrue(sentence.startswith(begin), sentence)
        return sentence.removeprefix(begin)

    def test_load(self):
        """The keys of the file are known when it was read, and the log says how many they are."""
        self.write(entry("ci", "lock", DIGEST), entry("qa", "read", digest_of(b"q")))
        self.assertFalse(self.knows(b"k"))
        self.file.load()
        self.assertTrue(self.knows(b"k"))
        self.assertTrue(self.knows(b"q"))
        self.assertTrue(self.knows(b"variable"))
        self.assertEqual(self.logged(), [("info", f"The keys in {self.path} are known: 2.")])

    def test_reload(self):
        """Read again, it brings the keys that are new and takes those that are gone."""
        self.write(entry("ci", "lock", DIGEST))
        self.file.load()
        self.write(entry("qa", "read", digest_of(b"q")))
        self.file.reload()
        self.assertTrue(self.knows(b"q"))
        self.assertFalse(self.knows(b"k"))

    def test_reload_of_an_empty_file(self):
        """If there is nothing in it by then, its keys are gone, with a warning."""
        self.write(entry("ci", "lock", DIGEST))
        self.file.load()
        self.logged()
        self.write()
        self.file.reload()
        self.assertFalse(self.knows(b"k"))
        told = f"There is no key in {self.path}. Only the keys of the variables are known."
        self.assertEqual(self.logged(), [("warn", told)])

    def test_reload_of_a_wrong_file(self):
        """If it is wrong by then, the keys stay, and one line says what is wrong and where."""
        self.write(entry("ci", "lock", DIGEST))
        self.file.load()
        self.logged()
        self.write(entry("qa", "read", digest_of(b"q")), entry("ops", "root", digest_of(b"o")))
        self.file.reload()
        self.assertTrue(self.knows(b"k"))
        self.assertFalse(self.knows(b"q"))
        [(level, said)] = self.logged()
        self.assertEqual(level, "error")
        self.assertIn("The keys are what they were.", said)
        self.assertIn("entry 2 (line 6) has no role", said)

    def test_unusable_files(self):
        """What cannot be read, or is no file of keys, is told with its path; to find out does not block."""
        self.assertEqual(self.unusable(), "No such file or directory.")
        self.path.write_bytes(b"\xff")
        self.assertEqual(self.unusable(), "it is not UTF-8.")
        self.path.write_bytes(b"#" * (LARGEST + 1))
        self.assertEqual(self.unusable(), f"it is larger than {LARGEST} bytes.")
        self.path.unlink()
        os.mkfifo(self.path)
        self.assertEqual(self.unusable(), "it is not an ordinary file.")
        self.path.unlink()
        self.path.mkdir()
        self.assertEqual(self.unusable(), "Is a directory.")

    def test_largest_file(self):
        """As much as is allowed is read."""
        self.path.write_bytes(b"#" * LARGEST)
        self.file.load()

    def test_key_of_a_variable(self):
        """A key of the file that a variable has too is an error of the file."""
        self.write(entry("ci", "lock", digest_of(b"variable")))
        self.assertEqual(self.unusable(), "a key of ci is the key of a variable too.")

    def test_no_key_left(self):
        """Without a variable, a file without a key is an error; also later, when something has emptied it."""
        keys = Keys("", "", "")
        file = KeyFile(str(self.path), keys)
        self.write()
        error = self.assertRaises(ConfigurationError, file.load)
        self.assertIn("there is no key in it, and none in a variable", error.sentence)
        self.write(entry("ci", "lock", DIGEST))
        file.load()
        self.write()
        file.reload()
        self.assertEqual(keys.authorize(b"k", READ).name, "ci")

    def test_no_file(self):
        """Without a key file there is nothing to be read, and to ask for it harms nothing."""
        file = KeyFile("", self.keys)
        file.load()
        self.assertEqual(self.logged(), [])
        file.reload()
        self.assertEqual(self.logged(), [("info", "There is no key file to be read again.")])
        self.assertTrue(self.knows(b"variable"))

    def test_who_can_write_it(self):
        """A file that others can write to is used, with a warning; one that others can only read has no secrets."""
        self.write(entry("ci", "lock", DIGEST))
        for mode, warned in ((0o600, False), (0o644, False), (0o664, True), (0o646, True)):
            self.path.chmod(mode)
            self.file.load()
            self.assertEqual([level for level, _ in self.logged()], ["warn", "info"] if warned else ["info"], oct(mode))

    def test_nothing_secret_in_the_log(self):
        """However a file is damaged, no line of the log has a key or the hash of one in it."""
        text = entry("ci", "lock", DIGEST) + entry("qa", "write", digest_of(b"q"), ["test-"])
        dice = random.Random(1)
        for _ in range(300):
            start = dice.randrange(len(text))
            self.path.write_text(text[:start] + dice.choice(["", '"', "\n", "="]) + text[start + dice.randrange(20) :])
            self.file.reload()
        said = " ".join(said for _, said in self.logged())
        self.assertIn("entry 2", said)
        self.assertIn("not TOML", said)
        for digest in (DIGEST, digest_of(b"q")):
            for start in range(0, 64, 8):
                self.assertNotIn(digest.hex()[start : start + 8], said)


class TomlTests(SynchronousTestCase):
    def test_entry_is_what_a_person_would_write(self):
        """An entry is a table of TOML with a line for each field."""
        self.assertEqual(entry("ci", "lock", DIGEST, ["test-"]), RIGHT)
        self.assertNotIn("prefixes", tomllib.loads(entry("ci", "lock", DIGEST))["key"][0])
