"""Rules: what facts suggest to try, why, and who says so. Entry points `novum.rules`, each a `Rule`.

A rule is data, so that the table can be read and printed (docs/rules.md). It proposes and never judges; what its remedy
is worth on the task at hand is for the verdict to say.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from novum.config import flaw, plain, shown
from novum.errors import ConfigError, PluginError
from novum.rules.steps import Step

if TYPE_CHECKING:
    from novum.standing import Change, Standing

__all__ = ["Held", "Rule", "Sign", "Step", "installed"]

NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
QUOTED = re.compile(r"\{(?P<name>[^{}:]+)(?::(?P<spec>[^{}]*))?\}")
LONGEST = 60
"""Characters of an option's value that a claim's sentence repeats."""


@dataclass(frozen=True)
class Sign:
    """A fact that lies above, or below, a bound; one that is unknown or no number is no sign.

    fact: its id within the task, such as "run.gap". above, below: exactly one, a number in the fact's unit, or the path
    of an option whose value in the baseline is the bound ("model.max_length").
    """

    fact: str
    above: float | str | None = None
    below: float | str | None = None

    def __post_init__(self) -> None:
        if (self.above is None) == (self.below is None):
            raise ConfigError(f"rule: the sign {self.fact!r}: give either above or below.")

    def shows(self, standing: Standing, task: str) -> bool:
        """Whether it can be seen on a task."""
        found = standing.number(task, self.fact)
        bound: Any = self.below if self.above is None else self.above
        if isinstance(bound, str):
            bound = standing.value(task, bound)
        if found is None or not isinstance(bound, int | float) or isinstance(bound, bool):
            return False
        return found > bound if self.above is not None else found < bound

    def __str__(self) -> str:
        return f"{self.fact} > {self.above}" if self.above is not None else f"{self.fact} < {self.below}"


@dataclass(frozen=True)
class Held:
    """An option of the baseline that has one of some values; of several paths one is enough.

    values: empty: any but none, false, 0 and "".
    """

    paths: tuple[str, ...]
    values: tuple[Any, ...] = ()

    def shows(self, standing: Standing, task: str) -> bool:
        """Whether it is so on a task."""
        found = [standing.value(task, path) for path in self.paths]
        return any(value in self.values if self.values else bool(value) for value in found)

    def __str__(self) -> str:
        names = " or ".join(self.paths)
        return f"{names} is {' or '.join(map(str, self.values)) if self.values else 'set'}"


@dataclass(frozen=True)
class Rule:
    """Where all signs show, one of the remedies may help.

    name: of small letters, digits and dashes, as its entry point is called. claim: what is then tested, in a few words
    without a full stop. signs: all have to show. remedies: ways in order, of which the first that the search space
    holds and that was not claimed before is taken; each maps paths of options to where they go. reason: a sentence in
    which "{run.gap}" or "{model.dropout}" stands for that fact or option; a format may follow a colon. source: who
    found so, with the year. gain: the effect that is hoped for, on a task's scale (0 is chance, 1 the reference). cost:
    trained experience, or time where a step takes longer, in that of the baseline.

    Raises ConfigError for what is missing or out of range.
    """

    name: str
    claim: str
    signs: tuple[Sign | Held, ...]
    remedies: tuple[Mapping[str, Step], ...]
    reason: str
    source: str
    gain: float = 0.02
    cost: float = 1.0

    def __post_init__(self) -> None:
        _check("name", self.name, bool(NAME.fullmatch(self.name)), "small letters, digits and single dashes")
        for name in ("claim", "reason", "source"):
            text = getattr(self, name)
            _check(name, text, bool(text.strip()) and flaw(text) is None, "printable text")
        _check("source", self.source, bool(re.search(r"(1[89]|20)\d\d", self.source)), "a source with its year")
        _check("signs", self.signs, any(isinstance(each, Sign) for each in self.signs), "at least one fact")
        _check("remedies", self.remedies, bool(self.remedies) and all(self.remedies), "at least one option")
        _check("gain", self.gain, 0 < self.gain < 10, "a number above 0")
        _check("cost", self.cost, 0 < self.cost < 1000, "a number above 0")
        object.__setattr__(self, "remedies", tuple(MappingProxyType(dict(each)) for each in self.remedies))

    def __hash__(self) -> int:
        return hash(self.name)

    def fires(self, standing: Standing, task: str) -> bool:
        """Whether every sign shows on a task."""
        return all(sign.shows(standing, task) for sign in self.signs)

    def change(self, standing: Standing, tasks: Sequence[str]) -> Change | None:
        """What it proposes for tasks that are changed together; None where it fires on none of them, where a task lacks
        an option of each of its remedies, and where all of them were claimed before.
        """
        from novum.standing import Change

        firing = [task for task in tasks if self.fires(standing, task)]
        for remedy in self.remedies if firing else ():
            options = {path: _value(step, path, standing, tasks, firing) for path, step in remedy.items()}
            if any(value is None for value in options.values()) or not _moves(options, standing, firing):
                continue
            change = Change(
                tasks=tuple(tasks),
                options=options,
                claim=_sentence(self.claim, tasks, options),
                because=self._because(standing, tasks, firing),
                rests_on=tuple(f"{task}/{each.fact}" for task in firing for each in self.signs if type(each) is Sign),
                gain=self.gain,
                cost=self.cost,
            )
            if standing.allows(change) and not standing.known(change):
                return change
        return None

    def _because(self, standing: Standing, tasks: Sequence[str], firing: Sequence[str]) -> str:
        told = []
        for task in firing:
            reason = QUOTED.sub(lambda found, task=task: _quoted(found, standing, task), self.reason)  # type: ignore[misc]
            told.append(f"On {task}: {reason[:1].lower()}{reason[1:]}" if len(tasks) > 1 else reason)
        return plain(" ".join([*told, f"Source: {self.source.rstrip('.')}."]), 2000)


def installed(wanted: Sequence[str] = ()) -> tuple[Rule, ...]:
    """The installed rules, sorted by name; wanted: those alone. One that cannot be had is left out, with a warning.

    Raises ConfigError for a wanted name that is not installed.
    """
    from novum import plugins
    from novum.errors import closest

    names = plugins.names("rule")
    for name in wanted:
        if name not in names:
            raise ConfigError(f"no rule is called {shown(name)}; {closest(name, names)}.")
    found = []
    for name in sorted(wanted or names):
        try:
            rule = plugins.load("rule", name)
            if not isinstance(rule, Rule):
                raise PluginError(
                    f"the rule {name!r} is {type(rule).__name__}; its entry point must name a novum.Rule."
                )
        except PluginError as error:
            warnings.warn(f"a rule is left out: {error}", RuntimeWarning, stacklevel=2)
            continue
        found.append(rule)
    return tuple(found)


def _value(step: Step, path: str, standing: Standing, tasks: Sequence[str], firing: Sequence[str]) -> Any:
    """Where an option goes on all tasks; None where one of them has no such option, or would be moved the other way."""
    if any(path not in standing.spaces[task] for task in tasks):
        return None
    value = step.of(standing.spaces[firing[0]][path], standing.value(firing[0], path))
    agreed = value is not None and all(step.agrees(standing.value(task, path), value) for task in tasks)
    return value if agreed else None


def _moves(options: Mapping[str, Any], standing: Standing, firing: Sequence[str]) -> bool:
    return any(standing.value(task, path) != value for task in firing for path, value in options.items())


def _sentence(claim: str, tasks: Sequence[str], options: Mapping[str, Any]) -> str:
    from novum.numbers import listed
    from novum.space import show

    changed = ", ".join(f"{path} = {plain(show(value), LONGEST)}" for path, value in options.items())
    return f"{claim} on {listed(list(tasks))}: {changed}"


def _quoted(found: re.Match[str], standing: Standing, task: str) -> str:
    from novum.numbers import show

    name, spec = found["name"], found["spec"]
    value: Any = standing.number(task, name)
    if value is None and name.partition(".")[0] in ("recipe", "model", "task"):
        value = standing.value(task, name)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return format(value, spec) if spec else show(value)
    return "unknown" if value is None else str(value)


def _check(name: str, value: object, good: bool, allowed: str) -> None:
    if not good:
        raise ConfigError(f"rule: {name}: received {shown(value)}; allowed: {allowed}.")
