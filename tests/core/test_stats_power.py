"""What a design can see: outcomes under an effect and a spread, the detectable effect, the pairs it takes."""

from __future__ import annotations

import itertools
import math
from dataclasses import astuple, replace
from typing import Any

import numpy as np
import pytest
from novum.errors import ConfigError
from novum.stats import power, signflip
from novum.stats.design import design
from novum.stats.power import OUTCOMES, detectable, judge_many, pairs_for, simulate, table
from novum.stats.sequential import judge

# ---------------------------------------------------------------------------------------------------------- outcomes


@pytest.mark.parametrize("method", ["sequential-t", "sequential-sign-flip", "sequential-sign", "e-process"])
@pytest.mark.parametrize("effect", [-0.4, 0.0, 0.2])
def test_the_shares_of_the_outcomes_add_up_to_one(method: str, effect: float) -> None:
    found = simulate(design(method, 10, null=0.0, claimed=0.2), effect, 0.5, studies=500)

    assert math.fsum(getattr(found, name) for name in OUTCOMES) == pytest.approx(1, abs=1e-12)
    assert 3 <= found.pairs <= 10


def test_equal_seeds_give_equal_numbers_and_other_seeds_others() -> None:
    plan = design("sequential-t", 10)

    first, again, other = (simulate(plan, 0.5, 1.0, studies=2000, seed=seed) for seed in (3, 3, 4))

    assert astuple(first) == astuple(again)
    assert astuple(first) != astuple(other)


def test_drawing_in_parts_changes_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = design("sequential-t", 10)
    whole = simulate(plan, 0.5, 1.0, studies=1000)

    monkeypatch.setattr(power, "CELLS", 70)
    parts = simulate(plan, 0.5, 1.0, studies=1000)

    assert astuple(parts) == astuple(whole)


@pytest.mark.parametrize("method", ["sequential-t", "sequential-sign-flip", "sequential-sign", "e-process"])
def test_support_grows_with_the_effect_without_a_step_back(method: str) -> None:
    plan = design(method, 12)

    found = [simulate(plan, effect / 50, 0.5, studies=2000).supported for effect in range(25)]

    assert all(a <= b for a, b in itertools.pairwise(found))
    assert found[0] < 0.06 < found[-1]


def test_effect_and_spread_matter_only_as_their_ratio() -> None:
    small = simulate(design("sequential-t", 10, null=0.01, claimed=0.01), 0.03, 0.02, studies=3000)
    large = simulate(design("sequential-t", 10, null=1.0, claimed=1.0), 3.0, 2.0, studies=3000)

    assert small.supported == large.supported
    assert small.pairs == large.pairs


def test_giving_up_saves_pairs_where_there_is_nothing_and_never_adds_support() -> None:
    patient, default = (simulate(design("sequential-t", 20, futility=each), 0.0, 1.0) for each in (0.0, 0.1))

    assert default.pairs < 0.65 * patient.pairs
    assert default.supported <= patient.supported


def test_an_open_claim_is_never_given_up() -> None:
    plan = design("e-process", 20)

    hopeless = simulate(plan, -0.05, 1.0, studies=1000)
    impatient = simulate(replace(plan, method="sequential-t"), -0.05, 1.0, studies=1000)

    assert hopeless.pairs > 18 > impatient.pairs


# ---------------------------------------------------------------------------------------------------- the sign tests


@pytest.mark.parametrize("margins", [(0.0, 0.0), (0.1, 0.1), (0.0, 0.3), (0.0, 0.45)])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("share", [0.5, 0.8, 1.0])
def test_the_sign_test_is_exact_over_all_paths(margins: tuple[float, float], batch: int, share: float) -> None:
    plan = design("sequential-sign", 9, alpha=0.1, null=margins[0], claimed=margins[1], batch=batch)

    found = simulate(plan, share - 0.5, 1.0)

    expected, pairs = dict.fromkeys(OUTCOMES, 0.0), 0.0
    for path in itertools.product((True, False), repeat=9):
        mass = math.prod(share if won else 1 - share for won in path)
        ended = judge(plan, [(1 if won else -1) * (1 + 0.1 * at) for at, won in enumerate(path)])
        assert ended.outcome is not None
        expected[ended.outcome] += mass
        pairs += mass * ended.n
    assert [getattr(found, name) for name in OUTCOMES] == pytest.approx(list(expected.values()), abs=1e-12)
    assert found.pairs == pytest.approx(pairs, abs=1e-12)
    assert found.studies is None


@pytest.mark.parametrize("effect", [0.0, 0.5, 1.0])
def test_the_stand_in_for_the_sign_flip_test_is_near_it(effect: float) -> None:
    plan = design("sequential-sign-flip", 10, futility=0.0)
    x = effect + np.random.Generator(np.random.PCG64(8)).standard_normal((2000, 10))

    outcome, _ = judge_many(plan, x)

    exact = np.mean([signflip.crossed(row, 0.0, plan.looks, plan.support) is not None for row in x.tolist()])
    near = np.mean(outcome == OUTCOMES.index("supported"))
    assert near == pytest.approx(exact, abs=0.015)
    assert simulate(plan, effect, 1.0, studies=100).approximate


