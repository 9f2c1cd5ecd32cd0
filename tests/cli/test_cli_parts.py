"""The parts of ``resourcectl`` that need no process: names, settings, and what is printed."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Coroutine
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from resourced.cli import waiting
from resourced.cli.app import cli
from resourced.cli.locking import not_json
from resourced.cli.looking import whole_state
from resourced.cli.names import parse_either, parse_lock, parse_name, write_any, write_lock, write_name
from resourced.cli.output import clock_time, escaped
from resourced.cli.settings import Settings, default_path, load
from resourced.cli.status import Status, exit_status
from resourced.cli.suspend import Wakes
from resourced.cli.wanting import parse_any
from resourced.client import ClientError, Held, Holder, Lock, Refused, Waiting, Want
from resourced.errors import ConfigurationError
from resourced.model import LockKey, valid_name
from resourced.testing import MemoryServer

pytestmark = pytest.mark.trial

T = TypeVar("T")

TREE = Path(__file__).resolve().parent.parent.parent


class NameTests(SynchronousTestCase):
    def test_written_as_it_is(self):
        """An ordinary name is written as it is, and a lock as its two names."""
        self.assertEqual(parse_lock("printer/A4"), LockKey("printer", "A4"))
        self.assertEqual(parse_lock("Bücher/A4 quer+"), LockKey("Bücher", "A4 quer+"))
        self.assertEqual(parse_either("printer"), LockKey("printer", ""))
        self.assertEqual(parse_either("printer/A4"), LockKey("printer", "A4"))

    def test_percent(self):
        """A slash and a percent sign in a name are written with a percent sign, as anything else may be."""
        self.assertEqual(parse_lock("a%2Fb/50%25"), LockKey("a/b", "50%"))
        self.assertEqual(parse_name("%C3%A9%2e"), "é.")

    def test_what_is_no_name(self):
        """What names nothing is refused with a sentence that says why."""
        for argument, sentence in {
            "": "is empty",
            "a/b": "%2F",
            "50%": "%25",
            "%zz": "%25",
            "%ff": "not UTF-8",
            "%0a": "control character",
            "\x1b[2J": "control character",
            "..": "'..'",
            "a" * 256: "longer",
            "\udcff": "not valid Unicode",
        }.items():
            error = self.assertRaises(ValueError, parse_name, argument)
            self.assertIn(sentence, str(error), argument)
        for argument in ("printer", "/", "printer/", "/A4", "printer/A4/tray"):
            self.assertRaises(ValueError, parse_lock, argument)

    @given(st.text(max_size=30).filter(lambda name: not valid_name(name)))
    def test_round_trip(self, name):
        """Any name that a server may have is printed so that it can be typed again, and does nothing to a terminal."""
        written = write_name(name)
        self.assertTrue(written.isprintable())
        self.assertEqual(parse_name(written), name)
        self.assertEqual(parse_lock(write_lock(name, name)), LockKey(name, name))

    @given(
        st.text(alphabet="phones[]*,%/é", min_size=1, max_size=20).filter(lambda name: not valid_name(name)),
        st.lists(st.text(alphabet="ab[]*%/", min_size=1, max_size=8), unique=True, max_size=3),
    )
    def test_any_units(self, resource, tags):
        """Which units are asked for is written as it is read, whatever is in the names."""
        self.assertEqual(parse_any(write_any(resource, tags, 2)), Want(resource, tags=tuple(tags), count=2))


class SettingsTests(SynchronousTestCase):
    def setUp(self):
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.home = Path(folder.name)
        self.file = self.home / ".config" / "resourced" / "ctl.toml"
        self.file.parent.mkdir(parents=True)
        self.environ = {"HOME": str(self.home)}

    def write(self, text: str, mode: int = 0o600) -> None:
        self.file.write_text(text)
        self.file.chmod(mode)

    def refused(self, **options: object) -> str:
        return str(self.assertRaises(ConfigurationError, load, self.environ, **options))

    def test_order(self):
        """An option wins over its variable, which wins over the file, which wins over the default."""
        self.assertEqual(load({**self.environ, "RESOURCED_KEY": "k"}), Settings(("http://localhost:9501",), "k"))
        self.write('url = "http://file:1"\nkey = "file-key"\nowner = "file"\n')
        self.assertEqual(load(self.environ), Settings(("http://file:1",), "file-key", "file"))
        variables = {"RESOURCED_URL": "http://a:1 http://b:2", "RESOURCED_KEY": "env-key", "RESOURCED_OWNER": "env"}
        environ = {**self.environ, **variables}
        self.assertEqual(load(environ), Settings(("http://a:1", "http://b:2"), "env-key", "env"))
        self.assertEqual(
            load(environ, urls=("https://o:3/base",), key="k", owner="o"), Settings(("https://o:3/base",), "k", "o")
        )

    def test_several_servers_in_the_file(self):
        """The file may name those that stand by."""
        self.write('url = ["http://a:1", "http://b:2"]\nkey = "k"')
        self.assertEqual(load(self.environ).urls, ("http://a:1", "http://b:2"))

    def test_where_the_file_is(self):
        """The file is where the XDG Base Directory Specification has it, and an option names another one."""
        self.assertEqual(default_path(self.environ), self.file)
        self.assertEqual(default_path({**self.environ, "XDG_CONFIG_HOME": "relative"}), self.file)
        self.assertEqual(default_path({"XDG_CONFIG_HOME": "/x"}), Path("/x/resourced/ctl.toml"))
        other = self.home / "other.toml"
        self.assertIn("There is no file", self.refused(config=str(other)))
        other.write_text('key = "other"')
        self.assertEqual(load(self.environ, config=str(other)).key, "other")

    def test_key_that_others_can_read(self):
        """Whoever has a key in a file that others can read is told so; without a key in it that is nobody's concern."""
        self.write('key = "k"', 0o644)
        self.assertIn("chmod 600", load(self.environ).warning)
        self.write('owner = "o"', 0o644)
        self.assertEqual(load(self.environ, key="k").warning, "")

    def test_what_is_wrong(self):
        """Each fault is told by a sentence that names the place, and never shows a key."""
        self.assertIn("RESOURCED_KEY", self.refused())
        for text, sentence in {
            "key = ": "is not TOML",
            'key = "secret"\nport = 3': "'port'",
            "key = 5": "must be a text",
            'key = "secret"\nurl = [5]': "must be a text",
            'key = "sec ret"': "printable ASCII",
            'key = "sec\\nret"': "printable ASCII",
            'key = "secret"\nowner = "a\\u0007"': "owner",
            'key = "secret"\nurl = "localhost"': "'localhost' is no URL",
            'key = "secret"\nurl = "http://user:pass@host"': "no URL",
            'key = "secret"\nurl = "http://host:port"': "no URL",
            'key = "secret"\nurl = "http://host:99999"': "no URL",
            'key = "secret"\nurl = "http://a..b"': "no URL",
            'key = "secret"\nurl = "http://[:::]:9501"': "no URL",
            'key = "secret"\nurl = "http://[::1]x"': "no URL",
        }.items():
            self.write(text)
            told = self.refused()
            self.assertIn(sentence, told, text)
            self.assertNotRegex(told, "sec ?ret")
        self.file.unlink()
        self.file.mkdir()
        self.assertIn("cannot be read", self.refused(key="k"))

    def test_key_is_not_shown(self):
        """The settings can be printed without giving the key away."""
        self.assertNotIn("secret", repr(load(self.environ, key="secret")))


