"""What was supported is too large on average; `novum.stats.unbiased` takes the luck of the stop out of it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from novum.errors import ConfigError
from novum.stats import unbiased
from novum.stats.design import Design, design
from novum.stats.power import OUTCOMES, judge_many, simulate


def supported(plan: Design, effect: float, studies: int, seed: int, sd: float = 1.0) -> list[tuple[int, float, float]]:
    """(pairs, mean, deviation) at the stop of every supported study."""
    x = sd * (effect + np.random.default_rng(seed).standard_normal((studies, plan.looks[-1])))
    outcome, pairs = judge_many(plan, x)
    won = np.flatnonzero(outcome == OUTCOMES.index("supported"))
    return [(int(n := pairs[at]), float(x[at, :n].mean()), float(x[at, :n].std(ddof=1))) for at in won]


@pytest.mark.parametrize(
    ("plan", "effect", "raw", "left"),
    [
        (design("sequential-t", 12, alpha=0.05, give_up="support"), 1.0, 0.12, 0.08),
        (design("sequential-t", 12, alpha=0.01, give_up="support"), 1.0, 0.18, 0.11),
        (design("sequential-t", 20, alpha=0.01, give_up="support"), 1.0, 0.09, 0.05),
        (design("sequential-t", 12, alpha=0.001, give_up="support"), 1.5, 0.08, 0.045),
        (design("sequential-t", 20, alpha=0.05, null=0.5, claimed=0.5), 1.5, 0.05, 0.045),
    ],
)
def test_the_mean_of_what_was_supported_is_too_large_and_the_corrected_one_is_close(
    plan: Design, effect: float, raw: float, left: float
) -> None:
    found = supported(plan, effect, 3000, seed=1)

    bias = np.mean([mean for _, mean, _ in found]) / effect - 1
    corrected = np.mean([unbiased.effect(plan, *each) for each in found]) / effect - 1

    assert bias > raw
    assert abs(corrected) < left < bias


def test_a_large_effect_is_left_alone() -> None:
    plan = design("sequential-t", 20, alpha=0.05)

    assert unbiased.effect(plan, 20, 4.0, 1.0) == pytest.approx(4.0, rel=1e-3)


@pytest.mark.parametrize("give_up", ["both", "support"])
@pytest.mark.parametrize(("pairs", "level"), [(4, 0.01), (12, 0.05), (12, 3e-4), (20, 0.01)])
def test_the_chance_of_support_is_that_of_the_simulation(give_up: str, pairs: int, level: float) -> None:
    plan = design("sequential-t", pairs, alpha=level, refute=0.05, give_up=give_up)

    for delta in (0.0, 0.5, 1.0, 2.0):
        drawn = simulate(plan, delta, 1.0, studies=40_000).supported
        error = math.sqrt(max(drawn * (1 - drawn), 1e-4) / 40_000)
        assert unbiased.chance(plan, delta) == pytest.approx(drawn, abs=4 * error + 0.005 * drawn)


def test_it_never_exceeds_the_mean_never_falls_below_the_null_bound_and_grows_with_the_mean() -> None:
    for null in (0.0, 0.3):
        plan = design("sequential-t", 12, alpha=0.01, null=null, claimed=null, give_up="support")
        for at, n in enumerate(plan.looks):
            bar = plan.upper[at]
            assert bar is not None
            least = null + bar / math.sqrt(n)
            means = [least * (1 + part) for part in (1e-6, 0.01, 0.1, 0.5, 1.0, 3.0, 30.0)]
            found = [unbiased.effect(plan, n, mean, 1.0) for mean in means]
            assert all(null <= each <= mean and math.isfinite(each) for each, mean in zip(found, means, strict=True))
            assert found == sorted(found)


def test_it_is_scaled_as_the_differences_are_and_equal_calls_give_equal_bytes() -> None:
    plan = design("sequential-t", 12, alpha=0.01, give_up="support")

    one = unbiased.effect(plan, 8, 1.5, 1.0)
    unbiased._log_chance.cache_clear()

    assert one.hex() == unbiased.effect(plan, 8, 1.5, 1.0).hex()
    for scale in (2.0**-20, 1e-4, 7.0, 1e9):
        assert unbiased.effect(plan, 8, 1.5 * scale, scale) == pytest.approx(one * scale, rel=1e-6)


@pytest.mark.parametrize("method", ["e-process", "sequential-sign-flip"])
def test_other_tests_of_a_mean_are_corrected_too(method: str) -> None:
    plan = design(method, 12)

    assert 0 <= unbiased.effect(plan, 12, 0.8, 1.0) < 0.8


def test_after_a_single_look_it_errs_to_the_safe_side() -> None:
    plan = design("sequential-t", 10, alpha=0.01, looks=(10,))
    found = supported(plan, 1.0, 4000, seed=2)

    assert np.mean([mean for _, mean, _ in found]) > 1.12
    assert 0.8 < np.mean([unbiased.effect(plan, *each) for each in found]) < 1.0


def test_what_cannot_be_is_refused() -> None:
    plan = design("sequential-t", 12)
    for given, named in (((2, 1.0, 1.0), "pairs"), ((12, 0.0, 1.0), "mean"), ((12, 1.0, 0.0), "deviation")):
        with pytest.raises(ConfigError, match=named):
            unbiased.effect(plan, *given)
    with pytest.raises(ConfigError, match="sign"):
        unbiased.effect(design("sequential-sign", 12), 12, 0.3, 0.5)
