"""`novum status` shows a study, live if asked; `novum repair` rebuilds a damaged ledger."""

from __future__ import annotations

import json
import time
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.text import Text

from novum.cli.terminal import badge, rows_table
from novum.cli.terminal import console as make_console
from novum.errors import StudyError
from novum.rehearse import duration
from novum.report.text import count
from novum.report.words import RULES
from novum.study import Study

console = make_console()
Folder = Annotated[
    str | None, typer.Option("--study", help="The study's folder [default: $NOVUM_STUDY or ./novum-study]")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON value and nothing else.")]
EVERY = 1.0
"""Seconds between two looks with --watch."""
SENTENCES = {
    "working": "working",
    "paused": "paused; the same command goes on from here",
    "interrupted": "interrupted; the same command goes on from here",
    "killed": "its process was killed; nothing is lost, and the same command goes on from here",
    "failed": "it stopped with an error; the same command goes on from here",
    "idle": "nothing runs",
    "empty": "nothing ran yet",
}


def add(app: typer.Typer) -> None:
    """Put these commands on the application."""
    for command in (status, repair):
        app.command()(command)


def status(
    study: Folder = None,
    watch: Annotated[bool, typer.Option("--watch", help="Keep looking until nothing runs, or until Ctrl-C.")] = False,
    as_json: Json = False,
) -> None:
    """What a study does now and holds: running trials, hypotheses and verdicts, accounts of goals. Disturbs nothing."""
    opened = Study(study)
    found = opened.status()
    if as_json:
        typer.echo(json.dumps(found, indent=2, sort_keys=True, ensure_ascii=False))
        return
    if watch and console.is_terminal:
        with Live(_page(found), console=console, refresh_per_second=4) as live:
            while _works(found):
                time.sleep(EVERY)
                found = opened.status()
                live.update(_page(found))
        return
    console.print(_page(found))
    while watch and _works(found):
        time.sleep(EVERY)
        last, found = found, opened.status()
        if {name: found[name] for name in ("state", "trials", "hypotheses")} != {
            name: last[name] for name in ("state", "trials", "hypotheses")
        }:
            console.print(_page(found))


def _works(found: dict[str, Any]) -> bool:
    return any(each["alive"] for each in found["sessions"])


def _page(found: dict[str, Any]) -> RenderableType:
    parts: list[RenderableType] = [Text.from_markup(f"[bold]{escape(found['study'])}[/]  {_doing(found)}")]

    def line(text: str) -> None:
        parts.append(Text.from_markup(text))

    if found["fault"]:
        line(f"[red]The record is damaged:[/] {escape(found['fault'])}")
    for row in found["running"]:
        again = f", attempt {row['attempt']}" if row["attempt"] > 1 else ""
        kind = "" if row["kind"] == "train" else " (scoring)"
        line(
            f"  running for {duration(row['seconds'])}: {escape(row['task'])}, {escape(row['side'])}, seed "
            f"{row['seed']}{kind}{again}  {row['trial'][:12]}"
        )
    for row in found["hypotheses"]:
        outcome = badge(row["verdict"]) if row["verdict"] else "no verdict yet"
        line(f"  {row['id']}  {outcome}  {escape(row['claim'])} ({escape(row['treatment'])}){_used(row)}")
    for goal, account in found["goals"].items():
        line(f"Goal {escape(goal)}, {RULES.get(account[0]['rule'], account[0]['rule'])}:")
        parts.append(rows_table([_account(row) for row in account], ["", "hypothesis", "level", "left", "outcome"]))
    if found["hypotheses"]:
        alone = f"{count(found['alone'], 'claim')} of {len(found['hypotheses'])} named no goal: each stands alone."
        line(alone if found["alone"] else "Every claim named a goal, whose error rate it shares.")
    states = ", ".join(f"{number} {state}" for state, number in sorted(found["trials"].items())) or "none"
    again = f" {count(found['retried'], 'trial')} began more than once." if found["retried"] else ""
    line(f"Trials: {states}.{again}")
    weights = found["weights"]
    line(
        f"Weights kept: {weights['kept']}, {weights['bytes'] / 1e6:.1f} MB. Openings of test: {found['test_openings']}."
    )
    return Group(*parts)


def _doing(found: dict[str, Any]) -> str:
    alive = any(each["alive"] for each in found["sessions"])
    told = ["paused; it goes on by itself" if alive and found["state"] == "paused" else SENTENCES[found["state"]]]
    for each in found["sessions"]:
        if each["alive"]:
            told.append(f"pid {each['pid']} on {escape(each['host'])}, executor {escape(each['executor'])}")
        if each["reason"] and each["state"] in ("paused", "failed"):
            told.append(escape(each["reason"]))
    return "; ".join(told)


def _used(row: dict[str, Any]) -> str:
    """Pairs used of those planned, over all tasks, to stand behind a hypothesis."""
    pairs = list(row["pairs"].values())
    planned = None if any(each["planned"] is None for each in pairs) else sum(each["planned"] for each in pairs)
    if any(each["used"] is None for each in pairs):
        return "" if planned is None else f"  at most {count(planned, 'pair')}"
    used = sum(each["used"] for each in pairs)
    return f"  {count(used, 'pair')}" if planned is None else f"  {used} of {count(planned, 'pair')}"


def _account(row: dict[str, Any]) -> dict[str, Any]:
    told = {"": row["index"], "hypothesis": row["hypothesis"], "level": row["level"], "left": row["wealth_after"]}
    return told | {"outcome": row["outcome"] or "no verdict yet"}


def repair(study: Folder = None, as_json: Json = False) -> None:
    """Rebuild a damaged ledger from what of it can be trusted and from the results kept beside it.

    The damaged file is moved aside. No verdict is made: run a claim again for that.
    """
    found = Study(study).repair()
    if as_json:
        told = {"fault": found.fault, "moved": None if found.moved is None else str(found.moved)}
        typer.echo(json.dumps(told | {"restored": found.restored, "lost": list(found.lost)}, indent=2))
        return
    if found.fault is None:
        console.print("The ledger is whole; nothing was changed.")
        return
    console.print(f"What was wrong: {escape(found.fault)}")
    if found.moved is not None:
        console.print(f"The old file lies at {escape(str(found.moved))}.")
    console.print("Restored:")
    for what, number in found.restored.items():
        console.print(f"  {number} {escape(what)}")
    console.print("Lost:" if found.lost else "Nothing was lost.")
    for what in found.lost:
        console.print(f"  {escape(what)}")
    if not found.restored:
        raise StudyError("nothing could be rebuilt; restore a copy of the folder.")
