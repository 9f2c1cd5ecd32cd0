"""Several who ask for the same at the same time."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from resourced.deferreds import Gathered, Shared

pytestmark = pytest.mark.trial


class SharedTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.begun: list[Deferred[None]] = []
        self.shared = Shared(self.work)

    async def work(self) -> None:
        self.begun.append(Deferred())
        await self.begun[-1]

    def ask(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.shared.done())

    def test_once_for_all(self):
        """A thousand who ask at once cost one question, and all get its answer; the next one asks anew."""
        asking = [self.ask() for _ in range(1000)]
        self.assertEqual(len(self.begun), 1)
        self.begun[0].callback(None)
        for each in asking:
            self.successResultOf(each)
        late = self.ask()
        self.assertNoResult(late)
        self.begun[1].callback(None)
        self.successResultOf(late)

    def test_failure_for_all(self):
        """If it fails, all are told so."""
        asking = [self.ask() for _ in range(3)]
        self.begun[0].errback(LookupError())
        for each in asking:
            self.failureResultOf(each, LookupError)

    def test_who_leaves(self):
        """One who goes away, be it the first, takes nothing from the others."""
        first, second = self.ask(), self.ask()
        first.addErrback(lambda _: None)
        first.cancel()
        self.begun[0].callback(None)
        self.successResultOf(second)
        self.assertEqual(len(self.begun), 1)


class GatheredTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.asked: list[list[str]] = []
        self.answers: list[Deferred[None]] = []
        self.gathered = Gathered(self.ask, 3)

    async def ask(self, questions: list[str]) -> dict[str, str]:
        self.asked.append(questions)
        self.answers.append(Deferred())
        await self.answers[-1]
        return {question: question.upper() for question in questions if question != "unknown"}

    def test_what_comes_up_meanwhile_is_asked_together(self):
        """And only after the answer that is under way, so that it is as new as the question; but not too much at once."""
        first = self.gathered.get("a")
        others = [self.gathered.get(question) for question in ("a", "b", "unknown", "b", "c")]
        self.assertEqual(self.asked, [["a"]])
        self.answers[0].callback(None)
        self.assertEqual(self.successResultOf(first), "A")
        self.assertEqual(self.asked[1:], [["a", "b", "unknown"]])
        for other in others:
            self.assertNoResult(other)
        self.answers[1].callback(None)
        self.assertEqual([self.successResultOf(other) for other in others[:4]], ["A", "B", None, "B"])
        self.assertEqual(self.asked[2:], [["c"]])
        self.answers[2].callback(None)
        self.assertEqual(self.successResultOf(others[4]), "C")

    def test_a_failure_is_of_those_who_asked_together(self):
        """The others ask once more, and one who left misses nothing."""
        first, second, gone = (self.gathered.get(question) for question in ("a", "b", "b"))
        gone.addErrback(lambda _: None)
        gone.cancel()
        self.answers[0].errback(LookupError())
        self.failureResultOf(first, LookupError)
        self.answers[1].callback(None)
        self.assertEqual(self.successResultOf(second), "B")
        self.assertEqual(len(self.asked), 2)
