"""``resourcectl`` with pools: any units, several things at once, and the units themselves, against a real daemon."""

from __future__ import annotations

import itertools
import json
import subprocess
from signal import SIGTERM

import pytest

from tests.daemon import LOCK, Daemon, eventually
from tests.resourcectl import Ctl, Outcome, ahead, ctl_fixture, daemon_fixture, written  # noqa: F401 - fixtures

_numbers = itertools.count(1)


@pytest.fixture(name="phones")
def phones_fixture(ctl: Ctl) -> str:
    """A pool that nobody has used yet: two phones with Android and one without."""
    name = f"phones{next(_numbers)}"
    ctl.ok("create", name, "--group", "lab")
    for phone, *tags in (("red", "android"), ("blue", "android", "5g"), ("green", "ios")):
        ctl.ok("tag", f"{name}/{phone}", *tags)
    return name


def script(*lines: str) -> list[str]:
    return ["--", "sh", "-euc", "\n".join(lines)]


def card(daemon: Daemon, unit: str) -> dict[str, object]:
    resource, _, selector = unit.partition("/")
    found = daemon.get(f"/resource/{resource}").json["selectors"]
    [one] = [one for one in found if one["selector"] == selector]
    return dict(one["card"])


class TestAny:
    def test_one(self, daemon, ctl, phones):
        """The command runs with a unit that has the tags, and finds which in the variables that any lock is told by."""
        ctl.ok("put", f"{phones}/blue", '{"port": 5}')
        out = ctl.ok("run", "--any", phones, "--tag", "5g", *script('echo "$RESOURCED_LOCK $RESOURCED_DATA"'))
        assert out == f'{phones}/blue {{"port": 5}}\n'
        assert ahead(daemon, f"{phones}/blue") == 0

    def test_fewest_tags_first(self, ctl, phones):
        """The unit with the fewest tags beyond those is taken, so that others are left for whom they are needed by."""
        assert ctl.ok("run", "--any", f"{phones}[android]", *script('echo "$RESOURCED_LOCK"')) == f"{phones}/red\n"

    def test_several(self, daemon, ctl, phones):
        """Several have one ticket, and each stands in RESOURCED_LOCKS; the command can write to each, and all are free in the end."""
        licences = f"{phones}-licences"
        ctl.ok("create", licences, "--group", "lab", "--slots", "2")
        lines = (
            'echo "$RESOURCED_LOCKS"',
            'echo "$RESOURCED_LOCK"',
            'echo "$RESOURCED_TICKET ${RESOURCED_FENCE-none} ${RESOURCED_DATA-none}"',
            f"resourcectl put {phones}/red 1",
        )
        outer = {"RESOURCED_FENCE": "7", "RESOURCED_DATA": "[1]"}
        wanted = ("--any", f"{phones}[android]*2", "--any", licences)
        out = ctl.ok("run", f"{phones}/green", *wanted, *script(*lines), environ=outer)
        locks, *names, last = out.splitlines()
        held = json.loads(locks)
        assert [(one["resource"], one["selector"]) for one in held] == [
            (phones, "green"),
            (phones, "blue"),
            (phones, "red"),
            (licences, "1"),
        ]
        assert all(one["fence"] > 0 for one in held)
        assert names == [f"{one['resource']}/{one['selector']}" for one in held]
        assert last == f"{held[0]['ticket']} none none"
        assert ctl.ok("get", f"{phones}/red") == "1\n"
        assert {ahead(daemon, name) for name in names} == {0}

    def test_all_or_nothing(self, daemon, ctl, phones):
        """Who waits for two holds none of them; with --wait 0 it ends at once, and says what it wanted."""
        running = ctl.start("run", f"{phones}/red", *script("read line"), stdin=subprocess.PIPE)
        eventually(lambda: ahead(daemon, f"{phones}/red") == 1)
        outcome = ctl("run", "--wait", "0", "--any", phones, "--tag", "android", "--count", "2", *script("echo never"))
        assert (outcome.status, outcome.out) == (75, "")
        assert f"{phones}[android]*2, position 1" in outcome.err
        assert ahead(daemon, f"{phones}/blue") == 0
        assert running.wait(stdin=b"\n").status == 0

    def test_names_at_once(self, ctl, phones):
        """Locks by name are taken at once too, in whatever order others name them, so that nobody waits for somebody who waits."""
        count = f'n=$(resourcectl get {phones}/red); resourcectl put {phones}/red "$((n + 1))"'
        ctl.ok("put", f"{phones}/red", "0")
        names = [f"{phones}/red", f"{phones}/blue"]
        runs = [ctl.start("run", "-q", *(names if n % 2 else names[::-1]), *script(count)) for n in range(6)]
        assert [run.wait().status for run in runs] == [0] * 6
        assert ctl.ok("get", f"{phones}/red") == "6\n"

    def test_every_unit(self, ctl, phones):
        """``--count all`` is every unit that is in service."""
        ctl.ok("out", f"{phones}/green", "cracked")
        out = ctl.ok("run", "--any", phones, "--count", "all", *script('echo "$RESOURCED_LOCK"'))
        assert out == f"{phones}/blue\n{phones}/red\n"

    def test_within(self, daemon, ctl, phones):
        """A run within a run enters what is held already, and takes the rest; the outer one's units stay its own."""
        inner = f"resourcectl run {phones}/red {phones}/green -- sh -c 'echo \"$RESOURCED_LOCK\"'"
        again = f'echo "$(resourcectl show {phones}/red -o json)"'
        out = ctl.ok("run", f"{phones}/red", f"{phones}/blue", *script(inner, again))
        *names, state = out.splitlines()
        assert names == [f"{phones}/red", f"{phones}/green"]
        assert json.loads(state)["locked"] is True
        assert ahead(daemon, f"{phones}/red") == 0

    def test_lost(self, daemon, ctl, phones):
        """If one of several is broken the command is ended with status 79, and the others are free."""
        ctl.ok("timeout", phones, "12")
        running = ctl.start(
            "run", "--grace", "0", "--any", f"{phones}[android]*2", *script("echo > running", "sleep 100")
        )
        written(ctl.folder / "running")
        ctl.ok("break", f"{phones}/red")
        # The renewal, which is due after a third of the lease, finds it out.
        outcome = running.wait()
        assert outcome.status == 79
        assert f"{phones}/red" in outcome.err
        assert ahead(daemon, f"{phones}/blue") == 0

    def test_interrupted_wait(self, daemon, ctl, phones):
        """Who is ended while it waits leaves no place behind."""
        holder = ctl.start("run", f"{phones}/red", *script("echo > running", "read line"), stdin=subprocess.PIPE)
        written(ctl.folder / "running")
        waiter = ctl.start("run", "--any", f"{phones}[android]*2", *script("echo never"))
        eventually(lambda: len(daemon.get("/locks?sort=waiting").json["locks"]) == 1)
        waiter.signal(SIGTERM)
        assert waiter.wait().status == 128 + SIGTERM
        assert daemon.get("/locks?sort=waiting").json["locks"] == []
        assert holder.wait(stdin=b"\n").status == 0

    def test_what_makes_no_sense(self, ctl, phones):
        """What cannot be meant is refused before anything is asked for."""
        for arguments, said in (
            ((), "It takes a RESOURCE/SELECTOR, or --any"),
            ((f"{phones}/red", "--tag", "android"), "go with one --any"),
            (("--any", phones, "--any", phones, "--count", "2"), "go with one --any"),
            (("--any", f"{phones}[android"), "such as phones[android,5g]*2"),
            (("--any", phones, "--count", "0"), "a number of units from 1 on"),
            (("--any", phones, "--create"), "--create is for one"),
            (("--any", f"{phones}*2", "--out-on", "99"), "--out-on is for one unit"),
        ):
            outcome = ctl("run", *arguments, "--", "true")
            assert (outcome.status, outcome.out) == (64, ""), arguments
            assert said in " ".join(outcome.err.split()), arguments
        assert ctl("run", "--any", phones, "--count", "4", "--", "true").status == 73


