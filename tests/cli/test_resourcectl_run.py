"""``resourcectl run``, as a process in a pipe and on a terminal, against a real daemon."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from signal import Signals

import pytest

from resourced.cli.signals import ENDING
from tests.daemon import READ, Daemon, eventually
from tests.ports import free_port
from tests.resourcectl import RESOURCECTL, Outcome, ahead, handles, unlock, written
from tests.terminal import END, INTERRUPT, SUSPEND, Terminal


@pytest.fixture
def place(name):
    """A selector that nobody has used yet."""
    return f"{name}/A4"


@pytest.fixture
def renewed_place(renewed):
    """The same, but its locks are renewed every 3 seconds."""
    return f"{renewed}/A4"


@pytest.fixture
def brief_place(brief):
    """The same, but its locks last for no more than 3 seconds."""
    return f"{brief}/A4"


def lock(daemon: Daemon, place: str, ticket: str = "") -> tuple[int, str]:
    """Ask for a lock; return where in the queue this is, 0 for the lock itself, and the ticket."""
    answer = daemon.post(f"/resource/{place}/lock", ticket=ticket)
    return answer.json.get("position", 0), answer.ticket


def has_line(path: Path, line: str) -> bool:
    """Whether a line is in a file, which need not be there yet."""
    return path.exists() and line in path.read_text().splitlines()


def alive(pid: int) -> bool:
    """Whether a process is there and is no corpse."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "XZ"
    except (FileNotFoundError, ProcessLookupError):
        return False


#: Tells its process and its ticket, and goes on until a signal comes.
WAIT = "echo $$ $RESOURCED_TICKET > running; while :; do sleep 0.05; done 2> /dev/null"

#: The same without a shell, which may miss a Ctrl-C in the moment in which it starts another program.
SLEEP = "echo $$ > running; exec sleep 60"

#: A program that writes now and then.
TICK = """
import time
while True:
    with open("ticks", "a") as file:
        file.write("tick\\n")
    time.sleep(0.02)
"""


