"""Experiment: the registered plan of a hypothesis, and its running. The record of the third act, and the act."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from novum.arm import canonical, fingerprint
from novum.errors import RegistrationError

if TYPE_CHECKING:
    from novum.evidence import Evidence
    from novum.lab import Lab
    from novum.ledger import Ledger

SIDES = ("control", "treatment")


@dataclass(frozen=True)
class Trial:
    """One arm, one seed. `parent`: the trial whose trained weights it begins with; None where it starts fresh.

    seed: {"root", "block", "index", "indices"}; the last names the seeds that are trained together with this one, and
    is None where the arm's trials are trained apart (plan["how"]["mode"]).
    """

    key: str
    task: str
    side: str
    index: int
    plan: Mapping[str, Any]
    seed: Mapping[str, Any]
    parent: Trial | None = None

    @classmethod
    def of(cls, task: str, side: str, index: int, plan: Mapping[str, Any], seed: Mapping[str, Any]) -> Trial:
        """The trial of a plan at a seed, with its key. Of the seed's "indices" it keeps what the plan's mode needs."""
        above, parent = plan["start_from"], None
        if above is not None and once(plan):
            parent = cls.of(task, f"{side}'s start", 0, above, {**seed, "index": 0, "indices": None})
        elif above is not None:
            parent = cls.of(task, f"{side}'s start", index, above, seed)
        own = {**seed, "indices": (seed["indices"] or [index]) if mode(plan) == "joint" else None}
        return cls(fingerprint({"plan": plan, "seed": own}), task, side, index, plan, own, parent)

    def together(self) -> tuple[Trial, ...]:
        """The trials that are trained in one job with this one, itself included; itself alone in the plain mode."""
        if self.seed["indices"] is None:
            return (self,)
        return tuple(self._beside(index) for index in self.seed["indices"])

    def _beside(self, index: int) -> Trial:
        if index == self.index:
            return self
        return Trial.of(self.task, self.side, index, self.plan, {**self.seed, "index": index})

    def line(self) -> Iterator[Trial]:
        """The trial, then the one that it starts from, and so on up."""
        above: Trial | None = self
        while above is not None:
            yield above
            above = above.parent

    def to_json(self) -> dict[str, Any]:
        """The ledger's row."""
        return {
            "key": self.key,
            "arm": fingerprint(self.plan),
            "block": self.seed["block"],
            "index": self.index,
            "kind": "train",
            "task": self.task,
            "side": self.side,
            "seed": dict(self.seed),
            "plan": self.plan,
            "parent": None if self.parent is None else self.parent.key,
        }


@dataclass(frozen=True)
class Experiment:
    """Arms × seeds, frozen. `text` is the canonical JSON of the whole plan; everything else is read from it.

    `novum.design` makes it and says what stands in it.
    """

    text: str

    @functools.cached_property
    def record(self) -> dict[str, Any]:
        """The plan as data. Treat it as read-only: the fingerprint is of `text`."""
        return dict(json.loads(self.text))

    @property
    def id(self) -> str:
        """The fingerprint of the plan: SHA-256, 32 hexadecimal digits."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:32]

    @functools.cached_property
    def tasks(self) -> dict[str, dict[str, Any]]:
        """What each task's comparison is, in the order of the claim."""
        return {name: self.record["tasks"][name] for name in self.record["order"]}

    def trials(self) -> Iterator[Trial]:
        """Every trial of the plan, pair by pair, so that a study which is stopped holds whole pairs."""
        for index in self.record["seeds"]["indices"]:
            for name in self.record["order"]:
                yield from self.pair(name, index)

    def pair(self, name: str, index: int) -> tuple[Trial, ...]:
        """The trials of one task at one seed: control and treatment; the treatment alone where the control is a bar."""
        if (name, index) not in self._made:
            task = self.tasks[name]
            seed = {**self._seeds, "index": index, "indices": self._block(task.get("blocks"), index)}
            sides = [side for side in SIDES if task[side] is not None]
            self._made[name, index] = tuple(Trial.of(name, side, index, task[side], seed) for side in sides)
        return self._made[name, index]

    @property
    def size(self) -> int:
        """Trials of the whole plan, parents included, each counted once."""
        seeds = len(self._seeds["indices"])
        return sum(seeds * task["trials_per_pair"] + task.get("trials_once", 0) for task in self.tasks.values())

    def confirming(self) -> Iterator[Trial]:
        """The trials that may be scored on new data: those of the plan, or as many of the seeds that follow them."""
        if self.record["confirm"] == "same-networks":
            yield from self.trials()
            return
        count = len(self._seeds["indices"])
        for index in range(count, 2 * count):
            for name in self.record["order"]:
                yield from self.pair(name, index)

    def _block(self, blocks: list[list[int]] | None, index: int) -> list[int] | None:
        """The seeds that are trained with this one. Fresh seeds for new data come in the same blocks, further on."""
        if blocks is None:
            return None
        rounds, place = divmod(index, len(self._seeds["indices"]))
        found = next(block for block in blocks if place in block)
        return [each + rounds * len(self._seeds["indices"]) for each in found]

    @functools.cached_property
    def _made(self) -> dict[tuple[str, int], tuple[Trial, ...]]:
        return {}  # keys are hashes of whole plans, and the same trials are asked for again after every result

    @functools.cached_property
    def _seeds(self) -> dict[str, Any]:
        return dict(self.record["seeds"])


