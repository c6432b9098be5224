"""A verdict in a terminal: a table of tasks, why, what it took and what it spared, and the claim as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from novum.cli.terminal import badge
from novum.report import text, words

COLUMNS = ("task", "control", "treatment", "effect", "interval", "outcome")
DIGITS = 3


def print_verdict(console: Console, record: Mapping[str, Any], claim: str) -> None:
    """The verdict of a claim. record: as `novum.validate.Verdict.record` gives it.

    Of one that an earlier Novum recorded by another method only the outcome and its reasons are told.
    """
    if "ended" not in record:
        console.print(f"\n[bold]Did it really help?[/]  “{escape(claim)}”")
        console.print(f"{badge(record['outcome'])}: {escape(' '.join(record['reasons']))}")
        method = record["method"]
        console.print(f"Recorded by the method {method['name']}, version {method['version']}; --json shows all of it.")
        return
    console.print()
    console.print(_table(record))
    shared = _shared_power(record)
    for name in record["order"]:
        task = record["tasks"][name]
        console.print()
        _task(console, record, name, task, power=shared is None)
    if shared is not None:
        console.print(f"\n  {escape(shared)}")
    console.print(f"\n[bold]Did it really help?[/]  “{escape(claim)}”")
    outcome = badge(record["outcome"]) if record["ended"] else "[bold yellow]undecided so far[/]"
    console.print(f"{outcome}: {escape(' '.join(record['reasons']))}")
    for sentence in _whole(record):
        console.print(escape(sentence))


def _table(record: Mapping[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in COLUMNS:
        left = column in ("task", "outcome")
        table.add_column(column, justify="left" if left else "right", no_wrap=True)
    for row in text.verdict_rows(record, DIGITS):
        fresh = row["split"] == "new data"
        cells = {name: escape("undefined" if row[name].startswith("undefined") else row[name]) for name in COLUMNS}
        cells |= {"task": "  new data"} if fresh else {}
        cells["outcome"] = badge(row["outcome"]) + row["place"]
        table.add_row(*(cells[name] for name in COLUMNS))
    return table


def _task(console: Console, record: Mapping[str, Any], name: str, task: Mapping[str, Any], *, power: bool) -> None:
    console.print(f"  [bold]{escape(name)}[/] ({escape(task['metric'])}): {escape(' '.join(task['reasons'][:2]))}")
    lines = [_pairs(task), _cost(task["cost"])]
    if power and (told := _power(task)) is not None:
        lines.append(f"{told}.")
    if task["role"] != "decides":
        own = f"{_upper(task['role'])}, at {text.numbers(task['test']['level'], DIGITS)}"
        counted = f"; at {text.numbers(task['counted_at'], DIGITS)} it counts as {task['counts']} for the claim"
        lines.append(f"{own}{'' if record['scope'] == 'average' else counted}.")
    for line in [*lines, *task["notes"], *task["warnings"], *(task["new_data"] or {"notes": []})["notes"]]:
        console.print(f"    {escape(line)}")


def _pairs(task: Mapping[str, Any]) -> str:
    """Pairs used, what was spared, and the p-value: one line."""
    used = f"{text.used(task)} pairs" if text.is_number(task["planned"]) else text.count(task["pairs"], "pair")
    limit = "" if text.is_number(task["planned"]) else ", no maximum declared"
    saved = task["saved"]
    spared = f"; spared {text.spared(saved)}" if text.is_number(saved["trials"]) and saved["trials"] else ""
    return f"{used}{limit}{spared}; p {text.bound(task['p'])}."


def _cost(cost: Mapping[str, Any]) -> str:
    """Device-seconds of each arm, its parents included, and peak memory."""
    memory = cost["memory"]
    known = any(text.is_number(memory[side]) for side in ("control", "treatment"))
    peak = f"peak memory {text.peaks(memory)}" if known else f"peak memory is {text.peaks(memory)}"
    return f"Training cost {text.costs(cost)} of device time; {peak}."


def _power(task: Mapping[str, Any]) -> str | None:
    power = task["power"]
    return None if power is None else f"{words.power(power['label'])}: {power['because']}"


def _shared_power(record: Mapping[str, Any]) -> str | None:
    """What is to be said of the power of every task at once, where it is the same; None where it isn't."""
    told = {_power(task) for task in record["tasks"].values()}
    only = told.pop() if len(told) == 1 and len(record["tasks"]) > 1 else None
    return None if only is None else f"{only.replace(':', ' on every task:', 1)}."


def _whole(record: Mapping[str, Any]) -> list[str]:
    """What there is to say of the claim as a whole, a sentence a line."""
    said = [words.level(record)]
    if record["estimand"] == "win":
        said.append(f"Effects say {words.ESTIMANDS['win']}.")
    several = len(record["tasks"]) > 1
    if several:
        said += _across(record)
        if text.is_number(record["saved"]["trials"]) and record["saved"]["trials"]:
            said.append(f"The early decision spared {text.spared(record['saved'])} in all.")
    said.append(record["fairness"])
    if record["new_data"] == "closed" and record["ended"]:
        said.append("Test stays sealed: new data are opened only to confirm a claim that dev supports.")
    elif record["new_data"] == "none":
        said.append("There are no new data: the verdict rests on the reported scores alone.")
    return said


def _across(record: Mapping[str, Any]) -> list[str]:
    said = []
    if isinstance(record["effect"], Mapping):
        said.append(f"Effect over tasks: {text.numbers(record['effect'])}.")
    else:
        shown = f"{text.signed(record['effect'], DIGITS)} ({text.interval(record['interval'], DIGITS)})"
        said.append(f"Effect, {record['effect_unit']}: {shown}.")
    found = record.get("across") or {}
    if "mean" in found:
        parts = []
        if record.get("average"):  # else it is the effect above
            shown = f"{text.signed(found['mean'], DIGITS)} ({text.interval(found['interval'], DIGITS)})"
            parts.append(f"random-effects mean {shown}")
        if not isinstance(found["prediction"], Mapping):  # it needs three tasks
            parts.append(f"one more task of the kind {text.interval(found['prediction'], DIGITS)}")
        parts.append(f"I² {found['i2']:.2g}" if text.is_number(found["i2"]) else f"I² {text.numbers(found['i2'])}")
        said.append(f"Description, which decides nothing: {'; '.join(parts)}.")
    return said


def _upper(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