# ---------------------------------------------------------------------------------------------- what can be detected


@pytest.mark.parametrize("method", ["sequential-t", "sequential-sign-flip", "sequential-sign", "e-process"])
@pytest.mark.parametrize("chance", [0.5, 0.9])
def test_the_detectable_effect_is_the_least_that_reaches_the_chance(method: str, chance: float) -> None:
    plan = design(method, 14, null=0.1, claimed=0.1)

    found = detectable(plan, 0.3, chance)

    assert found is not None
    assert simulate(plan, found, 0.3, studies=power.STUDIES).supported >= chance
    assert simulate(plan, found - 0.001, 0.3, studies=power.STUDIES).supported < chance


@pytest.mark.parametrize(
    ("method", "pairs", "alpha"),
    [("sequential-sign-flip", 4, 0.05), ("sequential-sign", 4, 0.05), ("e-process", 3, 1e-4)],
)
def test_nothing_is_detectable_where_the_level_cannot_be_reached(method: str, pairs: int, alpha: float) -> None:
    few, enough = design(method, pairs, alpha=alpha), design(method, pairs + 6, alpha=alpha)

    assert detectable(few, 1.0) is None
    assert detectable(enough, 1.0) is not None


def test_a_table_holds_no_effect_the_margins_and_effects_beyond() -> None:
    zone, strict = design("sequential-t", 10, claimed=0.4), design("sequential-t", 10, null=0.4, claimed=0.4)

    of_zone, of_strict = (table(each, 0.2, studies=200) for each in (zone, strict))

    assert [row.effect for row in of_zone] == pytest.approx([0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8])
    assert [row.effect for row in of_strict] == pytest.approx([0, 0.4, 0.5, 0.6, 0.7, 0.8])


def test_a_table_gives_what_each_effect_gives_alone() -> None:
    plan = design("sequential-t", 10)

    rows = table(plan, 1.0, [1.0, 0.0], studies=500)

    assert rows == [simulate(plan, effect, 1.0, studies=500) for effect in (0.0, 1.0)]


def test_a_table_of_the_sign_test_ends_at_certainty() -> None:
    rows = table(design("sequential-sign", 10, claimed=0.1), 1.0)

    assert [row.effect for row in rows] == pytest.approx([0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5])
    assert rows[-1].supported == pytest.approx(1)


# --------------------------------------------------------------------------------------------------- how many pairs


@pytest.mark.parametrize("method", ["sequential-t", "sequential-sign-flip", "e-process"])
def test_the_pairs_asked_for_reach_the_chance_and_one_fewer_does_not(method: str) -> None:
    found = pairs_for(method, 0.05, 1.2, 1.0)

    assert found is not None
    enough, few = (simulate(design(method, n), 1.2, 1.0, studies=power.STUDIES).supported for n in (found, found - 1))
    assert few < 0.8 <= enough


def test_pairs_come_in_whole_batches() -> None:
    single, batched = (pairs_for("sequential-t", 0.05, 1.2, 1.0, batch=batch) for batch in (1, 4))

    assert single is not None
    assert batched == 4 * math.ceil(single / 4)


def test_long_designs_are_judged_in_blocks_and_nearly_as_they_are() -> None:
    found = pairs_for("sequential-t", 0.05, 0.35, 1.0)

    assert found is not None
    assert found > power.BLOCKS
    assert simulate(design("sequential-t", found), 0.35, 1.0).supported == pytest.approx(0.8, abs=0.02)


@pytest.mark.parametrize("effect", [0.0, 0.2, 0.21])
def test_no_number_of_pairs_shows_an_effect_that_hardly_exceeds_the_null_bound(effect: float) -> None:
    assert pairs_for("sequential-t", 0.05, effect, 1.0, null=0.2, claimed=0.2) is None


# ------------------------------------------------------------------------------------------------------- bad requests

PLAN = design("sequential-t", 10)


@pytest.mark.parametrize(
    ("field", "asked"),
    [
        ("effect", lambda: simulate(PLAN, math.nan, 1.0)),
        ("effect", lambda: simulate(design("sequential-sign", 10), 0.6, 1.0)),
        ("sd", lambda: simulate(PLAN, 1.0, 0.0)),
        ("sd", lambda: detectable(PLAN, -1.0)),
        ("sd", lambda: table(PLAN, math.inf)),
        ("studies", lambda: simulate(PLAN, 1.0, 1.0, studies=0)),
        ("chance", lambda: detectable(PLAN, 1.0, 1.0)),
        ("chance", lambda: pairs_for("sequential-t", 0.05, 1.0, 1.0, chance=0.0)),
        ("effects", lambda: table(PLAN, 1.0, [0.0, math.nan])),
        ("method", lambda: pairs_for("t", 0.05, 1.0, 1.0)),
        ("method", lambda: judge_many(design("sequential-sign", 10), np.ones((2, 10)))),
        ("x", lambda: judge_many(PLAN, np.ones((2, 9)))),
        ("x", lambda: judge_many(PLAN, np.full((2, 10), np.nan))),
    ],
)
def test_a_bad_request_is_refused_by_name(field: str, asked: Any) -> None:
    with pytest.raises(ConfigError, match=f"^{field}"):
        asked()