class OutputTests(SynchronousTestCase):
    def test_printable(self):
        """What could make a terminal do something is escaped so that a JSON text stays the same one."""
        text = '{"a": "\u009b2J \u202e\x7f\u2028 é ✓ \U000e0001"}\n'
        shown = escaped(text)
        self.assertTrue(shown.replace("\n", "").isprintable())
        self.assertEqual(json.loads(shown), json.loads(text))

    def test_clock_time(self):
        """A time is told as on a clock."""
        self.assertEqual(
            [clock_time(s) for s in (0, 7.9, 65, 3600, 90061)], ["0:00", "0:07", "1:05", "1:00:00", "25:01:01"]
        )


class ValueTests(SynchronousTestCase):
    def test_json(self):
        """What is JSON is taken as it is, and what is not is told by why."""
        for text in ("9" * 5000, "0", " [1.0E+2]\n", '"é"', '{"a": null}'):
            self.assertEqual(not_json(text), "", text)
        for text in ("", "NaN", "[-Infinity]", "{'a': 1}", "[1] 2", "[" * 100_000):
            self.assertTrue(not_json(text), text[:10])


class StateTests(SynchronousTestCase):
    def test_pages_of_a_queue(self):
        """A queue is shown whole, however many pages it has, or as much of it as was asked for."""
        clock = Clock()
        server = MemoryServer(clock)
        client = server.client()
        self.successResultOf(Deferred.fromCoroutine(client.create("printer")))
        locks = [client.lock("printer", "A4", owner=f"ci-{number}") for number in range(6)]
        waits = [Deferred.fromCoroutine(lock.acquire()) for lock in locks]
        server.advance()
        for limit, last, following in ((None, 5, None), (5, 5, None), (4, 4, 4), (3, 3, 3), (1, 1, 1)):
            state = self.successResultOf(
                Deferred.fromCoroutine(whole_state(client, LockKey("printer", "A4"), limit, page=2))
            )
            self.assertEqual([waiter.owner for waiter in state.queue], [f"ci-{n}" for n in range(1, last + 1)])
            self.assertEqual((state.waiting, state.next), (5, following))
        for wait in waits[1:]:
            wait.cancel()
            self.failureResultOf(wait, CancelledError)


