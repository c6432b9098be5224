"""What new data said, how often they were opened, and how worn the data are on which the claim was decided."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from novum.report import text
from novum.report.answer import told_effect, unit_of
from novum.report.cells import amount, badge, facts, table, when
from novum.report.markup import Content, Markup, element

SAME = (
    "It guards against evaluation items that were worn by many comparisons or that happened to suit the treatment. It "
    "does not guard against lucky seeds: the same networks are scored again."
)
FRESH = (
    "It guards against evaluation items that were worn by many comparisons, and against lucky seeds as well: networks "
    "of fresh seeds were trained for it."
)


def new_data(data: Mapping[str, Any]) -> Markup:
    """What `test` said, or that it stayed sealed and why."""
    record, plan = data["verdict"], data["plan"]
    mine = [row for row in data["openings"]["mine"] if row["split"] == "test"]
    inside: list[Content] = [element("p", _said(record, plan, mine))]
    if plan.get("reported"):
        return _section(inside)
    inside.append(element("p", FRESH if plan["confirm"] == "fresh-seeds" else SAME, class_="soft"))
    if mine and record is not None and record["new_data"] == "opened":
        inside.append(_compared(record, plan))
    warned = [] if record is None else list(_warnings(record, plan))
    if warned:
        told = [element("li", warning) for warning in warned]
        inside += [element("h4", "Warnings about dev"), element("ul", *told, class_="plain")]
    inside.append(_dev(plan))
    count = data["openings"]["test"]
    inside.append(
        facts([("Openings of test", f"{len(mine)} by this claim, {text.numbers(count)} in the whole study so far")])
    )
    return _section(inside)


def _section(inside: list[Content]) -> Markup:
    return element("section", element("h2", "What did new data say?"), element("div", *inside, class_="card"), id="new")


def _said(record: Mapping[str, Any] | None, plan: Mapping[str, Any], mine: list[Mapping[str, Any]]) -> str:
    if plan.get("reported"):
        return (
            "There are no new data: scores were reported by the caller, and the verdict rests on them alone. Whether "
            "the data behind them were used before is not known here."
        )
    if mine:
        which = "trained on fresh seeds for it" if plan["confirm"] == "fresh-seeds" else "that were trained already"
        return (
            f"Dev supported the claim, so test was opened once, at {when(mine[0]['time'])}, for the {mine[0]['keys']} "
            f"models {which}. A claim stands only where both agree."
        )
    if record is None:
        return "Test is sealed. It is opened once, and only if dev supports the claim."
    return (
        f"Test stays sealed. It is opened only to confirm a claim that dev supports, and this one is "
        f"{record['outcome']} on dev: opening it would use up new data and decide nothing."
    )


def _compared(record: Mapping[str, Any], plan: Mapping[str, Any]) -> Markup:
    rows: list[list[Content]] = []
    for name in plan["order"]:
        task = record["tasks"][name]
        unit, again = unit_of(task, plan), task["new_data"]
        fresh: list[Content] = ["not opened for this task", "—"]
        if again is not None:
            fresh = [told_effect(again, unit), badge(again["outcome"])]
        rows.append([name, told_effect(task, unit), *fresh])
    if whole := record.get("average"):
        again = whole["new_data"]
        unit = "on the scales"
        rows.append(["average", told_effect(whole, unit), told_effect(again, unit), badge(again["outcome"])])
    return table(["task", "on dev", "on new data", "new data alone say"], rows)


def _warnings(record: Mapping[str, Any], plan: Mapping[str, Any]) -> list[str]:
    """What a reader should know of the data behind a claim that holds."""
    return [f"{name}: {each}" for name in plan["order"] for each in record["tasks"][name]["warnings"]]


def _dev(plan: Mapping[str, Any]) -> Markup:
    """How many arms were compared on the items of dev before this claim."""
    rows: list[list[Content]] = []
    for name in plan["order"]:
        dev = plan["tasks"][name]["dev"]
        size = amount(dev["size"]) if dev["size"] else element("span", "no fixed items", class_="undefined")
        rows.append([name, size, amount(dev["queries"])])
    return table(["task", "items of dev", "arms scored on them before"], rows, numeric=[1, 2])
