"""BERT on binary classification, as experiments/bert has it: a script of twenty lines, and a claim."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import novum
import pytest

BERT = Path(__file__).parents[2] / "experiments" / "bert"
OFFLINE = {"HF_HUB_OFFLINE": "1", "NOVUM_STUDY": "study"}
POINT = re.compile(r" *([0-9]+)  train loss ([0-9.]+)  dev accuracy ([0-9.]+)")


def ran(folder: Path) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The stored scores and per-unit rows on test of the only run of a study."""
    study = novum.Study(folder)
    (row,) = study.rows()
    with study.reading() as ledger:
        key = f"{row['trial']}-test"
        units = ledger.units(key, "test")
        assert units is not None
        return ledger.scores([key], "test")[key], units


@pytest.fixture(scope="module")
def fine_tuned(process: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """What the script said without any data or checkpoint, and the folder of its study."""
    folder = tmp_path_factory.mktemp("bert")
    said = process(sys.executable, BERT / "bert.py", "--budget", "1_280 samples", cwd=folder, NOVUM_DATA="", **OFFLINE)
    return said, folder / "study"


def test_the_script_has_at_most_twenty_lines() -> None:
    lines = (BERT / "bert.py").read_text(encoding="utf-8").splitlines()

    assert len([line for line in lines if line.strip()]) <= 20


def test_the_script_runs_offline_and_prints_every_point_of_the_curve_and_a_report(fine_tuned: tuple[Any, Path]) -> None:
    said, _ = fine_tuned

    points = [POINT.fullmatch(line) for line in said.out.splitlines()[:10]]
    losses = [float(point[2]) for point in points if point]
    assert said.code == 0, said.err
    assert [point and int(point[1]) for point in points] == list(range(1, 11))
    assert losses[-1] < losses[0]
    assert said.out.splitlines()[10] == "test, seed 0, 1280 units"
    for row in ("accuracy", "f1_macro", "f1_weighted", "asyncio", "email"):
        assert re.search(rf"^ *{row} +[0-9]", said.out, re.MULTILINE)


def test_its_scores_are_those_of_scikit_learn(fine_tuned: tuple[Any, Path]) -> None:
    from sklearn.metrics import accuracy_score, precision_recall_fscore_support

    scores, units = ran(fine_tuned[1])
    names, both = ["asyncio", "email"], (units["target"], units["prediction"])

    each = precision_recall_fscore_support(*both, labels=names, zero_division=0)
    averages = {
        kind: precision_recall_fscore_support(*both, labels=names, average=kind, zero_division=0)
        for kind in ("macro", "weighted")
    }

    assert len(set(units["prediction"])) == 2
    assert scores["metrics"]["accuracy"] == pytest.approx(accuracy_score(*both), abs=1e-12)
    for part, at in (("precision", 0), ("recall", 1), ("f1", 2)):
        assert [scores["tables"]["classes"][name][part] for name in names] == pytest.approx(list(each[at]), abs=1e-12)
        for kind, found in averages.items():
            assert scores["metrics"][f"{part}_{kind}"] == pytest.approx(found[at], abs=1e-12)
    assert [scores["tables"]["classes"][name]["support"] for name in names] == list(each[3])


def test_the_script_fine_tunes_a_checkpoint_of_a_folder_on_real_reviews(
    process: Callable[..., Any], small_bert: Callable[[Path], None], tmp_path: Path
) -> None:
    if not os.environ.get("NOVUM_DATA"):
        pytest.skip("NOVUM_DATA names no folder of real data sets")
    small_bert(tmp_path / "checkpoint")

    given = ("--checkpoint", "checkpoint", "--budget", "64 samples")
    said = process(sys.executable, BERT / "bert.py", *given, cwd=tmp_path, **OFFLINE)

    assert said.code == 0, said.err
    assert [bool(POINT.fullmatch(line)) for line in said.out.splitlines()[:4]] == [True] * 4  # four batches of 16
    scores, units = ran(tmp_path / "study")
    assert len(units["target"]) > 1000
    assert 0.0 <= scores["metrics"]["f1_macro"] <= 1.0


def test_the_claim_can_be_planned(here: Callable[..., Any], tmp_path: Path) -> None:
    claim = novum.load(BERT / "claim.toml")

    small = ("tasks.docs.model.layers=1", "tasks.docs.model.width=8", "max_seeds=3")
    said = here("plan", str(BERT / "claim.toml"), *small, "--executor", "inline", NOVUM_STUDY=str(tmp_path))

    recipes = [dict(arm.recipe) for arm in (claim.tasks["docs"].control, claim.tasks["docs"].treatment)]
    assert [recipe.pop("warmup") for recipe in recipes] == [0.0, 0.1]
    assert recipes[0] == recipes[1]
    assert said.code == 0, said.err
    assert "At most 6 trials" in said.out and "Nothing is registered" in said.out
