"""The JSON Schema of claim files: it takes what Novum takes, and refuses what Novum refuses."""

from __future__ import annotations

import copy
import tomllib
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator
from novum import plugins
from novum.claimfile import hypotheses, load_all
from novum.example import CLAIMED, example
from novum.recipe import amount
from novum.schema import BUDGET, UNITS, claim_files

ROOT = Path(__file__).parents[2]
CLAIMS = sorted(ROOT.glob("experiments/**/claim*.toml"))
IN_TREE = [
    (kind, one.name) for kind in CLAIMED for one in plugins.listings(kind) if one.distribution.startswith("novum")
]


@pytest.fixture(scope="module")
def schema() -> Any:
    found, left_out = claim_files()
    assert left_out == {}
    return found


@pytest.fixture(scope="module")
def validator(schema: Any) -> Any:
    Draft7Validator.check_schema(schema)
    assert schema["title"] == "Claim of a Novum study"
    return Draft7Validator(schema)


def faults(validator: Any, claim: Any) -> list[str]:
    """Where and how a claim is wrong, the deepest reasons first."""
    found = []
    for error in validator.iter_errors(claim):
        reasons = [error, *(error.context or ())]
        found += [f"{'.'.join(map(str, each.absolute_path))}: {each.message}" for each in reasons]
    return found