def mode(plan: Mapping[str, Any]) -> str:
    """How the trials of an arm are trained: "separate", or "joint" with others of its seeds."""
    return str(plan.get("how", {}).get("mode", "separate"))  # plans of an earlier Novum do not say how


def chain(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """A plan, then the one that it starts from, and so on up."""
    above: Mapping[str, Any] | None = plan
    while above is not None:
        yield above
        above = above["start_from"]


def once(plan: Mapping[str, Any]) -> bool:
    """Whether one trial of what a plan starts from serves all seeds. A plan of an earlier Novum does not say."""
    return bool(plan.get("start_once", False))


def lineage(plan: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], bool]]:
    """The plans of `chain`, each with whether a single trial of it serves all seeds."""
    shared = False
    for each in chain(plan):
        yield each, shared
        shared = shared or once(each)


def meant(plan: Mapping[str, Any]) -> str:
    """The arm that a plan is of, whatever code and device it was planned with."""
    above = plan["start_from"]
    parts = {name: plan[name] for name in ("arm", "units", "data", "checkpoint")}
    parts |= {"start_once": True} if once(plan) else {}
    return fingerprint(parts | {"start_from": None if above is None else meant(above)})


# ------------------------------------------------------------------------------------------------------ the act


def run(lab: Lab, experiment: Experiment, pause: int | None = None) -> Evidence:
    """Train what the plan's looks ask for, until they decide; what is trained already is not trained again.

    A decision cancels what still runs for that task. pause: stop asking at so many pairs per task, for a claim with
    no declared maximum. Raises RegistrationError when the plan is not in the ledger, or is not what was registered
    (law 1).
    """
    from novum import trials
    from novum.decide import progress
    from novum.evidence import evidence

    check_registered(lab.ledger, experiment)
    told: dict[str, tuple[int, str | None]] = {}

    def wanted() -> list[Trial]:
        """Trials that a look still needs, those first that it waits for."""
        walk = progress(experiment.record, evidence(lab.ledger, experiment, "dev", items=False).rows)
        for name, standing in walk.standings.items():
            at = (standing.n, standing.outcome)
            if standing.decision is not None and told.get(name) != at:
                told[name] = at
                lab.listener.look(name, experiment.record, standing)
        return [trial for name, index in _places(experiment, walk, pause) for trial in experiment.pair(name, index)]

    trials.train(lab, wanted, total=experiment.size)
    return evidence(lab.ledger, experiment, "dev")


def _places(experiment: Experiment, walk: Any, pause: int | None) -> Iterator[tuple[str, int]]:
    """(task, seed index) of every pair that may still be looked at, in the order in which they are wanted."""
    if walk.outcome is not None:
        return
    most = len(experiment.record["seeds"]["indices"])
    most = most if pause is None else min(pause, most)
    if walk.needs[0][1] > most:
        return
    together = experiment.record["scope"] == "average"
    for name, pairs in walk.needs if together else walk.needs[:1]:
        yield from ((name, index) for index in range(min(pairs, most)))
    for name, pairs in walk.needs:
        yield from ((name, index) for index in range(min(pairs, most)))
    for index in range(most):
        yield from ((name, index) for name, _ in walk.needs)


def check_registered(ledger: Ledger, experiment: Experiment) -> None:
    """Raise RegistrationError unless this very plan stands in the ledger; StudyError for a method of another Novum."""
    from novum.decide import method_of

    method_of(experiment.record)
    stored = ledger.experiment(experiment.record["hypothesis"])
    if canonical(stored["plan"]) != experiment.text:
        raise RegistrationError(
            f"the plan of {experiment.record['hypothesis']} differs from the registered one; an edited plan is a new "
            "claim: register it as one (it will name this one as its parent)."
        )
