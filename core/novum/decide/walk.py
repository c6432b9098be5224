"""The walk over the looks of a plan: which task looks next, what each look decides, and when the claim has ended.

A pure function of the plan and the stored rows. It asks for one look at a time, in an order that only depends on what
earlier looks saw, and takes pairs from the contiguous beginning of the seed list; so whatever order trials end in, and
wherever the study was interrupted, the same rows give the same walk. The experiment runs what the walk asks for, and
the verdict is where the walk ends.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from novum.decide.rows import Row, broken, differences, prefix, value, why_broken, width
from novum.stats.design import Design
from novum.stats.sequential import Decision, judge, predictive

AVERAGE = ""
"""The name under which the average over tasks walks; no task is called so."""


@dataclass(frozen=True)
class Standing:
    """Where one task stands: pairs looked at, their decision, and what broke.

    decision: None while it is open. outcome: likewise.
    """

    n: int = 0
    decision: Decision | None = None
    broken: str | None = None

    @property
    def outcome(self) -> str | None:
        """supported, equivalent, refuted, inconclusive, invalid, or None."""
        if self.broken is not None:
            return "invalid"
        return None if self.decision is None else self.decision.outcome


@dataclass(frozen=True)
class Walk:
    """How far the walk has come.

    outcome: the experiment's, None while it is open. needs: (task, pairs) in the order in which they are wanted: the
    first is what the walk waits for, the others may follow. Empty when it has ended.
    """

    standings: Mapping[str, Standing]
    outcome: str | None
    needs: tuple[tuple[str, int], ...] = ()


def walk(plan: Mapping[str, Any], rows: Mapping[str, Sequence[Row]]) -> Walk:
    """Walk as far as the rows reach."""
    return _average(plan, rows) if plan["scope"] == "average" else _separately(plan, rows)


def design_of(test: Mapping[str, Any]) -> Design:
    """The registered test as the engine takes it."""
    return Design.from_json(test)


def averages(plan: Mapping[str, Any], rows: Mapping[str, Sequence[Row]]) -> list[float]:
    """One value per seed: the mean over tasks of the difference on the task's scale, as far as all tasks reach."""
    scaled = [
        [each / width(task) for each in differences(rows[name], task["metric"])] for name, task in plan["tasks"].items()
    ]
    return [math.fsum(column) / len(scaled) for column in zip(*scaled, strict=False)]


def ruling(scope_least: int, outcomes: Sequence[str | None]) -> str | None:
    """What these tasks' outcomes make of a claim that must hold on at least so many of them; None: still open.

    Supported: that many are. Refuted: so many failed that it cannot hold. A claim whose decided tasks are all
    equivalent goes on while others are open, as it may be equivalent as a whole.
    """
    count, open_ = len(outcomes), sum(each is None for each in outcomes)
    of = {kind: sum(each == kind for each in outcomes) for kind in ("supported", "refuted", "equivalent", "invalid")}
    if of["invalid"]:
        return "invalid"
    if of["supported"] >= scope_least:
        return "supported"
    if of["equivalent"] == count:
        return "equivalent"
    if of["equivalent"] and of["equivalent"] + open_ == count:
        return None
    if of["refuted"] + of["equivalent"] > count - scope_least:
        return "refuted"
    return "inconclusive" if of["supported"] + open_ < scope_least else None


def least(plan: Mapping[str, Any]) -> int:
    """On how many tasks the claim must hold; with the average, on that one."""
    scope = str(plan["scope"])
    return int(scope[len("at_least(") : -1]) if scope.startswith("at_least(") else len(plan["tasks"])


# ------------------------------------------------------------------------------------------------- task by task