class TestCommand:
    def test_lease_and_priority(self, daemon, ctl, place):
        """The lock is asked for with the lease and the priority that are given."""
        asked = ("run", "--lease=200", "--priority=-3", place)
        running = ctl.start(*asked, "--", "sh", "-c", "read line", stdin=subprocess.PIPE)
        eventually(lambda: ahead(daemon, place) == 1)
        holder = daemon.request("GET", f"/resource/{place}/lock").json["holder"]
        assert holder["priority"] == -3
        # The claim window is longer. It ends with the first use of the ticket.
        eventually(lambda: 0 < daemon.request("GET", f"/resource/{place}/lock").json["holder"]["left"] <= 200)
        assert running.wait(stdin=b"\n").status == 0
        assert "may ask for a priority of 0 at most" in ctl("run", "--priority=1", place, "--", "true").err
        assert ctl("run", "--priority=10", place, "--", "true").status == 64

    def test_has_the_lock(self, daemon, ctl, place):
        """The command has the lock, its ticket, its fence and its data; in the end the lock is free, and nothing was said."""
        ctl.ok("put", place, '{"é":\t1.0E+2}')
        script = 'echo "$RESOURCED_LOCK $RESOURCED_FENCE $RESOURCED_TICKET $RESOURCED_DATA"; read line'
        running = ctl.start("run", place, "--", "sh", "-c", script, stdin=subprocess.PIPE)
        eventually(lambda: ahead(daemon, place) == 1)
        outcome = running.wait(stdin=b"\n")
        name, fence, ticket, data = outcome.out.rstrip("\n").split(" ", 3)
        assert (outcome.status, outcome.err) == (0, "")
        assert (name, data) == (place, '{"é":\t1.0E+2}')
        assert int(fence) > 0
        assert re.fullmatch("[0-9a-f]{32}", ticket)
        assert ahead(daemon, place) == 0

    def test_streams_are_its_own(self, ctl, place):
        """Stdin, stdout and stderr of the command are those of whoever called."""
        (ctl.folder / "in").write_text("from stdin")
        with (ctl.folder / "in").open() as stdin:
            outcome = ctl("run", place, "--", "sh", "-c", "cat; echo complaint >&2", stdin=stdin)
        assert (outcome.status, outcome.out, outcome.err) == (0, "from stdin", "complaint\n")

    def test_no_data(self, ctl, place):
        """Where nothing was written there are no data, not those of an outer lock either; nor are any that are too long."""
        script = 'echo "${RESOURCED_DATA-none}"'
        outer = {"RESOURCED_DATA": "[1]"}
        assert ctl.ok("run", place, "--", "sh", "-c", script, environ=outer) == "none\n"
        long = ctl.folder / "long"
        long.write_text(json.dumps("x" * 200_000))
        ctl.ok("put", place, "--file", str(long))
        outcome = ctl("run", place, "--", "sh", "-c", script, environ=outer)
        assert (outcome.status, outcome.out) == (0, "none\n")
        assert "too long" in outcome.err

    def test_uses_its_own_lock(self, ctl, place):
        """What the command writes with ``put`` it writes with the lock that it has, instead of waiting for it."""
        count = f"resourcectl put {place} $((${{RESOURCED_DATA:-0}} + 1))"
        for _ in range(2):
            ctl.ok("run", place, "--", "sh", "-c", count)
        assert ctl.ok("get", place) == "2\n"

    def test_status(self, ctl, place):
        """The status is that of the command, or 128 and the number of the signal that killed it."""
        for script, status in {"exit 255": 255, "kill -KILL $$": 137}.items():
            outcome = ctl("run", place, "--", "sh", "-c", script)
            assert (outcome.status, outcome.out, outcome.err) == (status, "", ""), script

    def test_no_command(self, daemon, ctl, place):
        """What cannot be run is told by the statuses of a shell, and the lock is let go of."""
        (ctl.folder / "text").write_text("text")
        (ctl.folder / "binary").write_bytes(b"\0")
        (ctl.folder / "binary").chmod(0o755)
        commands = {
            **dict.fromkeys(("no-such\x1b[2J", "./no-such", ""), 127),
            **dict.fromkeys(("./text", "./binary", "/", ".././", "./text/sh", "/" + 300 * "x"), 126),
        }
        for command, status in commands.items():
            outcome = ctl("run", place, "--", command)
            assert (outcome.status, outcome.out) == (status, ""), outcome
            assert outcome.err.count("\n") == 1, outcome
            assert command.replace("\x1b", "\\u001b") in outcome.err
        assert ahead(daemon, place) == 0

    def test_script_without_an_interpreter(self, ctl, place):
        """A script that does not say who runs it is run by ``sh``, with its arguments, from the PATH too."""
        script = ctl.folder / "script"
        script.write_text('echo "$# $2 ${RESOURCED_LOCK}"\nexit 3\n')
        script.chmod(0o755)
        for command, path in (("./script", ""), ("script", f"{ctl.folder}:")):
            environ = {"PATH": path + ctl.environ["PATH"]}
            outcome = ctl("run", place, "--", command, "a b", "c d", environ=environ)
            assert outcome == Outcome(3, f"2 c d {place}\n", "")

    def test_options_end_at_the_command(self, ctl, place):
        """Without ``--`` it is not guessed whose options these are; after it, everything is the command's."""
        assert ctl("run", place, "--").status == 64
        assert ctl("run", place, "extra", "--", "true").status == 64
        assert ctl.ok("run", place, "--", "echo", "--wait", "--", "-o") == "--wait -- -o\n"


