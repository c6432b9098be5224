"""Where a closed loop stands: what its proposers may know, and what they give back.

Nothing here comes from `test`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from novum.arm import Arm, canonical
from novum.goal import Goal
from novum.hypothesize import Comparison, Hypothesis
from novum.observe import Fact
from novum.space import Space, applied, current


@dataclass(frozen=True)
class Change:
    """Something to try: on these tasks, options by path with their new values.

    claim: the sentence to test. because: why it may help, with the source of the advice; rests_on: ids of the facts
    behind it. gain: the effect that is hoped for, on the tasks' scales, above 0; cost: trained experience of a trial in
    that of the baseline's.
    """

    tasks: tuple[str, ...]
    options: Mapping[str, Any]
    claim: str
    because: str = ""
    rests_on: tuple[str, ...] = ()
    gain: float = 0.05
    cost: float = 1.0

    @property
    def key(self) -> str:
        """What it changes, and where: two changes with one key are the same."""
        return canonical([sorted(self.tasks), dict(self.options)])

    @property
    def rank(self) -> float:
        """Expected gain per cost."""
        return self.gain / max(self.cost, 1e-9)


@dataclass(frozen=True)
class Screened:
    """A change that one exploratory trial a task was spent on, in some round.

    gain: of that trial over the baseline's at the same seed, the mean over tasks on their scales (in the metric's
    units, better being above 0, where a task has no scale); None where a trial could not run.
    """

    round: int
    tasks: tuple[str, ...]
    options: Mapping[str, Any]
    gain: float | None


@dataclass(frozen=True)
class Claimed:
    """A change that was claimed in some round; outcome: of its verdict, or "refused" where it could not be registered;
    adopted: whether it became the baseline.
    """

    round: int
    hypothesis: str
    tasks: tuple[str, ...]
    options: Mapping[str, Any]
    outcome: str
    adopted: bool

    @property
    def key(self) -> str:
        """As that of the `Change`."""
        return canonical([sorted(self.tasks), dict(self.options)])


@dataclass(frozen=True)
class Standing:
    """What the proposers of a loop may know, in its round-th round (from 1).

    baseline: task → its arm now; whole: the same with every option filled in. spaces: task → options that may change
    there. facts: task → id → fact, of the task ("digits/train.size") and of what was tried ("digits/run.gap").
    screened, claimed: what was tried in this loop, oldest first. left: trials of the budget that are left for claims
    and screening; None where trials are not limited. try_out: trains one exploratory trial a task for each change and
    gives them back screened, in the order asked; what it gave in this round before an interruption stands in
    `screened`.
    """

    goal: Goal
    round: int
    baseline: Mapping[str, Arm]
    whole: Mapping[str, Arm]
    spaces: Mapping[str, Space]
    facts: Mapping[str, Mapping[str, Fact]]
    screened: tuple[Screened, ...] = ()
    claimed: tuple[Claimed, ...] = ()
    left: int | None = None
    try_out: Callable[[Sequence[Change]], tuple[Screened, ...]] = field(default=lambda changes: (), compare=False)

    def value(self, task: str, path: str) -> Any:
        """The value of an option in the baseline of a task; None where nothing says."""
        return current(self.whole[task], path)

    def number(self, task: str, fact: str) -> float | None:
        """The value of a fact by its id within the task ("run.gap"); None where it is unknown or no number."""
        found = self.facts[task].get(f"{task}/{fact}")
        value = None if found is None else found.value
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None

    def allows(self, change: Change) -> bool:
        """Whether the space of each of its tasks holds every option at its new value, and it changes something."""
        return all(
            path in self.spaces[task] and self.spaces[task][path].holds(value)
            for task in change.tasks
            for path, value in change.options.items()
        ) and any(
            canonical(self.value(task, path)) != canonical(value)
            for task in change.tasks
            for path, value in change.options.items()
        )

    def known(self, change: Change) -> bool:
        """Whether it was claimed before in this loop, whatever came of it."""
        return change.key in {each.key for each in self.claimed}

    def groups(self) -> tuple[tuple[str, ...], ...]:
        """The tasks that a change is about: each alone, or all together, as the goal's scope says."""
        names = tuple(self.goal.tasks)
        return tuple((name,) for name in names) if self.goal.scope == "each" else (names,)

    def arms(self, change: Change) -> dict[str, Arm]:
        """Task → the baseline with the change."""
        return {task: applied(self.baseline[task], change.options) for task in change.tasks}

    def claim(self, change: Change) -> Hypothesis:
        """The hypothesis that the change beats the baseline on its tasks, as the goal tests it."""
        goal, tasks = self.goal, {}
        for task, arm in self.arms(change).items():
            start = goal.tasks[task]
            tasks[task] = Comparison(
                self.baseline[task], arm, start.metric, start.minimum_effect, start.minimum_effect_raw
            )
        return Hypothesis(
            claim=change.claim,
            tasks=tasks,
            minimum_effect=goal.minimum_effect,
            minimum_effect_raw=goal.minimum_effect_raw,
            max_seeds=goal.max_seeds,
            alpha=goal.alpha,
            fdr=goal.fdr,
            goal=goal.name,
            seed=goal.seed,
            scope="average" if goal.scope == "average" and len(tasks) > 1 else "all",
            give_up="support",
            expected_effect=change.gain,
            rests_on=change.rests_on,
            because=change.because,
        )
