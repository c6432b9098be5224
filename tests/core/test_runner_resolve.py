from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import novum
import pytest
import torch
from novum import ConfigError, MismatchError, PluginError, Recipe, plugins
from novum.runner import device
from novum.runner.resolve import PLUGINS, RUNNER_SOURCES, changed, differs, resolve


def test_nothing_is_left_to_defaults(arm: Any) -> None:
    plan = resolve(arm(budget="3 epochs").to_json())

    assert plan["arm"]["task"] == {"plugin": "local:Blobs", "size": 40, "noise": 0.5}
    assert set(plan["arm"]["model"]) == {"plugin", "note", "spread", "dropout", "silent", "blind", "mode"}
    assert plan["arm"]["evaluator"] == {"plugin": "classification"}
    assert set(plan["arm"]["recipe"]) == set(Recipe.model_fields)
    assert (plan["units"], plan["data"], plan["start_from"]) == (120, "blobs-40-0.5", None)
    assert (plan["device"], plan["precision"]) == (device.kind(), device.precision("auto", device.kind()))


def test_a_models_own_defaults_come_before_those_of_the_recipe_and_after_what_was_written(arm: Any) -> None:
    plain, written = resolve(arm().to_json()), resolve(arm(learning_rate=0.5).to_json())

    assert plain["arm"]["recipe"]["learning_rate"] == 0.1
    assert plain["arm"]["recipe"]["clip"] == Recipe().clip
    assert written["arm"]["recipe"]["learning_rate"] == 0.5


def test_writing_a_default_out_changes_no_plan(arm: Any) -> None:
    explicit = arm(task={"size": 40}, model={"note": "", "dropout": 0.2}, learning_rate=0.1)

    assert resolve(arm().to_json()) == resolve(explicit.but(evaluator=novum.evaluator("classification")).to_json())


def test_a_plan_is_plain_json_and_resolves_to_itself(arm: Any) -> None:
    plan = resolve(arm().to_json())

    assert json.loads(json.dumps(plan)) == plan
    assert resolve(plan["arm"])["arm"] == plan["arm"]


def test_a_plan_names_the_sources_and_versions_that_decide_its_numbers(arm: Any) -> None:
    code = resolve(arm().to_json())["code"]

    parts = {"task", "model", "evaluator", "optimizer", "schedule", "techniques"}
    assert set(code) == {"runner", "torch", "numpy", *parts}
    assert code["torch"] == importlib.metadata.version("torch")
    assert len(code["task"]["sources"]) == 64
    assert code["evaluator"]["distribution"] == code["optimizer"]["distribution"] == "novum"


@pytest.mark.parametrize("kind", [*PLUGINS, "technique"])
def test_every_plugin_that_the_core_itself_brings_is_among_the_sources_that_decide(kind: str) -> None:
    modules = {each.value.partition(":")[0] for each in plugins.listings(kind) if each.distribution == "novum"}

    files = {f"{module.removeprefix('novum.').replace('.', '/')}.py" for module in modules}

    assert files or kind == "task"
    assert {file for file in files if not file.startswith(RUNNER_SOURCES)} == set()


def test_a_parent_is_resolved_as_its_own_arm(arm: Any) -> None:
    child = arm(start_from=arm(task={"size": 20}, budget="1 epochs", start_from=arm(budget="2 epochs")))

    plan = resolve(child.to_json())

    assert plan["start_from"]["units"] == 20
    assert plan["start_from"]["start_from"]["units"] == 80
    assert plan["start_from"]["arm"]["model"] == plan["arm"]["model"]


@pytest.mark.parametrize(
    ("part", "told"),
    [
        ({"schedule": "cosin"}, "no schedule is called 'cosin'; did you mean 'cosine'"),
        ({"optimizer": "adamv"}, "no optimizer is called 'adamv'; did you mean 'adam"),
    ],
)
def test_an_optimiser_or_schedule_that_is_not_installed_is_refused(arm: Any, part: dict[str, Any], told: str) -> None:
    with pytest.raises(PluginError, match=told):
        resolve(arm(**part).to_json())


