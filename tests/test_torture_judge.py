"""The judge of the torture: it finds what cannot be true of a lock, and nothing else."""

from __future__ import annotations

from math import inf
from pathlib import Path
from typing import Any, Self

import pytest

from tests.judged import JudgedHistory
from tests.torture.history import Rules, Value, check
from tests.torture.record import LOST, PARTIAL, Kind, Op, Sent, Told, line, load

A4 = "printer/A4"
LEASE = 3
RULES = Rules({"printer": LEASE}, patience=1.0)


class History(JudgedHistory):
    """What some clients of one lock asked and were told."""

    def __init__(self) -> None:
        super().__init__()
        self.last = Value("", 0)
        self._rounds: dict[str, int] = {}

    def begin(self, client: str) -> Self:
        """Let a client try anew."""
        self._rounds[client] = self._rounds.get(client, 0) + 1
        return self

    def _add(self, kind: Kind, client: str, sent: float, told: float, status: int, asked: Any, answer: Any) -> Self:
        number = len(self.ops)
        ticket = asked.pop("ticket", client)
        self.ops.append(
            Op(
                Sent(client, number, self._rounds.get(client, 0), kind, A4, sent, ticket, **asked),
                Told(number, told, status, **answer),
            )
        )
        return self

    def lock(self, client: str, sent: float, told: float, fence: int, value: str = "", **answer: Any) -> Self:
        answer = {"ticket": client, "lease": LEASE, "fence": fence, "value": value, **answer}
        status = answer.pop("status", 200 if value else 404)
        return self._add(Kind.LOCK, client, sent, told, status, {"reads": True}, answer)

    def queued(self, client: str, sent: float, told: float) -> Self:
        return self._add(Kind.LOCK, client, sent, told, 202, {"reads": True}, {"ticket": client})

    def refused(self, client: str, sent: float, told: float, status: int = 410, kind: Kind = Kind.LOCK) -> Self:
        asked = {"write": "refused"} if kind == Kind.WRITE else {}
        return self._add(kind, client, sent, told, status, asked, {})

    def read(self, client: str, sent: float, told: float, value: str) -> Self:
        status = 200 if value else 404
        return self._add(Kind.READ, client, sent, told, status, {"reads": True}, {"value": value})

    def write(
        self, client: str, sent: float, told: float, fence: int, name: str, before: Value | str = "", **more: Any
    ) -> Self:
        """Write the next value; with a ``kept`` of false it is not the last one by that."""
        status, kept = more.pop("status", 204), more.pop("kept", True)
        counter = more.pop("counter", self.last.counter + 1)
        before = self.last.name if before == "" else before
        asked = {"fence": fence, "write": name, "before": before, "counter": counter, **more}
        if kept and status not in {PARTIAL, 410, 423}:
            self.last = Value(name, counter)
        return self._add(Kind.WRITE, client, sent, told, status, asked, {})

    def unlock(
        self, client: str, sent: float, told: float, fence: int, *, status: int = 200, held: bool = True
    ) -> Self:
        asked = {"fence": fence, "releases": True}
        return self._add(Kind.RELEASE, client, sent, told, status, asked, {"released": held})

    def judge(self) -> list[str]:
        return check(self.ops, {A4: self.last}, RULES)


@pytest.fixture
def history() -> History:
    return History()


