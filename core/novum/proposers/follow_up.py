"""What one would test next, given the last verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from novum.hypothesize import Comparison, Hypothesis
from novum.proposers import Proposer
from novum.recipe import amount
from novum.stats.paired import pairs_needed

if TYPE_CHECKING:
    from novum.arm import Arm
    from novum.loop import Seen

MOST = 100
"""Seeds beyond which a question is left alone: the effect is then too small to matter here."""


class FollowUp(Proposer):
    """Reads the last verdict:

    - undecided tasks: the same claim on them alone, with the seeds that would decide it as things look;
    - held on some tasks and failed on others: the claim narrowed to where it held, on fresh seeds, as that
      narrowing was inspired by these numbers;
    - held everywhere: does it still help with twice the experience?
    - failed everywhere: nothing.
    """

    def propose(self, seen: Seen) -> Hypothesis | None:
        decided = [(record, verdict) for record, verdict in seen.history if verdict is not None]
        if not decided:
            return None
        record, verdict = decided[-1]
        last = Hypothesis.from_json({name: record[name] for name in _FIELDS})
        by = {
            outcome: [name for name, task in verdict["tasks"].items() if task["outcome"] == outcome]
            for outcome in ("supported", "inconclusive")
        }
        proposed = None
        if by["inconclusive"]:
            proposed = _more_seeds(last, verdict, by["inconclusive"])
        if proposed is None and by["supported"]:
            whole = len(by["supported"]) == len(verdict["tasks"])
            proposed = _doubled(last) if whole else _narrowed(last, by["supported"])
        known = {row["fingerprint"] for row, _ in seen.history}
        return None if proposed is None or proposed.fingerprint in known else proposed


_FIELDS = (
    "claim",
    "name",
    "alpha",
    "max_seeds",
    "seed",
    "scope",
    "keep",
    "rests_on",
    "parent",
    "revision",
    "tasks",
)


def _more_seeds(last: Hypothesis, verdict: Mapping[str, Any], tasks: list[str]) -> Hypothesis | None:
    needed = []
    for name in tasks:
        task = verdict["tasks"][name]
        if isinstance(task["effect"], Mapping) or isinstance(task["interval"], Mapping):
            return None
        found = pairs_needed(task["effect"], task["deviation"], task["margin"], last.alpha, most=MOST)
        if found is None:
            return None
        needed.append(found)
    return _next(last, last.claim, {name: last.tasks[name] for name in tasks}, max(*needed, last.max_seeds + 1))


def _narrowed(last: Hypothesis, tasks: list[str]) -> Hypothesis:
    claim = f"{last.claim.rstrip('.')}: on {' and '.join(tasks)}"
    return _next(last, claim, {name: last.tasks[name] for name in tasks}, last.max_seeds)


def _doubled(last: Hypothesis) -> Hypothesis | None:
    tasks = {}
    for name, each in last.tasks.items():
        if "budget" not in each.control.recipe or "budget" not in each.treatment.recipe:
            return None
        tasks[name] = replace(each, control=_twice(each.control), treatment=_twice(each.treatment))
    return _next(last, f"{last.claim.rstrip('.')}: still so with twice the experience", tasks, last.max_seeds)


def _twice(arm: Arm) -> Arm:
    count, unit = amount(str(arm.recipe["budget"]))
    return arm.but(budget=f"{2 * count:g} {unit}" if unit == "epochs" else f"{round(2 * count)} {unit}")


def _next(last: Hypothesis, claim: str, tasks: Mapping[str, Comparison], seeds: int) -> Hypothesis:
    return replace(
        last,
        claim=claim,
        tasks=dict(tasks),
        control=None,
        treatment=None,
        minimum_effect=0.0,
        minimum_effect_raw=None,
        max_seeds=seeds,
        parent=last.id,
        rests_on=(last.id,),
        revision=0,
    )
