"""The command `plugins check`: the contract of a plugin, run as one would run its tests."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from novum import plugins as registry
from novum.cli.terminal import console as make_console
from novum.config import shown
from novum.errors import ConfigError, closest
from novum.toml import put

if TYPE_CHECKING:
    from novum.testing import Outcome

console = make_console()
MARKS = {"passed": "[green]ok[/]    ", "failed": "[red]FAILED[/]", "skipped": "[dim]–[/]     "}


def check(
    name: Annotated[str, typer.Argument(help="A plugin's name.")],
    options: Annotated[
        list[str] | None, typer.Argument(help="Options of its Config, such as data=digits per_class=20 …")
    ] = None,
    kind: Annotated[str | None, typer.Option("--kind", help="Its kind, where several share the name.")] = None,
    partner: Annotated[
        str | None,
        typer.Option(
            "--with", help="What it is tried with: a model for a task, a task for a model or evaluator [default: fits]."
        ),
    ] = None,
    only: Annotated[list[str] | None, typer.Option("--only", help="This check alone; may be repeated.")] = None,
    own_splits: Annotated[
        bool, typer.Option("--own-splits", help="The data bring their division: duplicates across it are a fact.")
    ] = False,
    limit: Annotated[float, typer.Option("--limit", help="Seconds that one check may take.")] = 60.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON value and nothing else.")] = False,
) -> None:
    """Try an installed plugin against the contract of its kind, each check in a process of its own.

    Exit code: 0 where every check passed or does not apply, else 2.
    """
    from novum.testing.isolation import KINDS, check, chosen

    if kind is not None and kind not in KINDS:
        raise ConfigError(f"--kind {shown(kind)}: no such kind of plugin; {closest(kind, KINDS)}.")
    if not limit >= 1:
        raise ConfigError(f"--limit {limit:g}: a check may take 1 second or more; give a number from 1 on.")
    kinds = registry.kinds_of(name, [each for each in KINDS if kind in (None, each)])
    given = _options(options or [])
    if only:
        kinds = [each for each in kinds if each in chosen(only, kinds)]
    told: list[dict[str, Any]] = []
    for each in kinds:
        if not as_json:
            console.print(f"[bold]{each} {escape(name)}[/]")
        found = check(
            each,
            name,
            given,
            partner=partner,
            own_splits=own_splits,
            only=[one.name for one in chosen(only, kinds)[each]] if only else None,
            limit=limit,
            heard=(lambda outcome: None) if as_json else _say,
        )
        told += [{"kind": each, "name": name, **asdict(one)} for one in found]
    states = [each["state"] for each in told]
    if as_json:
        typer.echo(json.dumps(told, indent=2))
    else:
        words = {each: each for each in ("passed", "failed", "skipped")}
        words["untried"] = "not tried, for it does not load"
        count = {word: states.count(state) for state, word in words.items()}
        console.print(", ".join(f"{many} {word}" for word, many in count.items() if many) + ".")
    if "failed" in states:
        raise typer.Exit(2)


def _options(words: list[str]) -> dict[str, Any]:
    """Options from NAME=VALUE words, as on the other commands. Raises ConfigError for a word that is none."""
    found: dict[str, Any] = {}
    for word in words:
        put(found, word)
    return found


def _say(outcome: Outcome) -> None:
    name = outcome.check.replace("_", " ")
    if outcome.state == "untried":
        return  # they are counted below, and what kept them from being tried stands above
    if outcome.state == "failed":
        console.print(f"  {MARKS['failed']}  {escape(name)}")
        console.print(f"            the contract: {escape(outcome.contract)}")
        console.print(f"            seen: {escape(outcome.told)}")
        console.print(f"            to mend: {escape(outcome.cure)}")
        console.print(f"            see: {escape(outcome.place)}")
    else:
        why = f"  [dim]not for this plugin: {escape(outcome.told)}[/]" if outcome.state == "skipped" else ""
        console.print(f"  {MARKS[outcome.state]}  {escape(name)}{why}")
