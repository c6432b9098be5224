"""The commands that read the record: verdict, report, trials, logs. They change nothing (see also `status`)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from novum import export
from novum.cli.terminal import console as make_console
from novum.cli.terminal import rows_table
from novum.cli.verdict import print_verdict
from novum.errors import StudyError
from novum.study import Study

console = make_console()
Folder = Annotated[
    str | None, typer.Option("--study", help="The study's folder [default: $NOVUM_STUDY or ./novum-study]")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON value and nothing else.")]
Id = Annotated[str | None, typer.Argument(help="A hypothesis' id, or its beginning [default: the last one].")]


def add(app: typer.Typer) -> None:
    """Put these commands on the application."""
    for command in (verdict, report, trials, logs):
        app.command()(command)


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
    to: Annotated[Path | None, typer.Option("--to", help="Write them to this .csv, .jsonl or .parquet file.")] = None,
    study: Folder = None,
    as_json: Json = False,
) -> None:
    """Every trial: task, side, seed, state, seconds, scores."""
    rows = Study(study).rows()
    columns = list(dict.fromkeys(name for row in rows for name in row))
    if to is not None:
        export.write(to, rows)
        typer.echo(f"{len(rows)} trials written to {to}.", err=as_json)
    if as_json:
        typer.echo(json.dumps(rows, indent=2, ensure_ascii=False))
    elif to is None:
        shown = [{**row, "trial": row["trial"][:12]} for row in rows]
        few = ["trial", "task", "side", "block", "seed", "state", "units", "seconds"]
        scores = [name for name in columns if name in ("dev.accuracy", "dev.return", "test.accuracy", "test.return")]
        console.print(rows_table(shown, few + (scores or [name for name in columns if name.startswith("dev.")][:1])))


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
