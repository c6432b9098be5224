"""The surroundings of a claim: what was observed first, on what it ran, how to check it, and what it does not say."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from novum.experiment import lineage
from novum.report import computed, text
from novum.report.cells import amount, coded, facts, folded, listed, short, table, when
from novum.report.markup import Content, Markup, element, joined

SIDES = ("control", "treatment")


def observed(data: Mapping[str, Any]) -> Markup:
    """Facts per task, and the scale that gives its 0 and its 1."""
    parts: list[Markup] = []
    if data["plan"].get("reported"):
        parts.append(element("p", "Nothing: the caller reported scores, and Novum saw no data."))
    for name in () if parts else data["plan"]["order"]:
        seen = data["observations"].get(name)
        scale = data["plan"]["tasks"][name]["scale"]
        told = (
            "no scale: its margin is in the metric's own units"
            if scale is None
            else f"0 is chance, {text.numbers(scale['chance'])}; 1 is the reference, "
            f"{text.numbers(scale['reference'])} ({scale['metric']})"
        )
        rows = [
            [element("code", fact["id"]), amount(fact["value"]), fact["unit"], fact["about"]]
            for fact in (seen or {"facts": []})["facts"]
        ]
        inside = table(["fact", "value", "unit", "about"], rows, numeric=[1], kind="tight") if rows else None
        missing = None if rows else element("p", "undefined, because no facts were recorded", class_="undefined")
        lead = element("p", element("strong", name), f": {told}.", class_="scale")
        parts.append(joined(lead, folded(text.count(len(rows), "fact"), "", inside, missing)))
    return element(
        "section", element("h2", "What was observed first"), element("div", *parts, class_="card"), id="observed"
    )


# ----------------------------------------------------------------------------------------------------- environment


def environment(data: Mapping[str, Any]) -> Markup:
    """Where it ran, with which code, and how long it took."""
    tasks = data["plan"]["tasks"]
    reported = bool(data["plan"].get("reported"))
    plans = [(f"{name} {side}", tasks[name][side]) for name in data["plan"]["order"] for side in SIDES]
    plans = [(who, plan) for who, plan in plans if plan is not None]
    devices = [f"{whose}: {how}" for whose, how in computed.lines(data["plan"])]
    if reported:
        devices = ["whatever the caller's functions used; it is not known here"]
    here = data["environment"]
    commit = here["commit"]
    pairs: list[tuple[str, Content]] = [
        ("Trials ran on", "; ".join(devices)),
        *_time(data),
        ("Report written with", f"Novum {here['novum']}, {here['python']}"),
        ("on", f"{here['platform']} ({here['machine']})"),
        ("in Git commit", element("code", commit) if commit else "not in a git repository"),
    ]
    head = ["part", "distribution", "version", "sources (SHA-256)", "which requires", "used by"]
    parts = folded("Code that decided the numbers", "frozen in the plan", table(head, _parts(plans), kind="tight"))
    if reported:
        parts = element(
            "p", "The code behind the scores is not known here; of a function its source's hash is.", class_="soft"
        )
    return element(
        "section",
        element("h2", "Environment and time"),
        element("div", facts(pairs), parts, class_="card"),
        id="environment",
    )


def _time(data: Mapping[str, Any]) -> Iterator[tuple[str, Content]]:
    names = list(dict.fromkeys(side for row in data["trials"] for side in row["sides"]))
    for side in sorted(names):
        rows = [row for row in data["trials"] if side in row["sides"] and row["seconds"] is not None]
        spent = math.fsum(row["seconds"] for row in rows)
        yield f"Training, {side}", f"{text.seconds(spent)} in {text.count(len(rows), 'trial')}{_peak(rows)}"
    scored = [row["test_seconds"] for row in data["trials"] if row["test_seconds"] is not None]
    if scored:
        yield "Scoring on test", f"{text.seconds(math.fsum(scored))} for {len(scored)} models"
    yield "Scoring on dev", "not part of training time, and not measured apart"
    wall = data["times"]["wall_seconds"]
    told = "undefined, because no trial of this claim has ended" if wall is None else text.seconds(wall)
    yield "First start to last end", told
    if data["times"]["verdict"] is not None:
        yield "Verdict recorded", when(data["times"]["verdict"])


def _peak(rows: Sequence[Mapping[str, Any]]) -> str:
    """The most memory that one of these trials took; nothing where none was measured."""
    known = [row["memory"]["bytes"] for row in rows if row["memory"] is not None and "bytes" in row["memory"]]
    return f"; at most {text.size(max(known))} of memory" if known else "; memory was not measured"


def _parts(plans: Sequence[tuple[str, Mapping[str, Any]]]) -> list[Sequence[Content]]:
    """What the arms' code is made of, each distinct part once, with who uses it."""
    found: dict[tuple[str, ...], list[str]] = {}
    for who, plan in _with_parents(plans):
        for part, code in coded(plan):
            if isinstance(code, Mapping):
                needs = ", ".join(f"{each} {code['requires'][each]}" for each in sorted(code["requires"]))
                row = (part, code["distribution"], code["version"], code["sources"], needs)
            elif part == "runner":
                row = ("runner", "novum", "", str(code), "")
            else:
                row = (part, part, str(code), "", "")
            users = found.setdefault(row, [])
            if who not in users:
                users.append(who)
    everyone = len({who for who, _ in _with_parents(plans)})
    return [
        [
            row[0],
            row[1],
            row[2] or "—",
            short(row[3]) if row[3] else "the runner's" if row[0] not in ("torch", "numpy") else "—",
            row[4] or "—",
            "every arm" if len(users) == everyone else ", ".join(users),
        ]
        for row, users in found.items()
    ]


