"""Validate: the verdict. The record of the fourth act, and the act."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from novum.arm import canonical
from novum.data import Number, Undefined
from novum.decide import confirmable, decide, method_of, progress
from novum.errors import StudyError
from novum.evidence import Evidence, evidence
from novum.experiment import Experiment, check_registered

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
    def ended(self) -> bool:
        """False for a claim with no declared maximum that paused undecided: nothing is recorded then."""
        return bool(self.record["ended"])

    @property
    def saved(self) -> dict[str, Any]:
        """Pairs, trials, device-seconds and money that the early decision spared against the full plan."""
        return dict(self.record["saved"])

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
        """The verdict of each task by name, in the claim's order."""
        record = self.record
        return {name: TaskVerdict(name, record["tasks"][name]) for name in record.get("order", record["tasks"])}

    def __str__(self) -> str:
        return f"{self.outcome}: {' '.join(self.reasons)}"

    def _repr_html_(self) -> str:
        from novum.report.html import verdict_table

        return verdict_table(self.record)


def number(value: Any) -> Number:
    """A stored number: a float, or Undefined with its reason."""
    return Undefined(value["undefined"]) if isinstance(value, Mapping) else float(value)


def ends(value: Any) -> tuple[float, float] | None:
    """A stored interval, open ends as infinities; None where it is undefined as a whole."""
    if isinstance(value, Mapping):
        return None
    low, high = (None if isinstance(end, Mapping) else float(end) for end in value)
    return -math.inf if low is None else low, math.inf if high is None else high


def validate(lab: Lab, experiment: Experiment, found: Evidence) -> Verdict:
    """Decide on the evidence; where it supports the claim, open `test` once and decide again with it.

    New data are scored with the networks already trained, or with as many of fresh seeds, as the claim says. Nothing
    is recorded here. Raises RegistrationError for a plan that is not the registered one.
    """
    from novum import archive, trials

    check_registered(lab.ledger, experiment)
    first = decide(experiment.record, found.rows, None)
    if first["outcome"] != "supported":
        return Verdict(canonical(first))
    walked = progress(experiment.record, found.rows)
    names = confirmable(experiment.record, walked)
    fresh = experiment.record["confirm"] == "fresh-seeds"
    start = len(experiment.record["seeds"]["indices"]) if fresh else 0
    planned = [
        trial
        for name in names
        for index in range(start, start + first["tasks"][name]["pairs"])
        for trial in experiment.pair(name, index)
    ]
    if fresh:
        lab.listener.say(f"It holds on dev: {len(planned)} trials on fresh seeds are to confirm it on new data.")
        trials.train(lab, planned)
    lab.ledger.open_split(first["hypothesis"], "test", [trial.key for trial in planned], "confirm")
    archive.sync(lab.ledger, lab.folder)
    trials.score(lab, planned, "test")
    return recompute(lab.ledger, experiment)


def recompute(ledger: Ledger, experiment: Experiment) -> Verdict:
    """The verdict from stored rows alone; runs and writes nothing (law 2)."""
    method_of(experiment.record)
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