class TestNothingWrong:
    def test_nothing(self, history):
        """Nothing happened."""
        history.fine()

    def test_one_after_the_other(self, history):
        """Two clients take turns, and count."""
        history.lock("a", 0.0, 0.1, 1).write("a", 0.2, 0.3, 1, "a1").unlock("a", 0.4, 0.5, 1)
        history.lock("b", 0.0, 0.5, 2, "a1").write("b", 0.6, 0.7, 2, "b1").unlock("b", 0.8, 0.9, 2)
        history.fine()

    def test_lock_passed_on_while_the_answer_to_the_unlock_is_on_its_way(self, history):
        """Who has asked to unlock believes nothing any more, whenever the answer comes."""
        history.lock("a", 0.0, 0.1, 1).unlock("a", 0.4, 2.0, 1).lock("b", 0.0, 0.5, 2).fine()

    def test_lock_passed_on_after_the_lease(self, history):
        """Who was silent for its lease, counted from before it asked, believes nothing any more."""
        history.lock("a", 0.0, 0.5, 1).lock("b", 1.0, 3.01, 2).fine()

    def test_late_answer(self, history):
        """An answer that is read after its lease makes nobody believe, and neither does what comes of it."""
        history.lock("a", 0.0, 5.0, 1).lock("b", 1.0, 3.5, 2).refused("a", 5.1, 5.2, 423, Kind.WRITE).fine()

    def test_lock_lost_after_the_lease(self, history):
        """It may be told so."""
        history.lock("a", 0.0, 0.5, 1).refused("a", 3.2, 3.3).fine()

    def test_unanswered_write_that_was_done(self, history):
        """It may be there, once."""
        history.lock("a", 0.0, 0.1, 1).write("a", 0.2, 1.2, 1, "a1", status=LOST)
        history.write("a", 1.3, 1.4, 1, "a1", Value("", 0), counter=1, status=204)
        history.ops[-1].sent.before = ""
        history.fine()

    @pytest.mark.parametrize("status", [LOST, 503])
    def test_unanswered_write_that_was_not_done(self, history, status):
        """It may be missing."""
        history.lock("a", 0.0, 0.1, 1).write("a", 0.2, 1.2, 1, "a1", status=status, kept=False)
        history.lock("b", 4.0, 4.1, 2).write("b", 4.2, 4.3, 2, "b1").fine()

    def test_unanswered_write_of_a_dead_client(self, history):
        """It may be there."""
        history.lock("a", 0.0, 0.1, 1).write("a", 0.2, inf, 1, "a1", status=LOST)
        history.lock("b", 4.0, 4.1, 2, "a1").write("b", 4.2, 4.3, 2, "b1").fine()

    def test_refused_after_an_unanswered_try(self, history):
        """The first try may have been done, and have let go of the lock."""
        history.lock("a", 0.0, 0.1, 1).write("a", 0.2, 1.2, 1, "a1", status=LOST, releases=True)
        history.refused("a", 1.3, 1.4, 410, Kind.WRITE)
        history.ops[-1].sent.write = "a1"
        history.ops[-1].sent.counter = 1
        history.fine()

    def test_old_read(self, history):
        """Whoever reads while someone writes may see either."""
        history.lock("a", 0.0, 0.1, 1).read("c", 0.1, 0.4, "").write("a", 0.2, 0.3, 1, "a1")
        history.read("d", 0.2, 0.25, "a1").fine()

    def test_place_lost_after_its_time(self, history):
        """Who waits and is silent may be forgotten."""
        history.lock("a", 0.0, 0.1, 1).queued("b", 0.2, 0.3).refused("b", 1.3, 1.4).fine()

    def test_released_ticket_is_used_again(self, history):
        """It gets another fence, and may be forgotten."""
        history.lock("a", 0.0, 0.1, 1).unlock("a", 0.2, 0.3, 1).begin("a").lock("a", 0.4, 0.5, 2)
        history.unlock("a", 0.6, 0.7, 2).begin("a").refused("a", 0.8, 0.9).fine()


