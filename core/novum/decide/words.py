"""Why, in sentences: what a look saw, and what the looks of all tasks make of the claim."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from novum.numbers import listed, show, sig
from novum.stats.design import Design
from novum.stats.paired import pairs_needed
from novum.stats.sequential import Decision, Look


def reason(design: Design, found: Decision, estimand: str, *, claim_ended: bool, pairs: int | None = None) -> str:
    """The sentence that decides on one task. claim_ended: the claim was settled while this task was open. pairs: that
    were looked at; where the decision came before the last of them, the sentence says when.
    """
    look, least = found.look, design.claimed
    span = _span(look) if pairs in (None, found.n) else f"{_span(look)}, after {found.n} pairs,"
    win = estimand == "win"
    match found.reason:
        case "support" if design.null < least:
            beyond = look.high is not None and look.high < least
            rest = f"though by less than {show(least)}" if beyond else f"and a gain of {show(least)} is not excluded"
            gain = "wins more than half of the pairs" if win else "is better"
            return f"The treatment {gain}, {rest}: {span} lies above {show(design.null)}."
        case "support":
            gain = f"wins {_share(least)}" if win else f"is better {_by(least)}"
            return f"The treatment {gain}: {span} lies above {show(least)}."
        case "equivalence":
            return f"The arms differ by less than {show(least)} either way: {span} lies inside."
        case "refutation":
            gain = f"does not win {_share(least)}" if win else f"is not better {_by(least)}"
            return f"The treatment {gain}: {span} lies below {show(least)}."
        case "no variation":
            each = f"all {look.n} differences are {'equal' if win else show(look.mean)}"
            return f"The seeds do not vary: {each}, so they say nothing of chance."
        case "futility":
            who = "support has no chance" if design.give_up == "support" else "neither answer has a chance"
            return (
                f"Given up after {found.n} of {design.looks[-1]} pairs: as things stand, {who} of "
                f"{100 * design.futility:g} % to be reached; {span} holds {show(least)}."
            )
    if claim_ended:
        return f"Stopped with the claim, which was settled before this task was: {span} after {found.n} pairs."
    more = _more(design, look, estimand)
    return f"{span[0].upper()}{span[1:]} holds {show(least)}: {look.n} seeds do not decide; {more}."


def _by(least: float) -> str:
    return f"by at least {show(least)}" if least else "at all"


def _share(least: float) -> str:
    return f"at least {show(100 * (0.5 + least))} % of the pairs" if least else "more than half of the pairs"


def _span(look: Look) -> str:
    low = "−∞" if look.low is None else show(sig(look.low))
    high = "∞" if look.high is None else show(sig(look.high))
    return f"the interval {low} … {high}"


def _more(design: Design, look: Look, estimand: str) -> str:
    if estimand == "win" or design.method == "e-process":
        return "more seeds may"
    ways = []
    if look.mean > design.null:
        ways.append(pairs_needed(look.mean, look.deviation, design.null, design.support))
    if look.mean < design.claimed:
        ways.append(pairs_needed(look.mean, look.deviation, design.claimed, design.refute))
    known = [each for each in ways if each is not None]
    if not known:
        return f"no number of seeds up to 1000 would, as the mean {show(look.mean)} is so near {show(design.claimed)}"
    if min(known) <= look.n:
        return "a few more may"
    return f"about {min(known)} seeds would decide it if mean and spread stay as seen"


def confirmed(seen: Mapping[str, Any], again: Mapping[str, Any], fresh: bool) -> tuple[str, list[str]]:
    """Outcome and reasons of a task that held on dev and was then tested on new data."""
    if again["outcome"] == "supported":
        networks = "New data and fresh seeds say" if fresh else "New data say"
        return "supported", [*seen["reasons"], f"{networks} the same: {again['reasons'][0]}"]
    outcome = again["outcome"] if again["outcome"] in ("refuted", "invalid") else "inconclusive"
    return outcome, [f"It held on dev and does not hold on new data: {again['reasons'][0]}", *seen["reasons"]]


def across(
    plan: Mapping[str, Any], least: int, tasks: Mapping[str, Mapping[str, Any]], outcome: str, where: str
) -> list[str]:
    """Why the claim across tasks has this outcome. where: "on dev", or "on dev and on new data"."""
    by: dict[str, list[str]] = {}
    for name, task in tasks.items():
        by.setdefault(task["counts"], []).append(name)
    where = "as far as the reported scores go" if plan.get("reported") else where
    whole = least == len(tasks)
    if len(tasks) == 1 and outcome in ("inconclusive", "refuted", "equivalent"):
        return [next(iter(tasks.values()))["reasons"][0]]
    if len(tasks) == 1 and outcome == "supported" and plan.get("reported"):
        return [f"It holds, {where}.", next(iter(tasks.values()))["reasons"][0]]
    if outcome == "invalid":
        return [f"The experiment broke on {listed(by.get('invalid', ['a task']))}."]
    if outcome == "supported":
        of = "" if whole else f"; at least {least} of {len(tasks)} was claimed"
        return [f"It holds on {listed(by['supported'])}, {where}{of}."]
    if outcome == "equivalent":
        return [f"The arms are equivalent on {listed(by['equivalent'])}."]
    failed = [*by.get("refuted", []), *by.get("equivalent", [])]
    if outcome == "refuted" and not whole:
        return [f"It fails on {listed(failed)}, so that it cannot hold on {least} of {len(tasks)} tasks."]
    if outcome == "refuted" and by.get("refuted"):
        also = "" if len(tasks) == 1 else ", and the claim is about every task"
        return [f"It fails on {listed(by['refuted'])}{also}."]
    if outcome == "refuted":
        return [f"On {listed(by['equivalent'])} the effect is smaller than claimed."]
    return [f"It is not decided on {listed(by.get('inconclusive', list(tasks)))}."]


def fair(plan: Mapping[str, Any]) -> str:
    """What both arms were given: their budgets, that arms may end earlier, and that nobody tuned them here."""
    if plan.get("reported"):
        return (
            "Scores were reported by the caller: what either side was given, and how it was tuned, is not known here."
        )
    early = _early(plan)
    unequal = []
    for name, task in plan["tasks"].items():
        budgets = task.get("budgets")
        if budgets and "control" in budgets and budgets["control"] != budgets["treatment"]:
            told = {side: " + ".join(f"{count:,}" for count in reversed(counts)) for side, counts in budgets.items()}
            unequal.append(f"{name} ({told['control']} against {told['treatment']})")
    if unequal:
        return (
            f"Budgets in units of experience differ on {listed(unequal)}, a start's own training included. "
            f"Neither arm was tuned in this claim.{early}"
        )
    bars = [name for name in plan["order"] if plan["tasks"][name].get("bar") is not None]
    if len(bars) == len(plan["tasks"]):
        return "The control is a bar, for which nothing was trained; the treatment was not tuned in this claim."
    also = f" On {listed(bars)} the control is a bar, for which nothing was trained." if bars else ""
    return f"Budgets were equal in units of experience, and neither arm was tuned in this claim.{also}{early}"


def _early(plan: Mapping[str, Any]) -> str:
    """A sentence on arms that may end before their budget; empty where none may."""
    sides = sorted({side for task in plan["tasks"].values() for side in task.get("early", ())})
    if not sides:
        return ""
    who = "Both arms" if len(sides) == 2 else f"The {sides[0]}"
    return f" {who} could stop before the budget was used, by a plateau on a slice of train."


def worn(task: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """Warnings that the items of dev may be worn or too few (rules of `novum.stats.holdout.warnings`)."""
    dev, items = task.get("dev"), found["items"]
    if found["outcome"] != "supported" or not dev or not dev["size"] or "undefined" in items:
        return []
    from novum.stats.holdout import warnings

    return list(warnings(dev["queries"], dev["size"], found["effect"], items["sd"]))
