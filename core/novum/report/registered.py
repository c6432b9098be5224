"""The frozen plan: how it would be decided, at which looks and levels, on which seeds, and both arms in full."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from novum import blocks, computed
from novum.experiment import chain
from novum.plugins import NOT_INSTALLED
from novum.report import text, words
from novum.report.answer import width
from novum.report.cells import amount, badge, coded, differences, facts, folded, options, table, when
from novum.report.markup import Content, Markup, element, joined

SIDES = ("control", "treatment")


def registered(data: Mapping[str, Any]) -> Markup:
    """The frozen plan."""
    plan = data["plan"]
    order = plan["order"]
    head = ["task", "metric", "least effect that counts", "on the scale", "worst value", "step"]
    margins = table(head, [_margin(name, plan) for name in order], numeric=[2, 3, 4, 5])
    tests = table(["task", "test", "level", "to refute", "looks"], _tests(plan), numeric=[2, 3])
    bounds = [_boundaries(name, test, plan) for name, test in _deciding(plan).items()]
    told = [] if plan.get("reported") else [(name, plan["tasks"][name]) for name in order]
    arms = [folded(f"Both arms of {name}", _differing(task), _arms(task)) for name, task in told]
    card = element("div", facts(_facts(data)), tests, margins, *bounds, *arms, _stream(data), class_="card")
    lead = element(
        "p", "All of this was frozen before any trial that counts as evidence for the treatment ran.", class_="soft"
    )
    return element("section", element("h2", "What was registered"), lead, card, id="registered")


def _facts(data: Mapping[str, Any]) -> list[tuple[str, Content]]:
    plan, hypothesis = data["plan"], data["hypothesis"]
    seeds = plan["seeds"]
    count = len(seeds["indices"])
    most = f"at most {count} per arm and task"
    if plan["open"]:
        most = f"no maximum was declared (the plan lists {count:,})"
    price = plan["price_per_hour"]
    deciding = next(iter(_deciding(plan).values()))
    return [
        ("Registered", when(data["times"]["registered"])),
        ("Hypothesis", joined(element("code", hypothesis["id"]), f", treatment “{hypothesis['name']}”")),
        ("Plan's fingerprint", element("code", data["fingerprint"])),
        ("Method", f"{plan['method']['name']}, version {plan['method']['version']}"),
        ("It must hold on", words.scope(plan)),
        ("What is estimated", words.ESTIMANDS[plan["estimand"]]),
        ("Margins", words.MARGINS[plan["margins"]]),
        (
            "Error rate (alpha)",
            f"{text.numbers(plan['alpha'])}, one-sided: how often, at most, a claim that is not true passes",
        ),
        ("Level", words.level(plan)),
        ("Given up", words.futility(deciding["futility"], deciding.get("give_up", "both"))),
        ("Seeds", f"{most}: root {seeds['root']}, block {seeds['block']}, {_indices(seeds['indices'])}"),
        ("Computed", _computed(plan)),
        ("Seeds are trained", _together(plan)),
        ("To confirm", "there are no new data" if plan.get("reported") else words.CONFIRM[plan["confirm"]]),
        ("Power", _power(plan)),
        ("Weights kept", str(plan["keep"])),
        ("Code that is not installed", _handed_in(plan)),
        ("Price of a device", "none was given" if price is None else f"{text.numbers(price)} per hour"),
        ("Because", hypothesis.get("because") or "nobody said"),
        ("Rests on", ", ".join(hypothesis.get("rests_on") or []) or "no named observation"),
        ("Replaces", hypothesis.get("parent") or "no earlier hypothesis"),
    ]


def _computed(plan: Mapping[str, Any]) -> Content:
    """Device, precision, layout, compiling and mode of each arm: they decide numbers, so they are registered."""
    if plan.get("reported"):
        return "by the caller's functions; how is not known here"
    told = [f"{whose}: {how}" for whose, how in computed.lines(plan)]
    return told[0] if len(told) == 1 else element("ul", *(element("li", each) for each in told), class_="plain")


def _handed_in(plan: Mapping[str, Any]) -> str:
    """The plugins of a person's own files, with the file and the beginning of its hash."""
    if plan.get("reported"):
        return "the functions that gave the scores"
    arms = [task[side] for task in plan["tasks"].values() for side in SIDES if task[side] is not None]
    found = {
        f"{part} of {code['distribution']} (SHA-256 {code['sources'][:10]}): not installed"
        for arm in arms
        for each in chain(arm)
        for part, code in coded(each)
        if isinstance(code, Mapping) and code["version"] == NOT_INSTALLED
    }
    return "; ".join(sorted(found)) or "none"


