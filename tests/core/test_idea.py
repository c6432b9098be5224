"""A person's own code under a plain name: the decorators, and the files that `--load` reads."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from novum import ConfigError, DataError, PluginError, plugins
from novum.idea import spelt
from novum.lab import local_code

IDEA = """
import novum

@novum.technique
class HalfStep(novum.Technique):
    def before_step(self, params):
        for param in params:
            param.grad.mul_(0.5)

@novum.optimizer("plain")
def descent(params, learning_rate, weight_decay):
    import torch
    return torch.optim.SGD(params, lr=learning_rate)

@novum.schedule
def square_root(share):
    return (1 - share) ** 0.5
"""


@pytest.fixture
def idea(tmp_path: Path) -> Callable[..., Path]:
    """Writes a person's file."""

    def write(text: str = IDEA, name: str = "idea.py") -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("GradientNoise", "gradient-noise"),
        ("PPO", "ppo"),
        ("SignSGD", "sign-sgd"),
        ("SGDNoise", "sgd-noise"),
        ("square_root", "square-root"),
        ("_own", "own"),
        ("Conv2dNet", "conv2d-net"),
    ],
)
def test_a_class_or_function_goes_by_its_name_in_small_letters_with_dashes(written: str, name: str) -> None:
    assert spelt(type(written, (), {})) == name


def test_what_a_file_offers_is_loaded_by_its_plain_name(idea: Any) -> None:
    found = plugins.read(idea())

    assert found == [("optimizer", "plain"), ("schedule", "square-root"), ("technique", "half-step")]
    assert plugins.load("schedule", "square-root")(0.75) == 0.5
    assert "half-step" in plugins.names("technique")
    assert "half-step" not in [one.name for one in plugins.listings("technique")]


def test_all_of_a_file_trains_an_arm_and_leaves_another_arm_alone(idea: Any, arm: Any, study: Any) -> None:
    plain = {"optimizer": "sgd", "momentum": 0.0, "learning_rate": 0.1}
    plugins.read(idea())

    one, same, half = (
        study.train(arm(**recipe)).metrics
        for recipe in (
            plain,
            plain | {"optimizer": "plain"},
            plain | {"learning_rate": 0.2, "techniques": {"half-step": {}}},
        )
    )

    assert one == same == half  # half of twice the step is the step
    assert study.train(arm(**plain, schedule="square-root")).curve != study.train(arm(**plain)).curve


def test_workers_get_the_file_and_its_hash_of_everything_that_an_arm_names(idea: Any, arm: Any) -> None:
    path = idea()
    plugins.read(path)
    start = arm(schedule="square-root")
    written = arm(optimizer="plain", techniques={"half-step": {}, "flooding": {}}, start_from=start).to_json()

    code = local_code(written)

    own = [(kind, each["name"], each["qualname"]) for kind, each in code if kind not in ("task", "model")]
    assert own == [
        ("optimizer", "plain", "descent"),
        ("technique", "half-step", "HalfStep"),
        ("schedule", "square-root", "square_root"),
    ]
    assert {(each["file"], len(each["sha256"])) for kind, each in code if kind == "technique"} == {(str(path), 64)}


