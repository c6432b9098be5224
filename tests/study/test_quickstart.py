"""The quick start: a claim file, the same as a script, and the whole of it in small."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import novum
import pytest
from novum.cli.app import quickstart

QUICKSTART = Path(__file__).parents[2] / "experiments" / "quickstart"
TASKS = ["digits", "stdlib-docs", "cartpole"]
SMALL = (
    "max_seeds=6",
    'tasks.digits.recipe.budget="100 samples"',
    'tasks.digits.treatments.pretrained.start_from.recipe.budget="128 samples"',
    "tasks.digits.model.size=8",
    'tasks.stdlib-docs.recipe.budget="100 samples"',
    'tasks.stdlib-docs.treatments.pretrained.start_from.recipe.budget="128 samples"',
    'tasks.cartpole.recipe.budget="512 steps"',
    'tasks.cartpole.treatments.pretrained.start_from.recipe.budget="1_024 steps"',
    "tasks.cartpole.task.episodes=4",
)
ACTS = ("1 observe", "2 hypothesize", "3 experiment", "4 validate on new data")


def test_the_demo_runs_the_claim_file_of_this_checkout() -> None:
    assert quickstart() == QUICKSTART / "claim.toml"


def test_the_claim_is_about_three_domains_at_once() -> None:
    claim = novum.load(QUICKSTART / "claim.toml")

    assert list(claim.tasks) == TASKS
    assert [each.control.task.name for each in claim.tasks.values()] == [
        "image-classification",
        "text-classification",
        "gym",
    ]
    assert all(each.treatment.start_from is not None for each in claim.tasks.values())


def test_the_script_makes_the_very_hypothesis_of_the_claim_file(monkeypatch: pytest.MonkeyPatch) -> None:
    claims: list[novum.Hypothesis] = []
    monkeypatch.setattr(novum.Study, "run", lambda study, claim: claims.append(claim))

    runpy.run_path(str(QUICKSTART / "quickstart.py"))

    assert [claim.fingerprint for claim in claims] == [novum.load(QUICKSTART / "claim.toml").fingerprint]


def test_the_script_has_at_most_twenty_lines_of_code() -> None:
    lines = (QUICKSTART / "quickstart.py").read_text(encoding="utf-8").split('"""')[2].splitlines()

    assert len([line for line in lines if line.strip() and not line.lstrip().startswith("#")]) <= 20


@pytest.fixture(scope="module")
def demonstrated(there: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """What the quick start says with tiny budgets, in workers, and the folder of its study."""
    folder = tmp_path_factory.mktemp("quickstart")
    said = there("run", str(QUICKSTART / "claim.toml"), *SMALL, cwd=folder, NOVUM_STUDY=str(folder / "study"))
    return said, folder / "study"


def test_the_whole_of_it_ends_well_after_the_four_acts(demonstrated: tuple[Any, Path]) -> None:
    said, study = demonstrated

    acts = [said.out.index(f"\n{act}  ") for act in ACTS]
    assert said.code == 0, said.err
    assert acts == sorted(acts)
    assert "At most 54 trials" in said.out and " of 54 trials done" in said.out
    assert (study / "reports").is_dir()
    assert Path(said.out.split("Report: ")[1].strip()).parent == study / "reports"


def test_its_verdict_names_every_task(demonstrated: tuple[Any, Path], here: Callable[..., Any]) -> None:
    said, study = demonstrated

    verdict = json.loads(here("verdict", "--json", NOVUM_STUDY=str(study)).out)

    table = said.out[said.out.index("\ntask  ") :].splitlines()[2:5]
    assert sorted(line.split()[0] for line in table) == sorted(TASKS)
    assert [verdict["tasks"][line.split()[0]]["outcome"] in line.split() for line in table] == [True] * 3
    assert all(task["planned"] == 6 for task in verdict["tasks"].values())
    assert any(3 <= task["pairs"] <= 6 for task in verdict["tasks"].values())
    assert verdict["saved"]["trials"] == 3 * sum(6 - task["pairs"] for task in verdict["tasks"].values())


def test_the_same_command_again_runs_nothing(demonstrated: tuple[Any, Path], here: Callable[..., Any]) -> None:
    _, study = demonstrated
    with novum.Study(study).reading() as ledger:
        before = ledger.events()

    again = here("run", str(QUICKSTART / "claim.toml"), *SMALL, "--json", NOVUM_STUDY=str(study))

    with novum.Study(study).reading() as ledger:
        after = ledger.events()
    assert again.code == 0
    assert after == before
    assert json.loads(again.out)["verdict"] == json.loads(here("verdict", "--json", NOVUM_STUDY=str(study)).out)


def test_its_verdict_is_recomputed_byte_for_byte(demonstrated: tuple[Any, Path], here: Callable[..., Any]) -> None:
    _, study = demonstrated

    recorded, recomputed = (here("verdict", how, NOVUM_STUDY=str(study)) for how in ("--json", "--recompute"))

    assert recomputed.code == 0
    assert recomputed.out == recorded.out
