"""Validate: the verdict. The record of the fourth act, and the act."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from novum.arm import canonical
from novum.data import Number, Undefined
from novum.decide import decide
from novum.errors import StudyError
from novum.experiment import Evidence, Experiment, check_registered, evidence

if TYPE_CHECKING:
    from novum.lab import Lab
    from novum.ledger import Ledger


@dataclass(frozen=True)
class TaskVerdict:
    """The verdict on one task. `effect` is treatment minus control, positive where the treatment is better, in the
    metric's units; `interval` its two ends, or None where it is undefined. `record` holds everything else.
    """

    name: str
    record: Mapping[str, Any]

    @property
    def outcome(self) -> str:
        """supported, refuted, equivalent, inconclusive or invalid."""
        return str(self.record["outcome"])

    @property
    def effect(self) -> Number:
        """Mean difference over seeds on dev."""
        return number(self.record["effect"])

    @property
    def interval(self) -> tuple[float, float] | None:
        """Ends of the interval around `effect`."""
        return ends(self.record["interval"])

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why, in sentences; the first one decides."""
        return tuple(self.record["reasons"])


@dataclass(frozen=True)
class Verdict:
    """A recorded verdict. `text` is its canonical JSON, byte-equal whenever and wherever it is recomputed."""

    text: str

    @property
    def record(self) -> dict[str, Any]:
        """The verdict as data, fresh at each call."""
        return dict(json.loads(self.text))

    @property
    def hypothesis(self) -> str:
        """The hypothesis' id."""
        return str(self.record["hypothesis"])

    @property
    def outcome(self) -> str:
        """supported, refuted, equivalent, inconclusive or invalid."""
        return str(self.record["outcome"])

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why, in sentences."""
        return tuple(self.record["reasons"])

    @property
    def effect(self) -> Number:
        """For one task its effect in the metric's units; for several the mean over tasks on their scales."""
        return number(self.record["effect"])

    @property
    def interval(self) -> tuple[float, float] | None:
        """Ends of the interval around `effect`; None where it is undefined."""
        return ends(self.record["interval"])

    @property
    def cost(self) -> dict[str, Any]:
        """Device-seconds spent training each arm, and their ratio (treatment to control)."""
        return dict(self.record["cost"])

    @property
    def tasks(self) -> dict[str, TaskVerdict]:
        """The verdict of each task by name."""
        return {name: TaskVerdict(name, record) for name, record in self.record["tasks"].items()}

    def __str__(self) -> str:
        return f"{self.outcome}: {' '.join(self.reasons)}"

    def _repr_html_(self) -> str:
        from novum.report.html import verdict_table

        return verdict_table(self.record)


def number(value: Any) -> Number:
    """A stored number: a float, or Undefined with its reason."""
    return Undefined(value["undefined"]) if isinstance(value, Mapping) else float(value)


def ends(value: Any) -> tuple[float, float] | None:
    """A stored interval; None where it is undefined."""
    return None if isinstance(value, Mapping) else (float(value[0]), float(value[1]))


def validate(lab: Lab, experiment: Experiment, found: Evidence) -> Verdict:
    """Decide on the evidence; where it supports the claim, open `test` once, for the trials already trained, and
    decide again with it. Nothing is recorded here.
    """
    from novum import trials

    check_registered(lab.ledger, experiment)
    first = decide(experiment.record, found.rows, None)
    if first["outcome"] != "supported":
        return Verdict(canonical(first))
    planned = list(experiment.trials())
    lab.ledger.open_split(first["hypothesis"], "test", [trial.key for trial in planned], "confirm")
    trials.score(lab, planned, "test")
    return recompute(lab.ledger, experiment)


def recompute(ledger: Ledger, experiment: Experiment) -> Verdict:
    """The verdict from stored rows alone; runs and writes nothing (law 2)."""
    opened = any(
        row["hypothesis"] == experiment.record["hypothesis"] and row["purpose"] == "confirm"
        for row in ledger.openings()
    )
    dev = evidence(ledger, experiment, "dev").rows
    test = evidence(ledger, experiment, "test").rows if opened else None
    return Verdict(canonical(decide(experiment.record, dev, test)))


def record(lab: Lab, verdict: Verdict) -> Verdict:
    """Write a verdict into the ledger, once and for all."""
    lab.ledger.record_verdict(verdict.hypothesis, verdict.text)
    return verdict


def stored(ledger: Ledger, hypothesis: str) -> Verdict:
    """The recorded verdict. Raises StudyError when there is none yet."""
    text = ledger.verdict(hypothesis)
    if text is None:
        raise StudyError(f"{hypothesis} has no verdict yet; run its claim again, which goes on where it stopped.")
    return Verdict(text)