class TestWait:
    def test_not_available(self, daemon, ctl, place):
        """
        Who does not want to wait any longer is told by status 75, and by who has the lock, and leaves nothing behind in the queue.
        """
        _, ticket = lock(daemon, place)
        for wait in ("0", "0.3"):
            outcome = ctl("run", "--wait", wait, place, "--", "touch", "ran")
            assert (outcome.status, outcome.out) == (75, "")
            last = outcome.err.splitlines()[-1]
            assert re.search(rf"Somebody else has the lock: {place}, position 1, held by \w+ for 0:00:\d\d\.$", last), (
                outcome
            )
        assert ctl("-q", "run", "--wait", "0.3", place, "--", "touch", "ran") == Outcome(75, "", "")
        assert ahead(daemon, place) == 1
        assert not (ctl.folder / "ran").exists()
        unlock(daemon, place, ticket)

    def test_its_turn(self, daemon, ctl, place):
        """It says in a line what it waits for, also in a pipe, and runs when its turn comes."""
        _, ticket = lock(daemon, place)
        with (ctl.folder / "err").open("w") as stderr:
            running = ctl.start("run", place, "--", "echo", "ran", stderr=stderr)
        said = written(ctl.folder / "err")
        assert re.fullmatch(rf"resourcectl: waiting for {place}, position 1, held by \w+ for 0:00:\d\d\n", said)
        unlock(daemon, place, ticket)
        assert running.wait() == Outcome(0, "ran\n", "")
        assert (ctl.folder / "err").read_text() == said

    def test_quiet(self, daemon, ctl, place):
        """With ``-q`` it waits without a word."""
        _, ticket = lock(daemon, place)
        running = ctl.start("run", "-q", place, "--", "echo", "ran")
        eventually(lambda: ahead(daemon, place) == 2)
        unlock(daemon, place, ticket)
        assert running.wait() == Outcome(0, "ran\n", "")

    @pytest.mark.parametrize("number", [Signals.SIGINT, Signals.SIGHUP, Signals.SIGALRM, Signals.SIGRTMAX])
    def test_interrupted(self, daemon, ctl, place, number):
        """A signal that ends it while it waits gives up the place at once."""
        _, ticket = lock(daemon, place)
        running = ctl.start("run", "-q", place, "--", "touch", "ran")
        eventually(lambda: ahead(daemon, place) == 2)
        running.signal(number)
        assert running.wait() == Outcome(128 + number, "", "")
        assert ahead(daemon, place) == 1
        assert not (ctl.folder / "ran").exists()
        unlock(daemon, place, ticket)

    def test_interrupted_twice(self, daemon, ctl, place):
        """If the server does not let itself be told, a second signal ends it on the spot."""
        _, ticket = lock(daemon, place)
        running = ctl.start("run", place, "--", "true")
        eventually(lambda: ahead(daemon, place) == 2)
        daemon.freeze()
        try:
            running.signal(Signals.SIGINT)
            # Until the first one has come through, a second one would be the same.
            eventually(lambda: not handles(running.pid, Signals.SIGINT))
            assert running.running
            running.signal(Signals.SIGINT)
            assert running.wait().status == -Signals.SIGINT
        finally:
            daemon.thaw()
        unlock(daemon, place, ticket)

    def test_no_server(self, ctl, place):
        """If no server is there, that is status 69, and the command is not run."""
        nowhere = {"RESOURCED_URL": f"http://127.0.0.1:{free_port()}"}
        outcome = ctl("run", "--retry-timeout", "0.3", place, "--", "touch", "ran", environ=nowhere)
        assert (outcome.status, outcome.out) == (69, "")
        assert nowhere["RESOURCED_URL"] in outcome.err
        assert not (ctl.folder / "ran").exists()

    def test_server_comes(self, daemon, ctl, place):
        """Who starts before the server does waits for it, and says so once."""
        daemon.kill()
        running = ctl.start("run", place, "--", "echo", "ran")
        try:
            eventually(lambda: handles(running.pid, Signals.SIGHUP))
        finally:
            daemon.start()
        outcome = running.wait()
        assert (outcome.status, outcome.out) == (0, "ran\n")
        assert re.fullmatch(f"resourcectl: waiting for {place}; http.* refused.*\n", outcome.err)

    def test_refused(self, daemon, ctl, place):
        """A key that may not lock is refused with status 77, and is shown nowhere."""
        for key in (READ, "not-a-key-at-all"):
            outcome = ctl("run", place, "--", "touch", "ran", environ={"RESOURCED_KEY": key})
            assert (outcome.status, outcome.out) == (77, "")
            assert key not in outcome.err
        assert not (ctl.folder / "ran").exists()

    def test_create(self, ctl):
        """A resource that is not there is status 66, unless it is to be created."""
        place = "new/A4"
        outcome = ctl("run", place, "--", "echo", "ran")
        assert (outcome.status, outcome.out) == (66, "")
        assert ctl.ok("run", "--create", place, "--", "echo", "ran") == "ran\n"


