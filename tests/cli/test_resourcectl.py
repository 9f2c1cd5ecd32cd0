"""``resourcectl`` as a process against a real daemon: every command but ``run``, which has a module of its own."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
from pathlib import Path
from signal import Signals
from urllib.parse import quote

from tests.daemon import LOCK, Daemon, eventually
from tests.ports import free_port
from tests.resourcectl import RESOURCECTL, Outcome, ahead
from tests.terminal import Terminal

#: A name that is no harm if it is taken for what it is: a slash, percent signs, a blank, quotes, a right-to-left override.
HOSTILE = "a/b %2F'\"$(x)\u202e"
WRITTEN = "a%2Fb %252F'\"$(x)%E2%80%AE"


def cells(table: str) -> list[list[str]]:
    return [line.split() for line in table.splitlines()]


def write(daemon: Daemon, name: str, text: str) -> None:
    """Put a text at A4 of a resource, as somebody else."""
    ticket = daemon.post(f"/resource/{name}/A4/lock").ticket
    assert daemon.put(f"/resource/{name}/A4?unlock=1", text, ticket=ticket).status == 204


def read(daemon: Daemon, name: str) -> str:
    """Return the text at A4 of a resource; nothing if there is none."""
    answer = daemon.get(f"/resource/{name}/A4?lock=0&raw=1")
    return answer.body.decode() if answer.status == 200 else ""


class TestData:
    def test_put_and_get(self, daemon, ctl, name):
        """A value comes from an argument, a file or stdin, is kept as it is, and no lock stays behind."""
        place = f"{name}/A4"
        (ctl.folder / "file").write_text('[1.0E+2,\n"é"]')
        assert ctl.ok("put", place, '{"a":\t1}') == ""
        assert read(daemon, name) == '{"a":\t1}'
        assert ctl.ok("put", place, "--file", "file") == ""
        assert ctl.ok("get", place) == '[1.0E+2,\n"é"]\n'
        with (ctl.folder / "file").open() as stdin:
            put = ctl.ok("put", place, "-o", "json", stdin=stdin)
        assert json.loads(put) == {"resource": name, "selector": "A4"}
        got = json.loads(ctl.ok("-o", "json", "get", place))
        assert got.pop("etag")
        assert got == {"resource": name, "selector": "A4", "data": [100.0, "é"]}
        assert ahead(daemon, f"{name}/A4") == 0

    def test_long_numbers(self, daemon, ctl, name):
        """A number may have as many digits as it likes, and is printed as it was written, in JSON too, but in one line."""
        text = f"[-{'9' * 5000},\n1.0E+2]"
        (ctl.folder / "file").write_text(text)
        ctl.ok("put", f"{name}/A4", "--file", "file")
        assert ctl.ok("get", f"{name}/A4") == f"{text}\n"
        got = ctl.ok("get", f"{name}/A4", "-o", "json")
        assert got.startswith(
            f'{{"resource": "{name}", "selector": "A4", "data": {text.replace(chr(10), " ")}, "etag": '
        )
        assert got.count("\n") == 1

    def test_hints(self, ctl, name):
        """Who forgets the dashes before a negative number, or before a command, or to create a resource, is told what to do."""
        for arguments, status, hint in (
            (("put", f"{name}/A4", "-1"), 64, "put printer/A4 -- -1"),
            (("put", f"{name}/A4", "-.5"), 64, "put printer/A4 -- -1"),
            (("run", f"{name}/A4", "ls", "-l"), 64, "run printer/A4 -- ls -l"),
            (("run", f"{name}/A4", "ls"), 64, "run printer/A4 -- ls -l"),
            (("run", f"no-{name}/A4", "--", "true"), 66, "To create it: say --create."),
            (("put", f"no-{name}/A4", "1"), 66, f"To create it: resourcectl create no-{name}"),
        ):
            outcome = ctl(*arguments)
            assert (outcome.status, outcome.out) == (status, ""), arguments
            assert hint in outcome.err, arguments
        assert "--" not in ctl("put", f"{name}/A4", "--no-such").err.replace("--no-such", "").replace("--help", "")
        ctl.ok("put", f"{name}/A4", "--", "-1")

    def test_no_json(self, daemon, ctl, name):
        """What is not JSON is refused before anybody waits for a lock; so is a file that cannot be read."""
        held = daemon.post(f"/resource/{name}/A4/lock").ticket
        (ctl.folder / "latin").write_bytes(b'"\xe9"')
        for arguments, status in {("NaN",): 65, ("--file", "latin"): 65, ("--file", "missing"): 66}.items():
            outcome = ctl("put", f"{name}/A4", *arguments)
            assert (outcome.status, outcome.out) == (status, ""), arguments
            assert outcome.err.count("\n") == 1
        assert daemon.post(f"/resource/{name}/A4/unlock", ticket=held).json == {"unlocked": True}

    def test_too_large(self, daemon, ctl, name):
        """What the server refuses is told by its sentence, and no lock stays behind."""
        (ctl.folder / "large").write_text(json.dumps("x" * 2_000_000))
        outcome = ctl("put", f"{name}/A4", "--file", "large")
        assert (outcome.status, outcome.out) == (65, "")
        assert ahead(daemon, f"{name}/A4") == 0

    def test_rm(self, daemon, ctl, name):
        """Data, and whole resources, are deleted; what is not there, or in use, is not."""
        place = f"{name}/A4"
        write(daemon, name, "1")
        assert ctl.ok("rm", place) == ""
        assert read(daemon, name) == ""
        held = daemon.post(f"/resource/{name}/A4/lock").ticket
        assert ctl("rm", name).status == 73
        daemon.post(f"/resource/{name}/A4/unlock", ticket=held)
        assert json.loads(ctl.ok("rm", name, "-o", "json")) == {"resource": name}
        assert ctl("rm", name).status == 66


class TestLock:
    def test_in_a_script(self, daemon, ctl, name):
        """What ``lock`` prints is for a shell, whose next commands use the lock by themselves, even if the name is an odd one."""
        daemon.create(HOSTILE + name)
        place = f"{WRITTEN}{name}/{WRITTEN}"
        (ctl.folder / "place").write_text(place)
        script = """
            place=$(cat place)
            eval "$(resourcectl lock "$place")"
            test "$RESOURCED_LOCK" = "$place"
            resourcectl put "$place" 1
            resourcectl get "$place"
            echo $RESOURCED_FENCE $RESOURCED_LEASE
            resourcectl unlock "$place"
            resourcectl unlock "$place" || echo $?
        """
        outcome = ctl.shell(script)
        assert outcome.status == 0, outcome
        assert [len(row) for row in cells(outcome.out)] == [1, 2, 1]
        assert cells(outcome.out)[0] == ["1"]
        assert cells(outcome.out)[2] == ["79"]
        assert outcome.err.count("\n") == 1

    def test_ticket(self, ctl, name):
        """A lock that is held is used, renewed and let go of by its ticket; without it, it is not to be had."""
        place = f"{name}/A4"
        lock = json.loads(ctl.ok("lock", place, "-o", "json"))
        assert sorted(lock) == ["fence", "lease", "resource", "selector", "ticket"]
        assert lock["lease"] > 250, "the whole lease, though nothing was written yet"
        assert json.loads(ctl.ok("lock", place, "--ticket", lock["ticket"], "-o", "json"))["fence"] == lock["fence"]
        assert ctl.ok("put", place, "1", "--ticket", lock["ticket"]) == ""
        assert ctl("lock", place, "--wait", "0.2").status == 75
        assert json.loads(ctl.ok("unlock", place, "--ticket", lock["ticket"], "-o", "json")) == {"unlocked": True}
        assert ctl("unlock", place).status == 64

    def test_ticket_that_has_ended(self, daemon, ctl, name):
        """With a ticket that holds nothing any more nothing is written or locked: the status is 79."""
        ticket = daemon.post(f"/resource/{name}/A4/lock").ticket
        assert daemon.post(f"/resource/{name}/A4/unlock", ticket=ticket).json == {"unlocked": True}
        broken = daemon.post(f"/resource/{name}/A4/lock").ticket
        ctl.ok("break", f"{name}/A4")
        for *command, used in (("put", "1", ticket), ("rm", ticket), ("unlock", ticket), ("lock", broken)):
            outcome = ctl(command[0], f"{name}/A4", *command[1:], "--ticket", used)
            assert (outcome.status, outcome.out) == (79, ""), (command, outcome)
            assert used not in outcome.err
        assert ahead(daemon, f"{name}/A4") == 0
        assert read(daemon, name) == ""

    def test_closed_streams(self, daemon, ctl, name):
        """What cannot be printed is said, what cannot be read too, and nothing is sent to where a closed stream should be."""
        called = f'"{RESOURCECTL}" {{}} {name}/A4 {{}}'
        ctl.ok("put", f"{name}/A4", "1")
        for command, end, status, says in (
            ("put", "<&-", 66, "resourcectl: stdin cannot be read: Bad file descriptor.\n"),
            ("get", ">&-", 74, "resourcectl: Cannot write: Bad file descriptor.\n"),
            ("lock", ">&-", 74, "resourcectl: Cannot write: Bad file descriptor.\n"),
            ("unlock", "2>&-", 64, ""),
        ):
            outcome = ctl.shell(called.format(command, end))
            assert (outcome.status, outcome.out, outcome.err) == (status, "", says), command
        assert read(daemon, name) == "1"
        assert ahead(daemon, f"{name}/A4") == 0

    def test_nobody_reads_the_ticket(self, daemon, ctl, name):
        """A lock whose ticket could not be printed is let go of."""
        with Path("/dev/full").open("w") as full:
            outcome = ctl("lock", f"{name}/A4", stdout=full)
        assert outcome.status == 74
        assert outcome.err.count("\n") == 1
        assert ahead(daemon, f"{name}/A4") == 0

    def test_interrupted(self, daemon, ctl, name):
        """Whoever waits with ``put`` and is interrupted gives up the place."""
        held = daemon.post(f"/resource/{name}/A4/lock").ticket
        running = ctl.start("put", f"{name}/A4", "1")

        eventually(lambda: daemon.get(f"/resource/{name}/A4/lock").json["waiting"] == 1)
        running.signal(Signals.SIGINT)
        outcome = running.wait()
        assert (outcome.status, outcome.out) == (130, "")
        # It may have said that it waits, and says nothing of its end.
        assert re.fullmatch(f"(resourcectl: waiting for {name}/A4, .*\n)?", outcome.err), outcome
        assert daemon.get(f"/resource/{name}/A4/lock").json["waiting"] == 0
        daemon.post(f"/resource/{name}/A4/unlock", ticket=held)


class TestLook:
    def test_ls(self, daemon, ctl):
        """Resources and selectors are listed, by name, in tables whose names can be typed again, or as JSON."""
        plain = "listed"
        hostile, written = f"{plain}-{HOSTILE}", f"{plain}-{WRITTEN}"
        daemon.create(plain)
        ctl.ok("create", written, "--timeout", "60")
        ctl.ok("put", f"{written}/{WRITTEN}", "1")
        daemon.post(f"/resource/{quote(hostile, safe='')}/A4/lock")
        table = ctl.ok("ls", "--prefix", plain).splitlines()
        assert [table[0].split(), table[1].split()] == [
            ["RESOURCE", "TIMEOUT", "HELD", "WAITING"],
            [plain, "default", "0", "0"],
        ]
        assert table[2].removeprefix(written).split() == ["60", "1", "0"]
        listed = json.loads(ctl.ok("ls", "--prefix", plain, "-o", "json"))
        assert [resource["name"] for resource in listed] == [plain, hostile]
        table = ctl.ok("ls", written).splitlines()
        assert table[0].split() == ["SELECTOR", "DATA", "HELD", "WAITING"]
        assert table[1].removeprefix(f"{written}/A4").split() == ["no", "yes", "0"]
        assert table[2].removeprefix(f"{written}/{WRITTEN}").split() == ["yes", "no", "0"]
        listed = json.loads(ctl.ok("ls", written, "-o", "json", "--limit", "1"))
        assert [selector["selector"] for selector in listed] == ["A4"]

    def test_show(self, daemon, ctl, name):
        """One sees who holds a lock and who waits for it, never a ticket."""
        place = f"{name}/A4"
        assert cells(ctl.ok("show", place))[1:] == [["free"]]
        # As the server has it.
        free: dict[str, object] = {"locked": False, "holder": None, "waiting": 0, "queue": [], "next": None}
        assert json.loads(ctl.ok("show", place, "-o", "json")).items() >= free.items()
        lock = json.loads(ctl.ok("lock", place, "-o", "json", "--owner", "ci-7"))
        tickets = [daemon.post(f"/resource/{place}/lock", headers={"x-owner": f"ci-{n}"}).ticket for n in (8, 9)]
        table = ctl.ok("show", place)
        heading, holder, *queue = cells(table)
        assert heading == ["POSITION", "OWNER", "KEY", "FENCE", "SINCE", "LEFT"]
        assert holder[:4] == ["holder", "ci-7", "default", str(lock["fence"])]
        assert [row[:3] for row in queue] == [["1", "ci-8", "default"], ["2", "ci-9", "default"]]
        shown = ctl.ok("show", place, "-o", "json")
        state = json.loads(shown)
        assert state["holder"]["owner"] == "ci-7"
        assert [waiter["owner"] for waiter in state["queue"]] == ["ci-8", "ci-9"]
        assert not any(ticket in table + shown for ticket in (*tickets, lock["ticket"]))

    def test_show_resource(self, daemon, ctl, name):
        """Of a whole resource one sees each selector with its holder, and how many wait."""
        write(daemon, name, "1")
        daemon.post(f"/resource/{name}/A5/lock", headers={"x-owner": "ci-7"})
        daemon.post(f"/resource/{name}/A5/lock", headers={"x-owner": "ci-8"})
        heading, *rows = cells(ctl.ok("show", name))
        assert heading == ["SELECTOR", "STATE", "OWNER", "KEY", "FENCE", "SINCE", "LEFT", "WAITING", "OUT"]
        assert [row[:4] for row in rows] == [[f"{name}/A4", "free", "0"], [f"{name}/A5", "holder", "ci-7", "default"]]
        assert rows[1][-1] == "1"
        for place in ("A4", "A5"):
            daemon.request("PATCH", f"/resource/{name}/{place}", body='{"out": "cracked screen"}')
        rows = cells(ctl.ok("show", name))[1:]
        assert [row[1] for row in rows] == ["out", "holder"]
        assert [row[-2:] for row in rows] == [["cracked", "screen"]] * 2
        shown = json.loads(ctl.ok("show", name, "-o", "json"))
        assert [(one["selector"], (one["holder"] or {}).get("owner")) for one in shown] == [
            ("A4", None),
            ("A5", "ci-7"),
        ]
        assert len(cells(ctl.ok("show", name, "--limit", "1"))) == 2
        assert ctl("show", f"{name}-not").status not in {0, 64}

    def test_locks(self, daemon, ctl, name):
        """One sees who holds what and who waits for what, everywhere or of one owner, whoever one is oneself."""
        daemon.request("PATCH", f"/resource/{name}/red", body='{"tags": ["android"]}')
        for place, owner in (("A5", "ci-7"), ("red", "ci-8"), ("A5", "ci-8")):
            daemon.post(f"/resource/{name}/{place}/lock", headers={"x-owner": owner})
        wants = [{"resource": name, "tags": ["android"]}, {"resource": name, "selector": "A5"}]
        daemon.post("/lock", json.dumps({"want": wants}), headers={"x-owner": "ci-9"})
        here = ("--resource", name)
        heading, *rows = cells(ctl.ok("locks", *here))
        assert heading == ["SELECTOR", "STATE", "OWNER", "KEY", "FENCE", "SINCE", "LEFT", "WAITING"]
        assert [row[:3] for row in rows] == [[f"{name}/A5", "holder", "ci-7"], [f"{name}/red", "holder", "ci-8"]]
        assert [row[-1] for row in rows] == ["1", "0"]
        assert [row[0] for row in cells(ctl.ok("locks", *here, "--owner", "ci-8"))[1:]] == [f"{name}/red"]
        assert f"{name}/A5" in ctl.ok("locks")
        assert f"{name}/red" not in ctl.ok("locks", *here, "--limit", "1")
        heading, *rows = cells(ctl.ok("locks", *here, "--sort", "waiting"))
        assert heading == ["WAITS", "FOR", "OWNER", "KEY", "SINCE", "LEFT", "HELD", "BY", "WAITING"]
        assert [rows[0][:3], rows[0][-2:]] == [[f"{name}/A5", "ci-8", "default"], ["ci-7", "1"]]
        assert rows[1][:4] == [f"{name}[android]*1", f"{name}/A5", "ci-9", "default"]
        held = json.loads(ctl.ok("locks", *here, "-o", "json"))
        assert [(lock["selector"], lock["holder"]["owner"]) for lock in held] == [("A5", "ci-7"), ("red", "ci-8")]
        waiting = json.loads(ctl.ok("locks", *here, "--sort", "waiting", "-o", "json"))
        assert [(ticket["owner"], ticket["selector"]) for ticket in waiting] == [("ci-8", "A5"), ("ci-9", "")]
        assert waiting[1]["want"][1] == wants[1]
        assert ctl("locks", "--sort", "age").status == 64

    def test_owner(self, daemon, ctl, name):
        """Who does not say who it is is shown by the names of the user and the machine."""
        ctl.environ.pop("RESOURCED_OWNER")
        ctl.ok("lock", f"{name}/A4")
        owner = daemon.get(f"/resource/{name}/A4/lock").json["holder"]["owner"]
        assert owner.partition("@")[2] == os.uname().nodename

    def test_timeout(self, daemon, ctl, name):
        """The lease of a resource's locks is changed, and 0 is the server's again."""
        assert cells(ctl.ok("timeout", name, "7")) == [
            ["RESOURCE", "TIMEOUT", "LONGEST", "GROUP", "SLOTS"],
            [name, "7"],
        ]
        assert daemon.post(f"/resource/{name}/A4/lock").headers["x-lease"] == "7"
        assert cells(ctl.ok("timeout", name, "0"))[1] == [name, "default"]
        assert json.loads(ctl.ok("timeout", name, "8", "-o", "json"))["timeout"] == 8
        for bad in ("-1", "x", "1.5"):
            assert ctl("timeout", name, bad).status == 64
        assert ctl("timeout", f"{name}-not", "7").status not in {0, 64}

    def test_break(self, daemon, ctl, name):
        """A lock is taken from its holder; with a fence only if it is still the same one."""
        answer = daemon.post(f"/resource/{name}/A4/lock")
        assert ctl("break", f"{name}/A4", "--fence", str(answer.fence + 1)).status == 73
        assert ahead(daemon, f"{name}/A4") > 0
        broken = json.loads(ctl.ok("break", f"{name}/A4", "--reason", "it hangs", "--owner", "ann", "-o", "json"))
        assert (broken["fence"], broken["reason"]) == (answer.fence, "it hangs")
        assert "ann: it hangs" in ctl.ok("events", f"{name}/A4").splitlines()[1]
        assert daemon.post(f"/resource/{name}/A4/lock", ticket=answer.ticket).status == 410
        outcome = ctl("break", f"{name}/A4")
        assert (outcome.status, outcome.out) == (73, "")

    def test_events(self, daemon, ctl, name):
        """What happened is told, the latest first."""
        write(daemon, name, "1")
        heading, *rows = cells(ctl.ok("events", name))
        assert heading == ["ID", "AT", "EVENT", "SELECTOR", "OWNER", "KEY", "FENCE", "SECONDS", "BROKEN", "BY"]
        assert [row[2:4] for row in rows] == [[event, f"{name}/A4"] for event in ("release", "write", "grant")]
        heading, *rows = cells(ctl.ok("events", f"{name}/A4"))
        assert heading == ["ID", "AT", "EVENT", "OWNER", "KEY", "FENCE", "SECONDS", "BROKEN", "BY"]
        assert [row[2] for row in rows] == ["release", "write", "grant"]
        before = json.loads(ctl.ok("events", f"{name}/A4", "-o", "json", "--before", rows[0][0], "--limit", "1"))
        assert [event["event"] for event in before] == ["write"]

    def test_watch(self, daemon, ctl, name):
        """What happens is told as it happens, a line for each event, also after a restart of the server."""
        watching = []
        for number, arguments in enumerate(([f"{name}/A4", "-o", "json"], [name], ["--prefix", name])):
            out = ctl.folder / str(number)
            with out.open("a") as stdout:
                watching.append((ctl.start("watch", *arguments, stdout=stdout), out))

        def seen_by_all(text: str) -> bool:
            # Nothing tells when somebody has begun to watch.
            write(daemon, name, text)
            return all(out.read_text() for _, out in watching)

        eventually(lambda: seen_by_all("1"))
        daemon.kill()
        daemon.start()
        for _, out in watching:
            out.write_text("")
        eventually(lambda: seen_by_all("2"))
        for running, _ in watching:
            running.signal(Signals.SIGINT)
            assert running.wait() == Outcome(130, "", "")
        first, *others = (out.read_text() for _, out in watching)
        assert {json.loads(line)["selector"] for line in first.splitlines()} == {"A4"}
        assert all(f" {name}/A4 " in line for other in others for line in other.splitlines())


class TestNodes:
    def test_alone(self, ctl):
        """A daemon without others is one node, which owns all and cannot be emptied."""
        heading, row = ctl.ok("nodes").splitlines()
        assert heading.split() == ["NODE", "STATE", "PARTITIONS", "TERM", "BEAT", "STILL", "URL"]
        assert row.split()[:3] == ["1", "up", "256"]
        assert json.loads(ctl.ok("nodes", "-o", "json"))["moving"] == 0
        outcome = ctl("drain", "1")
        assert (outcome.status, outcome.out) == (73, "")
        assert "no other node" in outcome.err
        assert ctl("drain", "2").status == 66


class TestOutside:
    def test_create(self, ctl):
        """A resource is created once."""
        name = "created"
        created = json.loads(ctl.ok("create", name, "--timeout", "5", "-o", "json"))
        assert (created["name"], created["timeout"]) == (name, 5)
        outcome = ctl("create", name)
        assert (outcome.status, outcome.out) == (73, "")

    def test_statuses(self, ctl, name):
        """What goes wrong is told on stderr only, and by a status that says what it was."""
        nowhere = {"RESOURCED_URL": f"http://127.0.0.1:{free_port()}"}
        for arguments, environ, status in (
            (("get", f"{name}/A4/B"), {}, 64),
            (("put", f"{name}/A4", "1", "--wait", "nan"), {}, 64),
            (("get", f"{name}/A4", "--retry-timeout", "0.1"), nowhere, 69),
            (("put", f"{name}/A4", "1"), {"RESOURCED_KEY": LOCK}, 77),
            (("ls",), {"RESOURCED_KEY": "wrong"}, 77),
            (("ls",), {"RESOURCED_KEY": ""}, 78),
        ):
            outcome = ctl(*arguments, environ=environ)
            assert (outcome.status, outcome.out) == (status, ""), (arguments, outcome)
            assert outcome.err
            assert not any(key and key in outcome.err for key in (LOCK, ctl.environ["RESOURCED_KEY"]))

    def test_key_from_a_file(self, ctl, name):
        """The URL and the key may be in a file, so that ``ps`` shows neither."""
        file = ctl.folder / ".config" / "resourced" / "ctl.toml"
        file.parent.mkdir(parents=True)
        file.touch(0o600)
        file.write_text(
            f"url = {json.dumps(ctl.environ.pop('RESOURCED_URL'))}\nkey = {json.dumps(ctl.environ.pop('RESOURCED_KEY'))}"
        )
        assert ctl.ok("put", f"{name}/A4", "1") == ""

    def test_interrupted_while_it_starts(self, ctl, name):
        """Ctrl-C ends it without a word, also while it is still being loaded."""
        (ctl.folder / "click").mkdir()
        (ctl.folder / "click" / "__init__.py").write_text("open('loading', 'w').close(); import time; time.sleep(60)")
        running = ctl.start("get", f"{name}/A4", environ={"PYTHONPATH": str(ctl.folder)})
        eventually((ctl.folder / "loading").exists)
        running.signal(Signals.SIGINT)
        assert running.wait() == Outcome(-Signals.SIGINT, "", "")

    def test_broken_pipe(self, daemon, ctl, name):
        """If nobody reads on, it ends without a word, as other programs do."""
        write(daemon, name, "1")
        readable, writable = os.pipe()
        running = ctl.start("get", f"{name}/A4", stdout=writable)
        os.close(readable)
        os.close(writable)
        assert running.wait() == Outcome(128 + Signals.SIGPIPE, "", "")

    def test_harmless_on_a_terminal(self, daemon, ctl, name):
        """Data are shown on a terminal without doing anything to it, and are the same JSON nevertheless."""
        data = '["\u009b2J\u202e\x7f"]'
        write(daemon, name, data)
        with Terminal((RESOURCECTL, "get", f"{name}/A4"), ctl.environ, ctl.folder) as terminal:
            assert terminal.wait() == 0
            assert terminal.seen.strip() == '["\\u009b2J\\u202e\\u007f"]'


class TestCompletion:
    def test_bash(self, ctl):
        """A real bash completes commands and options."""
        script = """
            eval "$(resourcectl completion bash)"
            complete -p resourcectl
            COMP_WORDS=(resourcectl e); COMP_CWORD=1; _resourcectl_completion resourcectl; echo "${COMPREPLY[@]}"
            COMP_WORDS=(resourcectl run --gr); COMP_CWORD=2; COMPREPLY=(); _resourcectl_completion resourcectl; echo "${COMPREPLY[@]}"
        """
        outcome = ctl.popen("bash", "-c", script).wait()
        assert (outcome.status, outcome.err) == (0, "")
        assert outcome.out.splitlines()[1:] == ["events", "--grace"]

    def test_names(self, daemon, ctl, name):
        """Names come from the server: resources, and the selectors of one as soon as there is no other."""
        for selector in ("A3", "A4", "B5", "it's", "a:b"):
            assert daemon.post(f"/resource/{name}/{quote(selector)}/lock").status == 200
        daemon.create(f"{name}-b")
        for words, names in (
            (f"create {name}", [name, f"{name}-b"]),
            (f"get {name}", [f"{name}/", f"{name}-b/"]),
            (f"get {name}-", [f"{name}-b/"]),
            (f"get {name}/A", [f"{name}/A3", f"{name}/A4"]),
            (f"show {name}/", [f"{name}/A3", f"{name}/A4", f"{name}/B5"]),
            (f"run --any {name}-", [f"{name}-b"]),
        ):
            # On a busy machine it may take longer than anybody wants to wait.
            assert eventually(lambda: self.completed(ctl, words), what=words) == names  # noqa: B023
        assert self.completed(ctl, "get nothing-like-it") == []

    def test_no_names(self, ctl):
        """A server that is away, is slow, or refuses is nothing to read of in the middle of a command line."""
        with socket.create_server(("127.0.0.1", 0)) as silent:
            slow = f"http://127.0.0.1:{silent.getsockname()[1]}"
            for options in ("--url http://127.0.0.1:9", f"--url {slow}", "--key wrong", "--config /nowhere"):
                assert self.completed(ctl, f"{options} get p") == [], options

    def completed(self, ctl, words: str) -> list[str]:
        """Return what bash would be told, without a word on the terminal."""
        about = {"COMP_WORDS": f"resourcectl {words}", "COMP_CWORD": str(len(words.split()))}
        outcome = ctl(environ={"_RESOURCECTL_COMPLETE": "bash_complete", **about})
        assert (outcome.status, outcome.err) == (0, "")
        return [line.partition(",")[2] for line in outcome.out.splitlines() if line]

    def test_other_shells(self, ctl):
        """So do zsh and fish, where they are installed."""
        for shell, script, completed in (
            (
                "zsh",
                "autoload -Uz compinit; compinit -D; . ./script; print $_comps[resourcectl]",
                "_resourcectl_completion",
            ),
            ("fish", "source script; complete --do-complete 'resourcectl e'", "events"),
        ):
            (ctl.folder / "script").write_text(ctl.ok("completion", shell))
            if shutil.which(shell):
                outcome = ctl.popen(shell, "-c", script).wait()
                assert (outcome.status, outcome.err) == (0, ""), shell
                assert outcome.out.startswith(completed)
