"""``resourced key``: what it makes, what it shows, and what it refuses."""

from __future__ import annotations

import fcntl
import io
import os
import resource
import stat
import sys
import tempfile
import threading
from pathlib import Path

import pytest
from twisted.trial.unittest import SynchronousTestCase

from resourced.auth.key_command import append, run
from resourced.auth.key_file import LARGEST, entry, parse
from resourced.auth.keys import Identity, Permission, digest_of

pytestmark = pytest.mark.trial

READ = Permission.READ
LOCK = READ | Permission.LOCK
WRITE = LOCK | Permission.WRITE
OWN = "0f" * 8 + "a7-Long_Enough" * 2


class Streams(SynchronousTestCase):
    """Tests that see what is printed."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name, "keys.toml")

    def run_key(self, *arguments, stdin=""):
        """Return what it sends to the standard output and to the standard error."""
        self.out, self.err = io.StringIO(), io.StringIO()
        for name, stream in (("stdin", io.StringIO(stdin)), ("stdout", self.out), ("stderr", self.err)):
            self.patch(sys, name, stream)
        run([str(argument) for argument in arguments])
        return self.out.getvalue(), self.err.getvalue()

    def refusal(self, *arguments, stdin=""):
        """Return why nothing was done; nothing may have been printed for a program to take."""
        why = self.assertRaises(SystemExit, self.run_key, *arguments, stdin=stdin).code
        self.assertEqual(self.out.getvalue(), "")
        return why if isinstance(why, str) else f"{why}: {self.err.getvalue()}"


class MakeTests(Streams):
    def test_entry_and_key(self):
        """The entry goes to the standard output, where it can be sent into a file; the key is not in it but beside it."""
        out, err = self.run_key("ci", "--role", "lock")
        key = err.removesuffix("\n")
        self.assertRegex(key, "^[A-Za-z0-9]{43}$")
        self.assertNotIn(key, out)
        self.assertEqual(parse(out), {digest_of(key.encode()): Identity("ci", LOCK)})

    def test_prefixes(self):
        """Each prefix that is given is in the entry."""
        out, _ = self.run_key("ci", "--role=write", "--prefix", "test-", "--prefix", 'Gerät "7"')
        self.assertEqual(list(parse(out).values()), [Identity("ci", WRITE, ("test-", 'Gerät "7"'))])

    def test_no_two_are_alike(self):
        """Each time it is another key."""
        self.assertEqual(len({self.run_key("ci", "--role=read")[1] for _ in range(50)}), 50)

    def test_wrong_arguments(self):
        """What the daemon would not take is refused here already, with a sentence."""
        for arguments, said in (
            ((), "required: name, --role"),
            (("ci",), "required: --role"),
            (("ci", "--role", "root"), "invalid choice: 'root'"),
            (("", "--role", "read"), "resourced key: entry 1 (line 1) has no name"),
            (("c\ni", "--role", "read"), "resourced key: entry 1 (line 1) has no name"),
            (("c\udcff", "--role", "read"), "resourced key: entry 1 (line 1) has no name"),
            (("ci", "--role", "read", "--prefix", ""), "prefixes of which number 1 is empty"),
            (("ci", "--role", "read", "--prefix", "a\udcff"), "prefixes of which number 1 is not valid Unicode"),
        ):
            self.assertIn(said, self.refusal(*arguments), arguments)


class AppendTests(Streams):
    def test_new_file(self):
        """A file that is not there is made, for the daemon to read and nobody else to write; only the key is printed."""
        self.addCleanup(os.umask, os.umask(0o077))
        out, err = self.run_key("ci", "--role=lock", "--keys", self.path)
        self.assertEqual(err, "")
        self.assertEqual(parse(self.path.read_text()), {digest_of(out.strip().encode()): Identity("ci", LOCK)})
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o644)
        self.assertNotIn(out.strip(), self.path.read_text())

    def test_one_after_another(self):
        """Each is put at the end; what was there, and the mode of the file, stays as it is."""
        self.path.write_text("# Ours")
        self.path.chmod(0o640)
        self.run_key("ci", "--role=lock", "--keys", self.path)
        self.run_key("qa", "--role=read", "--prefix=test-", "--keys", self.path)
        text = self.path.read_text()
        self.assertTrue(text.startswith('# Ours\n\n[[key]]\nname = "ci"\n'), text)
        self.assertEqual(list(parse(text).values()), [Identity("ci", LOCK), Identity("qa", READ, ("test-",))])
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o640)

    def test_wrong_file(self):
        """A file that is wrong already, or would be by that, is left as it is, and the sentence says where it is wrong."""
        for text, said in (
            (entry("qa", "root", digest_of(b"q")), "entry 1 (line 1) has no role"),
            ("key = []\n", "is not TOML"),
            ("[[key]]\nname = ", "line 2, column 8 is not TOML"),
            ("#" * LARGEST + "#", "it is larger than"),
            ("#" * LARGEST, "it would be larger than"),
        ):
            self.path.write_text(text)
            self.assertIn(f"resourced key: {self.path}: ", self.refusal("ci", "--role=read", "--keys", self.path))
            self.assertIn(said, self.refusal("ci", "--role=read", "--keys", self.path))
            self.assertEqual(self.path.read_text(), text)

    def test_disk_is_full(self):
        """If the entry does not fit onto the disk, nothing of it is left in the file."""
        self.path.write_text("# Ours\n")
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        # Enough for a part of it.
        resource.setrlimit(resource.RLIMIT_FSIZE, (50, limits[1]))
        try:
            said = self.refusal("ci", "--role=read", "--keys", self.path)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        self.assertEqual(said, f"resourced key: {self.path}: No space left on device")
        self.assertEqual(self.path.read_text(), "# Ours\n")

    def test_two_at_once(self):
        """While somebody else is about to add an entry, it waits, and sees what that one has added."""
        new = entry("ci", "lock", digest_of(b"k"))
        refused: list[Exception] = []

        def add():
            try:
                append(str(self.path), new)
            except ValueError as error:
                refused.append(error)

        with self.path.open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            other = threading.Thread(target=add)
            other.start()
            other.join(0.1)
            file.write(new)
        other.join(20)
        self.assertFalse(other.is_alive())
        self.assertEqual(len(refused), 1)
        self.assertEqual(self.path.read_text(), new)

    def test_no_place_for_a_file(self):
        """So is what cannot be opened or written."""
        self.assertEqual(
            self.refusal("ci", "--role=read", "--keys", self.path / "keys"),
            f"resourced key: {self.path}/keys: No such file or directory",
        )
        self.path.mkdir()
        self.assertIn("Is a directory", self.refusal("ci", "--role=read", "--keys", self.path))
        self.assertIn("not an ordinary file", self.refusal("ci", "--role=read", "--keys", "/dev/null"))


class OwnKeyTests(Streams):
    def test_own_key(self):
        """A key that there is already is read from the standard input, and not shown again."""
        for end in ("\n", "\r\n", ""):
            out, err = self.run_key("ci", "--role=lock", "--stdin", stdin=OWN + end)
            self.assertEqual(parse(out), {digest_of(OWN.encode()): Identity("ci", LOCK)})
            self.assertEqual(err, "")
        self.assertEqual(self.run_key("ci", "--role=lock", "--stdin", "--keys", self.path, stdin=OWN), ("", ""))

    def test_weak_keys(self):
        """A short key, or one of a few characters again and again, could be guessed from its hash: it is refused."""
        for weak in ("a-write-key", OWN[:31], "1234567" * 20):
            said = self.refusal("ci", "--role=lock", "--stdin", "--keys", self.path, stdin=weak)
            self.assertIn("could be guessed", said)
            self.assertNotIn(weak, said)
            self.assertFalse(self.path.exists())

    def test_keys_fit_into_a_header(self):
        """A key that could not travel in a header is refused."""
        for wrong in ("", "\n", f"{OWN} {OWN}", f"{OWN}é", f" {OWN}"):
            self.assertIn("printable ASCII", self.refusal("ci", "--role=lock", "--stdin", stdin=wrong))

    def test_same_key_twice(self):
        """A key that is in the file already is not put there again."""
        self.run_key("ci", "--role=lock", "--stdin", "--keys", self.path, stdin=OWN)
        text = self.path.read_text()
        said = self.refusal("qa", "--role=write", "--stdin", "--keys", self.path, stdin=OWN)
        self.assertIn("entry 2 (line 6) has the hash of an entry before it", said)
        self.assertEqual(self.path.read_text(), text)
