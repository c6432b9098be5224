"""Percentile intervals of the aggregates of score tables, by resampling runs within their tasks.

The stratified bootstrap of Agarwal et al. (2021): a replicate draws, for each task, as many runs as it has, with
replacement. With `task_bootstrap` it first draws as many tasks as there are, with replacement: what might other tasks
of this kind have given? With fewer than ten runs such intervals are too narrow: they describe and do not decide.

No replicate of the interquartile mean is gathered and sorted. The scores are sorted once; a replicate is how often
each was drawn, and the running totals of these counts in sorted order say which part of each score is kept.

Draws depend on the seed and on the table's numbers of runs alone. So an algorithm's interval does not change with the
algorithms that stand beside it, and tables of one shape share their draws.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from novum.errors import ConfigError
from novum.stats import tables
from novum.stats.inputs import level, number, one_of, whole
from novum.stats.tables import Scores, ScoreTable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Whole = NDArray[np.integer]

STATISTICS = ("mean", "median", "iqm", "optimality_gap")

CELLS, NARROW, WIDE = 2**19, 64, 4096
"""Scores drawn at once, and the least and most replicates at once: what a processor's cache holds. A seed means other
draws when these change."""


@dataclass(frozen=True)
class Interval:
    """An aggregate, with its percentile interval.

    low and high are None where the table does not show how the aggregate varies: where a task has a single run; with
    task_bootstrap, where there is a single task.
    """

    value: float
    low: float | None
    high: float | None


def intervals(
    scores: Mapping[str, Scores],
    statistic: str = "iqm",
    *,
    replicates: int = 50_000,
    alpha: float = 0.05,
    task_bootstrap: bool = False,
    target: float = 1.0,
    seed: int = 0,
) -> dict[str, Interval]:
    """The interval of one aggregate for each algorithm, of confidence 1 - alpha.

    scores: an algorithm's name → its table (see `novum.stats.tables`), all over the same tasks. statistic: one of
    STATISTICS. target: of the optimality gap. Raises ConfigError.
    """
    level("alpha", alpha)
    given = _parsed(scores)
    points: dict[str, Callable[[ScoreTable], float]] = {
        "mean": tables.mean,
        "median": tables.median,
        "iqm": tables.iqm,
        "optimality_gap": lambda each: tables.optimality_gap(each, target),
    }
    point = points[one_of("statistic", statistic, STATISTICS)]
    known = {name: each for name, each in given.items() if _varies(each, task_bootstrap)}
    found = resample(known, statistic, replicates=replicates, task_bootstrap=task_bootstrap, target=target, seed=seed)
    return {name: _interval(point(each), found.get(name), alpha) for name, each in given.items()}


def resample(
    scores: Mapping[str, Scores],
    statistic: str = "iqm",
    *,
    replicates: int = 50_000,
    task_bootstrap: bool = False,
    target: float = 1.0,
    seed: int = 0,
) -> dict[str, Array]:
    """The aggregate in each replicate, [replicates], for each algorithm. Arguments as those of `intervals`."""
    import numpy as np

    one_of("statistic", statistic, STATISTICS)
    number("target", target)
    _check(replicates, seed)
    alike: dict[tuple[int, ...], dict[str, Callable[[Chunk], Array]]] = {}
    for name, each in _parsed(scores).items():
        alike.setdefault(each.runs, {})[name] = _replicator(each, statistic, target)
    found = {name: np.empty(replicates) for name in scores}
    for runs, group in alike.items():
        for chunk in draws([runs], replicates, seed, task_bootstrap):
            for name, replicate in group.items():
                found[name][chunk.first : chunk.first + chunk.width] = replicate(chunk)
    return found


def profile_bands(
    scores: Scores,
    thresholds: Sequence[float],
    *,
    replicates: int = 2000,
    alpha: float = 0.05,
    task_bootstrap: bool = False,
    seed: int = 0,
) -> tuple[Interval, ...]:
    """The performance profile at each threshold, with a band that holds at each threshold by itself (pointwise)."""
    import numpy as np

    level("alpha", alpha)
    _check(replicates, seed)
    given = tables.table(scores)
    points = tables.profile(given, thresholds)
    if not _varies(given, task_bootstrap):
        return tuple(Interval(each, None, None) for each in points)
    order, ordered = _sorted(given)
    below = np.searchsorted(ordered, tables.cuts(thresholds), side="right")
    found = np.zeros((below.size, replicates))
    for chunk in draws([given.runs], replicates, seed, task_bootstrap):
        totals = _totals(chunk.counts[order])
        reached = np.where(below[:, None] > 0, totals[below - 1], 0)
        found[:, chunk.first : chunk.first + chunk.width] = (totals[-1] - reached) / totals[-1]
    return tuple(_interval(point, each, alpha) for point, each in zip(points, found, strict=True))


def improvement_interval(
    x: Scores,
    y: Scores,
    *,
    replicates: int = 50_000,
    alpha: float = 0.05,
    task_bootstrap: bool = False,
    seed: int = 0,
) -> Interval:
    """P(X > Y) as in `novum.stats.tables.improvement`; the runs of x and of y are drawn independently."""
    import numpy as np

    level("alpha", alpha)
    _check(replicates, seed)
    a, b = tables.paired_tables(x, y)
    point = tables.improvement(a, b)
    if not (_varies(a, task_bootstrap) and _varies(b, task_bootstrap)):
        return Interval(point, None, None)
    beaten = [tables.wins(one, other) for one, other in zip(a.tasks, b.tasks, strict=True)]
    found = np.empty(replicates)
    for chunk in draws([a.runs, b.runs], replicates, seed, task_bootstrap):
        shares = np.empty((len(beaten), chunk.width))
        for task, slots, (of_x, of_y) in chunk.strata:
            columns = np.arange(slots.size)
            m, n = beaten[task].shape
            won = (beaten[task].T @ _count(of_x, columns, m, slots.size)) * _count(of_y, columns, n, slots.size)
            shares.reshape(-1)[slots] = won.sum(axis=0) / (m * n)
        found[chunk.first : chunk.first + chunk.width] = shares.mean(axis=0)
    return _interval(point, found, alpha)


# ------------------------------------------------------------------------------------------------------------ draws


class Stratum(NamedTuple):
    """All draws of one task in a chunk."""

    task: int
    slots: Whole
    """[K], place · width + replicate of each time the task was drawn; place numbers the tasks of a replicate."""
    picks: tuple[Whole, ...]
    """For each table [runs, K], which runs were drawn."""


@dataclass(frozen=True)
class Chunk:
    """`width` replicates, the first of them number `first`. runs: of each task of the first table."""

    first: int
    width: int
    runs: tuple[int, ...]
    strata: tuple[Stratum, ...]

    @cached_property
    def counts(self) -> Whole:
        """[scores, width], how often each score of the first table was drawn; scores stand task after task."""
        import numpy as np

        most = len(self.runs) * max(self.runs)
        found = np.zeros((sum(self.runs), self.width), np.min_scalar_type(most))
        ends = np.cumsum(self.runs)
        for task, slots, picks in self.strata:
            runs = self.runs[task]
            found[ends[task] - runs : ends[task]] = _count(picks[0], slots % self.width, runs, self.width)
        return found

    def means(self, values: Sequence[Array]) -> Array:
        """[places, width], mean of the drawn runs' values; values: per task, one for each run."""
        import numpy as np

        found = np.empty((len(self.runs), self.width))
        for task, slots, picks in self.strata:
            found.reshape(-1)[slots] = values[task][picks[0]].mean(axis=0)
        return found

    @cached_property
    def sizes(self) -> Whole:
        """[places, width], number of runs of the drawn tasks."""
        import numpy as np

        found = np.empty((len(self.runs), self.width), np.int64)
        for task, slots, _ in self.strata:
            found.reshape(-1)[slots] = self.runs[task]
        return found