def _with_parents(plans: Sequence[tuple[str, Mapping[str, Any]]]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for who, plan in plans:
        yield who, plan
        if plan["start_from"] is not None:
            yield from _with_parents([(f"{who}'s start", plan["start_from"])])


# ---------------------------------------------------------------------------------------------- check it; its limits


def check(data: Mapping[str, Any]) -> Markup:
    """The command that gives the verdict again from the stored rows."""
    name = data["hypothesis"]["id"]
    words = (f"verdict {name} --recompute", "trials --to trials.csv", "logs TRIAL", "status")
    lines = "\n".join(f"novum {each} --study FOLDER" for each in words)
    return element(
        "section",
        element("h2", "How to check it"),
        element(
            "div",
            element("p", "FOLDER is the study's folder, on this machine or a copy on another."),
            element("pre", element("code", lines)),
            element(
                "p",
                "The first recomputes the verdict from the stored rows alone, runs nothing, and compares it byte for "
                "byte with the recorded one. The second writes every trial's numbers to a table, the third shows "
                "what a trial printed, and the last one whether the record is whole.",
                class_="soft",
            ),
            class_="card",
        ),
        id="check",
    )


def _one_network(plan: Mapping[str, Any]) -> Iterator[str]:
    """What follows where all seeds of an arm begin with one trained network."""
    arms = [f"the {side} on {name}" for name in plan["order"] for side in SIDES if _starts_once(plan, name, side)]
    if arms:
        yield (
            f"What {listed(arms)} starts from was trained once, and all its seeds begin with that one network. They "
            "sample the noise of what came after, not that of this training: the claim is about this very network, and "
            "another one, trained alike with another seed, may do better or worse."
        )


def _starts_once(plan: Mapping[str, Any], name: str, side: str) -> bool:
    arm = plan["tasks"][name][side]
    return arm is not None and any(single for _, single in lineage(arm))


def limits(data: Mapping[str, Any]) -> Markup:
    """What a verdict does not say."""
    plan = data["plan"]
    methods = {(task["secondary"] or task["test"])["method"] for task in plan["tasks"].values()}
    methods |= {task["test"]["method"] for task in plan["tasks"].values()}
    said = [
        *_one_network(plan),
        "Seeds sample the noise of training only: initialisation, order of data, exploration. Which examples happen to "
        "be in the data is not sampled: the intervals hold for these evaluation items and conditions, not for others.",
    ]
    if plan["estimand"] == "mean":
        exact = []
        if methods & {"sequential-t", "e-process"}:
            exact.append("The t-test's error rate is exact where differences over seeds are normally distributed.")
        if "sequential-sign-flip" in methods:
            exact.append("The sign-flip test's is exact where they are symmetric, whatever their shape.")
        said.append(" ".join(exact))
        said.append(
            "No test of a mean is safe from strong skew at 20 seeds or fewer. Where one treated seed in ten collapses, "
            "most small samples hold no collapse or one, and the mean looks better than it is: such a treatment, no "
            "better on average, comes out supported in a third of claims or more, not in 5 %. So look at every pair "
            'above; a trial that diverges counts as the worst value; and estimand = "win" asks how often the treatment '
            "wins, which skew cannot spoil."
        )
    said.append(
        "An effect that was large enough to end the claim early is, on average, estimated too large. The registered "
        "error rate is this claim's alone, or its goal's: of many claims that are not true, about that share passes."
    )
    told = [element("p", each) for each in said]
    return element("footer", element("div", element("h2", "What this does not say"), *told))
