"""How long a request for several things will wait: as long as those did lately that asked for the same. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final, NamedTuple

#: For how many kinds of requests it is known how they waited; those that nobody asks for are forgotten first.
KINDS: Final = 1000
#: How much of what is known counts beside one more wait.
DECAY: Final = 0.95
#: What is known of fewer waits than this says nothing. Waits that are long past count less.
ENOUGH: Final = 4.0
#: The most that estimates may have been wrong lately, as a share of the wait; where it was more none is given.
WRONG: Final = 0.3


class Expectation(NamedTuple):
    """
    What was expected of a wait when its client was told of its position.

    :ivar units: how many units had to fall free before it had everything, as far as that can be told.
    :ivar seconds: for how long it was to wait from then on; nothing if that could not be said.
    """

    units: float
    since: float
    seconds: float | None


class _Mean:
    """A mean in which what was long ago counts less."""

    __slots__ = ("_sum", "weight")

    def __init__(self) -> None:
        self._sum = 0.0
        self.weight = 0.0

    def add(self, value: float) -> None:
        self._sum = self._sum * DECAY + value
        self.weight = self.weight * DECAY + 1

    @property
    def value(self) -> float | None:
        """The mean; nothing as long as too little is known."""
        return self._sum / self.weight if self.weight >= ENOUGH else None


class _Kind:
    """
    How requests waited that asked for the same.

    :ivar waited: for how many seconds, and ``units`` for how many units: so long a unit takes.
    :ivar errors: how wrong estimates were, by the order of magnitude of the units: near the front chance decides.
    """

    __slots__ = ("errors", "units", "waited")

    def __init__(self) -> None:
        self.waited = _Mean()
        self.units = _Mean()
        self.errors: dict[int, _Mean] = {}

    def seconds(self, units: float) -> float | None:
        waited, each = self.waited.value, self.units.value
        return None if waited is None or not each else waited / each * units


class Estimates:
    """
    Learns how long it takes until a unit falls free, and how far that can be relied on.

    That depends on what is asked for, so each kind of request is looked at alone. An estimate is given only where those that would have been
    given lately were good.
    """

    def __init__(self) -> None:
        self._kinds: OrderedDict[Hashable, _Kind] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kinds)

    def expect(self, kind: Hashable, units: float, now: float) -> Expectation:
        """Return what is to be compared with the wait when it is over."""
        known = self._kinds.get(kind)
        return Expectation(units, now, None if known is None else known.seconds(units))

    def seconds(self, kind: Hashable, units: float) -> float | None:
        """Return for how many seconds a request will wait until so many units have fallen free; nothing if that cannot be said honestly."""
        known = self._kinds.get(kind)
        errors = None if known is None else known.errors.get(int(units).bit_length())
        wrong = None if errors is None else errors.value
        return None if known is None or wrong is None or wrong > WRONG else known.seconds(units)

    def granted(self, kind: Hashable, expected: Expectation, now: float) -> None:
        """Learn from a wait that is over, because the request got everything."""
        known = self._kinds.get(kind)
        if known is None:
            known = self._kinds[kind] = _Kind()
            if len(self._kinds) > KINDS:
                self._kinds.popitem(last=False)
        self._kinds.move_to_end(kind)
        waited = now - expected.since
        known.waited.add(waited)
        known.units.add(expected.units)
        if expected.seconds is not None:
            errors = known.errors.setdefault(int(expected.units).bit_length(), _Mean())
            # Seconds are whole on the wire. And one that was wildly wrong counts no more than one that was all wrong.
            errors.add(min(1.0, abs(expected.seconds - waited) / max(1.0, waited)))
