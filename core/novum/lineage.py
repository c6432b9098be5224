"""What came of a closed loop: the way from its first arms to its last, with all that did not help. Reads only."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from novum.errors import StudyError
from novum.goal import Goal

if TYPE_CHECKING:
    from novum.arm import Arm
    from novum.ledger import Ledger


@dataclass(frozen=True)
class Step:
    """One round of a loop: what was proposed and what came of it.

    outcome: of the verdict; None while there is none. refused: why it could not even be registered, else None. effect:
    treatment minus control on dev, {"mean", "interval"} by task, in the metric's units; empty while it is open.
    options: by path, what the treatment changes; empty for a claim about the target.
    """

    round: int
    proposer: str
    claim: str
    because: str
    rests_on: tuple[str, ...]
    tasks: tuple[str, ...]
    options: Mapping[str, Any]
    hypothesis: str
    outcome: str | None
    adopted: bool
    level: float | None
    pairs: int | None
    effect: Mapping[str, Any]
    told: Any
    refused: str | None = None


@dataclass(frozen=True)
class Lineage:
    """What came of a loop so far.

    first, last: task → the arm that it began with, and the baseline now. steps: its rounds. screened: how many changes
    one exploratory trial each was spent on. trials: how many it was charged for. worth: what `novum.worth` measured at
    the end, else None. why: "target", "budget" or "stall"; None while it is under way. facts: of the last round.
    """

    goal: Goal
    first: Mapping[str, Arm]
    last: Mapping[str, Arm]
    steps: tuple[Step, ...]
    screened: int
    worth: Mapping[str, Any] | None
    why: str | None
    sentence: str
    worked: float
    facts: Mapping[str, Any]

    @classmethod
    def read(cls, ledger: Ledger, name: str) -> Lineage:
        """The loop of this name. Raises StudyError where the study has none."""
        from novum.story import Story, names

        past = Story(ledger, name).read()
        if past is None:
            known = ", ".join(names(ledger)) or "none yet"
            raise StudyError(f"no loop {name!r} in {ledger.path}; there are: {known}.")
        judged = {each["round"]: each for each in past.of("judged")}
        refused = {each["round"]: str(each["why"]) for each in past.of("refused")}
        steps = tuple(
            _step(ledger, each, judged.get(each["round"]), refused.get(each["round"])) for each in past.of("proposed")
        )
        seen = past.of("observed")
        end, worths = past.end, past.of("worth")
        return cls(
            goal=past.goal,
            first=past.first,
            last=past.baseline,
            steps=steps,
            screened=len(past.screened),
            worth=worths[-1] if worths and end is not None else None,
            why=None if end is None else str(end["why"]),
            sentence="" if end is None else str(end["sentence"]),
            worked=past.worked,
            facts=seen[-1]["facts"] if seen else {},
        )

    @property
    def adopted(self) -> tuple[Step, ...]:
        """The steps whose treatment became the baseline."""
        return tuple(step for step in self.steps if step.adopted)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "goal": self.goal.to_json(),
            "first": {name: arm.to_json() for name, arm in self.first.items()},
            "last": {name: arm.to_json() for name, arm in self.last.items()},
            "steps": [
                {
                    **vars(step),
                    "rests_on": list(step.rests_on),
                    "tasks": list(step.tasks),
                    "options": dict(step.options),
                }
                for step in self.steps
            ],
            "screened": self.screened,
            "worth": self.worth,
            "why": self.why,
            "sentence": self.sentence,
            "worked": self.worked,
            "facts": self.facts,
        }

    def _repr_html_(self) -> str:
        from novum.report.lineage import fragment

        return fragment(self)


def _step(ledger: Ledger, proposed: Mapping[str, Any], judged: Mapping[str, Any] | None, refused: str | None) -> Step:
    hypothesis = proposed["hypothesis"]
    level, pairs, effect, id = None, None, {}, ""
    if judged is not None:
        id = judged["hypothesis"]
        verdict = json.loads(str(ledger.verdict(id)))
        level = float(ledger.experiment(id)["plan"]["level"])
        pairs = max(int(task["pairs"]) for task in verdict["tasks"].values())
        effect = {
            name: {"mean": task["effect"], "interval": task["interval"]} for name, task in verdict["tasks"].items()
        }
    return Step(
        round=proposed["round"],
        proposer=proposed["proposer"],
        claim=hypothesis["claim"],
        because=hypothesis.get("because", ""),
        rests_on=tuple(hypothesis["rests_on"]),
        tasks=tuple(proposed["tasks"]),
        options=proposed["options"],
        hypothesis=id,
        outcome=None if judged is None else judged["outcome"],
        adopted=judged is not None and judged["adopted"],
        level=level,
        pairs=pairs,
        effect=effect,
        told=proposed["told"],
        refused=refused,
    )
