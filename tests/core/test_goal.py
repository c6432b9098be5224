"""Goals: what they take, what they refuse with which words, and the files that they are written in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import novum
import pytest
from novum import Budget, ConfigError, Goal, Start, Target
from novum.goalfile import load_goal

ARM = novum.arm("image-classification", "mlp", budget="2 epochs")

FILE = """
goal = "better digits"
minimum_effect = 0.01
proposers = ["rules", { plugin = "declared", changes = [{ "recipe.schedule" = "cosine" }] }]
[budget]
trials = 60
wall = "4 min"
[target]
task = "digits"
value = 0.95
[space]
recipe.schedule = ["constant", "cosine"]
recipe.learning_rate = { low = 1e-4, high = 1e-1, log = true }
[tasks.digits]
task   = { plugin = "image-classification", data = "digits" }
model  = { plugin = "mlp" }
recipe = { budget = "2 epochs" }
metric = "accuracy"
space  = { model.width = [16, 64] }
[tasks.few]
task   = { plugin = "image-classification", data = "digits", per_class = 5 }
model  = { plugin = "linear" }
"""


def goal(**changes: Any) -> Goal:
    return Goal(**{"name": "g", "tasks": {"digits": ARM}, "budget": 60, **changes})


def test_a_goal_survives_being_written_as_json_and_read_again() -> None:
    whole = goal(
        tasks={"digits": Start(ARM, metric="accuracy", space={"model.width": [16, 64]})},
        target=Target("digits", 0.9),
        budget=Budget(trials=50, wall="2 h"),
        space={"recipe.schedule": True},
        proposers=("rules", {"plugin": "search", "sampler": "tpe"}),
    )

    assert Goal.from_json(whole.to_json()) == whole


def test_a_number_is_a_budget_of_trials_and_an_arm_a_start() -> None:
    assert goal().budget == Budget(trials=60)
    assert goal().tasks["digits"] == Start(ARM)
    assert goal(budget=Budget(wall="90 s")).budget.seconds == 90.0


@pytest.mark.parametrize("change", [{"budget": 100}, {"target": Target("digits", 0.9)}, {"proposers": ("search",)}])
def test_budget_target_and_proposers_may_change_while_a_loop_goes_on(change: Any) -> None:
    assert goal(**change).fingerprint == goal().fingerprint


@pytest.mark.parametrize(
    "change", [{"alpha": 0.1}, {"seed": 1}, {"scope": "all"}, {"tasks": {"digits": ARM.but(clip=1)}}]
)
def test_tasks_and_error_control_may_not(change: Any) -> None:
    assert goal(**change).fingerprint != goal().fingerprint


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"budget": 0}, r"budget: trials: received 0; give a whole number from 1 on"),
        ({"budget": -3}, r"trials: received -3"),
        ({"budget": True}, r"trials: received True"),
        ({"budget": Budget}, r"trials: received"),
        ({"tasks": {}}, r"tasks: received \{\}; allowed: at least one task"),
        ({"tasks": {"digits": "mlp"}}, r"tasks\.digits: received 'mlp'; allowed: an arm"),
        ({"proposers": ()}, r"proposers: received \[\]; allowed: at least one"),
        ({"alpha": 0.7}, r"alpha: received 0\.7; allowed: a number above 0 and below 0\.5"),
        ({"fdr": "bonferroni"}, r"fdr: received 'bonferroni'; allowed: one of lord\+\+, lond, none"),
        ({"scope": "any"}, r"scope: received 'any'; allowed: one of each, all, average"),
        ({"max_seeds": 2}, r"max_seeds: received 2; allowed: a whole number from 3"),
        ({"seeds": 1}, r"seeds: received 1; allowed: a whole number from 2 to 20"),
        ({"name": " "}, r"name: received ' '; allowed: a short name"),
        ({"target": Target("cats", 0.9)}, r"target: task: received 'cats'; allowed: digits"),
        ({"target": Target("digits", float("nan"))}, r"target: value: received nan; give a finite number"),
    ],
)
def test_a_bad_goal_is_refused_with_what_is_allowed(change: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        goal(**change)


def test_a_budget_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"a loop ends by its budget, so give trials = 60"):
        Budget()
    with pytest.raises(ConfigError, match=r"wall: received 'soon'; give a time such as '90 s', '4 min' or '2 h'"):
        Budget(wall="soon")
    with pytest.raises(ConfigError, match=r"device_hours: received 0; give a number above 0"):
        Budget(device_hours=0)


def test_a_file_holds_a_goal_and_words_change_it(tmp_path: Path) -> None:
    path = tmp_path / "goal.toml"
    path.write_text(FILE)

    found = load_goal(path, ["budget.trials=80", "tasks.digits.recipe.learning_rate=1e-4"])

    assert (found.name, found.budget, found.target) == (
        "better digits",
        Budget(80, None, "4 min"),
        Target("digits", 0.95),
    )
    assert [each["plugin"] for each in found.proposers] == ["rules", "declared"]
    assert found.tasks["digits"].arm.recipe["learning_rate"] == 1e-4
    assert found.tasks["digits"].metric == "accuracy"
    assert found.tasks["few"].arm.model.name == "linear"
    assert found.space["recipe"]["schedule"] == ["constant", "cosine"]


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("trials = 60", "trials = 0", r"goal\.toml: budget: trials: received 0"),
        ('goal = "better digits"', 'goal = "a/b"', r"'a/b' is no name for a goal"),
        ("[tasks.few]", "[tasks.few]\nmetrics = 1", r"unknown option 'tasks\.few\.metrics' .* 'metric'"),
        ("minimum_effect = 0.01", "minimum_effekt = 0.01", r"unknown option 'minimum_effekt'.*minimum_effect"),
        ('model  = { plugin = "linear" }', "", r"tasks\.few\.model: no plugin is named"),
        ('goal = "better digits"', 'claim = "x"', r"this is a claim, which `novum run` tests"),
        ('task = "digits"\nvalue', 'task = "cats"\nvalue', r"target: task: received 'cats'; allowed: digits, few"),
    ],
)
def test_a_bad_goal_file_is_refused_with_the_place_of_the_fault(
    tmp_path: Path, before: str, after: str, words: str
) -> None:
    assert before in FILE
    path = tmp_path / "goal.toml"
    path.write_text(FILE.replace(before, after))

    with pytest.raises(ConfigError, match=words):
        load_goal(path)
