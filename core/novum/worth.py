"""What a loop was worth: its last baseline beside its first on `test`, at the end. A description, never a verdict.

Claims of the loop were confirmed on `test`, so it was selected on: the comparison is optimistic, and says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from novum import scouting
from novum.numbers import sig, undefined
from novum.scouting import Scouted
from novum.tried import Ruler, ruler

if TYPE_CHECKING:
    from novum.goal import Goal
    from novum.lab import Lab
    from novum.story import Past

BLOCK = "worth"
"""The block of seeds that only this comparison uses."""
CONFIDENCE = 0.95


def measure(lab: Lab, past: Past, scales: Mapping[str, Any], seeds: int, fresh: bool) -> dict[str, Any]:
    """Score both baselines of every task that changed on `test`: one opening, counted.

    seeds: how many; fresh: of a block of their own, else the exploratory ones that are there. Gives {"tasks", "seeds",
    "fresh", "keys"}; a task: {"metric", "unit", "first", "last", "effect", "interval"} with means in the metric's
    units, and effect and interval (Student's, 95 %, over seed-paired differences) such that above 0 is better.
    """
    from novum import archive

    goal = past.goal
    first, last = past.first, past.baseline
    changed = [name for name in goal.tasks if first[name] != last[name]]
    arms = {f"{name}/{side}": (name, own[name]) for name in changed for side, own in (("first", first), ("last", last))}
    block, root = (BLOCK, goal.seed) if fresh else (scouting.BLOCK, 0)
    found = scouting.scout(lab, arms, range(seeds), block=block, root=root)
    keys = [key for each in found.values() for key in each.keys]
    if changed:
        lab.ledger.open_split(None, "test", keys, f"worth of the loop {goal.name}")
        archive.sync(lab.ledger, lab.folder)
    told = {
        name: _compared(lab, found[f"{name}/first"], found[f"{name}/last"], _ruler(goal, name, found, scales))
        for name in changed
    }
    return {"tasks": told, "seeds": seeds, "fresh": fresh, "keys": keys if fresh else []}


def _ruler(goal: Goal, name: str, found: Mapping[str, Scouted], scales: Mapping[str, Any]) -> Ruler:
    return ruler(found[f"{name}/first"].metrics, goal.tasks[name].metric, scales[name])


def _compared(lab: Lab, first: Scouted, last: Scouted, rule: Ruler) -> dict[str, Any]:
    sides = [_values(lab, each, rule) for each in (first, last)]
    both = [(a, b) for a, b in zip(*sides, strict=True) if a is not None and b is not None]
    sign = 1.0 if rule.metric["direction"] == "max" else -1.0
    about = {"metric": rule.metric["name"], "unit": rule.metric["unit"] or "", "pairs": len(both)}
    if not both:
        nothing = undefined("no seed could be scored on both sides")
        return {**about, "first": nothing, "last": nothing, "effect": nothing, "interval": nothing}
    means = [sum(each) / len(both) for each in zip(*both, strict=True)]
    differences = [sign * (b - a) for a, b in both]
    return {**about, "first": sig(means[0]), "last": sig(means[1]), **_interval(differences)}


def _interval(differences: Sequence[float]) -> dict[str, Any]:
    from novum.stats.paired import boundary, paired

    if len(differences) < 3:
        why = undefined(f"{len(differences)} seeds are too few")
        return {"effect": sig(sum(differences) / len(differences)), "interval": why}
    found = paired(differences, 0.0, boundary((1 - CONFIDENCE) / 2, len(differences)))
    return {"effect": sig(found.mean), "interval": [sig(found.low), sig(found.high)]}


def _values(lab: Lab, found: Scouted, rule: Ruler) -> list[float | None]:
    """The metric on `test`, seed by seed; the worst value where training diverged, None where there is no number."""
    scores = scouting.scored(lab, found, "test") if found.plan is not None else {}
    values: list[float | None] = []
    for row in found.rows:
        number = scores.get(row["key"], {"metrics": {}})["metrics"].get(rule.metric["name"])
        worst = float(rule.metric["worst"]) if row["state"] == "diverged" else None
        values.append(float(number) if isinstance(number, int | float) else worst)
    return values
