"""Design law 4, on every domain: arms that differ only in something inert give identical numbers, seed by seed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import novum
import pytest
from novum import run as runs

DOMAINS = {
    "text": novum.arm(
        novum.task("text-classification", data="stdlib-docs", classes=["asyncio", "email", "xml"], per_class=20),
        novum.model("bag", buckets=512, dimension=8, dropout=0.3),
        budget="120 samples",
    ),
    "transformer": novum.arm(
        novum.task("text-classification", data="stdlib-docs", classes=["asyncio", "email"]),
        novum.model("transformer", vocabulary=200, layers=1, width=8, heads=2, max_length=16),
        budget="96 samples",
    ),
    "vision": novum.arm(
        novum.task("image-classification", data="digits", per_class=10),
        novum.model("timm", size=8),
        budget="192 samples",
        layout="contiguous",  # two studies ask a probe each, and a busy machine may answer them differently
    ),
    "control": novum.arm(novum.task("gym", episodes=3), novum.model("ppo", epochs=2), budget="768 steps"),
}
INERT: dict[str, Callable[[novum.Arm], novum.Arm]] = {
    "an option of an optimiser that has none": lambda arm: arm.but(momentum=0.5),
    "the default said aloud": lambda arm: arm.but(averaging="none"),
    "the evaluator said aloud": lambda arm: arm.but(
        evaluator=novum.arm("x", "y", "returns" if arm.task.name == "gym" else "classification").evaluator
    ),
}


@pytest.fixture(params=DOMAINS)
def base(request: pytest.FixtureRequest) -> novum.Arm:
    return DOMAINS[request.param]


def numbers(run: novum.Run) -> dict[str, Any]:
    """Everything that two runs must agree on, to the last bit: not how long they took."""
    curve = [{name: point[name] for name in ("units", "losses", "metrics")} for point in run.curve]
    return {"curve": curve, "metrics": dict(run.metrics), "tables": run.tables, "weights": run.weights.name}


def test_an_inert_difference_changes_no_number(base: novum.Arm, tmp_path: Path) -> None:
    study = novum.Study(tmp_path, executor="inline")

    plain = [numbers(run) for run in study.train_seeds(base, seeds=(0, 1))]
    others = {why: [numbers(run) for run in study.train_seeds(make(base), seeds=(0, 1))] for why, make in INERT.items()}

    assert others == dict.fromkeys(INERT, plain)
    assert plain[0] != plain[1]
    assert plain[0]["weights"] != plain[1]["weights"]


def test_scoring_more_often_changes_no_number(base: novum.Arm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for points in (1, 3):
        monkeypatch.setattr(runs, "curve_points", lambda plan, points=points: points)
        found.append(novum.Study(tmp_path / str(points), executor="inline").train(base, seed=7))

    assert [len(run.curve) for run in found] == [1, 3]
    assert found[0].weights.name == found[1].weights.name
    assert found[0].metrics == found[1].metrics


def test_the_trials_that_ran_before_and_the_process_change_no_number(tmp_path: Path) -> None:
    base = DOMAINS["text"]

    alone = novum.Study(tmp_path / "alone", executor="inline").train(base, seed=3)
    with novum.Study(tmp_path / "workers", workers=2) as study:
        together = study.train_seeds(base, seeds=(1, 2, 3, 4))[2]

    assert (together.seed, together.key) == (3, alone.key)
    assert numbers(together) == numbers(alone)


def test_both_arms_of_a_pair_are_scored_on_the_same_units_in_the_same_order(base: novum.Arm, tmp_path: Path) -> None:
    study = novum.Study(tmp_path, executor="inline")

    trained = [study.train(base, seed=5), study.train(base.but(learning_rate=1e-5), seed=5)]

    with study.reading() as ledger:
        rows = [ledger.units(run.key, "dev") for run in trained]
    keys = [column for column in ("id", "target", "seed") if rows[0] is not None and column in rows[0]]
    assert trained[0].weights.name != trained[1].weights.name
    assert keys
    assert [rows[0][column] for column in keys] == [rows[1][column] for column in keys]  # type: ignore[index]