@pytest.mark.parametrize("path", CLAIMS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_claim_file_of_the_repository_fits_the_schema(path: Path) -> None:
    for idea in path.parent.glob("*.py"):
        if "@novum." in idea.read_text():
            plugins.read(idea)

    found = faults(Draft7Validator(claim_files()[0]), tomllib.loads(path.read_text()))

    assert found == []


@pytest.mark.parametrize(("kind", "name"), IN_TREE)
def test_the_example_of_every_plugin_is_a_claim_that_loads_and_fits_the_schema(
    kind: str, name: str, validator: Any, tmp_path: Path
) -> None:
    path = tmp_path / "claim.toml"
    path.write_text(example(kind, name))

    (hypothesis,) = load_all(path)

    assert hypothesis.tasks
    assert f'"{name}"' in path.read_text() or f".{name} = " in path.read_text()
    assert faults(validator, tomllib.loads(path.read_text())) == []


CLAIM: dict[str, Any] = {
    "claim": "It helps",
    "minimum_effect": 0.02,
    "treatments": {"wide": {"model": {"width": 128}, "recipe": {"schedule": "cosine"}}},
    "tasks": {
        "digits": {
            "task": {"plugin": "image-classification", "data": "digits"},
            "model": {"plugin": "mlp"},
            "recipe": {"budget": "2 epochs", "techniques": {"flooding": {"level": 0.1}}},
        }
    },
}


def put(path: str, value: Any) -> dict[str, Any]:
    """The claim with one value replaced."""
    claim = copy.deepcopy(CLAIM)
    place: Any = claim
    *above, last = path.split("/")
    for part in above:
        place = place.setdefault(part, {})
    place[last] = value
    return claim


GOOD: list[tuple[str, Any]] = [
    ("max_seeds", "open"),
    ("max_seeds", 1000),
    ("control", 0.9),
    ("tasks/digits/control", 0.9),
    ("control", {"recipe": {"learning_rate": 0.1}}),
    ("scope", "at_least(1)"),
    ("tasks/digits/recipe/budget", "5_000 Samples"),
    ("tasks/digits/recipe/budget", 500),
    ("tasks/digits/recipe/techniques/flooding", True),
    ("tasks/digits/treatments", {"wide": {"start_from": {"recipe": {"budget": "1 epochs"}}}}),
    ("tasks/digits/model", {"plugin": "timm", "name": "test_resnet"}),
    ("rests_on", ["digits.train.size"]),
]


@pytest.mark.parametrize(("path", "value"), GOOD)
def test_what_novum_takes_fits_the_schema(path: str, value: Any, validator: Any) -> None:
    claim = put(path, value)

    hypotheses(claim, "claim.toml")

    assert faults(validator, claim) == []


WRONG: list[tuple[str, Any, str]] = [
    ("clam", "It helps", "clam"),
    ("claim", "", "claim"),
    ("minimum_effect", "much", "minimum_effect"),
    ("minimum_effect", -1.0, "minimum_effect"),
    ("minimum_effect_raw", 0.1, "should not be valid"),
    ("max_seeds", 2, "max_seeds"),
    ("max_seeds", "many", "max_seeds"),
    ("alpha", 0.5, "alpha"),
    ("margins", "loose", "margins"),
    ("scope", "most", "scope"),
    ("keep", "last", "keep"),
    ("batch", 0, "batch"),
    ("futility", 0.7, "futility"),
    ("price_per_hour", 0, "price_per_hour"),
    ("control", "0.9", "control"),
    ("treatments", {}, "treatments"),
    ("tasks", {}, "tasks"),
    ("tasks/../up", {}, "tasks"),
    ("tasks/digits/alpha", 0.1, "alpha"),
    ("tasks/digits/task/plugin", "image-clasification", "tasks.digits.task.plugin"),
    ("tasks/digits/task/dta", "digits", "dta"),
    ("tasks/digits/task/env", "CartPole-v1", "env"),
    ("tasks/digits/task/per_class", -1, "per_class"),
    ("tasks/digits/task/split", {"dev": 0.1, "tset": 0.1}, "tset"),
    ("tasks/digits/model/width", "wide", "width"),
    ("tasks/digits/model/dropout", 1.0, "dropout"),
    ("treatments/wide/model/widht", 3, "widht"),
    ("tasks/digits/evaluator", {"plugin": "retruns"}, "evaluator"),
    ("tasks/digits/recipe/budget", "2 epoch s", "budget"),
    ("tasks/digits/recipe/optimizer", "adamx", "optimizer"),
    ("tasks/digits/recipe/schedule", "cosin", "schedule"),
    ("tasks/digits/recipe/learning_rate", 0, "learning_rate"),
    ("tasks/digits/recipe/techniques", {"floding": {}}, "floding"),
    ("tasks/digits/recipe/techniques", {"flooding": {"level": -1}}, "level"),
    ("tasks/digits/recipe/lr", 0.1, "lr"),
    ("tasks/digits/treatments", {"wide": {"start_from": {"recipe": {"lr": 1}}}}, "lr"),
]


@pytest.mark.parametrize(("path", "value", "told"), WRONG)
def test_what_is_wrong_is_found_by_the_schema_and_named(path: str, value: Any, told: str, validator: Any) -> None:
    found = faults(validator, put(path, value))

    assert any(told in each for each in found), found


def test_without_its_change_the_table_of_wrong_claims_is_right(validator: Any) -> None:
    assert faults(validator, CLAIM) == []
    assert len(hypotheses(CLAIM, "claim.toml")) == 1


@pytest.mark.parametrize("missing", ["claim", "tasks", "treatments"])
def test_what_every_claim_has_is_asked_for(missing: str, validator: Any) -> None:
    found = faults(validator, {key: value for key, value in CLAIM.items() if key != missing})

    assert found == [f": '{missing}' is a required property"]


@pytest.mark.parametrize("unit", [*UNITS, "", "parsecs"])
def test_a_budget_fits_the_schema_where_the_recipe_takes_it(unit: str) -> None:
    import re

    fits = re.match(BUDGET, f"2_000 {unit.title()}") is not None

    if unit == "parsecs":
        assert not fits
        with pytest.raises(ValueError, match="a budget is a positive number"):
            amount(f"2_000 {unit.title()}")
    else:
        assert fits and amount(f"2_000 {unit.title()}")[0] == 2000


def test_every_option_of_every_plugin_is_described_where_an_editor_looks(schema: Any) -> None:
    definitions = schema["definitions"]

    for kind, name in IN_TREE:
        if kind in ("task", "model", "evaluator"):
            options = definitions[f"{kind}.{name}"]["properties"]
            known = set(plugins.load(kind, name).Config.model_fields)
            assert set(options) == {"plugin", *known}
            assert all(options[option].get("description") for option in known), (kind, name)
            assert known <= set(definitions[kind]["properties"]), "completion knows it before a plugin is named"


def test_a_plugin_that_cannot_be_loaded_leaves_its_options_free_and_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = plugins.load

    def load(kind: str, name: str) -> Any:
        if (kind, name) == ("model", "mlp"):
            raise plugins.PluginError("the model 'mlp' cannot be imported: it is broken.")
        return real(kind, name)

    monkeypatch.setattr(plugins, "load", load)

    found, left_out = claim_files()

    assert left_out == {"model mlp": "the model 'mlp' cannot be imported: it is broken."}
    assert faults(Draft7Validator(found), put("tasks/digits/model/anything", 3)) == []
    assert faults(Draft7Validator(found), put("tasks/digits/task/anything", 3)) != []


def test_the_schema_names_no_class_of_this_script(toy: Any) -> None:
    plugins.adopt("model", toy.Linear)

    found, _ = claim_files()

    assert "local:Linear" not in found["definitions"]["model"]["properties"]["plugin"]["enum"]
