"""How long bootstrap intervals of score tables take: Novum, a vectorised numpy version and rliable, side by side.

    OMP_NUM_THREADS=1 python experiments/benchmarks/score_tables.py
    OMP_NUM_THREADS=1 python experiments/benchmarks/score_tables.py --replicates 2000 --times 9

The interquartile means of five algorithms on 26 tasks with ten runs each (log-normal scores, fixed seed), with 95 %
intervals. "numpy" gathers the scores of each replicate and partitions them, in chunks that fit the cache. rliable takes
part where it can be imported (`pip install rliable "pandas<3"`). It is run with two smaller numbers of replicates, and
its line is a straight one through both: it needs about a minute otherwise. All are repeated in turn, so that a busy
machine slows them alike; the numbers are medians, of processor seconds and of wall seconds. "largest gap" is how far
the interval ends differ from Novum's at most, in widths of the interval: the noise of the bootstrap.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import os
import platform
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy
from novum.stats.bootstrap import intervals

RUNS, TASKS, NAMES = 10, 26, ("a", "b", "c", "d", "e")
Ends = dict[str, tuple[float, float]]
Seconds = tuple[float, float]


def ours(tables: dict[str, Any], replicates: int) -> Ends:
    """novum.stats.bootstrap."""
    found = intervals(tables, "iqm", replicates=replicates, seed=1)
    return {
        name: (each.low, each.high) for name, each in found.items() if each.low is not None and each.high is not None
    }


def gathered(tables: dict[str, Any], replicates: int, chunk: int = 1000) -> Ends:
    """What one writes with numpy alone."""
    generator = np.random.default_rng(1)
    size, cut, found = RUNS * TASKS, RUNS * TASKS // 4, {}
    for name, scores in tables.items():
        values = np.empty(replicates)
        for first in range(0, replicates, chunk):
            width = min(chunk, replicates - first)
            picks = generator.integers(0, RUNS, (width, RUNS, TASKS))
            drawn = scores[picks, np.arange(TASKS)].reshape(width, size)
            middle = np.partition(drawn, (cut, size - cut - 1), axis=1)[:, cut : size - cut]
            values[first : first + width] = middle.mean(axis=1)
        found[name] = tuple(np.quantile(values, (0.025, 0.975)).tolist())
    return found


def reference() -> Callable[[dict[str, Any], int], Ends] | str:
    """rliable, or why it cannot take part."""
    try:
        library, metrics = (importlib.import_module(f"rliable.{name}") for name in ("library", "metrics"))
    except ImportError as error:
        return f"not installed ({error})"
    except Exception as error:  # its dependencies fail in their own ways when versions do not fit
        return f"cannot be imported ({type(error).__name__}: {error})"

    def run(tables: dict[str, Any], replicates: int) -> Ends:
        _, found = library.get_interval_estimates(
            tables, lambda x: np.array([metrics.aggregate_iqm(x)]), reps=replicates
        )
        return {name: (float(each[0, 0]), float(each[1, 0])) for name, each in found.items()}

    return run


def clocked(work: Callable[[], Ends]) -> tuple[Seconds, Ends]:
    """Processor and wall seconds of one run, and what it found."""
    processor, wall = time.process_time(), time.perf_counter()
    found = work()
    return (time.process_time() - processor, time.perf_counter() - wall), found


def extrapolated(
    run: Callable[[dict[str, Any], int], Ends], tables: dict[str, Any], replicates: int
) -> tuple[Seconds, Ends]:
    """`clocked` for `replicates`, by a straight line through two smaller runs."""
    few, more = min(500, replicates // 4), min(2000, replicates)
    (short, _), (long, found) = clocked(lambda: run(tables, few)), clocked(lambda: run(tables, more))
    share = (replicates - few) / (more - few)
    return (short[0] + (long[0] - short[0]) * share, short[1] + (long[1] - short[1]) * share), found


def gap(found: Ends, base: Ends) -> float:
    """Largest difference of an interval's end from Novum's, in widths."""
    return max(
        abs(a - b) / (base[name][1] - base[name][0])
        for name in base
        for a, b in zip(found[name], base[name], strict=True)
    )


def main() -> None:
    """Print the table."""
    words = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    words.add_argument("--replicates", type=int, default=50_000)
    words.add_argument("--times", type=int, default=5, help="runs of each, rliable's too")
    given = words.parse_args()
    if given.replicates < 100 or given.times < 1:
        words.error("give at least 100 replicates and one run")
    generator = np.random.default_rng(0)
    tables = {name: generator.lognormal(size=(RUNS, TASKS)) for name in NAMES}
    other = reference()
    ours(tables, 100)  # imports are not timed
    seconds: dict[str, list[Seconds]] = {}
    ends: dict[str, Ends] = {}
    turns: dict[str, Callable[[], tuple[Seconds, Ends]]] = {
        "novum": lambda: clocked(lambda: ours(tables, given.replicates)),
        "numpy": lambda: clocked(lambda: gathered(tables, given.replicates)),
    }
    if not isinstance(other, str):
        turns["rliable"] = lambda: extrapolated(other, tables, given.replicates)
    for _ in range(given.times):
        for name, turn in turns.items():
            spent, ends[name] = turn()
            seconds.setdefault(name, []).append(spent)

    load = f"load {os.getloadavg()[0]:.2f}, " if hasattr(os, "getloadavg") else ""
    threads = os.environ.get("OMP_NUM_THREADS", "not set")
    print(f"{given.replicates} replicates × {len(NAMES)} algorithms × {TASKS} tasks × {RUNS} runs; {given.times} times")
    print(f"{platform.machine()}, {os.cpu_count()} cores, {load}OMP_NUM_THREADS {threads}")
    print(f"python {platform.python_version()}, numpy {np.__version__}, scipy {scipy.__version__}, ", end="")
    print(f"novum {importlib.metadata.version('novum')}\n")
    print(f"{'':8}  {'processor s':>11}  {'wall s':>8}  {'ratio':>6}  {'largest gap':>11}")
    medians = {name: np.median(each, axis=0) for name, each in seconds.items()}
    for name, (processor, wall) in medians.items():
        ratio, away = processor / medians["novum"][0], gap(ends[name], ends["novum"])
        print(f"{name:8}  {processor:11.3f}  {wall:8.3f}  {ratio:5.1f}x  {away:11.3f}")
    if isinstance(other, str):
        print(f"{'rliable':8}  {other}")
    else:
        print(f"\nrliable {importlib.metadata.version('rliable')}: extrapolated from fewer replicates")


if __name__ == "__main__":
    main()
