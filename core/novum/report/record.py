"""The second half of the page: what was observed, registered and run, on what, and how to check it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from novum.plugins import LOCAL
from novum.report import text
from novum.report.cells import amount, differences, facts, folded, hint, options, short, table, when
from novum.report.markup import Content, Markup, element, joined

SIDES = ("control", "treatment")
ENDED = ("done", "diverged", "failed")


def observed(data: Mapping[str, Any]) -> Markup:
    """Facts per task, and the scale that gives its 0 and its 1."""
    parts = []
    for name in data["plan"]["tasks"]:
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
        count = f"{len(rows)} fact{'' if len(rows) == 1 else 's'}"
        parts.append(
            joined(
                element("p", element("strong", name), f": {told}.", class_="scale"), folded(count, "", inside, missing)
            )
        )
    return element(
        "section", element("h2", "What was observed first"), element("div", *parts, class_="card"), id="observed"
    )


# ------------------------------------------------------------------------------------------------------ registered


def registered(data: Mapping[str, Any]) -> Markup:
    """The frozen plan: how it would be decided, on which seeds, and both arms in full."""
    plan, hypothesis = data["plan"], data["hypothesis"]
    seeds = plan["seeds"]
    count = len(seeds["indices"])
    pairs: list[tuple[str, Content]] = [
        ("Registered", when(data["times"]["registered"])),
        ("Hypothesis", joined(element("code", hypothesis["id"]), f", treatment “{hypothesis['name']}”")),
        ("Plan's fingerprint", element("code", data["fingerprint"])),
        ("Method", f"{plan['method']['name']}, version {plan['method']['version']}; scope: {plan['scope']} tasks"),
        (
            "Error rate (alpha)",
            f"{text.numbers(plan['alpha'])}, one-sided: how often, at most, a claim that is not true passes",
        ),
        (
            "Boundary",
            joined(amount(plan["boundary"]), f" standard errors: Student's t with {count - 1} degrees of freedom"),
        ),
        (
            "Seeds",
            f"{count} per arm and task: root {seeds['root']}, block {seeds['block']}, {_indices(seeds['indices'])}",
        ),
        ("Weights kept", str(plan["keep"])),
        ("Rests on", ", ".join(hypothesis.get("rests_on") or []) or "no named observation"),
        ("Replaces", hypothesis.get("parent") or "no earlier hypothesis"),
    ]
    rows = [_margin(name, task) for name, task in plan["tasks"].items()]
    head = ["task", "metric", "least effect that counts", "on the scale", "worst value"]
    arms = [folded(f"Both arms of {name}", _differing(task), _arms(task)) for name, task in plan["tasks"].items()]
    card = element("div", facts(pairs), table(head, rows, numeric=[2, 3, 4]), *arms, class_="card")
    lead = element("p", "All of this was frozen before any trial of the treatment ran.", class_="soft")
    return element("section", element("h2", "What was registered"), lead, card, id="registered")


def _indices(indices: Sequence[int]) -> str:
    whole = list(indices) == list(range(indices[0], indices[-1] + 1))
    return f"seeds {indices[0]} to {indices[-1]}" if whole else f"seeds {', '.join(map(str, indices))}"


def _margin(name: str, task: Mapping[str, Any]) -> list[Content]:
    metric, scale = task["metric"], task["scale"]
    better = "higher" if metric["direction"] == "max" else "lower"
    share = (
        element("span", "undefined, because the task states no scale", class_="undefined")
        if scale is None
        else amount(task["margin"] / abs(scale["reference"] - scale["chance"]))
    )
    unit = metric["unit"] or metric["name"]
    return [name, f"{metric['name']}, {better} is better", amount(task["margin"], unit), share, amount(metric["worst"])]


def _differing(task: Mapping[str, Any]) -> str:
    count = len(differences(task["control"], task["treatment"]))
    return f"{count} difference{'' if count == 1 else 's'}, highlighted"


def _arms(task: Mapping[str, Any]) -> Markup:
    """Every option of both arms; those that differ are marked."""
    sides = {side: options(task[side]) for side in SIDES}
    names = list(dict.fromkeys([*sides["control"], *sides["treatment"]]))
    rows: list[Markup] = []
    group = ""
    for name in names:
        part = name.rsplit(".", 1)[0] if "." in name else "plan"
        if part != group:
            group = part
            rows.append(element("tr", element("th", part, colspan=3, scope="rowgroup"), class_="group"))
        values = [sides[side].get(name, "—") for side in SIDES]
        differs = values[0] != values[1]
        mark = "≠ " if differs else ""
        cells = [element("td", element("code", value)) for value in values]
        leaf = element("th", f"{mark}{name.rsplit('.', 1)[-1]}", scope="row")
        rows.append(element("tr", leaf, *cells, class_="differs" if differs else None))
    return table(["option", "control", "treatment"], rows, kind="tight pad")


# ---------------------------------------------------------------------------------------------------------- trials


def trials(data: Mapping[str, Any]) -> Markup:
    """Every planned trial in a row, and what did not go as planned."""
    order = list(data["plan"]["tasks"])
    rows = sorted(data["trials"], key=lambda row: (order.index(row["task"]), row["index"]))
    opened = data["evidence"]["test"] is not None
    ended = sum(row["state"] in ENDED for row in rows)
    words = list(_deviations(rows))
    said = (
        element("ul", *(element("li", word) for word in words), class_="plain")
        if words
        else element("p", "Nothing to report: no trial diverged, broke or had to be started twice.")
    )
    earlier = sum(row["earlier"] for row in rows)
    shared = (
        element("p", f"{earlier} of them were trained for an earlier claim, which had the same control.", class_="hint")
        if earlier
        else None
    )
    head = [
        "task",
        "arm",
        "seed",
        "state",
        "dev",
        "test",
        "units",
        "seconds",
        "loaded / fresh",
        "attempts",
        "trial",
        "weights",
    ]
    whole = table(head, [_trial(row, opened) for row in rows], numeric=[2, 4, 5, 6, 7, 8, 9], kind="tight wide")
    card = element(
        "div",
        element("p", f"{len(rows)} trials are planned, {ended} have ended."),
        shared,
        element("h4", "Deviations"),
        said,
        folded("Every trial", f"{len(rows)} rows", whole),
        class_="card",
    )
    return element("section", element("h2", "What ran"), card, id="trials")


def _deviations(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for row in rows:
        who = f"{row['task']}, {' and '.join(row['sides'])}, seed {row['index']}"
        if row["state"] in ("diverged", "failed"):
            yield f"{who} {'diverged' if row['state'] == 'diverged' else 'broke'}: {row['because']}."
        for split in ("dev", "test"):
            if isinstance(row[split], Mapping):
                yield f"{who}: {row['metric']} on {split} is {text.numbers(row[split])}."
        if row["attempts"] > 1 or row["released"]:
            why = f" ({'; '.join(row['released'])})" if row["released"] else ""
            yield f"{who} was started {row['attempts']} times on the same seed{why}."


def _trial(row: Mapping[str, Any], opened: bool) -> Markup:
    start = row["start"]
    loaded: Content = "fresh"
    if start is not None:
        fresh = ", ".join(start["fresh"]) or "none"
        loaded = element("span", f"{start['loaded']} / {len(start['fresh'])}", title=f"began fresh: {fresh}")
    why = hint(row["because"]) if row["because"] else hint("for an earlier claim") if row["earlier"] else None
    cells: list[tuple[Content, str | None]] = [
        (" and ".join(row["sides"]), None),
        (row["index"], "r"),
        (joined(row["state"], why), "free" if row["because"] else None),
        (_dev(row), "r"),
        (amount(row["test"]) if row["test"] is not None else "not scored" if opened else "sealed", "r"),
        ("—" if row["units"] is None else amount(row["units"]), "r"),
        ("—" if row["seconds"] is None else amount(row["seconds"]), "r"),
        (loaded, "r"),
        (row["attempts"], "r"),
        (short(row["key"], 8), None),
        ("—" if row["weights"] is None else short(row["weights"], 8), None),
    ]
    return element(
        "tr",
        element("th", row["task"], scope="row"),
        *(element("td", cell, class_=kind) for cell, kind in cells),
        class_="trial",
    )


def _dev(row: Mapping[str, Any]) -> Content:
    """A score on dev; where there is none, why."""
    if row["dev"] is not None:
        return amount(row["dev"])
    told = {"diverged": "undefined, because it diverged", "failed": "undefined, because it broke"}
    return element("span", told.get(row["state"], "not yet"), class_="undefined")


# ----------------------------------------------------------------------------------------------------- environment


def environment(data: Mapping[str, Any]) -> Markup:
    """Where it ran, with which code, and how long it took."""
    plans = [(f"{name} {side}", task[side]) for name, task in data["plan"]["tasks"].items() for side in SIDES]
    devices = sorted({f"{plan['device']} in {plan['precision']}" for _, plan in plans})
    here = data["environment"]
    commit = here["commit"]
    pairs: list[tuple[str, Content]] = [
        ("Trials ran on", ", ".join(devices)),
        *_time(data),
        ("Report written with", f"Novum {here['novum']}, {here['python']}"),
        ("on", f"{here['platform']} ({here['machine']})"),
        ("in Git commit", element("code", commit) if commit else "not in a git repository"),
    ]
    head = ["part", "distribution", "version", "sources (SHA-256)", "which requires", "used by"]
    parts = folded("Code that decided the numbers", "frozen in the plan", table(head, _parts(plans), kind="tight"))
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
        yield f"Training, {side}", f"{text.seconds(spent)} in {len(rows)} trials"
    scored = [row["test_seconds"] for row in data["trials"] if row["test_seconds"] is not None]
    if scored:
        yield "Scoring on test", f"{text.seconds(math.fsum(scored))} for {len(scored)} models"
    yield "Scoring on dev", "not part of training time, and not measured apart"
    wall = data["times"]["wall_seconds"]
    told = "undefined, because no trial of this claim has ended" if wall is None else text.seconds(wall)
    yield "First start to last end", told
    if data["times"]["verdict"] is not None:
        yield "Verdict recorded", when(data["times"]["verdict"])


def _parts(plans: Sequence[tuple[str, Mapping[str, Any]]]) -> list[Sequence[Content]]:
    """What the arms' code is made of, each distinct part once, with who uses it."""
    found: dict[tuple[str, ...], list[str]] = {}
    for who, plan in _with_parents(plans):
        for part, code in plan["code"].items():
            if isinstance(code, Mapping):
                name = plan["arm"].get(part, {}).get("plugin") or plan["arm"]["recipe"].get(part, "")
                needs = ", ".join(f"{each} {code['requires'][each]}" for each in sorted(code["requires"]))
                local = name.startswith(LOCAL)  # a class of a script: its file's name, and not whose folder it lies in
                whose = PurePath(code["distribution"]).name if local else code["distribution"]
                version = "not installed" if local else code["version"]
                row = (f"{part} {name}".strip(), whose, version, code["sources"], needs)
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
    lines = f"novum verdict {name} --recompute --study FOLDER\nnovum trials --to trials.csv --study FOLDER"
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
                "byte with the recorded one. The second writes every trial's numbers to a table.",
                class_="soft",
            ),
            class_="card",
        ),
        id="check",
    )


def limits(data: Mapping[str, Any]) -> Markup:
    """What a verdict does not say."""
    count = len(data["plan"]["seeds"]["indices"])
    said = (
        "Seeds sample the noise of training only: initialisation, order of data, exploration. Which examples happen to "
        "be in the data is not sampled: the intervals hold for this validation set and these conditions, not for all "
        f"others. The interval is Student's, over {count} differences: exact where they are normally distributed; "
        "where they are skewed and few, the true error rate can differ from the registered one. The registered error "
        "rate is this claim's alone: of many claims that are not true, about that share passes."
    )
    return element("footer", element("div", element("h2", "What this does not say"), element("p", said)))
