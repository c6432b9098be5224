"""Vectors are rliable's, and the published scores of Atari 100k; scipy.stats on the resampled scores is the oracle."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from novum.errors import ConfigError
from novum.stats.bootstrap import (
    STATISTICS,
    Interval,
    draws,
    improvement_interval,
    intervals,
    profile_bands,
    resample,
)
from novum.stats.tables import (
    ScoreTable,
    improvement,
    iqm,
    mean,
    median,
    normalise,
    optimality_gap,
    profile,
    table,
)
from numpy.typing import NDArray
from scipy import stats

DATA = os.environ.get("NOVUM_DATA")
X = [[1, 2], [2, 2], [1, 1], [2, 1]]
Y = [[1, 1], [2, 2], [3, 3]]
RAGGED = [np.array([0.1, 0.5, 0.9]), np.array([0.2, 2.0]), np.array([0.3, 0.4, 0.6, 0.8, 0.7])]


def lognormal(runs: int, tasks: int, seed: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).lognormal(size=(runs, tasks))


# ------------------------------------------------------------------------------------------------------ aggregates


def test_aggregates_of_rliables_tables() -> None:
    assert (iqm(X), mean(X), median(X)) == (1.5, 1.5, 1.5)
    assert (iqm(Y), mean(Y), median(Y)) == (2.0, 2.0, 2.0)
    assert improvement(X, Y) == pytest.approx(1 / 3, abs=1e-15)


@given(st.integers(1, 7), st.integers(1, 5), st.integers(0, 1000))
def test_the_interquartile_mean_is_scipys_trimmed_mean(runs: int, tasks: int, seed: int) -> None:
    scores = lognormal(runs, tasks, seed)

    assert iqm(scores) == pytest.approx(stats.trim_mean(scores, 0.25, axis=None), rel=1e-13)


def test_tasks_with_unequal_runs_weigh_alike_in_the_mean_and_by_their_runs_where_runs_are_pooled() -> None:
    pooled = np.concatenate(RAGGED)

    assert mean(RAGGED) == pytest.approx(np.mean([0.5, 1.1, 0.56]))
    assert median(RAGGED) == pytest.approx(0.56)
    assert iqm(RAGGED) == pytest.approx(stats.trim_mean(pooled, 0.25))
    assert optimality_gap(RAGGED) == pytest.approx(1 - np.minimum(pooled, 1).mean())


def test_the_optimality_gap_ignores_what_exceeds_its_target() -> None:
    assert optimality_gap([[0.5, 1.0], [3.0, 0.0]]) == pytest.approx(0.375)
    assert optimality_gap([[0.5, 1.0], [3.0, 0.0]], target=2.0) == pytest.approx(2 - 3.5 / 4)


def test_a_profile_is_the_share_of_runs_strictly_above_each_threshold() -> None:
    assert profile([[0.0, 0.5], [1.0, 0.5]], [-1.0, 0.0, 0.5, 2.0]) == (1.0, 0.75, 0.25, 0.0)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=6), st.lists(st.integers(0, 4), min_size=1, max_size=6))
def test_improvement_is_mann_and_whitneys_u_with_ties_as_halves(x: list[int], y: list[int]) -> None:
    u = stats.mannwhitneyu(x, y, alternative="greater", method="asymptotic").statistic if set(x + y) != {x[0]} else None

    found = improvement([[each] for each in x], [[each] for each in y])

    assert found == pytest.approx(0.5 if u is None else u / (len(x) * len(y)))
    assert improvement([[each] for each in y], [[each] for each in x]) == pytest.approx(1 - found)


def test_normalised_scores_put_low_at_0_and_high_at_1_on_each_task() -> None:
    found = normalise([[10.0, 5.0], [20.0, 3.0]], low=[10.0, 5.0], high=[20.0, 1.0])

    assert [each.tolist() for each in found.tasks] == [[0.0, 1.0], [0.0, 0.5]]
    assert mean(normalise(X, 1, 2)) == pytest.approx(0.5)
    assert normalise(RAGGED, 0.0, 2.0).runs == (3, 2, 5)


def test_a_table_cannot_be_changed_by_whoever_holds_the_scores() -> None:
    scores = np.ones((3, 2))
    held = table(scores)

    scores[:] = 7.0

    assert mean(held) == 1.0
    with pytest.raises(ValueError, match="read-only"):
        held.tasks[0][0] = 7.0


# ------------------------------------------------------------------------------------------------------- bootstrap


def drawn(scores: Any, replicates: int, task_bootstrap: bool) -> list[list[NDArray[np.float64]]]:
    """The resampled scores themselves: for each replicate those of each place."""
    given = table(scores)
    found: list[list[Any]] = [[None] * len(given.tasks) for _ in range(replicates)]
    for chunk in draws([given.runs], replicates, 3, task_bootstrap):
        for task, slots, picks in chunk.strata:
            for column, slot in enumerate(slots.tolist()):
                place, replicate = divmod(slot, chunk.width)
                found[chunk.first + replicate][place] = given.tasks[task][picks[0][:, column]]
    return found


ORACLES = {
    "mean": lambda places: np.mean([each.mean() for each in places]),
    "median": lambda places: np.median([each.mean() for each in places]),
    "iqm": lambda places: stats.trim_mean(np.concatenate(places), 0.25),
    "optimality_gap": lambda places: 1 - np.minimum(np.concatenate(places), 1).mean(),
}


@pytest.mark.parametrize("task_bootstrap", [False, True])
@pytest.mark.parametrize("scores", [lognormal(10, 26), lognormal(3, 100), RAGGED], ids=["26x10", "100x3", "ragged"])
@pytest.mark.parametrize("statistic", STATISTICS)
def test_a_replicate_is_the_aggregate_of_its_resampled_scores(
    statistic: str, scores: Any, task_bootstrap: bool
) -> None:
    found = resample({"a": scores}, statistic, replicates=60, task_bootstrap=task_bootstrap, seed=3)["a"]

    expected = [ORACLES[statistic](places) for places in drawn(scores, 60, task_bootstrap)]
    assert found == pytest.approx(expected, abs=1e-12)
    assert len(set(expected)) > 10


def test_a_score_outside_the_trimmed_range_costs_no_digits() -> None:
    scores = lognormal(5, 8)
    scores[2, 3], scores[4, 1] = 1e15, -1e15

    found = resample({"a": scores}, replicates=60, seed=3)["a"]

    assert found == pytest.approx([ORACLES["iqm"](places) for places in drawn(scores, 60, False)], rel=1e-13)


def test_each_place_of_a_replicate_holds_as_many_runs_as_its_task() -> None:
    for places in drawn(RAGGED, 20, False):
        assert [each.size for each in places] == [3, 2, 5]
        assert all(np.isin(each, task).all() for each, task in zip(places, RAGGED, strict=True))


def test_task_bootstrap_draws_tasks_with_replacement() -> None:
    tasks = [{each.size for each in places} for places in drawn(RAGGED, 40, True)]

    assert {frozenset(each) for each in tasks} >= {frozenset({3}), frozenset({2, 5}), frozenset({2, 3, 5})}


def test_replicates_that_need_many_chunks_are_all_filled() -> None:
    scores = lognormal(4, 3)

    found = resample({"a": scores}, replicates=10_001)["a"]

    assert found.shape == (10_001,)
    assert scores.min() <= found.min() < found.max() <= scores.max()


def test_an_interval_is_that_of_gathered_and_sorted_scores_to_monte_carlo_error() -> None:
    scores = lognormal(10, 26)
    generator = np.random.default_rng(8)
    picks = generator.integers(0, 10, size=(20_000, 10, 26))
    ordered = np.sort(scores[picks, np.arange(26)].reshape(20_000, 260), axis=1)
    low, high = np.quantile(ordered[:, 65:195].mean(axis=1), [0.025, 0.975])

    found = intervals({"a": scores})["a"]

    assert found.value == pytest.approx(stats.trim_mean(scores, 0.25, axis=None))
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.04 * (high - low))


@pytest.mark.parametrize("statistic", STATISTICS)
def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(statistic: str) -> None:
    tables = {"a": lognormal(5, 7)}
    np.random.seed(1)  # numpy's global state must not matter
    first = resample(tables, statistic, replicates=500, seed=1)["a"].tobytes()
    np.random.seed(2)

    assert resample(tables, statistic, replicates=500, seed=1)["a"].tobytes() == first
    assert resample(tables, statistic, replicates=500, seed=2)["a"].tobytes() != first


def test_seeds_move_profiles_and_improvements_and_equal_seeds_do_not() -> None:
    x, y = lognormal(9, 17), lognormal(8, 17, seed=1)

    profiles = [profile_bands(x, [0.2, 0.5, 0.8, 1.1, 1.5], replicates=301, seed=seed) for seed in (1, 1, 2)]
    chances = [improvement_interval(x, y, replicates=301, seed=seed) for seed in (1, 1, 2)]

    assert profiles[0] == profiles[1] != profiles[2]
    assert chances[0] == chances[1] != chances[2]


def test_an_interval_does_not_depend_on_the_algorithms_that_stand_beside_it() -> None:
    a, b, c = lognormal(5, 7), lognormal(5, 7, seed=1), lognormal(6, 7)

    together = intervals({"c": c, "b": b, "a": a}, replicates=500)

    assert list(together) == ["c", "b", "a"]
    assert together["a"] == intervals({"a": a}, replicates=500)["a"]
    assert together["c"] == intervals({"c": c}, replicates=500)["c"]


def test_a_task_with_one_run_leaves_the_interval_unknown() -> None:
    lone = [np.array([1.0]), np.array([1.0, 2.0])]

    assert intervals({"a": lone}) == {"a": Interval(4 / 3, None, None)}
    assert profile_bands(lone, [1.5]) == (Interval(1 / 3, None, None),)
    assert improvement_interval(lone, lone) == Interval(0.5, None, None)


def test_resampling_tasks_needs_two_tasks_and_no_second_run() -> None:
    single = intervals({"a": [[1.0, 2.0, 4.0]]}, "mean", task_bootstrap=True, replicates=500)["a"]

    assert intervals({"a": [[1.0], [2.0]]}, task_bootstrap=True)["a"].low is None
    assert single.low is not None
    assert single.high is not None
    assert 1.0 <= single.low < single.value < single.high <= 4.0


def test_less_confidence_gives_a_narrower_interval() -> None:
    wide, narrow = (intervals({"a": lognormal(5, 7)}, alpha=alpha, replicates=2000)["a"] for alpha in (0.05, 0.4))

    assert None not in (wide.low, wide.high, narrow.low, narrow.high)
    assert wide.low < narrow.low < narrow.value < narrow.high < wide.high  # type: ignore[operator]


@pytest.mark.parametrize("task_bootstrap", [False, True])
@pytest.mark.parametrize("scores", [lognormal(3, 8), RAGGED], ids=["even", "ragged"])
def test_a_profiles_band_holds_the_quantiles_of_the_resampled_profiles(scores: Any, task_bootstrap: bool) -> None:
    thresholds = [-1.0, 0.35, 0.65, 1.0, 99.0]

    found = profile_bands(scores, thresholds, replicates=200, seed=3, task_bootstrap=task_bootstrap)

    above = [[(np.concatenate(each) > at).mean() for each in drawn(scores, 200, task_bootstrap)] for at in thresholds]
    assert [each.low for each in found] == pytest.approx(np.quantile(above, 0.025, axis=1), abs=1e-12)
    assert [each.high for each in found] == pytest.approx(np.quantile(above, 0.975, axis=1), abs=1e-12)
    assert [each.value for each in found] == list(profile(scores, thresholds))
    assert found[0] == Interval(1.0, 1.0, 1.0)
    assert found[4] == Interval(0.0, 0.0, 0.0)


@pytest.mark.parametrize("task_bootstrap", [False, True])
def test_an_improvements_interval_holds_the_quantiles_of_the_resampled_tables(task_bootstrap: bool) -> None:
    x, y = table(np.round(lognormal(4, 5), 1)), table(np.round(lognormal(3, 5, seed=1), 1))

    found = improvement_interval(x, y, replicates=150, seed=6, task_bootstrap=task_bootstrap)

    chances = np.empty((150, 5))
    for chunk in draws([x.runs, y.runs], 150, 6, task_bootstrap):
        for task, slots, (of_x, of_y) in chunk.strata:
            for column, slot in enumerate(slots.tolist()):
                a, b = x.tasks[task][of_x[:, column]], y.tasks[task][of_y[:, column]]
                chances[slot % 150, slot // 150] = improvement(a[:, None], b[:, None])
    expected = np.quantile(chances.mean(axis=1), [0.025, 0.975])
    assert (found.low, found.high) == pytest.approx(tuple(expected), abs=1e-12)
    assert found.value == improvement(x, y)


# ---------------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (lambda: iqm([[1.0, math.nan]]), "scores: received nan for run 0 of task 1"),
        (lambda: iqm([[1.0, 2.0], [math.inf, 2.0]]), "scores: received inf for run 1 of task 0"),
        (lambda: mean([["1.0", "2.0"]]), "scores: received <U3 values"),
        (lambda: mean([[1.0, None]]), "scores: received object values"),
        (lambda: mean([[True, False]]), "scores: received bool values"),
        (lambda: mean([1.0, 2.0]), r"scores: received shape \(2,\)"),
        (lambda: mean([[1.0, 2.0], [1.0]]), "scores: received rows of unequal lengths"),
        (lambda: mean([np.array([1.0]), np.array([[1.0]])]), r"scores\[1\]: received shape \(1, 1\)"),
        (lambda: mean([np.array([1.0]), np.array(["x"])]), r"scores\[1\]: received <U1 values"),
        (lambda: mean([np.array([1.0]), np.array([])]), "scores: received no run of task 1"),
        (lambda: mean(np.ones((3, 0))), "scores: received no task"),
        (lambda: improvement(X, [[1.0]]), "y: received 1 tasks; give the 2 tasks of x"),
        (lambda: improvement([[math.nan]], [[1.0]]), "x: received nan"),
        (lambda: optimality_gap(X, target=math.nan), "target: received nan"),
        (lambda: profile(X, [math.nan]), "thresholds: received"),
        (lambda: profile(X, []), "thresholds: received"),
        (lambda: normalise(X, [0.0, 1.0, 2.0], 1.0), r"low: received shape \(3,\)"),
        (lambda: normalise(X, 0.0, "best"), "high: received <U4 values"),
        (lambda: normalise(X, [0.0, 1.0], 1.0), "high: received 1.0 for task 1, which is low as well"),
        (lambda: normalise(X, math.inf, 1.0), "low: received inf"),
        (lambda: intervals({"a": X, "b": [[1.0]]}), r"scores\['b'\]: received 1 tasks; give the 2 tasks of 'a'"),
        (lambda: intervals({"a": [[math.nan]]}), r"scores\['a'\]: received nan"),
        (lambda: intervals({"a": X}, "mode"), "statistic: received 'mode'; allowed: mean, median"),
        (lambda: intervals({"a": X}, alpha=0.5), "alpha: received 0.5"),
        (lambda: intervals({"a": X}, replicates=0), "replicates: received 0"),
        (lambda: intervals({"a": X}, seed=-1), "seed: received -1"),
        (lambda: profile_bands(X, [1.0], seed=0.5), "seed: received 0.5"),  # type: ignore[arg-type]
        (lambda: improvement_interval(X, Y, alpha=0.0), "alpha: received 0.0"),
    ],
)
def test_what_is_no_table_is_refused_by_name(call: Any, field: str) -> None:
    with pytest.raises(ConfigError, match=field):
        call()


# ------------------------------------------------------------------------------------------------------ published


@pytest.fixture(scope="module")
def atari() -> tuple[dict[str, ScoreTable], dict[str, Any]]:
    """Human-normalised scores of five algorithms on 26 games, and what was published of them."""
    if not DATA:
        pytest.skip("NOVUM_DATA is unset: it names the folder of the shared test data sets")
    folder = Path(DATA, "score_tables", "atari100k")
    raw = {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}
    random, human = raw["RANDOM"], raw["HUMAN"]
    games = sorted(human)
    tables = {
        name: normalise(
            [np.array(raw[name][game]) for game in games],
            *(np.ravel([each[g] for g in games]) for each in (random, human)),
        )
        for name in ("SimPLe", "DrQ(eps)", "SPR", "IRIS")
    }
    curl = raw["CURL_10_evals"]
    tables["CURL"] = table([np.array([each["HNS"] for each in curl if each["game"] == game]) for game in games])
    return tables, raw["EXPECTED"]


@pytest.mark.parametrize("name", ["SimPLe", "CURL", "DrQ(eps)", "SPR", "IRIS"])
def test_atari_100k_gives_the_published_aggregates(atari: Any, name: str) -> None:
    tables, expected = atari
    published = expected["published"]["table"][name]
    precise = expected["recomputed_here"]["aggregates"][name]

    for statistic, aggregate in (
        ("mean", mean),
        ("median", median),
        ("iqm", iqm),
        ("optimality_gap", optimality_gap),
    ):
        assert aggregate(tables[name]) == pytest.approx(published[statistic], abs=5.5e-4)
        assert aggregate(tables[name]) == pytest.approx(precise[statistic]["point"], abs=6e-7)
    assert set(tables[name].runs) == {precise["runs"]}


@pytest.mark.parametrize("statistic", STATISTICS)
def test_atari_100k_gives_the_expected_intervals_to_monte_carlo_error(atari: Any, statistic: str) -> None:
    tables, expected = atari

    found = intervals(tables, statistic, replicates=2000, seed=1)

    for name, each in found.items():
        low, high = expected["recomputed_here"]["aggregates"][name][statistic]["ci95"]
        assert (each.low, each.high) == pytest.approx((low, high), abs=0.1 * (high - low)), name


def test_atari_100k_gives_the_expected_probabilities_of_improvement(atari: Any) -> None:
    tables, expected = atari

    for pair, chance in expected["recomputed_here"]["probability_of_improvement"].items():
        x, y = pair.split(">")
        assert improvement(tables[x], tables[y]) == pytest.approx(chance, abs=6e-7), pair