class TestGrants:
    def test_two_holders(self, history):
        """Nobody is told that it has the lock while somebody else may believe that."""
        history.lock("a", 0.0, 0.1, 1).lock("b", 0.0, 2.5, 2)
        history.wrong("a with fence 1 and b with fence 2 both held it from 2.500 to 3.000")

    def test_renewed(self, history):
        """Keeping the lock, and writing, prolong what a holder may believe."""
        history.lock("a", 0.0, 0.1, 1).write("a", 2.0, 2.1, 1, "a1").lock("a", 2.5, 2.6, 1, "a1")
        history.lock("b", 5.3, 5.4, 2, "a1").wrong("both held it from 5.400 to 5.500")

    def test_release_that_nobody_asked_for(self, history):
        """Giving another place up ends no belief."""
        history.lock("a", 0.0, 0.1, 1).unlock("b", 0.2, 0.3, 0).lock("c", 1.0, 1.1, 2).wrong("both held it")

    def test_one_fence_for_two(self, history):
        """A fence is never told to two tickets, however long ago the first had it."""
        history.lock("a", 0.0, 0.1, 1).unlock("a", 0.2, 0.3, 1).lock("b", 20.0, 20.1, 1)
        history.wrong("fence 1 was told to two tickets", "after that had been let go of")

    def test_fences_go_down(self, history):
        """A later grant has a higher fence."""
        history.lock("a", 0.0, 0.1, 2).unlock("a", 0.2, 0.3, 2).lock("b", 0.4, 0.5, 1)
        history.wrong("was answered 404 for fence 1 after fence 2 had been given out")

    def test_old_holder_is_told_that_it_holds(self, history):
        """Once a fence has been told, an older one is over for good."""
        history.lock("a", 0.0, 0.1, 1).lock("b", 3.1, 3.2, 2).unlock("b", 3.3, 3.4, 2).lock("a", 3.5, 3.6, 1)
        history.wrong("was answered 404 for fence 1 after fence 2 had been given out")

    def test_released_fence_comes_back(self, history):
        """What was let go of is not held any more."""
        history.lock("a", 0.0, 0.1, 1).unlock("a", 0.2, 0.3, 1).lock("a", 0.4, 0.5, 1)
        history.wrong("for fence 1 after that had been let go of")

    @pytest.mark.parametrize(("kind", "status"), [(Kind.LOCK, 410), (Kind.WRITE, 410), (Kind.WRITE, 423)])
    def test_lock_lost_early(self, history, kind, status):
        """A holder does not lose its lock before its lease is over."""
        history.lock("a", 0.0, 0.1, 1).refused("a", 2.0, 2.4, status, kind).wrong(
            "lost the lock 0.600 s before its time"
        )

    def test_nothing_to_unlock(self, history):
        """Nor is it told that there was nothing to let go of."""
        history.lock("a", 0.0, 0.1, 1).unlock("a", 2.0, 2.4, 1, held=False).wrong(
            "lost the lock 0.600 s before its time"
        )

    def test_place_lost_early(self, history):
        """Who waits keeps its place for its time."""
        history.lock("a", 0.0, 0.1, 1).queued("b", 0.2, 0.3).refused("b", 0.9, 1.0).wrong("lost its place 0.200 s")

    @pytest.mark.parametrize(
        ("kind", "status"),
        [(Kind.LOCK, 500), (Kind.LOCK, 423), (Kind.READ, 202), (Kind.WRITE, 404), (Kind.RELEASE, 410)],
    )
    def test_unknown_answer(self, history, kind, status):
        """What the contract does not know is no answer."""
        history.refused("a", 0.0, 0.1, status, kind).wrong(f"was answered {status}")

    def test_success_without_a_lock(self, history):
        """A lock is told with its fence."""
        history.lock("a", 0.0, 0.1, 0).wrong("was answered 404")


