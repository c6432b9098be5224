"""The commands that read the record: status, verdict, report, trials, logs. They change nothing."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from novum.cli.terminal import badge, rows_table
from novum.cli.terminal import console as make_console
from novum.cli.verdict import print_verdict
from novum.errors import ConfigError, DataError, StudyError
from novum.report.text import count
from novum.report.words import RULES
from novum.study import Study

console = make_console()
Folder = Annotated[
    str | None, typer.Option("--study", help="The study's folder [default: $NOVUM_STUDY or ./novum-study]")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON value and nothing else.")]
Id = Annotated[str | None, typer.Argument(help="A hypothesis' id, or its beginning [default: the last one].")]


def add(app: typer.Typer) -> None:
    """Put these commands on the application."""
    for command in (status, verdict, report, trials, logs):
        app.command()(command)


def status(study: Folder = None, as_json: Json = False) -> None:
    """What the study holds: hypotheses, verdicts and accounts of goals, trials by state, weights, openings of test."""
    from novum import streams

    opened = Study(study)
    with opened.reading() as ledger:
        rows = ledger.trials()
        hypotheses = [_hypothesis(ledger, row) for row in ledger.hypotheses()]
        goals = list(dict.fromkeys(row["goal"] for row in ledger.streams()))
        kept = [row for row in ledger.weights() if row["state"] == "kept"]
        found: dict[str, Any] = {
            "study": str(opened.folder),
            "hypotheses": hypotheses,
            "trials": dict(Counter(_state(row) for row in rows)),
            "weights": {"kept": len(kept), "bytes": sum(row["size"] for row in kept)},
            "test_openings": sum(row["split"] == "test" for row in ledger.openings()),
            "goals": {goal: streams.account(ledger, goal) for goal in goals},
            "alone": streams.alone(ledger),
        }
    if as_json:
        typer.echo(json.dumps(found, indent=2, sort_keys=True, ensure_ascii=False))
        return
    console.print(f"[bold]{escape(found['study'])}[/]")
    for row in hypotheses:
        outcome = badge(row["verdict"]) if row["verdict"] else "no verdict yet"
        console.print(f"  {row['id']}  {outcome}  {escape(row['claim'])} ({escape(row['treatment'])}){_used(row)}")
    for goal, account in found["goals"].items():
        console.print(f"Goal {escape(goal)}, {RULES.get(account[0]['rule'], account[0]['rule'])}:")
        console.print(rows_table([_account(row) for row in account], ["", "hypothesis", "level", "left", "outcome"]))
    if hypotheses:
        alone = f"{count(found['alone'], 'claim')} of {len(hypotheses)} named no goal: each stands alone."
        console.print(alone if found["alone"] else "Every claim named a goal, whose error rate it shares.")
    states = ", ".join(f"{count} {state}" for state, count in sorted(found["trials"].items())) or "none"
    console.print(f"Trials: {states}.")
    console.print(
        f"Weights kept: {len(kept)}, {found['weights']['bytes'] / 1e6:.1f} MB. "
        f"Openings of test: {found['test_openings']}."
    )


def _state(row: dict[str, Any]) -> str:
    """A trial's state; one that was begun and put back, by a decision or an interrupt, is "stopped"."""
    return "stopped" if row["state"] == "planned" and row["attempts"] else str(row["state"])


def _hypothesis(ledger: Any, row: dict[str, Any]) -> dict[str, Any]:
    """A hypothesis in short. pairs: task → used (None before a verdict) and planned (None for no declared maximum)."""
    recorded = ledger.verdict(row["id"])
    verdict = None if recorded is None else json.loads(recorded)
    plan = ledger.experiment(row["id"])["plan"]
    planned = None if plan.get("open") else len(plan["seeds"]["indices"])
    used = {name: None if verdict is None else verdict["tasks"][name].get("pairs") for name in plan["tasks"]}
    return {
        "id": row["id"],
        "claim": row["claim"],
        "treatment": row["name"],
        "verdict": None if verdict is None else str(verdict["outcome"]),
        "goal": row.get("goal"),
        "pairs": {name: {"used": each, "planned": planned} for name, each in used.items()},
    }


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


