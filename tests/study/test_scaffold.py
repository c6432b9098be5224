"""`novum plugins new`: what it writes is a distribution that installs, passes its contracts and trains."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from novum import CONTRACT, plugins
from novum.claimfile import load
from novum.cli import scaffold
from novum.errors import ConfigError, DataError
from novum.scaffold import KINDS, USUAL, Plugin, write

BIN = Path(sys.executable).parent
CHOICES = [chosen for size in (1, 2, 5) for chosen in combinations(KINDS, size)] + [USUAL]


@pytest.mark.parametrize("kinds", CHOICES, ids="-".join)
def test_what_is_written_is_complete_whatever_kinds_are_chosen(kinds: tuple[str, ...]) -> None:
    files = Plugin("letter-scripts", kinds).files()

    assert {"pyproject.toml", "README.md", "LICENSE", ".gitignore", ".github/workflows/ci.yml"} <= set(files)
    assert {"letter_scripts/__init__.py", "letter_scripts/py.typed", "tests/test_contract.py"} <= set(files)
    assert {path for path in files if path.startswith("letter_scripts/")} == {
        *("letter_scripts/__init__.py", "letter_scripts/py.typed"),
        *(f"letter_scripts/{kind}.py" for kind in kinds),
    }
    assert ("claim.toml" in files) == ("task" in kinds)
    assert not [path for path, text in files.items() if re.search(r"@[A-Z]*@", text)], "a word was not filled in"
    project = tomllib.loads(files["pyproject.toml"])
    points = project["project"]["entry-points"]
    assert points.pop(plugins.installed.HANDSHAKE) == {f"v{CONTRACT}": "letter_scripts"}
    assert set(points) == {plugins.NAMESPACES[kind] for kind in kinds}
    for group in points.values():
        module, _, name = group["letter-scripts"].partition(":")
        tree = ast.parse(files[f"{module.replace('.', '/')}.py"])
        assert name in {each.name for each in tree.body if isinstance(each, ast.ClassDef)}


@pytest.mark.parametrize("name", ["x", "letter-scripts", "a" * 30])
def test_what_is_written_is_clean_by_the_linter_and_formatted(name: str, tmp_path: Path) -> None:
    write(Plugin(name, KINDS), tmp_path / "new")

    for words in (("check", "--select", "E,F,I,W,B,UP,N,SIM,RUF"), ("format", "--check")):
        said = subprocess.run(
            [BIN / "ruff", *words, "."], cwd=tmp_path / "new", capture_output=True, text=True, check=False
        )
        assert said.returncode == 0, said.stdout


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "is no name for a plugin; allowed: up to 30 small letters"),
        ("My_Task", "is no name for a plugin.*Such as 'my-task'"),
        ("../up", "is no name for a plugin"),
        ("a--b", "is no name for a plugin"),
        ("-a", "is no name for a plugin"),
        ("9to5", "is no name for a plugin"),
        ("été", "is no name for a plugin"),
        ("a" * 31, "is no name for a plugin"),
        ("class", "is a word of Python"),
        ("tokenize", "would hide the module tokenize"),
        ("tests", "would hide the module tests"),
        ("novum", "would hide the module novum"),
        ("novum-text", "is taken: a package novum_text is installed here"),
        ("scikit-learn", "is taken: the distribution scikit-learn"),
        ("text-classification", "is taken: the task 'text-classification' is brought by novum-text"),
    ],
)
def test_a_name_that_is_none_or_is_taken_is_refused_with_what_is_allowed(name: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        Plugin(name)


def test_a_kind_of_which_there_is_no_example_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"--kind 'modle': .*did you mean 'model'.*several times: --kind task"):
        Plugin("letter-scripts", ("modle",))
    with pytest.raises(ConfigError, match=r"--kind 'technique': allowed: .*needs no distribution at first: docs/ideas"):
        Plugin("letter-scripts", ("technique",))
    with pytest.raises(ConfigError, match=r"--kind 'tracker': .*write-a-plugin.md#the-smaller-kinds"):
        Plugin("letter-scripts", ("tracker",))


def test_a_proposer_without_any_task_to_propose_about_is_refused_with_a_way_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(plugins.LIMIT, "novum")

    with pytest.raises(ConfigError, match="there is none; install a plugin with one, or add --kind task"):
        Plugin("letter-scripts", ("proposer",)).files()
    assert "letter_scripts/proposer.py" in Plugin("letter-scripts", ("task", "proposer")).files()


def test_nothing_is_overwritten_and_nothing_is_left_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()

    for taken in ("full", "link", "full/mine.txt"):
        with pytest.raises(DataError, match="nothing is overwritten"):
            write(Plugin("letter-scripts"), tmp_path / taken)
    monkeypatch.setattr(Path, "rename", _no_room)
    with pytest.raises(DataError, match="cannot be written: No space left on device"):
        write(Plugin("letter-scripts"), tmp_path / "new")
    monkeypatch.undo()
    write(Plugin("letter-scripts"), tmp_path / "empty")

    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "full", "link"]
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine.txt"]


def _no_room(self: Path, target: Path) -> Path:
    raise OSError(28, "No space left on device")


def test_the_same_name_gives_the_same_bytes() -> None:
    assert Plugin("letter-scripts").files() == Plugin("letter-scripts", tuple(reversed(USUAL))).files()


@pytest.mark.parametrize(
    ("path", "has_pip", "told"),
    [
        ("own", True, 'pip install -e ".[test]"'),
        ("other", True, f'{sys.executable} -m pip install -e ".[test]"'),
        ("other", False, f'{sys.executable} -m ensurepip && {sys.executable} -m pip install -e ".[test]"'),
        ("uv", False, f'uv pip install --python {sys.executable} -e ".[test]"'),
    ],
)
def test_the_command_that_is_told_installs_where_novum_is_and_nowhere_else(
    path: str, has_pip: bool, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("own/bin/pip", "other/pip", "uv/uv"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "own"))
    monkeypatch.setenv("PATH", str(tmp_path / ("own/bin" if path == "own" else path)))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if has_pip and name == "pip" else None)

    assert scaffold._installing('-e ".[test]"') == told


# ------------------------------------------------------------------------------------------------------ installed


@pytest.fixture(scope="module")
def new(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """Runs a command in the folder of a plugin with all kinds, which is installed from its wheel."""
    home = tmp_path_factory.mktemp("new") / "letter-scripts"
    kinds = [word for kind in KINDS for word in ("--kind", kind)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}

    def run(*words: Any, cwd: Path = home) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(word) for word in words],
            cwd=cwd,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    written = run(BIN / "novum", "plugins", "new", "letter-scripts", *kinds, cwd=home.parent)
    assert written.returncode == 0, written.stderr
    built = run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", home.parent / "dist", home)
    assert built.returncode == 0, built.stdout + built.stderr
    (wheel,) = (home.parent / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(home.parent / "site")
    environment["PYTHONPATH"] = str(home.parent / "site")
    return run


def test_every_kind_of_it_is_listed_as_sound(new: Callable[..., Any]) -> None:
    rows = json.loads(new(BIN / "novum", "plugins", "list", "--json").stdout)

    own = {row["kind"]: row["state"] for row in rows if row["distribution"] == "letter-scripts"}
    assert own == dict.fromkeys(KINDS, "ok")


def test_its_contract_tests_pass_as_they_are_written(new: Callable[..., Any]) -> None:
    said = new(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider")

    assert said.returncode == 0, said.stdout[-3000:]
    assert " passed" in said.stdout and "failed" not in said.stdout


@pytest.mark.parametrize("kind", ["evaluator", "proposer"])
def test_the_command_that_checks_it_passes_too(new: Callable[..., Any], kind: str) -> None:
    said = new(BIN / "novum", "plugins", "check", "letter-scripts", "--kind", kind, "--json")

    assert said.returncode == 0, said.stdout + said.stderr
    assert {each["state"] for each in json.loads(said.stdout)} <= {"passed", "skipped"}


def test_it_trains_on_the_task_far_above_chance_and_is_scored_by_its_evaluator(new: Callable[..., Any]) -> None:
    words = ("--executor", "inline", "--json")
    perceptron = new(BIN / "novum", "train", "task=letter-scripts", "model=mlp", *words)
    prototypes = new(
        BIN / "novum", "train", "task=letter-scripts", "model=letter-scripts", "evaluator=letter-scripts", *words
    )
    seen = new(BIN / "novum", "observe", "letter-scripts", *words)

    chance = json.loads(seen.stdout)["scale"]["chance"]
    facts = {fact["id"]: fact["value"] for fact in json.loads(seen.stdout)["facts"]}
    assert chance < 0.3 and json.loads(perceptron.stdout)[0]["metrics"]["accuracy"] > 0.75
    assert json.loads(prototypes.stdout)[0]["metrics"]["brier"] < 0.4
    assert facts["train-dev.duplicates"] == facts["train-test.duplicates"] == facts["dev-test.duplicates"] == 0
    assert facts["train.duplicates"] > 0, "names that are alike are there, and are kept together"


def test_its_claim_can_be_registered_with_both_models(new: Callable[..., Any]) -> None:
    said = new(BIN / "novum", "run", "claim.toml", "--dry-run", "--executor", "inline")

    assert said.returncode == 0, said.stderr
    assert "letter-scripts: on accuracy, chance scores" in said.stdout
    assert "Nothing is registered." in said.stdout


def test_a_claim_without_a_model_of_its_own_loads(tmp_path: Path) -> None:
    write(Plugin("letter-scripts", ("task",)), tmp_path / "new")

    hypothesis = load(tmp_path / "new" / "claim.toml")

    assert hypothesis.tasks["letter-scripts"].treatment.model.options == {"width": 256}


def test_the_executor_runs_trials_and_the_proposer_gives_claims(new: Callable[..., Any]) -> None:
    said = new(
        *(BIN / "novum", "train", "task=letter-scripts", "model=mlp", "budget=2 epochs", "--seeds", "2"),
        *("--executor", "letter-scripts", "--json"),
    )
    proposed = new(
        sys.executable,
        "-c",
        "from novum import plugins; from novum.loop import Question, Seen\n"
        "made = plugins.create('proposer', 'letter-scripts', {})\n"
        "first = made.propose(Seen(Question('', {}), {}, {}))\n"
        "second = made.propose(Seen(Question('', {}), {}, {}, (({'fingerprint': first.fingerprint}, None),)))\n"
        "held = ({'fingerprint': first.fingerprint}, {'outcome': 'supported'})\n"
        "won = made.propose(Seen(Question('', {}), {}, {}, (held,)))\n"
        "print(first.claim); print(second.claim); print(won)",
    )

    assert said.returncode == 0, said.stderr
    assert len(json.loads(said.stdout)) == 2
    assert proposed.stdout.splitlines() == [
        "A learning rate of 0.002 beats 0.001 on letter-scripts",
        "A learning rate of 0.0005 beats 0.001 on letter-scripts",
        "None",
    ], proposed.stderr


def test_an_executor_that_gives_way_asks_for_no_job_while_the_machine_is_busy(new: Callable[..., Any]) -> None:
    said = new(
        sys.executable,
        "-c",
        "import tempfile; from novum import plugins\n"
        "made = plugins.load('executor', 'letter-scripts')(tempfile.mkdtemp())\n"
        "made.running = lambda: ('one',)\nmade.busy = lambda: True\n"
        "held = made.held_back(iter('ab'))\nprint(next(held), next(held))\n"
        "made.busy = lambda: False\nprint(next(held))\n"
        "made.busy = lambda: True\nprint(next(held))\n"
        "made.running = lambda: ()\nprint(next(held))",
    )

    assert said.stdout.splitlines() == ["None None", "a", "None", "b"], said.stderr