class TestSignals:
    def test_passed_on(self, ctl, place):
        """Signals that it gets reach the command, which does with them what it likes."""
        for number in (Signals.SIGINT, Signals.SIGUSR1):
            running = ctl.start("run", place, "--", "sh", "-c", f"trap 'exit {number + 1}' {number}; {WAIT}")
            written(ctl.folder / "running")
            running.signal(number)
            assert running.wait() == Outcome(number + 1, "", "")
            (ctl.folder / "running").unlink()

    def test_every_one(self, ctl, place):
        """None of the many that would end it ends only it: each reaches the command, and both go on until that ends."""
        numbers = sorted(ENDING - {Signals.SIGPIPE, Signals.SIGXFSZ})
        assert len(numbers) > 40
        traps = "\n".join(f"trap 'echo {number} >> got' {number}" for number in numbers)
        running = ctl.start("run", place, "--", "bash", "-c", f"{traps}\n{WAIT}")
        written(ctl.folder / "running")
        got = ctl.folder / "got"
        for number in numbers:
            running.signal(number)
            eventually(partial(has_line, got, str(number)), what=str(number))
        running.signal(Signals.SIGCONT)
        os.kill(int((ctl.folder / "running").read_text().split()[0]), Signals.SIGKILL)
        assert running.wait() == Outcome(128 + Signals.SIGKILL, "", "")

    def test_reach_all_of_it(self, ctl, place):
        """Signals reach what the command has started, too, which would outlive it otherwise."""
        running = ctl.start("run", place, "--", "sh", "-c", "sleep 60 & echo $! > running; wait; true")
        child = int(written(ctl.folder / "running"))
        running.signal(Signals.SIGTERM)
        assert running.wait() == Outcome(128 + Signals.SIGTERM, "", "")
        eventually(lambda: not alive(child))

    def test_ignored_from_the_start(self, ctl, place):
        """What was ignored stays so: under ``nohup`` the end of a terminal ends neither it nor the command."""
        script = f"trap 'exit 5' TERM; {WAIT}"
        running = ctl.popen("nohup", RESOURCECTL, "run", place, "--", "sh", "-c", script)
        command = int(written(ctl.folder / "running").split()[0])
        assert not handles(running.pid, Signals.SIGHUP)
        running.signal(Signals.SIGHUP)
        os.kill(command, Signals.SIGHUP)
        running.signal(Signals.SIGTERM)
        assert running.wait().status == 5


class TestLoss:
    def test_is_kept(self, daemon, ctl, brief_place):
        """A lock is kept for longer than its lease while the command runs, through a restart of the server too."""
        # Long enough for the server to start again on a machine that has much else to do.
        ctl.ok("create", f"long-{brief_place.partition('/')[0]}", "--timeout", "12")
        brief_place = f"long-{brief_place}"
        running = ctl.start("run", brief_place, "--", "sh", "-c", f"trap 'exit 0' TERM; {WAIT}")
        held = written(ctl.folder / "running").split()[1]
        position, ticket = lock(daemon, brief_place)
        assert position == 1
        daemon.kill()
        daemon.start()
        # Whoever waits behind it would have the lock, were it not renewed.
        assert daemon.post(f"/resource/{brief_place}/lock?wait=13", ticket=ticket).status == 202
        assert ticket != held
        running.signal(Signals.SIGTERM)
        assert running.wait() == Outcome(0, "", "")
        assert lock(daemon, brief_place, ticket)[0] == 0
        unlock(daemon, brief_place, ticket)

    def test_somebody_takes_it_away(self, daemon, ctl, renewed_place):
        """
        A command that has lost its lock is asked to end.

        All that it has started is asked too; what has not ended after the grace is killed; and the status is 79.
        """
        stubborn = "sh -c 'trap \"\" TERM; echo $$ >> pids; while :; do sleep 0.05; done' &"
        script = f"trap 'echo asked > asked' TERM; {stubborn} {WAIT}"
        running = ctl.start("run", "--grace", "0.5", renewed_place, "--", "sh", "-c", script)
        command, ticket = written(ctl.folder / "running").split()
        stubborn = written(ctl.folder / "pids").strip()
        ctl.ok("break", renewed_place)
        outcome = running.wait()
        assert (outcome.status, outcome.out) == (79, "")
        assert outcome.err.count(renewed_place) == 1
        assert (ctl.folder / "asked").exists()
        assert not alive(int(command))
        assert not alive(int(stubborn))
        assert ticket not in outcome.err

    def test_of_another_user(self, daemon, ctl, renewed_place):
        """A command that cannot be killed, as with ``sudo``, is not waited for: one is told at once that it goes on, by status 80 too."""
        # Here it is the other way round: the privilege is taken from resourcectl.
        unable = ("setpriv", "--bounding-set=-kill", "--inh-caps=-kill")
        other = ("setpriv", "--reuid", "65534", "--clear-groups", "sh", "-c", "echo $$; exec sleep 600 2> /dev/null")
        if os.getuid() or not shutil.which("setpriv"):
            pytest.skip("only root can become somebody else")
        (ctl.folder / "out").touch()
        with (ctl.folder / "out").open("w") as out:
            command = (*unable, RESOURCECTL, "run", "--grace", "3600", renewed_place, "--", *other)
            running = ctl.popen(*command, stdout=out)
        pid = int(written(ctl.folder / "out"))
        try:
            running.signal(Signals.SIGUSR1)
            ctl.ok("break", renewed_place)
            outcome = running.wait()
            assert alive(pid)
        finally:
            os.kill(pid, Signals.SIGKILL)
        assert outcome.status == 80
        assert "SIGUSR1 cannot be passed on" in outcome.err
        assert "setpriv runs as another user" in outcome.err

    def test_ends_when_asked(self, daemon, ctl, renewed_place):
        """All of it has the time to end in good order, and nobody waits for the end of the grace then; the status is 79."""
        slow = "sh -c 'trap \"sleep 0.3; echo tidy > tidy; exit\" TERM; echo > slow; while :; do sleep 0.05; done' 2> /dev/null &"
        running = ctl.start(
            "run", "--grace", "3600", renewed_place, "--", "sh", "-c", f"trap 'exit 0' TERM; {slow} {WAIT}"
        )
        written(ctl.folder / "slow")
        ctl.ok("break", renewed_place)
        assert running.wait().status == 79
        assert (ctl.folder / "tidy").exists()

    def test_server_goes_away(self, daemon, ctl, brief_place):
        """Without a server the command runs for as long as the lease lasts, and no longer."""
        running = ctl.start("run", brief_place, "--", "sh", "-c", f"trap 'date +%s.%N > ended; exit' TERM; {WAIT}")
        written(ctl.folder / "running")
        try:
            daemon.kill()
            gone = time.time()
            outcome = running.wait()
            ended = float((ctl.folder / "ended").read_text())
        finally:
            daemon.start()
        assert outcome.status == 79
        # It had renewed its three seconds within the last one.
        assert ended - gone > 1

    def test_server_is_silent(self, daemon, ctl, brief_place):
        """When the server does not answer any more, not even that nobody holds on, the command is ended, and so is the run."""
        running = ctl.start("run", brief_place, "--", "sh", "-c", f"trap 'touch ended; exit' TERM; {WAIT}")
        written(ctl.folder / "running")
        daemon.freeze()
        try:
            assert running.wait().status == 79
            assert (ctl.folder / "ended").exists()
        finally:
            daemon.thaw()


