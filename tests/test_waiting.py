"""Several who ask for the same at the same time."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from resourced.waiting import Shared


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
