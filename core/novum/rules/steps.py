"""Where a remedy moves one option, within what a search space holds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from novum.errors import ConfigError

if TYPE_CHECKING:
    from novum.space import Option

LEAST = 1.1
"""A factor below this, up or down, is no step: the space ended too near."""


@dataclass(frozen=True)
class Step:
    """Where an option goes; exactly one of these is given.

    to: this value. times: its value times this factor, above 0 and not 1, or what the space holds nearest to it in that
    direction; a budget counts in its own unit. least: up to this number, where it is lower. other: True: the first
    choice that is not what it is, such as an arm to start from.
    """

    to: Any = None
    times: float | None = None
    least: float | None = None
    other: bool = False

    def __post_init__(self) -> None:
        given = [self.to is not None, self.times is not None, self.least is not None, self.other]
        if sum(given) != 1 or (self.times is not None and not (self.times > 0 and self.times != 1)):
            raise ConfigError(
                f"rule: received {self!r}; give exactly one of to, times (above 0 and not 1), least and other."
            )

    def of(self, option: Option, now: Any) -> Any:
        """The new value of an option that has the value `now` (None: unknown); None where the space has none."""
        if self.other:
            return next((each for each in option.choices if each is not None and each != now), None)
        if self.to is not None:
            return self.to if option.holds(self.to) else None
        size = _size(now)
        if size is None:
            return None
        wanted = size[0] * self.times if self.times is not None else max(self.least or 0.0, size[0])
        if wanted == size[0]:
            return None
        found = _choice(option, size, wanted) if option.choices else option.nearest(wanted)
        return found if found is not None and self._is_a_step(size[0], _size(found)) else None

    def _is_a_step(self, now: float, size: tuple[float, str] | None) -> bool:
        if size is None:
            return False
        if self.times is not None and self.times < 1:
            return now >= LEAST * size[0]
        return size[0] > now and size[0] >= LEAST * now

    def agrees(self, now: Any, value: Any) -> bool:
        """Whether a value that was found for another task does not move this one the other way."""
        if self.to is not None or self.other:
            return True
        own, new = _size(now), _size(value)
        if own is None or new is None or own[1] != new[1]:
            return False
        return new[0] <= own[0] if self.times is not None and self.times < 1 else new[0] >= own[0]

    def __str__(self) -> str:
        if self.other:
            return "another choice"
        if self.to is not None:
            return f"= {str(self.to).lower() if isinstance(self.to, bool) else self.to}"
        return f"× {self.times:g}" if self.times is not None else f"≥ {self.least:g}"


def _size(value: Any) -> tuple[float, str] | None:
    """A number and its unit, "" for one without; None for what has no size."""
    from novum.recipe import amount

    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value), ""
    try:
        return amount(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _choice(option: Option, now: tuple[float, str], wanted: float) -> Any:
    """The choice of the same unit that lies beyond `now` on the side of `wanted`, nearest to that by its logarithm."""
    sizes = [(each, _size(each)) for each in option.choices]
    beyond = [
        (abs(math.log(size[0] / wanted)) if size[0] > 0 and wanted > 0 else abs(size[0] - wanted), at)
        for at, (_, size) in enumerate(sizes)
        if size is not None and size[1] == now[1] and (size[0] - now[0]) * (wanted - now[0]) > 0
    ]
    return option.choices[min(beyond)[1]] if beyond else None