def test_an_option_of_the_wrong_kind_is_refused_by_its_path(arm: Any) -> None:
    with pytest.raises(ConfigError, match=r"task 'local:Blobs': option 'size' .*received 'many'"):
        resolve(arm(task={"size": "many"}).to_json())
    with pytest.raises(ConfigError, match=r"recipe: option 'learning_rate' .*received -1"):
        resolve(arm(learning_rate=-1).to_json())
    with pytest.raises(ConfigError, match="counts environment steps, but this task is a data set of 40 samples"):
        resolve(arm(budget="100 steps").to_json())


def test_a_model_that_does_not_fit_is_refused_with_those_that_do(toy: Any) -> None:
    with pytest.raises(MismatchError, match=r"'bag' does not fit the task 'local:Blobs'.*vector inputs and classes"):
        resolve(novum.arm(novum.task(toy.Blobs), "bag").to_json())


def test_an_evaluator_that_judges_something_else_is_refused(arm: Any) -> None:
    with pytest.raises(MismatchError, match=r"judges .*leave `evaluator` out to use the task's own"):
        resolve(arm(evaluator=novum.evaluator("returns")).to_json())


# ---------------------------------------------------------------------------------------------- code that changed


def test_an_unchanged_installation_can_go_on(arm: Any) -> None:
    assert changed(resolve(arm().to_json())) == []


@pytest.mark.parametrize("part", ["runner", "torch", "task", "schedule"])
def test_code_that_differs_is_named(arm: Any, part: str) -> None:
    plan = resolve(arm().to_json())
    then = plan["code"][part]
    plan["code"][part] = then | {"sources": "0" * 64} if isinstance(then, dict) else "0.0"

    (found,) = changed(plan)

    named = {"runner": "the runner (", "torch": "torch ("}
    assert found.startswith(named.get(part, f"the {part}'s sources ("))


@pytest.mark.parametrize("part", ["numpy", "task"])
def test_versions_of_other_libraries_are_on_record_and_decide_nothing(arm: Any, part: str) -> None:
    plan = resolve(arm().to_json())
    then = plan["code"][part]
    plan["code"][part] = then | {"version": "0", "requires": {"numpy": "0"}} if isinstance(then, dict) else "0.0"

    assert changed(plan) == []


def test_other_data_are_named_with_the_arm_that_it_starts_from(
    arm: Any, monkeypatch: pytest.MonkeyPatch, toy: Any
) -> None:
    plan = resolve(arm(start_from=arm(budget="1 epochs")).to_json())
    monkeypatch.setattr(toy.Blobs, "fingerprint", lambda task: "touched")

    found = differs(plan)

    name = plan["arm"]["task"]["plugin"]
    assert found == [f"the data of {name}", f"the data of {name} of its start"]


def test_another_device_is_named(arm: Any) -> None:
    plan = resolve(arm().to_json()) | {"device": "abacus"}

    assert changed(plan) == [f"the device (abacus → {device.kind()})"]


def test_an_edited_script_changes_the_plan_of_its_classes(toy: Any, tmp_path: Path) -> None:
    path = tmp_path / "edited_task.py"
    plans = []
    for comment in ("# one\n", "# two\n"):
        path.write_text(Path(toy.__file__).read_text() + comment)
        spec = importlib.util.spec_from_file_location("novum_tests_edited", path)
        assert spec is not None and spec.loader is not None
        sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        plans.append(resolve(novum.arm(novum.task(module.Blobs), novum.model(module.Linear)).to_json()))

    assert plans[0]["arm"] == plans[1]["arm"]
    assert {part for part in plans[0]["code"] if plans[0]["code"][part] != plans[1]["code"][part]} == {"task", "model"}
    assert len(changed(plans[0])) == 2


# ---------------------------------------------------------------------------------------------------------- device


def test_a_device_that_is_there_is_the_one_that_is_named() -> None:
    assert device.kind() == ("cuda" if torch.cuda.is_available() else "cpu")
    assert device.device("cpu") == torch.device("cpu")
