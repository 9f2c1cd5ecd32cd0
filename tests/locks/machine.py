"""What the machines of locks have in common: a daemon on a disk that outlives it, whose store fails and whose time passes."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from typing import Any, ClassVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test
from twisted.internet.defer import CancelledError, Deferred

from resourced.errors import StoreUnavailable
from resourced.locks.journal.group_commit import PAUSE
from resourced.locks.state.limits import Times
from resourced.testing import MemoryStore
from tests.faulty import Life, Outcome
from tests.leading import lead

outcome = st.sampled_from(Outcome)


class FaultyMachine(RuleBasedStateMachine):
    """
    Faults and time in any order; subclasses know what clients do, and what must be true.

    :cvar durable: whether locks are kept in the store.
    :cvar resources: which there are, by their names, with their own leases in seconds.
    :ivar open: requests that were not answered yet.
    :ivar failures: what was wrong with answers.
    """

    durable: ClassVar[bool] = True
    resources: ClassVar[Mapping[str, int]]
    times: ClassVar[Times]

    def __init__(self) -> None:
        super().__init__()
        self.disk = MemoryStore()
        Deferred.fromCoroutine(lead(self.disk))
        for name, lease in self.resources.items():
            Deferred.fromCoroutine(self.disk.create_resource(name, lease))
        self.names = count(1)
        self.open: list[Any] = []
        self.failures: list[BaseException] = []
        self.now_before = 0.0
        self.life = self.start()

    def start(self) -> Life:
        """Start a daemon on what is there."""
        life = Life(
            self.disk,
            durable=self.durable,
            times=self.times,
            new_ticket=lambda: f"{next(self.names):032x}",
            seconds=self.now_before,
        )
        life.open()
        return life

    @property
    def now(self) -> float:
        return self.life.clock.seconds()

    @property
    def decides(self) -> bool:
        """Whether the daemon decides anything; else all may be in doubt, that of which nothing is in memory too."""
        try:
            self.life.locks.check()
        except StoreUnavailable:
            return False
        return True

    def await_end(self, request: Any, outcome: Deferred[Any]) -> None:
        """Let a client wait for its answer; nobody is there to hear it if the daemon has died."""
        life = self.life
        self.open.append(request)

        def over(result: Any) -> None:
            if request in self.open:
                self.open.remove(request)
            error = getattr(result, "value", None)
            if error is not None and life is self.life and not isinstance(error, CancelledError):
                self.failures.append(error)

        outcome.addBoth(over)

    @rule(seconds=st.sampled_from([0.0, PAUSE, 1.0, 5.0, 19.0, 20.0, 29.0, 31.0, 41.0, 61.0]))
    def pass_time(self, seconds):
        self.life.clock.advance(seconds)

    @rule(commit=outcome, snapshot=outcome, slow=st.booleans(), away=st.sampled_from([False, False, False, True]))
    def trouble(self, commit, snapshot, slow, away):
        store = self.life.store
        store.outcome, store.reign_outcome, store.slow, store.away = commit, snapshot, slow, away

    @rule()
    def heal(self):
        self.life.store.heal()

    @precondition(lambda self: self.life.store.busy)
    @rule(outcome=outcome)
    def finish(self, outcome):
        self.life.store.finish(outcome)

    @precondition(lambda self: self.life.store.busy)
    @rule()
    def finish_well(self):
        self.life.store.finish()


def drive(machine: type[RuleBasedStateMachine], examples: int, steps: int) -> None:
    """Run a machine; the examples of a run of one length are always the same."""
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            derandomize=True,
            database=None,
            deadline=None,
            report_multiple_bugs=False,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        ),
    )
