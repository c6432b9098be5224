from __future__ import annotations

import dataclasses
from typing import Any

import novum
import pytest
from novum import Comparison, ConfigError, Hypothesis

CONTROL = novum.arm(novum.task("gym", env="CartPole-v1"), novum.model("ppo"), budget="1000 steps")
TREATMENT = CONTROL.but(schedule="cosine")


def claim(**parts: Any) -> Hypothesis:
    return Hypothesis("cosine helps", control=CONTROL, treatment=TREATMENT, **parts)


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("alpha", 0),
        ("alpha", 0.5),
        ("alpha", -0.1),
        ("alpha", float("nan")),
        ("alpha", "0.05"),
        ("alpha", True),
        ("max_seeds", 2),
        ("max_seeds", 3.0),
        ("max_seeds", True),
        ("seed", -1),
        ("seed", 0.5),
        ("scope", "some"),
        ("keep", "last"),
        ("minimum_effect", -0.01),
        ("minimum_effect", float("inf")),
        ("minimum_effect_raw", -1),
    ],
)
def test_a_value_out_of_range_is_refused_with_name_value_and_what_is_allowed(part: str, value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        claim(**{part: value})

    assert part in str(caught.value)
    assert f"received {value!r}; allowed:" in str(caught.value)


def test_a_claim_says_something() -> None:
    with pytest.raises(ConfigError, match="one sentence"):
        Hypothesis("  ", control=CONTROL, treatment=TREATMENT)


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"control": CONTROL},
        {"treatment": TREATMENT},
        {"control": CONTROL, "treatment": TREATMENT, "tasks": {"a": (CONTROL, TREATMENT)}},
    ],
)
def test_a_claim_has_either_two_arms_or_tasks(parts: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="give both arms or `tasks`"):
        Hypothesis("x", **parts)


@pytest.mark.parametrize("pair", [(CONTROL,), CONTROL, (CONTROL, "gym"), None])
def test_a_task_is_a_pair_of_arms(pair: Any) -> None:
    with pytest.raises(ConfigError, match="give a pair \\(control, treatment\\) of arms"):
        Hypothesis("x", tasks={"a": pair})


def test_arms_that_are_the_same_are_no_claim() -> None:
    with pytest.raises(ConfigError, match="task 'CartPole-v1': control and treatment are the same arm"):
        Hypothesis("x", control=CONTROL, treatment=CONTROL.but())


def test_a_minimum_effect_is_on_the_scale_or_raw_but_not_both() -> None:
    with pytest.raises(ConfigError, match="not both"):
        Hypothesis("x", tasks={"a": Comparison(CONTROL, TREATMENT, minimum_effect=0.1, minimum_effect_raw=5.0)})


def test_a_task_takes_the_claims_minimum_effect_and_metric_unless_it_has_its_own() -> None:
    own = Comparison(CONTROL, TREATMENT, metric="length", minimum_effect_raw=5.0)

    tasks = Hypothesis("x", tasks={"a": (CONTROL, TREATMENT), "b": own}, minimum_effect=0.1, metric="return").tasks

    assert (tasks["a"].metric, tasks["a"].minimum_effect, tasks["a"].minimum_effect_raw) == ("return", 0.1, None)
    assert (tasks["b"].metric, tasks["b"].minimum_effect, tasks["b"].minimum_effect_raw) == ("length", None, 5.0)


def test_a_raw_minimum_effect_of_the_claim_reaches_its_tasks() -> None:
    (task,) = claim(minimum_effect_raw=3.0).tasks.values()

    assert (task.minimum_effect, task.minimum_effect_raw) == (None, 3.0)


@pytest.mark.parametrize(
    ("arm", "name"),
    [
        (CONTROL, "CartPole-v1"),
        (novum.arm("gym", "ppo"), "gym"),
        (novum.arm(novum.task("gym", env="a", physics="b"), "ppo"), "gym"),
    ],
)
def test_a_task_that_nobody_named_goes_by_its_only_text_option_or_its_plugin(arm: novum.Arm, name: str) -> None:
    assert list(Hypothesis("x", control=arm, treatment=arm.but(clip=1.0)).tasks) == [name]


def test_a_hypothesis_survives_json() -> None:
    hypothesis = claim(minimum_effect=0.1, rests_on=("train.size",), parent="h-1234", seed=3, keep="all", alpha=0.01)

    assert Hypothesis.from_json(hypothesis.to_json()) == hypothesis
    assert Hypothesis.from_json(hypothesis.to_json()).to_json() == hypothesis.to_json()


@pytest.mark.parametrize(
    "change",
    [{"alpha": 0.01}, {"max_seeds": 11}, {"seed": 1}, {"minimum_effect": 0.1}, {"revision": 1}, {"keep": "all"}],
)
def test_the_fingerprint_changes_with_everything_that_is_claimed_or_tested(change: dict[str, Any]) -> None:
    assert claim(**change).fingerprint != claim().fingerprint


def test_the_fingerprint_leaves_out_the_parent() -> None:
    assert claim(parent="h-1234").fingerprint == claim().fingerprint
    assert claim().id == f"h-{claim().fingerprint[:10]}"


def test_a_hypothesis_cannot_be_changed() -> None:
    tasks: Any = claim().tasks
    with pytest.raises(TypeError):
        tasks["other"] = (CONTROL, TREATMENT)
    with pytest.raises(dataclasses.FrozenInstanceError):
        claim().alpha = 0.5  # type: ignore[misc]
