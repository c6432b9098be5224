"""The walk over the looks of a plan: what it asks for, where it ends, and that nothing but the rows moves it."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from novum.arm import canonical
from novum.decide import decide, progress
from novum.decide.walk import AVERAGE, ruling
from novum.stats.design import design
from novum.stats.paired import boundary

METRIC = {"name": "accuracy", "direction": "max", "worst": 0.0, "unit": "", "low": 0.0, "high": 1.0, "kind": "score"}
OK = {"state": "done", "seconds": 1.0, "memory": 1000, "because": None}
N = 10
BETTER = [0.1, 0.12, 0.11, 0.09, 0.1, 0.11, 0.1, 0.09, 0.12, 0.1]
WORSE = [-each for each in BETTER]
NEAR = [0.001, -0.001, 0.0, 0.002, -0.002, 0.001, 0.0, -0.001, 0.002, 0.001]
WIDE = [0.3, -0.3, 0.2, -0.1, 0.1, -0.25, 0.3, -0.2, 0.15, -0.1]
SLOW = [0.05, 0.0, 0.08, 0.03, 0.06, 0.07, 0.02, 0.09, 0.05, 0.06]


def plan(*names: str, scope: str = "all", margin: float = 0.02, futility: float = 0.0, **parts: Any) -> dict[str, Any]:
    least = int(scope[9:-1]) if scope.startswith("at_least") else len(names)
    level = 0.05 / (len(names) - least + 1)

    def test(alpha: float, claimed: float = margin) -> dict[str, Any]:
        made = design("sequential-t", N, alpha=alpha, refute=0.05, null=claimed, claimed=claimed, futility=futility)
        return made.to_json()

    task = {
        "metric": METRIC,
        "margin": margin,
        "scale": {"metric": "accuracy", "chance": 0.5, "reference": 1.0},
        "resolution": {"dev": 0.0, "test": 0.0},
        "test": test(level),
        "secondary": None if scope == "all" else test(0.05),
        "dev": None,
        "power": None,
        "trials_per_pair": 2,
    }
    looks = range(3, N + 1)
    fixed = {
        f"{support!r} 0.05": {
            "upper": [float(f"{boundary(support, n):.9g}") for n in looks],
            "lower": [float(f"{boundary(0.05, n):.9g}") for n in looks],
        }
        for support in {level, 0.05}
    }
    return {
        "hypothesis": "h-1",
        "method": {"name": "sequential", "version": 1},
        "alpha": 0.05,
        "level": 0.05,
        "stream": None,
        "scope": scope,
        "margins": "strict",
        "estimand": "mean",
        "confirm": "same-networks",
        "open": False,
        "price_per_hour": 3.6,
        "order": list(names),
        "seeds": {"root": 0, "block": "0", "indices": list(range(N))},
        "tasks": dict.fromkeys(names, task),
        "average": {"test": test(0.05, 0.04), "power": None} if scope == "average" else None,
        "fixed": fixed,
    } | parts


def rows(differences: Sequence[float], start: float = 0.5) -> list[dict[str, Any]]:
    return [
        {"index": at, "control": {**OK, "value": start}, "treatment": {**OK, "value": start + each}}
        for at, each in enumerate(differences)
    ]


def broken(found: list[dict[str, Any]], at: int) -> list[dict[str, Any]]:
    found[at]["treatment"] = {"state": "failed", "value": None, "seconds": 1.0, "memory": 0, "because": "it broke"}
    return found


def seen(found: Mapping[str, Any], name: str) -> tuple[str, int]:
    return found["tasks"][name]["outcome"], found["tasks"][name]["pairs"]


# ------------------------------------------------------------------------------------------------------ one task


def test_a_clear_effect_stops_the_claim_early_and_tells_what_it_saved() -> None:
    found = decide(plan("a"), {"a": rows(BETTER)}, None)

    task = found["tasks"]["a"]
    assert (task["outcome"], task["pairs"], task["planned"]) == ("supported", 3, N)
    assert found["saved"] == {"pairs": 7, "trials": 14, "seconds": 14.0, "money": 0.014}
    assert [look["pairs"] for look in task["looks"]] == [3]


def test_the_walk_waits_for_the_pairs_of_its_next_look() -> None:
    frozen = plan("a")

    assert progress(frozen, {}).needs == (("a", 3),)
    assert progress(frozen, {"a": rows(SLOW[:3])}).needs == (("a", 4),)
    assert progress(frozen, {"a": rows(BETTER[:3])}).needs == ()


def test_a_gap_in_the_seeds_hides_everything_behind_it() -> None:
    fast = [row for row in rows(BETTER) if row["index"] != 1]

    walk = progress(plan("a"), {"a": fast})

    assert walk.outcome is None
    assert walk.needs == (("a", 3),)


def test_a_trial_that_broke_behind_the_deciding_look_changes_nothing() -> None:
    whole = decide(plan("a"), {"a": rows(BETTER)}, None)

    assert decide(plan("a"), {"a": broken(rows(BETTER), 5)}, None) == whole
    assert decide(plan("a"), {"a": broken(rows(BETTER), 2)}, None)["outcome"] == "invalid"


@given(st.randoms(use_true_random=False), st.sampled_from([BETTER, WORSE, NEAR, WIDE, SLOW]))
def test_rows_in_any_order_give_the_same_verdict(chance: random.Random, differences: list[float]) -> None:
    frozen, whole = plan("a", "b"), {"a": rows(differences), "b": rows(SLOW)}
    mixed = {name: chance.sample(found, len(found)) for name, found in whole.items()}

    assert canonical(decide(frozen, mixed, None)) == canonical(decide(frozen, whole, None))


@pytest.mark.parametrize("differences", [BETTER, WORSE, NEAR, WIDE, SLOW])
def test_replaying_every_prefix_of_the_results_ends_at_the_same_verdict(differences: list[float]) -> None:
    frozen, whole = plan("a", "b", futility=0.1), {"a": rows(differences), "b": rows(SLOW)}
    final = canonical(decide(frozen, whole, None))
    order = [(name, at) for at in range(N) for name in ("b", "a")]

    for cut in range(len(order) + 1):
        held = {name: [row for row in whole[name] if (name, row["index"]) in order[:cut]] for name in whole}
        walk = progress(frozen, held)
        while walk.outcome is None:  # a study that is started again runs what the walk asks for
            name, target = walk.needs[0]
            held[name] = whole[name][: max(target, len(held[name]))]
            walk = progress(frozen, held)
        assert canonical(decide(frozen, held, None)) == final


# --------------------------------------------------------------------------------------------------- several tasks


def test_a_claim_about_all_tasks_ends_with_the_first_that_is_refuted() -> None:
    found = decide(plan("a", "b", "c"), {"a": rows(WIDE), "b": rows(WORSE), "c": rows(BETTER)}, None)

    assert found["outcome"] == "refuted"
    assert seen(found, "b") == ("refuted", 3)
    assert seen(found, "a") == ("inconclusive", 3)
    assert seen(found, "c") == ("inconclusive", 0)
    assert "Stopped with the claim" in found["tasks"]["a"]["reasons"][0]


def test_the_task_likeliest_to_refute_the_claim_looks_first_once_all_had_a_look() -> None:
    hopeless = [-0.02, 0.03, -0.04, *WORSE[3:]]

    walk = progress(plan("a", "b"), {"a": rows(SLOW[:3]), "b": rows(hopeless[:3])})

    assert [name for name, _ in walk.needs] == ["b", "a"]


def test_a_claim_whose_decided_tasks_are_all_equivalent_goes_on() -> None:
    frozen = plan("a", "b")

    assert progress(frozen, {"a": rows(NEAR), "b": []}).outcome is None
    assert decide(frozen, {"a": rows(NEAR), "b": rows(NEAR)}, None)["outcome"] == "equivalent"
    assert decide(frozen, {"a": rows(NEAR), "b": rows(BETTER)}, None)["outcome"] == "refuted"


@pytest.mark.parametrize(
    ("least", "outcomes", "ruled"),
    [
        (2, ["supported", "supported", None], "supported"),
        (2, ["supported", "refuted", None], None),
        (2, ["refuted", "refuted", None], "refuted"),
        (2, ["refuted", "equivalent", "supported"], "refuted"),
        (2, ["inconclusive", "refuted", None], "inconclusive"),
        (1, ["equivalent", None, None], None),
        (1, ["equivalent", "equivalent", "equivalent"], "equivalent"),
        (1, ["inconclusive", "inconclusive", None], None),
        (3, ["inconclusive", None, None], "inconclusive"),
        (3, ["supported", "supported", "invalid"], "invalid"),
    ],
)
def test_what_the_tasks_make_of_a_claim(least: int, outcomes: list[str | None], ruled: str | None) -> None:
    assert ruling(least, outcomes) == ruled


def test_at_least_two_of_three_is_tested_at_half_the_level_and_its_tasks_are_secondary() -> None:
    frozen = plan("a", "b", "c", scope="at_least(2)")

    found = decide(frozen, {"a": rows(BETTER), "b": rows(WORSE), "c": rows(BETTER)}, None)

    assert found["outcome"] == "supported"
    assert frozen["tasks"]["a"]["test"]["support"] == 0.025
    assert {found["tasks"][name]["role"] for name in "abc"} == {"secondary, uncorrected"}
    assert [found["tasks"][name]["counts"] for name in "abc"] == ["supported", "refuted", "supported"]


def test_a_task_that_is_supported_without_correction_does_not_count_where_the_corrected_test_is_open() -> None:
    frozen = plan("a", "b", scope="at_least(1)")
    close = [0.021 + each for each in (0.03, 0.02, 0.04, 0.02, 0.03)]
    n = next(n for n in range(3, 6) if decide(plan("a"), {"a": rows(close[:n])}, None)["outcome"] == "supported")

    task = decide(frozen, {"a": rows(close[:n]), "b": []}, None)["tasks"]["a"]

    assert task["pairs"] == 3 or task["outcome"] == "supported"
    assert progress(frozen, {"a": rows(close[:n]), "b": rows(WIDE)}).outcome is None


def test_the_average_is_one_test_on_one_value_per_seed() -> None:
    frozen = plan("a", "b", scope="average")
    mixed = {"a": rows([0.1 + each for each in NEAR]), "b": rows([-0.02 + each for each in NEAR])}

    found = decide(frozen, mixed, None)

    assert found["outcome"] == "supported"
    assert found["effect"] == pytest.approx(0.08, abs=0.003)
    assert found["average"]["looks"][-1]["pairs"] == found["tasks"]["a"]["pairs"] == found["tasks"]["b"]["pairs"]
    assert progress(frozen, mixed).standings[AVERAGE].outcome == "supported"


def test_the_average_waits_for_the_same_seeds_of_every_task() -> None:
    frozen = plan("a", "b", scope="average")

    walk = progress(frozen, {"a": rows(BETTER), "b": rows(BETTER[:2])})

    assert walk.outcome is None
    assert walk.needs[0] == ("b", 3)


def test_an_average_is_invalid_where_one_of_its_trials_broke() -> None:
    found = decide(plan("a", "b", scope="average"), {"a": rows(BETTER), "b": broken(rows(BETTER), 0)}, None)

    assert found["outcome"] == "invalid"
    assert found["effect"] == {"undefined": "the experiment broke"}


# -------------------------------------------------------------------------------------------------------- new data


def test_new_data_are_tested_with_the_pairs_of_the_deciding_look_alone() -> None:
    frozen = plan("a")

    found = decide(frozen, {"a": rows(BETTER)}, {"a": rows(BETTER[:3])})

    assert found["outcome"] == "supported"
    assert found["tasks"]["a"]["new_data"]["looks"][-1]["pairs"] == 3


def test_at_least_two_of_three_may_lose_its_claim_on_new_data() -> None:
    frozen = plan("a", "b", "c", scope="at_least(2)")
    dev = {"a": rows(BETTER), "b": rows(WORSE), "c": rows(BETTER)}

    found = decide(frozen, dev, {"a": rows(BETTER), "c": rows(WORSE)})

    assert found["outcome"] == "refuted"
    assert found["reasons"][0] == "It held on dev and does not hold on new data on c."
    assert found["tasks"]["b"]["new_data"] is None


def test_an_average_that_fails_on_new_data_says_so() -> None:
    frozen = plan("a", "b", scope="average")
    dev = {"a": rows(BETTER), "b": rows(BETTER)}

    found = decide(frozen, dev, {"a": rows(WORSE), "b": rows(WIDE)})

    assert found["outcome"] in ("refuted", "inconclusive")
    assert "It held on dev and does not hold on new data" in found["reasons"][0]


def test_new_data_of_fresh_seeds_begin_behind_the_declared_ones() -> None:
    frozen = plan("a", confirm="fresh-seeds")
    fresh = [{**row, "index": row["index"] + N} for row in rows(BETTER[:3])]

    assert decide(frozen, {"a": rows(BETTER)}, {"a": fresh})["outcome"] == "supported"
    assert not decide(frozen, {"a": rows(BETTER)}, {"a": rows(BETTER[:3])})["ended"]


def test_while_new_data_are_scored_the_claim_has_not_ended_and_a_broken_score_makes_it_invalid() -> None:
    frozen, dev = plan("a"), {"a": rows(BETTER)}

    waits = decide(frozen, dev, {"a": rows(BETTER[:2])})
    broke = decide(frozen, dev, {"a": broken(rows(BETTER[:2]), 1)})

    assert (waits["ended"], waits["outcome"]) == (False, "inconclusive")
    assert waits["reasons"] == ["It holds on dev, and waits for new data on a."]
    assert (broke["ended"], broke["outcome"]) == (True, "invalid")


@pytest.mark.parametrize("scope", ["all", "at_least(1)", "average"])
def test_a_claim_can_be_asked_before_its_first_look(scope: str) -> None:
    found = decide(plan("a", "b", scope=scope), {"a": rows(BETTER[:2]), "b": []}, None)

    assert (found["ended"], found["outcome"]) == (False, "inconclusive")


def test_networks_of_fresh_seeds_count_in_the_cost() -> None:
    fresh = [{**row, "index": row["index"] + N} for row in rows(BETTER[:3])]

    found = decide(plan("a", confirm="fresh-seeds"), {"a": rows(BETTER)}, {"a": fresh})

    assert found["cost"]["control"] == 6.0
    assert decide(plan("a"), {"a": rows(BETTER)}, {"a": rows(BETTER)})["cost"]["control"] == 3.0


def test_a_zone_says_how_many_seeds_reach_the_nearer_answer() -> None:
    test = design("sequential-t", 3, null=0.0, claimed=0.1, looks=(3,), futility=0.0).to_json()
    frozen = plan("a", margin=0.1, margins="zone")
    frozen["tasks"]["a"]["test"] = test

    (reason,) = decide(frozen, {"a": rows([0.06, 0.1, 0.14])}, None)["tasks"]["a"]["reasons"]

    assert "about 4 seeds would decide it" in reason or "lies above 0" in reason
    assert "no number of seeds" not in reason