class TestBroken:
    def test_out_on(self, daemon, ctl, phones):
        """The status that --out-on names gives the unit back as broken, says why, and is passed on; any other does not."""
        assert ctl("run", "--any", f"{phones}[5g]", "--out-on", "99", *script("exit 1")) == Outcome(1, "", "")
        assert card(daemon, f"{phones}/blue")["out"] is None
        assert ctl("run", "--any", f"{phones}[5g]", "--out-on", "99", *script("exit 99")) == Outcome(99, "", "")
        assert card(daemon, f"{phones}/blue")["out"] == "sh ended with status 99."
        assert ahead(daemon, f"{phones}/blue") == 0

    def test_out_on_a_lock_by_name(self, daemon, ctl, phones):
        """That works by name too; what is no unit is released all the same, and that is said."""
        assert ctl("run", f"{phones}/red", "--out-on", "3", *script("exit 3")).status == 3
        assert card(daemon, f"{phones}/red")["out"] == "sh ended with status 3."
        outcome = ctl("run", f"{phones}/desk", "--out-on", "3", *script("exit 3"))
        assert (outcome.status, "has no card" in outcome.err) == (3, True)
        assert ahead(daemon, f"{phones}/desk") == 0

    def test_one_of_several(self, daemon, ctl, phones):
        """The command says which one is broken with ``unlock --out``, for which a key that may lock is enough; the others stay."""
        lines = (f"resourcectl unlock {phones}/red --out 'does not boot'", f"resourcectl put {phones}/blue 1")
        assert ctl("run", "--any", f"{phones}[android]*2", *script(*lines)) == Outcome(0, "", "")
        assert card(daemon, f"{phones}/red")["out"] == "does not boot"
        assert card(daemon, f"{phones}/blue")["out"] is None
        assert ctl.ok("get", f"{phones}/blue") == "1\n"
        weak = {"RESOURCED_KEY": LOCK}
        again = (f"resourcectl unlock {phones}/blue --out 'smoke'",)
        assert ctl("run", f"{phones}/blue", *script(*again), environ=weak) == Outcome(0, "", "")
        assert card(daemon, f"{phones}/blue")["out"] == "smoke"


