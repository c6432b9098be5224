from __future__ import annotations

import dataclasses
import json
from typing import Any

import novum
import pytest
from novum import ConfigError
from novum.arm import Arm, canonical

BASE = novum.arm(novum.task("gym", env="CartPole-v1"), novum.model("ppo"), budget="1000 steps", learning_rate=1e-3)


def test_names_stand_for_plugins_without_options() -> None:
    arm = novum.arm("gym", "ppo", "returns", budget="50_000 steps")

    assert arm == novum.arm(novum.task("gym"), novum.model("ppo"), novum.evaluator("returns"), budget="50_000 steps")


def test_but_replaces_single_values_and_leaves_the_original_alone() -> None:
    changed = BASE.but(schedule="cosine", learning_rate=2e-3, model=BASE.model.but(width=64))

    assert dict(changed.recipe) == {"budget": "1000 steps", "learning_rate": 2e-3, "schedule": "cosine"}
    assert changed.model.options == {"width": 64}
    assert dict(BASE.recipe) == {"budget": "1000 steps", "learning_rate": 1e-3}
    assert BASE.model.options == {}


def test_an_unknown_word_of_the_recipe_is_refused_with_the_closest() -> None:
    with pytest.raises(ConfigError, match="unknown option 'learning_rat'; did you mean 'learning_rate'"):
        novum.arm("gym", "ppo", learning_rat=1.0)
    with pytest.raises(ConfigError, match="did you mean 'schedule'"):
        BASE.but(shedule="cosine")


def test_an_arm_cannot_be_changed() -> None:
    recipe: Any = BASE.recipe
    with pytest.raises(TypeError):
        recipe["learning_rate"] = 1.0
    with pytest.raises(dataclasses.FrozenInstanceError):
        BASE.task = BASE.task  # type: ignore[misc]

    BASE.task.options["env"] = "another"

    assert BASE.task.options == {"env": "CartPole-v1"}


def test_an_arm_survives_json_with_its_parent() -> None:
    arm = BASE.but(start_from=BASE.but(budget="10 steps", evaluator=novum.evaluator("returns")))

    assert Arm.from_json(json.loads(json.dumps(arm.to_json()))) == arm


def test_equal_arms_are_one_key_and_the_order_of_options_does_not_matter() -> None:
    one = novum.arm(novum.task("t", a=1, b=2), "m", clip=1.0, warmup=0.1)
    two = novum.arm(novum.task("t", b=2, a=1), "m", warmup=0.1, clip=1.0)

    assert one == two
    assert len({one, two}) == 1


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), {1, 2}])
def test_what_is_not_json_is_refused_as_an_option(value: Any) -> None:
    with pytest.raises(ConfigError, match="cannot be written as JSON"):
        novum.task("gym", env=value)


def test_canonical_json_has_sorted_keys_and_keeps_every_script() -> None:
    assert canonical({"b": 1, "a": ["ü", None, 0.1]}) == '{"a":["ü",null,0.1],"b":1}'
