"""State machines as tables: a row for each state, and in it the state that follows each event. What is not there must not happen. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import TypeVar


class Named(Enum):
    """The base of states and events; the value of a member says in words what it means."""

    # A member equals only itself. Enum takes the hash of its name, which costs more than the whole transition.
    __hash__ = object.__hash__


State = TypeVar("State", bound=Named)
Event = TypeVar("Event", bound=Named)


class IllegalTransition(Exception):
    """Something has happened that must not happen in this state: a bug."""


def next_state(transitions: Mapping[State, Mapping[Event, State]], state: State, event: Event) -> State:
    """
    Return the state that follows.

    :raises IllegalTransition: the table does not allow this event in this state.
    """
    try:
        return transitions[state][event]
    except KeyError:
        raise IllegalTransition(f"{event} must not happen in {state}.") from None
