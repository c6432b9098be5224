"""Scouting: exploratory trials of several arms, side by side, for a loop that looks around. Never evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from novum.errors import NovumError
from novum.experiment import Trial

if TYPE_CHECKING:
    from novum.arm import Arm
    from novum.lab import Lab

BLOCK = "explore"
"""The block of seeds of exploratory trials, as that of `novum.run`: a loop shares them with a person."""
POINTS = 20
"""Points of a scouting trial's curve: its slope at the end is looked at."""


@dataclass(frozen=True)
class Scouted:
    """The exploratory trials of one arm on one task. rows: one a seed, as the ledger has them; scores: of the done
    ones, by key, on dev. refused: why the arm could not even begin, else None.
    """

    task: str
    plan: Mapping[str, Any] | None
    metrics: tuple[Mapping[str, Any], ...]
    keys: tuple[str, ...]
    rows: tuple[Mapping[str, Any], ...]
    scores: Mapping[str, Mapping[str, Any]]
    refused: str | None = None

    def values(self, name: str | None = None) -> list[float | None]:
        """A metric (None: the primary one) seed by seed: its worst value for a trial that diverged, None for one that
        broke or that has no such number.
        """
        metric = next(
            (each for each in self.metrics if each["name"] == name), self.metrics[0] if self.metrics else None
        )
        return [] if metric is None else [self._value(row, metric) for row in self.rows]

    def _value(self, row: Mapping[str, Any], metric: Mapping[str, Any]) -> float | None:
        if row["state"] == "diverged":
            return float(metric["worst"])
        found = self.scores.get(row["key"], {"metrics": {}})["metrics"].get(metric["name"])
        return float(found) if isinstance(found, int | float) else None


def scout(
    lab: Lab, arms: Mapping[str, tuple[str, Arm]], seeds: Sequence[int], block: str = BLOCK, root: int = 0
) -> dict[str, Scouted]:
    """Train arms at some seeds of a block that no claim uses; what was trained before is read.

    arms: any name → (task, arm). One that cannot run is told as refused, and a trial that breaks harms no other.
    """
    from novum import trials

    plans: dict[str, tuple[str, dict[str, Any]]] = {}
    refused: dict[str, str] = {}
    for name, (task, arm) in arms.items():
        try:
            plans[name] = (task, resolved(lab, task, arm))
        except NovumError as error:
            refused[name] = str(error)
    seed = {"root": root, "block": block, "indices": None}
    planned = {
        name: [Trial.of(task, "arm", index, found["plan"], {**seed, "index": index}) for index in seeds]
        for name, (task, found) in plans.items()
    }
    everything = [
        trial for index in range(len(seeds)) for each in planned.values() for trial in each[index : index + 1]
    ]
    if everything:
        trials.train(lab, lambda: everything, total=len(everything), points=POINTS)
    nothing = {name: Scouted(arms[name][0], None, (), (), (), {}, why) for name, why in refused.items()}
    return nothing | {name: _read(lab, *plans[name], planned[name]) for name in plans}


def resolved(lab: Lab, task: str, arm: Arm) -> dict[str, Any]:
    """An arm as a job resolves it, {"plan", "signature", "metrics"}, its plan with what a rehearsal answered. None is
    held here: a candidate is trained once, and a probe would take longer than it saves.
    """
    from novum import rehearse
    from novum.lab import local_code

    written = arm.to_json()
    found = lab.one("resolve", {"arms": {"arm": written}, "local": local_code(written)}, task)["arms"]["arm"]
    return {**found, "plan": rehearse.remembered(lab, found["plan"])}


def _read(lab: Lab, task: str, found: Mapping[str, Any], planned: Sequence[Trial]) -> Scouted:
    keys = tuple(trial.key for trial in planned)
    rows = {row["key"]: row for row in lab.ledger.trials(keys=list(keys))}
    scores = lab.ledger.scores(list(keys), "dev")
    return Scouted(task, found["plan"], tuple(found["metrics"]), keys, tuple(rows[key] for key in keys), scores)


def scored(lab: Lab, found: Scouted, split: str) -> dict[str, Mapping[str, Any]]:
    """The scores of the done trials on another split, by the key of the trial; those that diverged have none."""
    from novum import trials

    assert found.plan is not None
    planned = [
        Trial.of(found.task, "arm", row["index"], found.plan, {**row["plan"]["seed"], "indices": None})
        for row in found.rows
    ]
    trials.score(lab, planned, split)
    scores = lab.ledger.scores([f"{key}-{split}" for key in found.keys], split)
    return {key: scores[f"{key}-{split}"] for key in found.keys if f"{key}-{split}" in scores}