class WaitTests(SynchronousTestCase):
    """What is told of a wait where there is no terminal."""

    def setUp(self):
        self.clock = Clock()
        self.server = MemoryServer(self.clock)
        self.client = self.server.client()
        self.said: list[str] = []
        self.patch(waiting, "say", self.said.append)
        self.patch(os, "isatty", lambda _: False)
        self.now(self.client.create("board"))
        self.running = [Deferred.fromCoroutine(self.begin(owner).acquire()) for owner in ("ci-1", "ci-2")]
        self.addCleanup(self.running[1].cancel)
        self.running[1].addErrback(lambda failure: failure.trap(CancelledError))
        self.server.advance()

    def begin(self, owner: str, **more: Any) -> Lock:
        return self.client.lock("board", "7", owner=owner, **more)

    def now(self, work: Coroutine[Any, Any, T]) -> T:
        return self.successResultOf(Deferred.fromCoroutine(work))

    def watch(self, look: waiting.Look) -> Deferred[Held]:
        """Wait for the lock, as the last in the queue."""

        async def wait() -> Held:
            with waiting.Waits(self.clock, "board/7", look) as waits:
                return await self.begin("ci-3", on_queued=waits.update).acquire()

        acquiring = Deferred.fromCoroutine(wait())
        self.addCleanup(acquiring.cancel)
        acquiring.addErrback(lambda failure: failure.trap(CancelledError))
        self.server.advance()
        return acquiring

    async def look(self) -> Holder | None:
        return (await self.client.state("board", "7", limit=1)).holder

    def test_what_is_told(self):
        """A line when it begins, one each minute, and one whenever the holder changes; nothing when the wait is over."""
        acquiring = self.watch(self.look)
        self.assertEqual(self.said, ["waiting for board/7, position 2, held by ci-1 for 0:00:00"])
        self.server.advance(250)
        self.assertEqual(len(self.said), 5)
        self.assertEqual(self.said[-1], "waiting for board/7, position 2, held by ci-1 for 0:04:00")
        self.now(self.successResultOf(self.running[0]).unlock())
        self.server.advance(30)
        self.assertEqual(len(self.said), 6)
        self.assertRegex(self.said[-1], r"^waiting for board/7, position 1, held by ci-2 for 0:00:\d\d$")
        self.now(self.successResultOf(self.running[1]).unlock())
        self.server.advance(70)
        self.assertEqual(len(self.said), 6)
        self.now(self.successResultOf(acquiring).unlock())

    def test_who_may_not_look(self):
        """If it cannot be known who has the lock, or takes too long, less is told."""

        async def refuse() -> Holder | None:
            raise Refused("This key may not read.")

        async def silence() -> Holder | None:
            return await Deferred[Holder]()

        for look in (refuse, silence):
            self.said.clear()
            acquiring = self.watch(look)
            self.server.advance(5)
            acquiring.cancel()
            self.assertEqual(self.said, ["waiting for board/7, position 2"])

    def test_trouble(self):
        """That no server can be reached is told once, when it begins."""
        waits = waiting.Waits(self.clock, "board/7", self.look)
        with waits:
            for trouble in ("Refused.", "Still refused.", ""):
                waits.update(Waiting(position=0, ticket="", rejoined=0, trouble=trouble))
                self.server.advance(1)
        self.assertEqual(self.said, ["waiting for board/7; Refused."])


class WakeTests(SynchronousTestCase):
    def test_sleep(self):
        """Each time that the machine has slept is noticed within a second; that the clocks are not quite the same is not."""
        clock, slept, woke = Clock(), [0.0], list[float]()
        wakes = Wakes(clock, lambda: clock.seconds() * 1.001 + slept[0], lambda: woke.append(clock.seconds()))
        clock.pump([0.5] * 200)
        self.assertEqual(woke, [])
        for seconds in (3600.0, 2.0):
            slept[0] += seconds
            before = clock.seconds()
            clock.pump([0.5] * 20)
            self.assertLessEqual(woke.pop(), before + 1)
            self.assertEqual(woke, [])
        wakes.stop()
        self.assertEqual(clock.getDelayedCalls(), [])


class StatusTests(SynchronousTestCase):
    def test_every_error_has_a_status(self):
        """Whatever the client raises ends in a status of its own."""
        kinds = ClientError.__subclasses__()
        found = {exit_status(kind.__new__(kind)) for kind in kinds}
        self.assertGreater(len(kinds), 5)
        self.assertEqual(len(found), len(kinds))


class ManualTests(SynchronousTestCase):
    def setUp(self):
        self.manual = (TREE / "docs" / "reference" / "resourcectl.rst").read_text()

    def test_statuses(self):
        """The manual has every status, with the number that it has."""
        documented = {int(number) for number in re.findall(r"^``(\d+)``", self.manual, re.MULTILINE)}
        self.assertEqual(documented, set(map(int, Status)) - {Status.SIGNAL})

    def test_commands_and_options(self):
        """The manual has every command and every option."""
        self.assertGreater(len(cli.commands), 10)
        for name, command in cli.commands.items():
            self.assertRegex(self.manual, rf"(?m)^``{name}``( |$)")
            for option in command.params:
                if isinstance(option, click.Option):
                    self.assertIn(option.opts[-1], self.manual, name)