class TestTerminal:
    @pytest.fixture
    def terminal(self, ctl):
        environ = {**ctl.environ, "PS1": "ready> ", "TERM": "dumb"}
        with Terminal(("bash", "--norc", "--noprofile", "--noediting", "-i"), environ, ctl.folder) as terminal:
            terminal.expect("ready> ")
            yield terminal
            terminal.type("exit\n" * 2)

    def test_live_line(self, daemon, terminal, place):
        """While it waits a line tells who has the lock and since when, and is gone before the command writes anything."""
        _, first = lock(daemon, place)
        _, second = lock(daemon, place)
        terminal.type(f"resourcectl run {place} -- echo ra''n 2>&1; echo status $?\n")
        waiting = terminal.expect(f"waiting for {place}, position 2, held by default for 0:00:0")
        assert "\n" not in waiting + terminal.expect(f"waiting for {place}, position 2, held by default for 0:00:0")
        unlock(daemon, place, second)
        terminal.expect(f"waiting for {place}, position 1, held by")
        unlock(daemon, place, first)
        assert terminal.expect("status 0").rpartition("\r\x1b[K")[2].startswith("ran\r\nstatus 0")

    def test_no_live_line_in_the_background(self, daemon, terminal, place):
        """Who is at work in the foreground is not written over."""
        _, ticket = lock(daemon, place)
        terminal.type(f"resourcectl run {place} -- echo ra''n &\n")
        eventually(lambda: ahead(daemon, place) == 2)
        unlock(daemon, place, ticket)
        assert "waiting" not in terminal.expect("ran")

    def test_interrupted_while_it_waits(self, daemon, terminal, place):
        """Ctrl-C while it waits gives up the place, and takes the line away."""
        _, ticket = lock(daemon, place)
        terminal.type(f"resourcectl run {place} -- true; echo status $?\n")
        terminal.expect("position 1")
        terminal.type(INTERRUPT)
        assert "\x1b[K" in terminal.expect("status 130")
        assert ahead(daemon, place) == 1
        unlock(daemon, place, ticket)

    def test_command_has_the_terminal(self, daemon, terminal, place):
        """The command reads what is typed, and Ctrl-C reaches it and not the shell."""
        terminal.type(f"resourcectl run {place} -- cat; echo status $?\n")
        terminal.type("typed\n")
        terminal.expect("typed")
        assert ahead(daemon, place) == 1
        terminal.type(END)
        terminal.expect("status 0")
        terminal.type(
            f"resourcectl run {place} -- sh -c 'trap \"echo cau''ght; exit 4\" INT; {WAIT}'; echo status $?\n"
        )
        eventually(lambda: ahead(daemon, place) == 1)
        written(terminal.folder / "running")
        terminal.type(INTERRUPT)
        assert "caught" in terminal.expect("status 4")
        assert ahead(daemon, place) == 0

    def test_script_ends_too(self, daemon, terminal, place):
        """Ctrl-C ends not only the command but also the script that it is part of, as without resourcectl."""
        (terminal.folder / "script").write_text(f"resourcectl run {place} -- sh -c '{SLEEP}'\necho went on\n")
        terminal.type("sh script\n")
        written(terminal.folder / "running")
        terminal.type(INTERRUPT)
        assert "went on" not in terminal.expect("ready> ")
        terminal.type("echo status $?\n")
        terminal.expect("status 130")

    def test_stopped_and_continued(self, daemon, terminal, place):
        """Ctrl-Z stops the command and gives the shell back; ``fg`` goes on with it, and ``bg`` does until it wants to read."""
        terminal.type(f"resourcectl run {place} -- cat; echo status $?\n")
        eventually(lambda: ahead(daemon, place) == 1)
        terminal.type("one\n")
        terminal.expect("one")
        terminal.type(SUSPEND)
        terminal.expect("Stopped")
        terminal.type("bg\n")
        # It reads, and is stopped for that.
        terminal.type("while ! jobs | grep Stopped; do sleep 0.05; done\n")
        terminal.expect("Stopped")
        terminal.type("fg\n")
        terminal.expect("run")
        terminal.type("two\n")
        terminal.expect("two")
        terminal.type(END)
        terminal.type("echo en''d\n")
        terminal.expect("end")
        assert ahead(daemon, place) == 0

    def test_lost_while_it_was_stopped(self, daemon, terminal, brief_place):
        """A command that was stopped for longer than its lease does not go on."""
        # Not a shell that forks in a loop: while it waits for a child that stops before it has begun, the kernel does not stop it.
        (terminal.folder / "tick.py").write_text(TICK)
        terminal.type(f"resourcectl run {brief_place} -- {sys.executable} tick.py\n")
        written(terminal.folder / "ticks")
        eventually(lambda: ahead(daemon, brief_place) == 1)
        terminal.type(SUSPEND)
        terminal.expect("Stopped")
        ticks = (terminal.folder / "ticks").read_text()
        eventually(lambda: ahead(daemon, brief_place) == 0)
        terminal.type("fg; echo status $?\n")
        terminal.expect("status 79")
        assert (terminal.folder / "ticks").read_text() == ticks

    def test_pipeline(self, daemon, terminal, place):
        """In a pipeline Ctrl-C reaches the command, which can read from the terminal if it asks for it."""
        ask = "read line < /dev/tty; echo got $line; exec sleep 60"
        terminal.type(f"true | resourcectl run {place} -- sh -c '{ask}' | cat\n")
        eventually(lambda: ahead(daemon, place) == 1)
        terminal.type("answer\n")
        terminal.expect("got answer")
        terminal.type(INTERRUPT)
        terminal.expect("ready> ")
        terminal.type("echo status ${PIPESTATUS[1]}\n")
        terminal.expect("status 130")
        assert ahead(daemon, place) == 0

    def test_hangs_up(self, daemon, ctl, place):
        """When the terminal goes away the command gets SIGHUP, and the lock is let go of."""
        with Terminal(("sh", "-c", f"resourcectl run {place} -- sh -c '{WAIT}'; true"), ctl.environ, ctl.folder):
            command = int(written(ctl.folder / "running").split()[0])
        eventually(lambda: not alive(command))
        eventually(lambda: ahead(daemon, place) == 0)