class TestData:
    def test_lost_write(self, history):
        """What was acknowledged is in the chain."""
        history.lock("a", 0.0, 0.1, 1).write("a", 0.2, 0.3, 1, "a1", kept=False).unlock("a", 0.4, 0.5, 1)
        history.lock("b", 0.6, 0.7, 2).write("b", 0.8, 0.9, 2, "b1")
        history.wrong("value a1, acknowledged to write 1 of a at 0.200, is lost")

    def test_older_holder_overwrites(self, history):
        """A late write of a former holder is found, though it was never acknowledged."""
        history.lock("a", 0.0, 0.1, 1).write("a", 0.2, 9.0, 1, "a1", status=LOST)
        late = history.last
        history.last = Value("", 0)
        history.lock("b", 4.0, 4.1, 2).write("b", 4.2, 4.3, 2, "b1")
        history.last = late
        history.wrong("value b1, acknowledged to write 3 of b at 4.200, is lost")

    def test_overwritten_unseen(self, history):
        """A write that nobody was told of, that someone has read and no one after has built upon, is found too."""
        history.lock("a", 0.0, 0.1, 1).write("a", 0.2, 9.0, 1, "a1", status=LOST, kept=False)
        history.lock("b", 4.0, 4.1, 2).read("c", 4.15, 4.16, "a1").write("b", 4.2, 4.3, 2, "b1")
        history.wrong("value a1 was read, and then overwritten")

    @pytest.mark.parametrize("status", [PARTIAL, 410, 423])
    def test_refused_write_is_there(self, history, status):
        """What was refused is not in the chain."""
        history.lock("a", 0.0, 0.1, 1).write("a", 4.2, 4.3, 1, "a1", status=status)
        history.last = Value("a1", 1)
        history.wrong(f"value a1 is kept, although it was refused with {status}")

    def test_fences_go_down_in_the_chain(self, history):
        """A value replaces none that has a higher fence."""
        history.lock("a", 0.0, 0.1, 1).lock("b", 3.1, 3.2, 2).write("b", 3.3, 3.4, 2, "b1")
        history.write("a", 3.35, 9.0, 1, "a1", status=LOST)
        history.wrong("value b1 of fence 2 was replaced by one of fence 1")

    def test_write_is_there_twice(self, history):
        """The counter is the number of values."""
        history.lock("a", 0.0, 0.1, 1).write("a", 0.2, 0.3, 1, "a1")
        history.last = Value("a1", 2)
        history.wrong("value a1 has counter 2, and was written with 1")

    def test_value_without_its_predecessors(self, history):
        """The first value is the first."""
        history.lock("a", 0.0, 0.1, 1).write("a", 0.2, 0.3, 1, "a1", counter=5).wrong("the first value has counter 5")

    def test_value_of_nobody(self, history):
        """Every value was written by somebody."""
        history.last = Value("z1", 1)
        history.wrong("nobody ever wrote the value z1")

    def test_stale_read(self, history):
        """Whoever asks after a write was acknowledged sees it."""
        history.lock("a", 0.0, 0.1, 1).write("a", 0.2, 0.3, 1, "a1").read("c", 0.4, 0.5, "")
        history.wrong("read 2 of c at 0.400 came to value number 0 after number 1 had been there")

    def test_read_back_in_time(self, history):
        """Nobody sees an older value than somebody has seen before."""
        history.lock("a", 0.0, 0.1, 1).write("a", 0.2, 9.0, 1, "a1", status=LOST)
        history.read("c", 0.3, 0.4, "a1").read("d", 0.5, 0.6, "").wrong("came to value number 0 after number 1")

    def test_read_ahead_of_time(self, history):
        """Nobody sees what was not written yet."""
        history.lock("a", 0.0, 0.1, 1).read("c", 0.1, 0.15, "a1").write("a", 0.2, 0.3, 1, "a1")
        history.wrong("read value a1 before it was sent")

    def test_selector_that_vanished(self, history):
        """Nothing that was acknowledged is gone."""
        history.lock("a", 0.0, 0.1, 1).write("a", 0.2, 0.3, 1, "a1")
        assert any("is lost" in violation for violation in check(history.ops, {}, RULES))


def test_record_of_a_killed_client(tmp_path: Path) -> None:
    """A request that its client did not live to see answered is one without an answer; half a line is nothing."""
    sent = [Sent("a", number, 1, Kind.LOCK, A4, number / 10, reads=True) for number in range(3)]
    told = Told(0, 0.05, 404, "no_data", "t", 1, LEASE)
    path = tmp_path / "a.client"
    path.write_bytes(line(sent[0]) + line(told) + line(sent[1]) + line(sent[2])[:-9])
    assert list(load(path)) == [Op(sent[0], told), Op(sent[1], Told(1, inf, LOST, "killed"))]
