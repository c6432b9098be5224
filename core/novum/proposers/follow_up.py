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

    - failed on some tasks, while others held or were still open: the claim narrowed to those others, on fresh seeds,
      as that narrowing was inspired by these numbers;
    - undecided tasks: the same claim on them alone, with the seeds that would decide it as things look;
    - held everywhere: does it still help with twice the experience?
    - failed everywhere: nothing.
    """

    def propose(self, seen: Seen) -> Hypothesis | None:
        decided = [(record, verdict) for record, verdict in seen.history if verdict is not None]
        if not decided or decided[-1][1].get("scores") == "reported by the caller":
            return None
        record, verdict = decided[-1]
        last = Hypothesis.from_json(record)
        tasks = verdict["tasks"]
        held = [name for name in tasks if tasks[name]["outcome"] == "supported"]
        stopped = [name for name in tasks if tasks[name]["stopped"] == "with the claim"]
        undecided = [name for name in tasks if tasks[name]["outcome"] == "inconclusive" and name not in stopped]
        failed = [name for name in tasks if tasks[name]["outcome"] in ("refuted", "equivalent")]
        proposed = None
        if last.scope == "average":  # its tasks' own verdicts are secondary: only the whole can lead on
            proposed = _doubled(last) if verdict["outcome"] == "supported" else None
        elif not failed and verdict.get("outcome") == "supported":
            proposed = _doubled(last)
        elif failed and (held or stopped):
            proposed = _narrowed(last, [name for name in last.tasks if name in (*held, *stopped)])
        elif undecided:
            proposed = _more_seeds(last, verdict, undecided)
        elif held and not failed:
            proposed = _doubled(last)
        known = {row["fingerprint"] for row, _ in seen.history}
        return None if proposed is None or proposed.fingerprint in known else proposed


def _more_seeds(last: Hypothesis, verdict: Mapping[str, Any], tasks: list[str]) -> Hypothesis | None:
    if last.max_seeds is None:
        return None
    needed = []
    for name in tasks:
        task = verdict["tasks"][name]
        if isinstance(task["effect"], Mapping) or isinstance(task["interval"], Mapping):
            return None
        level = min(task["test"]["level"], last.alpha)
        found = pairs_needed(task["effect"], task["deviation"], task["margin"], level, most=MOST)
        if found is None:
            return None
        needed += [found, task["planned"] + 1]
    return _next(
        last,
        f"{last.claim.rstrip('.')}: with more seeds",
        {name: last.tasks[name] for name in tasks},
        min(max(needed), 1000),
    )


def _narrowed(last: Hypothesis, tasks: list[str]) -> Hypothesis:
    claim = f"{last.claim.rstrip('.')}: on {' and '.join(tasks)}"
    return _next(last, claim, {name: last.tasks[name] for name in tasks}, last.max_seeds)


def _doubled(last: Hypothesis) -> Hypothesis | None:
    tasks = {}
    for name, each in last.tasks.items():
        if any("budget" not in arm.recipe for arm in each.arms.values()):
            return None
        tasks[name] = replace(each, **{side: _twice(arm) for side, arm in each.arms.items()})
    return _next(last, f"{last.claim.rstrip('.')}: still so with twice the experience", tasks, last.max_seeds)


def _twice(arm: Arm) -> Arm:
    count, unit = amount(str(arm.recipe["budget"]))
    return arm.but(budget=f"{2 * count:g} {unit}" if unit == "epochs" else f"{round(2 * count)} {unit}")


def _next(last: Hypothesis, claim: str, tasks: Mapping[str, Comparison], seeds: int | None) -> Hypothesis:
    return replace(
        last,
        claim=claim,
        tasks=dict(tasks),
        scope="average" if last.scope == "average" else "all",
        control=None,
        treatment=None,
        minimum_effect=0.0,
        minimum_effect_raw=None,
        max_seeds=seeds,
        parent=last.id,
        rests_on=(last.id,),
        revision=0,
    )
