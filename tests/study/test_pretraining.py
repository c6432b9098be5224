"""Pretraining without labels, as experiments/pretraining has it: the claim, and the whole of it in small."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import novum
import pytest
from novum.lab import Listener

CLAIM = Path(__file__).parents[2] / "experiments" / "pretraining" / "claim.toml"
SIZE = "layers = 1, width = 16, heads = 2, max_length = 16, vocabulary = 300"
TASK = "tasks.stdlib-docs"
SMALL = (
    "max_seeds=3",
    f'{TASK}.model={{ plugin = "transformer", {SIZE} }}',
    f'{TASK}.recipe.budget="160 samples"',
    f'{TASK}.treatments.pretrained.start_from.model={{ plugin = "masked-transformer", {SIZE} }}',
    f'{TASK}.treatments.pretrained.start_from.recipe.budget="320 samples"',
)


def test_its_arms_differ_in_nothing_but_what_the_treatment_starts_from() -> None:
    ((name, comparison),) = novum.load(CLAIM).tasks.items()

    parent = comparison.treatment.start_from
    assert name == "stdlib-docs"
    assert comparison.treatment.start_once
    assert comparison.treatment.but(start_from=None) == comparison.control
    assert (parent.task.name, parent.model.name) == ("masked-language-modelling", "masked-transformer")
    assert parent.model.options == comparison.control.model.options
    assert parent.task.options["data"] == comparison.control.task.options["data"]
    assert comparison.control.task.options["per_class"] == 10


def test_the_claim_as_shipped_can_be_planned(study: Any) -> None:
    told = study.plan(novum.load(CLAIM))

    assert told.record["trials"] == 8 * 2 + 1
    assert told.line.startswith("At most 17 trials")
    assert any("trained once for all seeds" in each.lower() for each in told.said)


def test_in_small_it_ends_in_a_verdict_with_one_pretraining(there: Callable[..., Any], tmp_path: Path) -> None:
    said = there("run", str(CLAIM), *SMALL, "--json", cwd=tmp_path, NOVUM_STUDY=str(tmp_path / "study"))

    assert said.code == 0, said.err
    verdict = json.loads(said.out)["verdict"]
    assert verdict["outcome"] in ("supported", "refuted", "equivalent", "inconclusive")
    with novum.Study(tmp_path / "study").reading() as ledger:
        rows = [row for row in ledger.trials() if row["kind"] == "train"]
    parents = [row for row in rows if row["plan"]["plan"]["start_from"] is None and row["plan"]["side"] != "control"]
    treated = [row for row in rows if row["plan"]["plan"]["start_from"] is not None]
    assert [row["plan"]["plan"]["arm"]["model"]["plugin"] for row in parents] == ["masked-transformer"]
    assert len(treated) == verdict["tasks"]["stdlib-docs"]["pairs"]
    assert {row["plan"]["parent"] for row in treated} == {parents[0]["key"]}
    fresh = {"bert.pooler.dense.bias", "bert.pooler.dense.weight", "classifier.bias", "classifier.weight"}
    assert all(set(row["result"]["start"]["fresh"]) == fresh for row in treated)


@pytest.mark.parametrize(("split", "told"), [({}, False), ({"dev": 0.05, "test": 0.05}, True)])
def test_a_start_that_learns_from_what_is_scored_later_is_told_of(
    tmp_path: Path, shelf: Path, split: dict[str, float], told: bool
) -> None:
    said: list[str] = []
    data = str(shelf / "pets.csv")
    tiny = {"layers": 1, "width": 8, "heads": 1, "max_length": 16, "vocabulary": 100}
    base = novum.arm(
        novum.task("text-classification", data=data), novum.model("transformer", **tiny), budget="32 samples"
    )
    parent = novum.arm(
        novum.task("masked-language-modelling", data=data, split=split),
        novum.model("masked-transformer", **tiny),
        budget="32 samples",
    )

    class Notes(Listener):
        def say(self, sentence: str) -> None:
            said.append(sentence)

    with novum.Study(tmp_path, executor="inline", listener=Notes()) as study:
        study.plan(novum.Hypothesis("x", control=base, treatment=base.but(start_from=parent), max_seeds=3))

    warned = [each for each in said if "what it starts from is trained on" in each]
    assert len(warned) == told
    assert all("trained on 24 units of dev and 24 units of test, which" in each for each in warned), said