def verdict(
    hypothesis: Id = None,
    recompute: Annotated[bool, typer.Option("--recompute", help="Recompute it from the stored rows.")] = False,
    study: Folder = None,
    as_json: Json = False,
) -> None:
    """The recorded verdict; with --recompute its canonical JSON, recomputed and compared byte for byte."""
    opened = Study(study)
    name = hypothesis or last(opened)
    found = opened.verdict(name, recompute=recompute)
    if recompute:
        typer.echo(found.text)
        if found.text != opened.verdict(name).text:
            raise StudyError("the recomputed verdict differs from the recorded one: rows or plan were changed since.")
        if not as_json:
            typer.echo("Byte-equal to the recorded verdict.", err=True)
    elif as_json:
        typer.echo(found.text)
    else:
        with opened.reading() as ledger:
            row = ledger.hypothesis(found.hypothesis)
        assert row is not None
        print_verdict(console, found.record, row["claim"])


def report(hypothesis: Id = None, study: Folder = None, as_json: Json = False) -> None:
    """Write the report, one self-contained HTML file, and print its path."""
    opened = Study(study)
    path = opened.report(hypothesis or last(opened))
    typer.echo(json.dumps({"report": str(path)}) if as_json else str(path))


def trials(
    to: Annotated[Path | None, typer.Option("--to", help="Write them to this .csv or .jsonl file.")] = None,
    study: Folder = None,
    as_json: Json = False,
) -> None:
    """Every trial: task, side, seed, state, seconds, scores."""
    rows = Study(study).rows()
    columns = list(dict.fromkeys(name for row in rows for name in row))
    if to is not None:
        _write(to, rows, columns)
        typer.echo(f"{len(rows)} trials written to {to}.", err=as_json)
    if as_json:
        typer.echo(json.dumps(rows, indent=2, ensure_ascii=False))
    elif to is None:
        shown = [{**row, "trial": row["trial"][:12]} for row in rows]
        few = ["trial", "task", "side", "block", "seed", "state", "units", "seconds"]
        scores = [name for name in columns if name in ("dev.accuracy", "dev.return", "test.accuracy", "test.return")]
        console.print(rows_table(shown, few + (scores or [name for name in columns if name.startswith("dev.")][:1])))


def _write(path: Path, rows: list[dict[str, Any]], columns: list[str]) -> None:
    if path.suffix not in (".csv", ".jsonl"):
        raise ConfigError(f"--to {str(path)!r}: the ending {path.suffix!r} is not known; write a .csv or .jsonl file.")
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            if path.suffix == ".csv":
                writer = csv.DictWriter(file, columns)
                writer.writeheader()
                writer.writerows(rows)
            else:
                file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    except OSError as error:
        raise DataError(f"--to {str(path)!r}: cannot be written ({error.strerror}); choose another place.") from None


def logs(
    trial: Annotated[str, typer.Argument(help="A trial's key, or its beginning.")],
    study: Folder = None,
    as_json: Json = False,
) -> None:
    """What a trial printed, and why it broke if it did."""
    opened = Study(study)
    with opened.reading() as ledger:
        matching = [row for row in ledger.trials() if row["key"].startswith(trial)]
    # a trial that was also scored on test has a second row, KEY-test, which has to be named in full
    found = [row for row in matching if row["kind"] == "train"] or matching
    if len(found) != 1:
        some = ", ".join(row["key"][:12] for row in found[:5])
        raise StudyError(
            f"{trial!r} names {len(found)} trials{': ' + some if some else ''}; `novum trials` lists them."
        )
    row = found[0]
    path = opened.folder / "logs" / f"{row['key']}.log"
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    why = (row["result"] or {}).get("failed") or (row["result"] or {}).get("diverged")
    if as_json:
        typer.echo(json.dumps({"trial": row["key"], "state": row["state"], "because": why, "log": text}))
        return
    typer.echo(f"{row['key']}  {row['state']}{': ' + why if why else ''}")
    typer.echo(text or "It printed nothing.")


def last(study: Study) -> str:
    """The id of the newest hypothesis. Raises StudyError when there is none."""
    rows = study.hypotheses()
    if not rows:
        raise StudyError(f"nothing is registered in {study.folder}; `novum run CLAIM` registers a claim.")
    return str(rows[-1]["id"])