class TestUnits:
    def test_tag(self, daemon, ctl, phones):
        """A unit has the tags that it was given last, a note if there is one, and goes with --remove."""
        ctl.ok("tag", f"{phones}/red", "rooted", "android", "--note", "left shelf")
        told = json.loads(ctl.ok("tag", f"{phones}/red", "--note", "right shelf", "-o", "json"))
        assert (told["tags"], told["note"]) == (["android", "rooted"], "right shelf")
        assert ctl.ok("tag", f"{phones}/red").split() == [
            "SELECTOR",
            "TAGS",
            "NOTE",
            "OUT",
            f"{phones}/red",
            "right",
            "shelf",
        ]
        ctl.ok("tag", f"{phones}/red", "--remove")
        assert ctl("tag", f"{phones}/red", "--remove").status == 66
        assert ctl("tag", f"{phones}/red", "--remove", "android").status == 64

    def test_out_and_back(self, ctl, phones):
        """A unit that is out of service is given to nobody; once it is back, whoever waits has it."""
        assert "cracked screen" in ctl.ok("out", f"{phones}/green", "cracked screen")
        assert ctl("run", "-q", "--wait", "0", "--any", f"{phones}[ios]", "--", "true").status == 75
        waiter = ctl.start("run", "-q", "--any", f"{phones}[ios]", *script('echo "$RESOURCED_LOCK"'))
        ctl.ok("back", f"{phones}/green")
        assert waiter.wait() == Outcome(0, f"{phones}/green\n", "")

    def test_back_makes_no_unit(self, ctl, phones):
        """A misspelt name does not become a unit, which a job would get."""
        ctl.ok("out", f"{phones}/green", "cracked screen")
        ctl.ok("put", f"{phones}/data", "1")
        for name in ("gree", "data", "greener"):
            assert ctl("back", f"{phones}/{name}") == Outcome(66, "", f"resourcectl: {phones}/{name} is no unit.\n")
        assert ctl("back", "nothing/green").status == 66
        shown = json.loads(ctl.ok("show", phones, "-o", "json"))
        assert [unit["selector"] for unit in shown if unit["card"]] == ["blue", "green", "red"]

    def test_usage(self, daemon, ctl, phones):
        """What was used is told by selector and by owner."""
        ctl.ok("run", f"{phones}/red", "--", "true")

        def used() -> list[str]:
            return [line for line in ctl.ok("usage", phones, "--days", "7").splitlines() if line.startswith(phones)]

        assert eventually(used)[0].split()[:2] == [f"{phones}/red", "1"]
        told = json.loads(ctl.ok("usage", phones, "-o", "json"))
        assert [(use["name"], use["grants"]) for use in told["owners"]] == [("tester", 1)]

    def test_definition(self, ctl, phones):
        """What a resource is beside its timeout is given by ``create`` and changed by ``timeout``."""
        name = f"{phones}-slots"
        made = json.loads(ctl.ok("create", name, "--longest", "90", "--slots", "2", "--group", "lab", "-o", "json"))
        assert (made["longest"], made["slots"], made["group"]) == (90, 2, "lab")
        changed = json.loads(ctl.ok("timeout", name, "--slots", "3", "-o", "json"))
        assert (changed["longest"], changed["slots"]) == (90, 3)
        assert ctl("timeout", name).status == 64
        assert ctl.ok("run", "--any", name, "--count", "all", *script('echo "$RESOURCED_LOCK"')).count("\n") == 3

    def test_lock_for_longer(self, ctl, phones):
        """``lock`` asks for the lease and the priority that are given, and says the lease."""
        ctl.ok("timeout", phones, "--longest", "900")
        told = json.loads(ctl.ok("lock", f"{phones}/red", "--lease", "900", "--priority", "-2", "-o", "json"))
        assert told["lease"] > 800
        ctl.ok("unlock", f"{phones}/red", "--ticket", told["ticket"])
