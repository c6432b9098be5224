"""Several tasks in one claim: the average where it decides, and what describes the tasks together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from novum.report import svg, text, words
from novum.report.answer import told_effect
from novum.report.cells import amount, badge, facts, hint, table
from novum.report.markup import Content, Markup, element
from novum.report.tasks import how_it_went


def across(data: Mapping[str, Any]) -> Markup | None:
    """What tasks say together; None for a claim about one task, and before there is a verdict."""
    record, plan = data["verdict"], data["plan"]
    if record is None or len(plan["tasks"]) == 1:
        return None
    inside: list[Content] = [
        element("p", f"The claim is about {words.scope(plan)}."),
        _average(record, plan) if record.get("average") else _roles(record, plan),
        _together(record["across"]) if "across" in record else None,
    ]
    return element("section", element("h2", "Across tasks"), element("div", *inside, class_="card"), id="across")


def _average(record: Mapping[str, Any], plan: Mapping[str, Any]) -> Markup:
    """The test that decides, on one value per seed."""
    whole = record["average"]
    pairs = next(iter(record["tasks"].values()))["pairs"]
    rows = [["on dev", told_effect(whole, "on the scales"), amount(whole["p"]), badge(whole["outcome"])]]
    if (again := whole.get("new_data")) is not None:
        rows.append(["on new data", told_effect(again, "on the scales"), amount(again["p"]), badge(again["outcome"])])
    said = [element("p", reason) for reason in whole["reasons"]]
    why = f"One value per seed: the mean over tasks of the difference, each on its scale; {text.count(pairs, 'seed')}."
    plots = how_it_went(whole, plan["average"]["test"], "means of the scales", pairs)
    return element(
        "div",
        element("h4", "The average, which decides"),
        element("p", why, class_="soft"),
        *said,
        table(["", "effect", "p, at most", "outcome"], rows),
        element("div", *plots, class_="plots") if plots else None,
    )


def _roles(record: Mapping[str, Any], plan: Mapping[str, Any]) -> Markup:
    """Which tasks decide at which level, and what their own, uncorrected verdicts are."""
    rows = []
    for name in plan["order"]:
        task, own = record["tasks"][name], plan["tasks"][name]["test"]
        rows.append(
            [name, amount(own["support"]), badge(task["counts"]), amount(task["test"]["level"]), badge(task["outcome"])]
        )
    secondary = any(task["role"] != "decides" for task in record["tasks"].values())
    if not secondary:
        return table(["task", "tested at", "counts as"], [row[:3] for row in rows], numeric=[1])
    note = "The claim counts what holds at the corrected level. A task's own verdict is secondary and not corrected."
    head = ["task", "corrected level", "counts as", "own level", "on its own (secondary, uncorrected)"]
    return element("div", table(head, rows, numeric=[1, 3]), element("p", hint(note)))


def _together(found: Mapping[str, Any]) -> Markup:
    """Random effects over tasks: a description."""
    title = element("h4", "What describes the tasks together, and decides nothing")
    if "undefined" in found:
        return element("div", title, element("p", text.numbers(found), class_="undefined"))
    ends, wider = text.ends(found["interval"]), text.ends(found["prediction"])
    low, high = (None, None) if ends is None else ends
    marks = [svg.Mark("none", found["mean"], low, high, "mean over tasks")]
    lanes = [svg.Lane("mean over tasks", tuple(marks), 0.0, _head("mean over tasks", found["interval"], found["mean"]))]
    if wider is not None:
        mark = svg.Mark("none", found["mean"], *wider, "one more task of the kind")
        head = _head("one more task of the kind, as predicted", found["prediction"], None)
        lanes.append(svg.Lane("one more task", (mark,), 0.0, head))
    pairs: list[tuple[str, Content]] = [
        *([("Prediction", amount(found["prediction"]))] if wider is None else []),
        ("Heterogeneity I²", _share(found["i2"])),
        ("Between tasks, τ²", amount(found["tau2"])),
    ]
    left = found["leave_one_out"]
    rows = [[name, amount(each, plus=True), amount(left[name], plus=True)] for name, each in found["effects"].items()]
    how = f"Random effects, modified Knapp-Hartung, on the tasks' scales. {_sentence(found['bias'])}"
    return element(
        "div",
        title,
        element("p", how, class_="soft"),
        svg.effects(lanes, "effect on the scales"),
        facts(pairs),
        table(["task", "its effect", "mean of the others"], rows, numeric=[1, 2]),
    )


def _share(i2: Any) -> Content:
    return amount(i2) if isinstance(i2, Mapping) else f"{100 * i2:.3g} % of the spread of effects is between tasks"


def _head(name: str, interval: Any, mean: Any) -> Markup:
    told = text.interval(interval) if mean is None else f"{text.signed(mean)} ({text.interval(interval)})"
    return element("div", element("strong", name), element("span", told, class_="told"), class_="row")


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:].rstrip('.')}."
