"""Rules on in-tree models and on data with the defect: measured facts, and where it is quick, what the remedy brings."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import novum
import pytest
from novum import plugins
from novum.goal import Goal
from novum.proposers import Proposer
from novum.standing import Change, Standing


class Watch(Proposer):
    """Proposes nothing, and keeps where the loop stands."""

    stood: Standing | None = None

    def propose(self, seen: novum.loop.Seen) -> None:  # type: ignore[name-defined]
        type(self).stood = seen.standing


@pytest.fixture
def study(tmp_path: Path) -> Iterator[novum.Study]:
    with novum.Study(tmp_path / "study", executor="inline", debug=True) as opened:
        yield opened


def stands(study: novum.Study, arm: novum.Arm, space: Mapping[str, Any] | None = None, **more: Any) -> Standing:
    """Where a loop on one task stands once it has looked at its baseline."""
    watch = plugins.adopt("proposer", Watch)
    Watch.stood = None
    study.loop(Goal("g", {"t": arm}, 100, proposers=(watch,), space=space or {}, seeds=2, **more))
    assert Watch.stood is not None
    return Watch.stood


def proposed(standing: Standing, rule: str) -> Change | None:
    found: list[Change] = plugins.create("proposer", "rules", {"only": [rule]}).changes(standing)
    return found[0] if found else None


def mean(study: novum.Study, arm: novum.Arm, metric: str, seeds: int = 2) -> float:
    values = [float(run.metrics[metric]) for run in study.train_seeds(arm, seeds=range(seeds))]
    return sum(values) / len(values)


def after(standing: Standing, change: Change) -> novum.Arm:
    return standing.arms(change)["t"]


DIGITS = novum.task("image-classification", data="digits")
DOCS = novum.task("text-classification", data="stdlib-docs")
"""Real data of both kinds."""


@pytest.fixture
def uneven(tmp_path: Path) -> Path:
    """Paragraphs of two modules' documentation, 12 times as many of one in train; dev has as many of each."""
    source = plugins.create("task", "text-classification", {"data": "stdlib-docs", "classes": ["asyncio", "email"]})
    folder = tmp_path / "uneven"
    folder.mkdir()
    for split, limits in (("train", (240, 20)), ("dev", (40, 40)), ("test", (20, 20))):
        examples = source.source(novum.Split("train"), novum.Seed(0), novum.Recipe())
        rows, start = [], {"train": (0, 0), "dev": (240, 60), "test": (290, 110)}[split]
        for label, (first, count) in enumerate(zip(start, limits, strict=True)):
            texts = [text for text, target in zip(examples.inputs, examples.targets, strict=True) if target == label]
            rows += [(text, "ab"[label]) for text in texts[first : first + count]]
        with (folder / f"{split}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("text", "label"), *rows])
    return folder