def draws(runs: Sequence[tuple[int, ...]], replicates: int, seed: int, task_bootstrap: bool = False) -> Iterator[Chunk]:
    """All draws, chunk by chunk. runs: for each of the tables that are resampled side by side, of each task."""
    import numpy as np

    generator = np.random.Generator(np.random.PCG64(seed))
    tasks = len(runs[0])
    step = min(max(CELLS // max(sum(each) for each in runs), NARROW), WIDE)
    for first in range(0, replicates, step):
        width = min(step, replicates - first)
        places = np.repeat(np.arange(tasks), width)
        if task_bootstrap:
            places = generator.integers(0, tasks, tasks * width)
        strata = []
        for task in range(tasks):
            slots = np.flatnonzero(places == task)
            picks = tuple(generator.integers(0, each[task], (each[task], slots.size)) for each in runs)
            strata.append(Stratum(task, slots, picks))
        yield Chunk(first, width, runs[0], tuple(strata))


def _count(picks: Whole, columns: Whole, rows: int, width: int) -> Whole:
    """[rows, width], how often row r was picked in column c. picks: [any, K], their columns: [K]."""
    import numpy as np

    return np.bincount((picks * width + columns).reshape(-1), minlength=rows * width).reshape(rows, width)


# -------------------------------------------------------------------------------------------------------- replicates


def _replicator(given: ScoreTable, statistic: str, target: float) -> Callable[[Chunk], Array]:
    import numpy as np

    if statistic == "iqm":
        order, ordered = _sorted(given)
        return lambda chunk: _trimmed(ordered, chunk.counts[order])
    if statistic == "mean":
        return lambda chunk: chunk.means(given.tasks).mean(axis=0)
    if statistic == "median":
        return lambda chunk: np.median(chunk.means(given.tasks), axis=0)
    short = [target - np.minimum(each, target) for each in given.tasks]
    return lambda chunk: (chunk.means(short) * chunk.sizes).sum(axis=0) / chunk.sizes.sum(axis=0)


def _trimmed(ordered: Array, counts: Whole) -> Array:
    """[width], the interquartile mean of each replicate. ordered: ascending; counts: [scores, width], changed here."""
    import numpy as np

    totals = _totals(counts)
    size = totals[-1].copy()
    cut = (tables.TRIM * size).astype(totals.dtype)
    np.maximum(totals, cut, out=totals)
    np.minimum(totals, size - cut, out=totals)
    kept: Array = np.empty(totals.shape)
    kept[0] = totals[0] - cut
    np.subtract(totals[1:], totals[:-1], out=kept[1:])
    mean: Array = np.einsum("s,sw->w", ordered, kept) / (size - 2 * cut)
    return mean


def _totals(counts: Whole) -> Whole:
    """Running totals down the rows, in place: numpy's own go column by column, ten times slower."""
    import numpy as np

    for at in range(1, len(counts)):
        np.add(counts[at - 1], counts[at], out=counts[at])
    return counts


def _sorted(given: ScoreTable) -> tuple[Whole, Array]:
    import numpy as np

    pooled = given.pooled()
    order = np.argsort(pooled, kind="stable")
    return order, pooled[order]


# ------------------------------------------------------------------------------------------------------------ helpers


def _interval(value: float, found: Array | None, alpha: float) -> Interval:
    import numpy as np

    if found is None:
        return Interval(value, None, None)
    low, high = np.quantile(found, (alpha / 2, 1 - alpha / 2))
    return Interval(value, float(low), float(high))


def _varies(given: ScoreTable, task_bootstrap: bool) -> bool:
    return len(given.tasks) > 1 if task_bootstrap else min(given.runs) > 1


def _parsed(scores: Mapping[str, Scores]) -> dict[str, ScoreTable]:
    found = {name: tables.table(each, f"scores[{name!r}]") for name, each in scores.items()}
    for name, each in found.items():
        first, other = next(iter(found.items()))
        if len(each.tasks) != len(other.tasks):
            raise ConfigError(
                f"scores[{name!r}]: received {len(each.tasks)} tasks; give the {len(other.tasks)} tasks of {first!r}, "
                "in the same order."
            )
    return found


def _check(replicates: int, seed: int) -> None:
    whole("replicates", replicates, 1)
    whole("seed", seed, 0)
