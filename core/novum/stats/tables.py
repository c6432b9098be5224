"""Score tables: the runs of one algorithm on several tasks, and the aggregates that survive few runs.

Agarwal, Schwarzer, Castro, Courville & Bellemare (2021), "Deep reinforcement learning at the edge of the statistical
precipice", NeurIPS. Intervals are in `novum.stats.bootstrap`. These describe; with fewer than ten runs they decide
nothing.

A table is given as numbers [runs, tasks], or, where tasks have unequal numbers of runs, as a list of one-dimensional
numpy arrays, one per task. Aggregates over tasks need one scale: see `normalise`. Anything that is not a finite number
raises ConfigError naming the field.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from novum.errors import ConfigError
from novum.stats.inputs import number

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

TRIM = 0.25
"""The share of the runs that the interquartile mean drops at each end."""


@dataclass(frozen=True, eq=False)
class ScoreTable:
    """Runs by task: tasks[t] holds the scores of the runs on task t, read-only, at least one. Made by `table`."""

    tasks: tuple[Array, ...]

    @property
    def runs(self) -> tuple[int, ...]:
        """Number of runs on each task."""
        return tuple(each.size for each in self.tasks)

    def pooled(self) -> Array:
        """The scores of all runs on all tasks, task after task."""
        import numpy as np

        return np.concatenate(self.tasks)


Scores = Any
"""A ScoreTable, numbers [runs, tasks], or a list of one-dimensional numpy arrays, one per task."""


def table(scores: Scores, field: str = "scores") -> ScoreTable:
    """The scores as a table. `field` is what an error calls them."""
    import numpy as np

    if isinstance(scores, ScoreTable):
        return scores
    if isinstance(scores, (list, tuple)) and any(isinstance(each, np.ndarray) for each in scores):
        tasks = [_numeric(each, f"{field}[{at}]", 1) for at, each in enumerate(scores)]
    else:
        tasks = list(_numeric(scores, field, 2).T)
    if not tasks:
        raise ConfigError(f"{field}: received no task; give at least one.")
    for at, each in enumerate(tasks):
        if not each.size:
            raise ConfigError(f"{field}: received no run of task {at}; give at least one.")
        if not np.isfinite(each).all():
            bad = int(np.flatnonzero(~np.isfinite(each))[0])
            raise ConfigError(
                f"{field}: received {each[bad]} for run {bad} of task {at}; give finite numbers. A run that diverged "
                "has its task's worst score."
            )
    return ScoreTable(tuple(_fixed(each) for each in tasks))


def paired_tables(x: Scores, y: Scores) -> tuple[ScoreTable, ScoreTable]:
    """Two tables over the same tasks."""
    a, b = table(x, "x"), table(y, "y")
    if len(a.tasks) != len(b.tasks):
        raise ConfigError(f"y: received {len(b.tasks)} tasks; give the {len(a.tasks)} tasks of x, in the same order.")
    return a, b


def normalise(scores: Scores, low: Any, high: Any) -> ScoreTable:
    """(score - low) / (high - low), so that low becomes 0 and high becomes 1.

    low, high: one number for all tasks or one for each, such as the scores of chance and of a reference (a person, a
    published model). They differ; low > high where less is better.
    """
    given = table(scores)
    count = len(given.tasks)
    bounds = []
    for field, value in (("low", low), ("high", high)):
        numeric = _numeric(value, field, None)
        if numeric.ndim > 1 or (numeric.ndim == 1 and numeric.size != count):
            raise ConfigError(f"{field}: received shape {numeric.shape}; give one number, or one for each of {count}.")
        flat = [number(field, each) for each in numeric.reshape(-1).tolist()]
        bounds.append(flat * count if numeric.ndim == 0 else flat)
    for at, (a, b) in enumerate(zip(*bounds, strict=True)):
        if a == b:
            raise ConfigError(f"high: received {b} for task {at}, which is low as well; give two different numbers.")
    return table([(x - a) / (b - a) for x, a, b in zip(given.tasks, *bounds, strict=True)])


# ------------------------------------------------------------------------------------------------------ aggregates


def mean(scores: Scores) -> float:
    """Mean over tasks of the mean over runs. One task with large scores can carry it."""
    means = _means(table(scores))
    return math.fsum(means) / len(means)


def median(scores: Scores) -> float:
    """Median over tasks of the mean over runs. Half the tasks can change without moving it."""
    means = sorted(_means(table(scores)))
    middle = len(means) // 2
    return means[middle] if len(means) % 2 else (means[middle - 1] + means[middle]) / 2


def iqm(scores: Scores) -> float:
    """Interquartile mean: the mean of the runs of all tasks without the lowest and the highest 25 % of them.

    Of M runs, ⌊M / 4⌋ are dropped at each end, as scipy.stats.trim_mean does. A task with more runs weighs more.
    """
    import numpy as np

    ordered = np.sort(table(scores).pooled())
    cut = int(TRIM * ordered.size)
    return math.fsum(ordered[cut : ordered.size - cut]) / (ordered.size - 2 * cut)


def optimality_gap(scores: Scores, target: float = 1.0) -> float:
    """How far runs fall short of the target: target - mean(min(score, target)) over the runs of all tasks."""
    number("target", target)
    short = [target - min(each, target) for each in table(scores).pooled().tolist()]
    return math.fsum(short) / len(short)


def profile(scores: Scores, thresholds: Sequence[float]) -> tuple[float, ...]:
    """Performance profile: for each threshold the share, 0..1, of the runs of all tasks that score above it."""
    import numpy as np

    ordered = np.sort(table(scores).pooled())
    above = ordered.size - np.searchsorted(ordered, cuts(thresholds), side="right")
    return tuple(float(each) / ordered.size for each in above)


def improvement(x: Scores, y: Scores) -> float:
    """P(X > Y): the chance that a run of x beats a run of y on the same task, a mean over tasks. Ties count half.

    On each task it is Mann & Whitney's U / (n m). 1/2 where neither is better.
    """
    a, b = paired_tables(x, y)
    shares = [float(wins(one, other).mean()) for one, other in zip(a.tasks, b.tasks, strict=True)]
    return math.fsum(shares) / len(shares)


# --------------------------------------------------------------------------------------- for the bootstrap as well


def wins(x: Array, y: Array) -> Array:
    """[runs of x, runs of y]: 1 where x is larger, 1/2 where they tie, else 0."""
    import numpy as np

    return (np.sign(x[:, None] - y[None, :]) + 1) / 2


def cuts(thresholds: Sequence[float]) -> Array:
    """The thresholds of a profile, at least one finite number."""
    import numpy as np

    found = _numeric(thresholds, "thresholds", 1)
    if not found.size or not np.isfinite(found).all():
        raise ConfigError(f"thresholds: received {thresholds!r}; give at least one finite number.")
    return found


def _means(given: ScoreTable) -> list[float]:
    return [math.fsum(each) / each.size for each in given.tasks]


def _numeric(values: Any, field: str, dimensions: int | None) -> Array:
    import numpy as np

    wanted = {1: "one-dimensional numbers", 2: "numbers [runs, tasks]", None: "numbers"}[dimensions]
    rule = " (tasks with unequal numbers of runs: a list of numpy arrays, one per task)" if dimensions == 2 else ""
    try:
        found = np.asarray(values)
    except ValueError:
        raise ConfigError(f"{field}: received rows of unequal lengths; give {wanted}{rule}.") from None
    if found.dtype.kind not in "iuf":
        raise ConfigError(f"{field}: received {found.dtype} values; give {wanted}{rule}.")
    if dimensions is not None and found.ndim != dimensions:
        raise ConfigError(f"{field}: received shape {found.shape}; give {wanted}{rule}.")
    return found.astype(np.float64)


def _fixed(values: Array) -> Array:
    import numpy as np

    copy = np.array(values, dtype=np.float64)
    copy.flags.writeable = False
    return copy
