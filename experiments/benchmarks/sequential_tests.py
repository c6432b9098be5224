"""How long the statistics of a verdict take: boundaries, one t decision, one sign-flip decision with its interval.

    OMP_NUM_THREADS=1 python experiments/benchmarks/sequential_tests.py

Processor time and wall time, medians over repetitions in fresh state; the limits are those that the project promises.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from novum.stats import sequential, signflip
from novum.stats.boundaries import boundaries
from novum.stats.design import Design, design
from novum.stats.sequential import judge


@dataclass(frozen=True)
class Timing:
    """Medians in seconds."""

    processor: float
    wall: float


def timed(work: Callable[[], object], *, before: Callable[[], object] = lambda: None, times: int) -> Timing:
    """Run `work` so many times, `before` each time outside the clock."""
    found = []
    for _ in range(times):
        before()
        start = time.process_time(), time.perf_counter()
        work()
        found.append((time.process_time() - start[0], time.perf_counter() - start[1]))
    return Timing(*(statistics.median(each) for each in zip(*found, strict=True)))


def forget() -> None:
    """Drop what was decided before: every look of a decision is then taken anew."""
    for kept in (sequential._at, sequential._crossings, sequential._look, sequential._predictive, signflip._turns):
        kept.cache_clear()


def differences(design: Design) -> list[float]:
    """Differences that stay undecided up to the last pair, so that every look is taken: gains and losses in turn."""
    sizes = np.random.Generator(np.random.PCG64(design.looks[-1])).uniform(0.008, 0.012, design.looks[-1])
    x = [float(size) * (-1) ** at for at, size in enumerate(sizes)]
    assert judge(design, x).reason == "budget"
    return x


def main() -> None:
    """Print the table."""
    thirty = tuple(range(3, 31))
    ten, thirty_t = (design("sequential-t", pairs, futility=0.0) for pairs in (10, 30))
    few, long = differences(ten), differences(thirty_t)
    rows = [
        (
            "boundaries for 30 pairs, first",
            timed(lambda: boundaries(thirty, 0.05), before=boundaries.cache_clear, times=9),
            0.5,
        ),
        ("boundaries for 30 pairs, cached", timed(lambda: boundaries(thirty, 0.05), times=101), 0.001),
        ("one t decision, 30 pairs", timed(lambda: judge(thirty_t, long), before=forget, times=101), 0.001),
        ("one t decision, 10 pairs", timed(lambda: judge(ten, few), before=forget, times=101), 0.001),
    ]
    for pairs in (16, 30):
        signs = design("sequential-sign-flip", pairs, futility=0.0)
        x = differences(signs)
        rows.append(
            (
                f"one sign-flip decision, {pairs} pairs",
                timed(lambda s=signs, x=x: judge(s, x), before=forget, times=5),
                1.0,
            )
        )
    print(f"{'':36}{'processor':>12}{'wall':>12}{'limit':>12}")
    for name, timing, limit in rows:
        kept = "" if timing.processor <= limit else "  exceeded"
        print(f"{name:36}{timing.processor * 1e3:9.3f} ms{timing.wall * 1e3:9.3f} ms{limit * 1e3:9.0f} ms{kept}")


if __name__ == "__main__":
    main()