def _indices(indices: Sequence[int]) -> str:
    whole = list(indices) == list(range(indices[0], indices[-1] + 1))
    return f"seeds {indices[0]} to {indices[-1]}" if whole else f"seeds {', '.join(map(str, indices))}"


def _together(plan: Mapping[str, Any]) -> str:
    """How the seeds of each task are trained, and why."""
    if plan.get("reported"):
        return "by the functions that were compared"
    tasks = [(name, plan["tasks"][name]) for name in plan["order"]]
    return "; ".join(f"{name}: {blocks.told(task)} ({blocks.reason(task)})" for name, task in tasks)


def _power(plan: Mapping[str, Any]) -> Content:
    found = {name: plan["tasks"][name]["power"] for name in plan["order"]}
    if plan["average"] is not None:
        found = {"the average": plan["average"]["power"]}
    told = []
    for name, power in found.items():
        who = f"{name}: " if len(plan["tasks"]) > 1 else ""
        told.append(f"{who}{power['label']}, {power['because']}")
    return "; ".join(told)


def _deciding(plan: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The tests that decide, by whose they are: the average's alone, or the tasks'."""
    if plan["average"] is not None:
        return {"the average": plan["average"]["test"]}
    return {name: plan["tasks"][name]["test"] for name in plan["order"]}


def _tests(plan: Mapping[str, Any]) -> list[list[Content]]:
    found: list[tuple[str, Mapping[str, Any]]] = list(_deciding(plan).items())
    for name in plan["order"]:
        secondary = plan["tasks"][name]["secondary"]
        if secondary is not None:
            found.append((f"{name}, on its own (secondary, uncorrected)", secondary))
    return [
        [who, words.test(test["method"]), amount(test["support"]), amount(test["refute"]), words.looks(test["looks"])]
        for who, test in found
    ]


def _margin(name: str, plan: Mapping[str, Any]) -> list[Content]:
    task = plan["tasks"][name]
    metric, one = task["metric"], width(plan, name)
    better = "higher" if metric["direction"] == "max" else "lower"
    unit = metric["unit"] or metric["name"]
    missing = "it is a probability" if plan["estimand"] == "win" else "it states no scale"
    share: Content = element("span", f"undefined, because {missing}", class_="undefined")
    if one is not None:
        share = amount(task["margin"] / one)
    least = amount(task["margin"], "above one half" if plan["estimand"] == "win" else unit)
    worst: Content = "none was given" if metric["worst"] is None else amount(metric["worst"])
    step = task["resolution"]["dev"]
    return [name, f"{metric['name']}, {better} is better", least, share, worst, amount(step) if step else "—"]


# ------------------------------------------------------------------------------------------------------ boundaries


MOST_ROWS = 40
"""Looks that a table of boundaries lists; of longer ones the first and the last."""


def _boundaries(name: str, test: Mapping[str, Any], plan: Mapping[str, Any]) -> Markup:
    """At each look: how much of the level is spent, and the t that decides; on new data, once, at that many pairs."""
    looks, last = test["looks"], test["looks"][-1]
    fixed = None if plan.get("reported") else plan["fixed"].get(f"{test['support']!r} {test['refute']!r}")
    spends = test["method"] != "e-process"
    rows: list[list[Content]] = []
    for at, pairs in enumerate(looks):
        if len(looks) > MOST_ROWS and MOST_ROWS // 2 <= at < len(looks) - MOST_ROWS // 2:
            continue
        spent = amount(test["support"] * (pairs / last) ** test["rho"]) if spends else "—"
        bounds = [_bound(test[side], at) for side in ("upper", "lower")]
        rows.append([str(pairs), spent, *bounds, *([] if fixed is None else [amount(fixed["upper"][at])])])
    head = ["pairs", "level spent so far", "t to support", "−t to refute", "t on new data"][: 4 if fixed is None else 5]
    hidden = len(looks) - len(rows)
    if hidden:
        rows.insert(MOST_ROWS // 2, [f"… {hidden} more", *[""] * (len(head) - 1)])
    note = words.looks(looks)
    if not test["upper"]:
        return folded(
            f"Boundaries of {name}",
            note,
            element("p", _CONDITIONAL[test["method"]], class_="soft"),
            table(head[:2], [row[:2] for row in rows], numeric=[1], kind="tight"),
        )
    return folded(f"Boundaries of {name}", note, table(head, rows, numeric=[1, 2, 3, 4], kind="tight"))


_CONDITIONAL = {
    "sequential-sign-flip": "This test has no fixed critical values: given the sizes of the differences, it follows "
    "every pattern of their signs and rejects the most extreme ones, as far as the level spent so far allows.",
    "sequential-sign": "This test counts wins: it rejects the most extreme counts, as far as the level spent so far "
    "allows.",
}


def _bound(bounds: Sequence[Any], at: int) -> Content:
    return "out of reach" if bounds and bounds[at] is None else "—" if not bounds else amount(bounds[at])


# ------------------------------------------------------------------------------------------------------------ arms


def _differing(task: Mapping[str, Any]) -> str:
    if task["control"] is None:
        return "the control is a bar"
    count = len(differences(task["control"], task["treatment"]))
    return f"{text.count(count, 'difference')}, highlighted"


def _arms(task: Mapping[str, Any]) -> Markup:
    """Every option of both arms; those that differ are marked."""
    present = [side for side in SIDES if task[side] is not None]
    sides = {side: options(task[side]) for side in present}
    names = list(dict.fromkeys(name for side in present for name in sides[side]))
    rows: list[Markup] = []
    group = ""
    for name in names:
        part = name.rsplit(".", 1)[0] if "." in name else "plan"
        if part != group:
            group = part
            rows.append(element("tr", element("th", part, colspan=len(present) + 1, scope="rowgroup"), class_="group"))
        values = [sides[side].get(name, "—") for side in present]
        differs = len(set(values)) > 1
        mark = "≠ " if differs else ""
        cells = [element("td", element("code", value)) for value in values]
        leaf = element("th", f"{mark}{name.rsplit('.', 1)[-1]}", scope="row")
        rows.append(element("tr", leaf, *cells, class_="differs" if differs else None))
    return table(["option", *present], rows, kind="tight pad")


# ------------------------------------------------------------------------------------------------ the goal's account


def _stream(data: Mapping[str, Any]) -> Markup:
    """The account of the goal, hypothesis by hypothesis, and how many claims of this study name no goal."""
    account, alone = data["stream"]["account"], data["stream"]["alone"]
    those = "1 hypothesis of this study names" if alone == 1 else f"{alone} hypotheses of this study name"
    said = element("p", f"{those} no goal: nobody corrects for how many there are.", class_="hint")
    if account is None:
        return said
    rows: list[list[Content]] = [
        [
            str(row["index"]),
            element("code", row["hypothesis"]),
            amount(row["level"]),
            amount(row["wealth_after"]),
            badge(row["outcome"]) if row["outcome"] is not None else "no verdict yet",
        ]
        for row in account
    ]
    goal = account[0]["goal"] if account else data["hypothesis"]["goal"]
    head = ["place", "hypothesis", "level", "wealth after", "outcome"]
    title = element("h4", f"The account of goal {goal}")
    rule = words.RULES.get(data["plan"]["stream"]["rule"], data["plan"]["stream"]["rule"])
    share = f"{100 * data['plan']['alpha']:.4g} %"
    why = f"{rule}: of the claims of this goal that come out supported, at most {share} are expected to be false."
    if data["plan"]["stream"]["rule"] == "none":
        why = "No correction: each hypothesis is tested at alpha, and nothing is promised about their number."
    return element(
        "div", title, element("p", why, class_="soft"), table(head, rows, numeric=[0, 2, 3], kind="tight"), said
    )
