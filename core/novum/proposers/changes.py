"""Changes of several tasks at once, for the proposers that make them: what tasks have in common, and how to say it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from novum.arm import canonical
from novum.config import plain
from novum.recipe import amount
from novum.space import Option, Space, show

if TYPE_CHECKING:
    from novum.standing import Standing

LONGEST = 60
"""Characters of a value that a claim shows."""


def common(spaces: Sequence[Space]) -> dict[str, Option]:
    """Options that may change in every one of these spaces, with the values that all of them allow."""
    first, *others = spaces
    found = dict(first)
    for other in others:
        both = {path: _both(option, other[path]) for path, option in found.items() if path in other}
        found = {path: option for path, option in both.items() if option is not None}
    return found


def _both(one: Option, other: Option) -> Option | None:
    if one.choices or other.choices:
        listed = one.choices or other.choices
        held = tuple(value for value in listed if one.holds(value) and other.holds(value))
        return Option(one.path, choices=held) if held else None
    low, high = max(one.low, other.low), min(one.high, other.high)
    if low >= high:
        return None
    return Option(one.path, low=low, high=high, log=one.log and other.log, whole=one.whole or other.whole)


def differing(standing: Standing, tasks: Sequence[str], options: Mapping[str, Any]) -> dict[str, Any]:
    """The options whose value is not the baseline's on one of the tasks at least."""
    return {
        path: value
        for path, value in options.items()
        if any(canonical(standing.value(task, path)) != canonical(value) for task in tasks)
    }


def sentence(standing: Standing, tasks: Sequence[str], options: Mapping[str, Any]) -> str:
    """A change as a claim: "On digits: learning_rate 0.001 → 0.01 and dropout 0 → 0.2 help"."""
    changes = [_told(standing, tasks, path, value) for path, value in options.items()]
    verb = "helps" if len(changes) == 1 else "help"
    return f"On {listed(tasks)}: {listed(changes)} {verb}"


def listed(words: Sequence[str]) -> str:
    """One, one and another; one, two and three."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _told(standing: Standing, tasks: Sequence[str], path: str, value: Any) -> str:
    name = path.removeprefix("recipe.").removeprefix("model.")
    before = {canonical(standing.value(task, path)): standing.value(task, path) for task in tasks}
    old = next(iter(before.values())) if len(before) == 1 else None
    return f"{name} → {_short(value)}" if old is None else f"{name} {_short(old)} → {_short(value)}"


def _short(value: Any) -> str:
    return plain(show(value), LONGEST)


def cost(standing: Standing, tasks: Sequence[str], options: Mapping[str, Any]) -> float:
    """Trained experience of a trial with the change in that of the baseline's, the mean over tasks; above 0.

    It is 1 but where the budget changes, and where the two budgets are in different units.
    """
    if "recipe.budget" not in options:
        return 1.0
    ratios = []
    for task in tasks:
        new, old = (amount(str(each)) for each in (options["recipe.budget"], standing.value(task, "recipe.budget")))
        ratios.append(new[0] / old[0] if new[1] == old[1] else 1.0)
    return sum(ratios) / len(ratios)
