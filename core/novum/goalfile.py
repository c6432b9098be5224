"""Goal files: what a person writes in TOML for `novum loop`, read into a `Goal`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from novum import config
from novum.claimfile import Override, arm_of, is_name
from novum.config import flaw, plain, shown
from novum.errors import ConfigError
from novum.goal import PROPOSERS, Budget, Goal, Start, Target
from novum.toml import put, read, sound


class BudgetTable(config.Config):
    """What the loop may use; at least one of them."""

    trials: int | None = None
    """Trained networks, of claims, of screening and of observing."""
    device_hours: float | None = None
    """Hours that trials compute."""
    wall: str | None = None
    """Time that the loop works, such as "4 min" or "2 h"."""


class TargetTable(config.Config):
    """Where the loop ends well."""

    task: str
    """The task."""
    value: float
    """What its metric is to reach, shown by a claim about the one arm on new data."""
    metric: str | None = None
    """The metric, if not the one that counts."""


class StartTable(Override):
    """One task of a goal: the arm to begin with, as in a claim file."""

    metric: str | None = None
    """The metric that counts, if not the evaluator's primary one."""
    minimum_effect: float | None = None
    """The least effect that counts, on this task's scale."""
    minimum_effect_raw: float | None = None
    """The least effect that counts, in the metric's own units."""
    space: dict[str, Any] = {}
    """Options that may change on this task alone."""


class GoalFile(config.Config):
    """A goal as written."""

    goal: str
    """Its name: of the loop, and of the stream of its hypotheses."""
    budget: BudgetTable
    """What the loop may use before it ends."""
    tasks: dict[str, StartTable]
    """The tasks, each with the arm to begin with."""
    space: dict[str, Any] = {}
    """Options that may change on every task that has them; empty everywhere: all that are described with ends."""
    proposers: tuple[str | dict[str, Any], ...] = PROPOSERS
    """Who proposes, in this order: names, or tables with a plugin and its options."""
    target: TargetTable | None = None
    """Ends the loop when it is reached."""
    scope: Literal["each", "all", "average"] = "each"
    """Whether a change is tested on each task alone, or on all together: on all of them, or on their average."""
    minimum_effect: float = 0.0
    """The least effect that counts, on each task's scale."""
    minimum_effect_raw: float | None = None
    """The least effect that counts, in the metric's own units."""
    max_seeds: int = 20
    """Most pairs of a claim; the budget may allow fewer."""
    alpha: float = 0.05
    """Error rate of the whole stream of claims."""
    fdr: Literal["lord++", "lond", "none"] = "lord++"
    """How it is spent on them."""
    seeds: int = 3
    """Exploratory trials of each baseline."""
    worth: int | None = None
    """Seeds of the comparison with the first baseline at the end; left out: as the budget allows."""
    seed: int = 0
    """Root of all draws."""


def load_goal(path: str | Path, overrides: Sequence[str] = ()) -> Goal:
    """The goal of a file. overrides: "budget.trials=100": a dotted key and a TOML value (or bare text).

    Raises DataError when the file cannot be read, ConfigError when it does not hold a goal.
    """
    data = read(Path(path))
    for override in overrides:
        put(data, override)
    return goal(data, plain(str(path), 300))


def goal(data: Mapping[str, Any], where: str) -> Goal:
    """A goal from the tables of its file. Raises ConfigError, with the place of the fault."""
    sound(data, where)
    if "claim" in data and "goal" not in data:
        raise ConfigError(
            f"{where}: this is a claim, which `novum run` tests; a goal, for `novum loop`, has a name (goal = …), a "
            "[budget] and [tasks.NAME] tables."
        )
    written = config.parse(GoalFile, data, where)
    if not written.tasks:
        raise ConfigError(f"{where}: [tasks.NAME] is missing; a goal has at least one task.")
    for kind, names in (("goal", (written.goal,)), ("task", tuple(written.tasks))):
        for name in names:
            if flaw(name) or not is_name(name):
                raise ConfigError(
                    f"{where}: {shown(name)} is no name for a {kind}; allowed: 1 to 64 printable characters without "
                    "slashes, which begin with neither a dot nor a dash and end with no space."
                )
    plainly = {
        name: getattr(written, name)
        for name in (
            *("space", "proposers", "scope", "minimum_effect", "minimum_effect_raw", "max_seeds", "alpha", "fdr"),
            *("seeds", "worth", "seed"),
        )
    }
    try:
        return Goal(
            name=written.goal,
            tasks={name: _start(table, f"{where}: tasks.{name}") for name, table in written.tasks.items()},
            budget=Budget(**written.budget.model_dump()),
            target=None if written.target is None else Target(**written.target.model_dump()),
            **plainly,
        )
    except ConfigError as error:
        text = str(error)
        raise ConfigError(text if text.startswith(where) else f"{where}: {text}") from None


def _start(table: StartTable, where: str) -> Start:
    arm = arm_of(table, where)
    return Start(arm, table.metric, table.minimum_effect, table.minimum_effect_raw, table.space)
