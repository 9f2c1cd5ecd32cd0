"""The tables of states: of a ticket's place at a selector, and of the journal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from twisted.trial.unittest import SynchronousTestCase

from resourced.locks.journal import states as journal_states
from resourced.locks.journal.states import LEADING, JournalEvent, JournalState
from resourced.locks.state import entry_states
from resourced.locks.state.entry_states import EntryState
from resourced.model import Standing
from resourced.transitions import IllegalTransition, next_state
from tests.states import Event, State, reached

pytestmark = pytest.mark.trial

# Trial changes the directory before it runs the tests.
CONTRIBUTING = Path(__file__).resolve().parents[2] / "CONTRIBUTING.rst"


def drawn(transitions: Mapping[State, Mapping[Event, State]]) -> str:
    """Write a table as ``CONTRIBUTING.rst`` has it: a line for each pair of states, with what leads from the one to the other."""
    lines: dict[tuple[State, State], list[str]] = {}
    for before, row in transitions.items():
        for event, after in row.items():
            lines.setdefault((before, after), []).append(event.name)
    return "".join(
        f"    {before.name:12} -> {after.name:12} {', '.join(events)}\n" for (before, after), events in lines.items()
    )


class EntryTests(SynchronousTestCase):
    def test_every_state_is_reached(self):
        """A new entry can come to each state, and from each state it can end."""
        self.assertEqual(reached(entry_states.TRANSITIONS, entry_states.NEW), set(EntryState))
        for state in set(EntryState) - {entry_states.NEW}:
            self.assertIn(entry_states.ENDED, reached(entry_states.TRANSITIONS, state), state)

    def test_what_is_over_stays_over(self):
        """Nothing happens to an entry that has ended."""
        for event in entry_states.EntryEvent:
            self.assertRaises(IllegalTransition, next_state, entry_states.TRANSITIONS, entry_states.ENDED, event)

    def test_only_one_that_waits_gets_the_lock_later(self):
        """A ticket that has the lock is never queued again, and one that waits is not used as a holder."""
        for state in (entry_states.OFFERED, entry_states.UNCLAIMED, entry_states.HELD):
            self.assertNotIn(entry_states.QUEUED, reached(entry_states.TRANSITIONS, state))
        self.assertNotIn(entry_states.USE, entry_states.TRANSITIONS[entry_states.QUEUED])

    def test_what_is_stored_comes_back(self):
        """Each state that is kept is one of the stored ones; a new life makes of each stored one a state that is stored alike."""
        self.assertEqual(set(entry_states.STORED), set(EntryState) - {entry_states.NEW, entry_states.ENDED})
        for standing in Standing:
            state = next_state(entry_states.TRANSITIONS, entry_states.NEW, entry_states.RESTORED[standing])
            self.assertEqual(entry_states.STORED[state], standing)


class JournalTests(SynchronousTestCase):
    def test_every_state_is_reached(self):
        """A new journal can come to each state, and from each but the last two it can lead again."""
        self.assertEqual(reached(journal_states.TRANSITIONS, journal_states.NEW), set(JournalState))
        ends = {journal_states.STEPPED_DOWN, journal_states.CLOSED}
        for state in set(JournalState) - ends:
            self.assertIn(journal_states.IDLE, reached(journal_states.TRANSITIONS, state), state)
        for state in ends:
            self.assertEqual(reached(journal_states.TRANSITIONS, state) - ends, set())

    def test_another_leader_ends_it(self):
        """Whatever the journal does, it takes nothing more when another daemon leads."""
        for state in JournalState:
            following = next_state(journal_states.TRANSITIONS, state, JournalEvent.STEP_DOWN)
            self.assertIs(following, journal_states.STEPPED_DOWN)
        self.assertNotIn(journal_states.STEPPED_DOWN, LEADING)

    def test_a_failure_ends_leading(self):
        """After a commit whose outcome is not known nothing is decided before the store has begun a new term."""
        for before, row in journal_states.TRANSITIONS.items():
            for event, after in row.items():
                if event in {JournalEvent.FAIL, JournalEvent.RESTART}:
                    self.assertNotIn(after, LEADING)
                if after in LEADING and before not in LEADING:
                    self.assertIs(event, JournalEvent.BEGUN)

    def test_one_commit_at_a_time(self):
        """No group is sent while another one is under way."""
        for state in (journal_states.COMMITTING, journal_states.DISCARDING):
            self.assertRaises(IllegalTransition, next_state, journal_states.TRANSITIONS, state, JournalEvent.SEND)


class DrawingTests(SynchronousTestCase):
    def test_drawn(self):
        """``CONTRIBUTING.rst`` has both tables as they are."""
        text = CONTRIBUTING.read_text()
        for transitions in (drawn(entry_states.TRANSITIONS), drawn(journal_states.TRANSITIONS)):
            self.assertIn(transitions, text)
