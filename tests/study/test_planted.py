"""A small version of experiments/loop/planted.py: what the loop adopts is true, what greed adopts is not."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from novum.stats.boundaries import boundaries
from novum.stats.design import design
from novum.stats.power import OUTCOMES, judge_many
from novum.stats.sequential import judge

PLACE = Path(__file__).parents[2] / "experiments" / "loop"
NAMES = ("quick", "family", "climbers", "measures")


@pytest.fixture(scope="module")
def planted() -> Iterator[dict[str, ModuleType]]:
    sys.path.insert(0, str(PLACE))
    try:
        yield {name: importlib.import_module(name) for name in NAMES}
    finally:
        sys.path.remove(str(PLACE))
        for name in NAMES:
            sys.modules.pop(name, None)


def test_of_what_the_loop_adopts_almost_all_helps_and_of_what_greed_adopts_a_third_does_not(
    planted: dict[str, ModuleType],
) -> None:
    family = planted["family"].Family(0.10, 0.30, 1.5)
    measure = planted["measures"].measure

    ours = measure("search, gives up", family, 120, 200)
    greedy = measure("greedy", family, 120, 200)

    assert ours.gain.value > 1
    assert ours.fdr.value <= 0.05
    assert greedy.fdr.value > 0.3
    assert ours.ratio["dev, corrected"].value < 1.1 < greedy.ratio["dev"].value


def test_the_loops_follow_from_their_seed(planted: dict[str, ModuleType]) -> None:
    family, climbers = planted["family"].Family(0.10, 0.30, 1.5), planted["climbers"]
    pace = planted["measures"].PACES["search, gives up"]

    def gains(seed: int) -> list[float]:
        worlds = [planted["family"].World(family, seed, number) for number in range(20)]
        return [climbers.novum(world, 120, pace).gain for world in worlds]

    assert gains(1) == gains(1) != gains(2)


@pytest.mark.parametrize("give_up", ["both", "support"])
def test_the_quick_walk_decides_as_judge_does(planted: dict[str, ModuleType], give_up: str) -> None:
    quick, generator = planted["quick"], np.random.default_rng(3)
    for k in (64, 96, 128, 160):
        for pairs in (4, 12, 20):
            plan = quick.plan(k, pairs, give_up)
            x = generator.choice([-1.0, 0.0, 1.0, 1.5], (100, 1)) + generator.standard_normal((100, pairs))
            outcomes, used = judge_many(plan.design, x)
            for row, outcome, n in zip(x.tolist(), outcomes, used, strict=True):
                stop, real = quick.walk(plan, row.__getitem__), judge(plan.design, row)
                assert (stop.outcome, stop.pairs) == (real.outcome, real.n) == (OUTCOMES[outcome], n)
                assert stop.mean == pytest.approx(real.look.mean, abs=1e-12)
                assert stop.deviation == pytest.approx(real.look.deviation, rel=1e-9)


@pytest.mark.parametrize("pairs", [4, 12, 20])
def test_boundaries_between_two_levels_are_those_of_the_core(planted: dict[str, ModuleType], pairs: int) -> None:
    quick = planted["quick"]
    for k in (62, 77, 150):
        real = boundaries(tuple(range(3, pairs + 1)), quick.STEP**-k)

        assert quick._bounds(k, pairs) == pytest.approx(real, rel=3e-3)


def test_new_data_are_judged_by_the_fixed_test(planted: dict[str, ModuleType]) -> None:
    quick, generator = planted["quick"], np.random.default_rng(4)
    plan = quick.plan(80, 12, "support")
    for n in (3, 7, 12):
        fixed = design("sequential-t", n, alpha=quick.STEP**-80, looks=(n,), futility=0.0)
        for x in (1.5 + generator.standard_normal((100, n))).tolist():
            assert (quick.again(plan, x).outcome == "supported") == (judge(fixed, x).outcome == "supported")