def test_a_worker_runs_the_file_anew_and_refuses_it_once_it_changed(
    idea: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = idea()
    plugins.read(path)
    here, code = plugins.load("technique", "half-step"), plugins.local_code("technique", "half-step")
    assert code is not None
    monkeypatch.setattr(plugins.own, "_adopted", {})  # a worker knows nothing
    monkeypatch.delitem(sys.modules, here.__module__)

    plugins.receive("technique", dataclasses.asdict(code))

    assert plugins.load("technique", "half-step") is not here
    monkeypatch.setattr(plugins.own, "_adopted", {})
    path.write_text(IDEA + "\n")
    with pytest.raises(
        PluginError, match=r"idea.py changed while the study ran; start the script, or give the command"
    ):
        plugins.receive("technique", dataclasses.asdict(code))


def test_the_hash_of_the_file_stands_in_the_plan_and_its_folder_does_not(idea: Any, arm: Any, tmp_path: Path) -> None:
    from novum.arm import canonical
    from novum.runner.resolve import resolve

    plans = []
    for text in (IDEA, IDEA + "# another byte\n"):
        plugins.read(idea(text))
        plans.append(resolve(arm(techniques={"half-step": {}}).to_json()))

    code = [plan["code"]["techniques"]["half-step"] for plan in plans]
    assert code[0]["sources"] != code[1]["sources"]
    assert code[0] | {"sources": ""} == code[1] | {"sources": ""}
    assert (code[0]["distribution"], code[0]["version"]) == ("idea.py", "not installed")
    assert str(tmp_path) not in canonical(plans[0])


def test_a_file_may_bring_a_task_a_model_and_an_evaluator(idea: Any) -> None:
    bodies = [("Task", "Ponds"), ("Model", "Frog"), ("Evaluator", "Croaks"), ("Technique", "Leap")]
    text = "import novum\n" + "\n".join(
        f"@novum.plugin\nclass {name}(novum.{base}):\n    pass\n" for base, name in bodies
    )

    found = plugins.read(idea(text))

    assert found == [("evaluator", "croaks"), ("model", "frog"), ("task", "ponds"), ("technique", "leap")]


# --------------------------------------------------------------------------------------------------- what is refused


def test_a_name_that_is_installed_is_refused_with_both_places(idea: Any) -> None:
    text = "import novum\n@novum.technique('flooding')\nclass Mine(novum.Technique): pass\n"

    with pytest.raises(ConfigError) as refused:
        plugins.read(idea(text))

    told = str(refused.value)
    assert "the technique 'flooding' is installed by novum (novum.runner.techniques:Flooding)" in told
    assert f"Mine in {idea(text)} would take its name" in told


def test_a_name_that_another_file_has_is_refused_with_both_places(idea: Any) -> None:
    text = "import novum\n@novum.schedule\ndef flat(share): return 1.0\n"
    first, second = idea(text), idea(text, "other.py")
    plugins.read(first)

    with pytest.raises(ConfigError) as refused:
        plugins.read(second)

    assert f"two schedules are called 'flat': flat in {first}, and flat in {second}" in str(refused.value)


def test_one_file_cannot_give_two_things_one_name(idea: Any) -> None:
    one = "@novum.schedule('flat')\ndef {}(share): return 1.0\n"
    text = "import novum\n" + one.format("a") + one.format("b")

    with pytest.raises(ConfigError, match=r"two schedules are called 'flat': a in .* and b in"):
        plugins.read(idea(text))


def test_reading_a_file_again_takes_its_new_content(idea: Any) -> None:
    text = "import novum\n@novum.schedule\ndef flat(share): return 1.0\n"
    plugins.read(idea(text))

    plugins.read(idea(text.replace("1.0", "2.0")))

    assert plugins.load("schedule", "flat")(0.5) == 2.0


@pytest.mark.parametrize(
    ("text", "kind", "told"),
    [
        ("x = 1\n", ConfigError, "it offers nothing; put @novum.technique, @novum.optimizer"),
        ("x = 1\n1 / 0\n", PluginError, r"it cannot be run: ZeroDivisionError: division by zero \(line 2\)"),
        ("import not_there_at_all\n", PluginError, "ModuleNotFoundError: .*what it imports must be installed"),
        ("def (:\n", PluginError, "it cannot be run: SyntaxError"),
        ("import os\nos._exit(3)\n", PluginError, "SystemExit: its import ends the process with status 3"),
        ("raise SystemExit(3)\n", PluginError, "it cannot be run: SystemExit: 3"),
        ("import novum\n@novum.technique\nclass A: pass\n", ConfigError, "goes above a subclass of novum.Technique"),
        ("import novum\n@novum.schedule\ndef a(): pass\n", ConfigError, r"goes above a function \(share\)"),
        (
            "import novum\n@novum.optimizer\ndef a(x): pass\n",
            ConfigError,
            r"a function \(params, learning_rate, weight_d",
        ),
        (
            "import novum\n@novum.plugin\nclass A: pass\n",
            ConfigError,
            "goes above a subclass of novum.Task, novum.Model",
        ),
        ("import novum\n@novum.schedule('a.b')\ndef a(s): pass\n", ConfigError, "'a.b' is no name for a schedule"),
        ("import novum\nstudy = novum.Study('s')\nstudy.train(None)\n", ConfigError, "it offers nothing"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(idea: Any, text: str, kind: type[Exception], told: str) -> None:
    with pytest.raises(kind, match=told) as refused:
        plugins.read(idea(text))

    assert str(refused.value).startswith("--load ")
    assert plugins.offered() == []


@pytest.mark.parametrize("name", ["missing.py", "folder.py", "claim.toml"])
def test_what_is_no_python_file_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder.py").mkdir()
    (tmp_path / "claim.toml").write_text("")

    with pytest.raises(DataError, match=r"no Python file is there; give the path of a \.py file"):
        plugins.read(tmp_path / name)


def test_a_decorated_class_of_a_script_is_used_by_the_script_that_goes_on(idea: Any, tmp_path: Path) -> None:
    script = IDEA + (
        "study = novum.Study('s', workers=1)\n"
        "import importlib.util, sys\n"
        "arm = novum.arm('text-classification', 'bag', budget='200 samples', techniques={'half-step': {}})\n"
        "run = study.train(arm.but(task=novum.task('text-classification', data='pets.csv')))\n"
        "print(run.plan['code']['techniques']['half-step']['distribution'])\n"
    )
    rows = [f"the {pet} number {row},{pet}" for row in range(120) for pet in ("cat", "dog")]
    (tmp_path / "pets.csv").write_text("\n".join(["text,label", *rows]) + "\n")

    said = subprocess.run(
        [sys.executable, str(idea(script, "whole.py"))], cwd=tmp_path, capture_output=True, text=True, check=True
    )

    assert said.stdout.splitlines()[-1] == "whole.py"


def test_a_failed_file_leaves_no_offer_behind(idea: Any) -> None:
    with pytest.raises(PluginError):
        plugins.read(idea(IDEA + "1 / 0\n"))

    assert plugins.offered() == []