def _separately(plan: Mapping[str, Any], rows: Mapping[str, Sequence[Row]]) -> Walk:
    order = plan["order"]
    designs = {name: design_of(plan["tasks"][name]["test"]) for name in order}
    ready = {name: prefix(rows.get(name, ())) for name in order}
    found = {name: _decision(plan["tasks"][name], designs[name], ready[name]) for name in order}
    standings = {name: Standing() for name in order}
    while True:
        outcome = ruling(least(plan), [standings[name].outcome for name in order])
        if outcome is not None:
            return Walk(standings, outcome)
        queue = _queue(plan, designs, ready, standings)
        name, target = queue[0]
        step = _look(found[name], ready[name], standings[name], target)
        if step is None:
            return Walk(standings, None, tuple(queue))
        standings[name] = step


def _decision(task: Mapping[str, Any], design: Design, ready: Sequence[Row]) -> Decision | None:
    """What the first look that decides says, of all whole pairs; None where none does. Asked once, for `judge` stops at
    the same look however many pairs follow it.
    """
    whole = list(itertools.takewhile(lambda row: not broken(row), ready))
    if not whole:
        return None
    found = judge(design, differences(whole, task["metric"]))
    return None if found.outcome is None else found


def _look(found: Decision | None, ready: Sequence[Row], standing: Standing, target: int) -> Standing | None:
    """The standing after the look at `target` pairs; None where they have not ended yet."""
    bad = next((at for at, row in enumerate(ready[:target]) if broken(row)), None)
    if bad is not None:
        return Standing(bad, None, why_broken(ready[bad]))
    if len(ready) < target:
        return None
    return Standing(target, found if found is not None and found.n <= target else None)


def _queue(
    plan: Mapping[str, Any],
    designs: Mapping[str, Design],
    ready: Mapping[str, Sequence[Row]],
    standings: Mapping[str, Standing],
) -> list[tuple[str, int]]:
    """Open tasks with the number of pairs of their next look, the likeliest to end the question first.

    Every task takes its first look in the claim's order; then the one with the highest chance, by predictive power, of
    the outcome that ends the claim: a refutation where it must hold everywhere, else either outcome.
    """
    single = least(plan) == len(plan["tasks"])
    places = []
    for place, name in enumerate(plan["order"]):
        standing = standings[name]
        if standing.outcome is not None:
            continue
        chance = math.inf
        if standing.n and len(plan["order"]) > 1:
            up, down = predictive(designs[name], differences(ready[name][: standing.n], plan["tasks"][name]["metric"]))
            chance = down if single else max(up, down)
        places.append((-chance, place, name))
    return [(name, _next_look(designs[name], standings[name].n)) for _, _, name in sorted(places)]


def _next_look(design: Design, n: int) -> int:
    return next(look for look in design.looks if look > n)


# ------------------------------------------------------------------------------------------------- their average


def _average(plan: Mapping[str, Any], rows: Mapping[str, Sequence[Row]]) -> Walk:
    design = design_of(plan["average"]["test"])
    order = plan["order"]
    ready = {name: prefix(rows.get(name, ())) for name in order}
    sound = {name: list(itertools.takewhile(lambda row: not broken(row), ready[name])) for name in order}
    reach = min(len(each) for each in sound.values())
    found = judge(design, averages(plan, sound)) if reach else None
    standing = Standing()
    while standing.outcome is None:
        target = _next_look(design, standing.n)
        for name in order:
            bad = next((row for row in ready[name][:target] if broken(row)), None)
            if bad is not None:
                whole = replace(standing, broken=f"{name}: {why_broken(bad)}")
                each = {other: replace(standing, broken=why_broken(bad) if other == name else None) for other in order}
                return Walk({AVERAGE: whole, **each}, "invalid")
        if any(len(ready[name]) < target for name in order):
            behind = sorted(order, key=lambda name: len(ready[name]))
            return Walk(_same(standing, order), None, tuple((name, target) for name in behind))
        decided = found is not None and found.outcome is not None and found.n <= target
        standing = Standing(target, found if decided else None)
    return Walk(_same(standing, order), standing.outcome)


def _same(standing: Standing, order: Sequence[str]) -> dict[str, Standing]:
    return {AVERAGE: standing, **{name: Standing(standing.n) for name in order}}


__all__ = ["AVERAGE", "Standing", "Walk", "averages", "design_of", "least", "ruling", "value", "walk"]
