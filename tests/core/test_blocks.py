"""Blocks of seeds that are trained together end where a look comes."""

from __future__ import annotations

from typing import Any

import pytest
from novum.blocks import apart, best, cost, divide


def arm(mode: str, block: float = 1.0, seed: float = 0.1) -> dict[str, Any]:
    return {"plan": {"units": 5, "how": {"mode": mode}}, "together": {"block": block, "seed": seed, "apart": 1.0}}


def test_a_blocks_cost_is_that_of_the_control_which_treatments_share() -> None:
    arms = {
        "digits/control": arm("joint", 1.0, 0.1),
        "digits/treatment": arm("joint", 2.0, 0.3),
        "docs/control": arm("separate"),
    }

    assert cost(arms, "digits") == (1.0, 0.1)
    assert cost({"digits/treatment": arm("joint", 2.0, 0.3)}, "digits") == (2.0, 0.3), "its control is a bar"


def test_sides_of_which_one_is_trained_apart_have_no_cost_of_a_block() -> None:
    arms = {"digits/control": arm("joint"), "digits/treatment": arm("separate")}

    assert cost(arms, "digits") is None


def test_a_task_is_not_taken_for_another_whose_name_it_begins_with() -> None:
    arms = {"a/treatment": arm("joint"), "a/b/treatment": arm("separate")}

    assert (cost(arms, "a"), cost(arms, "a/b")) == ((1.0, 0.1), None)


@pytest.mark.parametrize(
    ("pairs", "costs", "step"),
    [
        (20, (1.0, 0.0), 10),  # a seed more costs nothing: half of them at once
        (20, (0.0, 1.0), 5),  # a block costs nothing: the smallest that ends at the half
        (3, (1.0, 0.1), 3),
        (8, (1.0, 0.05), 4),
    ],
)
def test_looks_come_where_a_claim_that_is_decided_half_way_costs_least(
    pairs: int, costs: tuple[float, float], step: int
) -> None:
    assert best(pairs, costs) == step


def test_blocks_end_at_the_looks_and_hold_every_seed_once() -> None:
    found = divide((5, 10, 12), processes=1)

    assert found == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [10, 11]]


def test_a_stretch_is_divided_among_processes_as_long_as_blocks_stay_worth_it() -> None:
    found = divide((16, 20), processes=3)

    assert [len(block) for block in found] == [5, 5, 6, 4]
    assert [seed for block in found for seed in block] == list(range(20))


def test_an_arm_put_apart_is_the_same_arm_in_the_plain_mode() -> None:
    one = arm("joint")

    assert apart(one) == {**one, "plan": {"units": 5, "how": {"mode": "separate"}}}
    assert one["plan"]["how"]["mode"] == "joint"
