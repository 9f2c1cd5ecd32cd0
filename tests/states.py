"""What tests ask of tables of states."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from resourced.transitions import Named

State = TypeVar("State", bound=Named)
Event = TypeVar("Event", bound=Named)


def reached(transitions: Mapping[State, Mapping[Event, State]], start: State) -> set[State]:
    """Return all states that can follow, however many steps later, and the first one."""
    found, left = {start}, [start]
    while left:
        new = set(transitions[left.pop()].values()) - found
        found |= new
        left += new
    return found
