"""``resourcectl`` within ``resourcectl run``, against a real daemon: what is held around it, and circles of waiting."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from signal import Signals

from tests.daemon import Daemon, eventually
from tests.resourcectl import Ctl, Outcome, Running, ahead, unlock, written


def grants(daemon: Daemon, place: str) -> int:
    """How often a lock was given."""
    events = daemon.get(f"/resource/{place}/events").json["events"]
    return sum(event["event"] == "grant" for event in events)


def within(*commands: str) -> list[str]:
    """The arguments of a run whose command is a script."""
    return ["--", "sh", "-euc", "\n".join(commands)]


class TestAgain:
    def test_same_lock(self, daemon, ctl, name):
        """A run of a lock within a run of it begins at once, with the same lock, which is held until the outer one ends."""
        script = f'resourcectl show {name}/A -o json; echo "$RESOURCED_FENCE $RESOURCED_TICKET"'
        out = ctl.ok(
            "run", f"{name}/A", *within(script, f"resourcectl run {name}/A -- sh -c {shlex.quote(script)}", script)
        )
        states, locks = out.splitlines()[::2], out.splitlines()[1::2]
        assert len(set(locks)) == 1
        assert all(json.loads(state)["holder"]["fence"] == int(locks[0].split()[0]) for state in states)
        assert grants(daemon, f"{name}/A") == 1
        assert ahead(daemon, f"{name}/A") == 0

    def test_two_locks_deep(self, daemon, ctl, name):
        """It need not be the innermost; status and streams are those of the command, whatever is in between."""
        script = (
            f"resourcectl run {name}/B -- resourcectl run --wait 5 {name}/A -- sh -c 'echo in $RESOURCED_LOCK; exit 5'"
        )
        assert ctl("run", f"{name}/A", *within(script)) == Outcome(5, f"in {name}/A\n", "")
        assert (grants(daemon, f"{name}/A"), grants(daemon, f"{name}/B")) == (1, 1)

    def test_data_of_now(self, ctl, name):
        """The data are what is there now, not what the outer run has found; so counting within works, deep down as well.

        ``put``, ``rm`` and ``unlock`` use any of the locks around them, instead of waiting for it.
        """
        count = f"resourcectl run {name}/A -- sh -c 'resourcectl put {name}/A $((${{RESOURCED_DATA:-0}} + 1))'"
        ctl.ok("run", f"{name}/A", *within(count, count, f"resourcectl run {name}/B -- {count}"))
        assert ctl.ok("get", f"{name}/A") == "3\n"
        ctl.ok("run", f"{name}/A", *within(f"resourcectl run {name}/B -- resourcectl put {name}/A 7"))
        assert ctl.ok("get", f"{name}/A") == "7\n"

    def test_shell(self, daemon, ctl, name):
        """What a shell has locked with ``lock`` counts too, until it has let go of it."""
        script = f"""
            eval "$(resourcectl lock {name}/A)"
            eval "$(resourcectl lock {name}/B)"
            resourcectl run --wait 5 {name}/A -- resourcectl put {name}/A 1
            resourcectl unlock {name}/A
            resourcectl run {name}/C -- resourcectl put {name}/A 2
            resourcectl run --wait 5 {name}/A -- resourcectl get {name}/A
            resourcectl unlock {name}/B
        """
        assert ctl.shell(script) == Outcome(0, "2\n", "")
        assert ahead(daemon, f"{name}/A") == 0

    def test_outlives_the_lock(self, daemon, ctl, name):
        """A process that outlives the run which it was part of takes nothing for held: it waits like everybody else."""
        later = f"while [ ! -e go ]; do sleep 0.05; done; resourcectl run {name}/A -- sh -c 'echo ran > ran'"
        ctl.ok("run", f"{name}/A", *within(f"setsid sh -c {shlex.quote(later)} > /dev/null 2>&1 &"))
        ticket = daemon.post(f"/resource/{name}/A/lock").ticket
        (ctl.folder / "go").touch()
        eventually(lambda: daemon.get(f"/resource/{name}/A/lock").json["waiting"])
        assert not (ctl.folder / "ran").exists()
        unlock(daemon, f"{name}/A", ticket)
        eventually((ctl.folder / "ran").exists)
        eventually(lambda: ahead(daemon, f"{name}/A") == 0)

    def test_lost(self, daemon, ctl, renewed):
        """When the lock is lost all that runs with it is ended, however deep; and the outer lock is left alone by the inner run."""
        script = "trap '' TERM; echo $$ > running; while :; do sleep 0.05; done"
        running = ctl.start(
            "run",
            "--grace",
            "1",
            f"{renewed}/A",
            *within(f"resourcectl run {renewed}/B -- sh -c {shlex.quote(script)}"),
        )
        pid = int(written(ctl.folder / "running"))
        ctl.ok("break", f"{renewed}/A")
        assert running.wait().status == 79
        eventually(lambda: not Path(f"/proc/{pid}").exists())

    def test_interrupted(self, daemon, ctl, name):
        """Whoever is interrupted within has let go of nothing that the outer one holds."""
        script = "echo $PPID > inner; exec sleep 60"
        command = (
            f"resourcectl run {name}/A -- sh -c {shlex.quote(script)} || echo $?; resourcectl show {name}/A -o json"
        )
        running = ctl.start("run", f"{name}/A", *within(command))
        os.kill(int(written(ctl.folder / "inner")), Signals.SIGTERM)
        outcome = running.wait()
        status, state = outcome.out.splitlines()
        assert status == str(128 + Signals.SIGTERM)
        assert json.loads(state)["locked"]
        assert grants(daemon, f"{name}/A") == 1

    def test_other_server(self, tmp_path, ctl, name):
        """A lock of one server is none of another, which is not told of it either."""
        folder = tmp_path / "other"
        folder.mkdir()
        with Daemon(folder) as other:
            other.create(name)
            url = f"http://127.0.0.1:{other.port}"
            command = f"resourcectl --url {url} run --wait 5 {name}/A -- resourcectl --url {url} show {name}/A -o json"
            state = json.loads(ctl.ok("run", f"{name}/A", *within(command)))
            assert state["locked"]
            assert grants(other, f"{name}/A") == 1

    def test_nonsense(self, ctl, name):
        """What is no list of locks is passed over, with a word about it."""
        for text in ("{", "[1]", '[{"url": "x"}]'):
            outcome = ctl("run", f"{name}/A", "--", "echo", "ran", environ={"RESOURCED_LOCKS": text})
            assert (outcome.status, outcome.out) == (0, "ran\n")
            assert "RESOURCED_LOCKS" in outcome.err


class TestCircle:
    def test_opposite_order(self, daemon, ctl: Ctl, name):
        """Of two that take the same locks in opposite order one is told that this is a deadlock; the other one does its work."""

        def start(outer: str, inner: str) -> Running:
            meet = f"touch {outer}; while [ ! -e {inner} ]; do sleep 0.05; done"
            command = f"resourcectl run {name}/{inner} -- echo ran"
            return ctl.start("run", f"{name}/{outer}", "--", "sh", "-c", f"{meet}; {command}")

        outcomes = [running.wait() for running in (start("A", "B"), start("B", "A"))]
        assert sorted(outcome.status for outcome in outcomes) == [0, 73]
        [failed] = [outcome for outcome in outcomes if outcome.status]
        assert failed.out == ""
        assert "deadlock" in failed.err
        assert [outcome.out for outcome in outcomes if not outcome.status] == ["ran\n"]
        eventually(lambda: ahead(daemon, f"{name}/A") == 0 and ahead(daemon, f"{name}/B") == 0)


class TestUnlock:
    def test_at_once(self, daemon, ctl, name):
        """A command that lets go of its lock, and goes on, is waited for, and its status is that of the run."""
        script = f"resourcectl unlock {name}/A; resourcectl show {name}/A; exit 7"
        outcome = ctl("run", f"{name}/A", "--", "sh", "-c", script)
        assert (outcome.status, outcome.err) == (7, "")
        assert "free" in outcome.out

    def test_goes_on_for_long(self, daemon, ctl, brief):
        """It may go on for longer than the lease, while somebody else has the lock, and is left in peace."""
        script = f"resourcectl unlock {brief}/A; touch free; while [ ! -e go ]; do sleep 0.05; done; exit 7"
        running = ctl.start("run", f"{brief}/A", "--", "sh", "-c", script)
        eventually((ctl.folder / "free").exists)
        # Longer than a lease, so that it has tried to renew the lock, and given up the place that this has come to.
        other = ctl.start("run", f"{brief}/A", "--", "sleep", "4")
        assert other.wait() == Outcome(0, "", "")
        eventually(lambda: ahead(daemon, f"{brief}/A") == 0)
        assert running.running
        (ctl.folder / "go").touch()
        assert running.wait() == Outcome(7, "", "")

    def test_taken_again(self, ctl, name):
        """After that it may take the lock again as anybody may."""
        again = f"resourcectl unlock {name}/A; resourcectl run --wait 5 {name}/A -- sh -c 'echo ran; exit 7'"
        assert ctl("run", f"{name}/A", "--", "sh", "-c", again) == Outcome(7, "ran\n", "")

    def test_break_is_a_loss(self, daemon, ctl, renewed):
        """A lock that somebody else takes away is lost."""
        running = ctl.start("run", f"{renewed}/A", "--", "sh", "-c", "touch running; exec sleep 60")
        eventually((ctl.folder / "running").exists)
        ctl.ok("break", f"{renewed}/A")
        assert running.wait().status == 79
