"""The command `novum plugins new`: a plugin of one's own to begin with."""

from __future__ import annotations

import importlib.util
import json
import shlex
import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from novum.cli.terminal import console as make_console

console = make_console()


def add(app: typer.Typer) -> None:
    """Put the command beside the others about plugins."""
    app.command("new")(new)


def new(
    name: Annotated[str, typer.Argument(help="Small letters, digits and dashes, such as my-task.")],
    kind: Annotated[
        list[str] | None,
        typer.Option(
            "--kind", help="task, model, evaluator, proposer or executor; several times [default: the first three]."
        ),
    ] = None,
    to: Annotated[str | None, typer.Option("--to", help="A new folder to write into [default: ./NAME].")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON value and nothing else.")] = False,
) -> None:
    """Write a complete distribution: an example that works, its entry points, contract tests, README, licence, CI."""
    from novum.scaffold import USUAL, Plugin, write

    plugin = Plugin(name, tuple(kind or USUAL))
    folder = Path(to if to is not None else name)
    paths = write(plugin, folder)
    if as_json:
        typer.echo(json.dumps({"name": name, "kinds": plugin.kinds, "files": [str(path) for path in paths]}, indent=2))
        return
    console.print(f"Written to {escape(str(folder))}, {len(paths)} files: {', '.join(plugin.kinds)} [bold]{name}[/].")
    console.print("Next:")
    for line in (
        f"cd {folder}",
        _installing('-e ".[test]"'),
        f"novum plugins check {name}",
        *([f"novum train task={name} model=mlp"] if "task" in plugin.kinds else []),
    ):
        console.print(f"  {escape(line)}")


def _installing(what: str) -> str:
    """The command that installs into this environment: the shell's `pip` may be another's, which has no Novum."""
    found = shutil.which("pip")
    if found is not None and Path(found).parent == Path(sys.prefix) / "bin":
        return f"pip install {what}"
    python = shlex.quote(sys.executable)
    if importlib.util.find_spec("pip") is None:
        if shutil.which("uv") is not None:
            return f"uv pip install --python {python} {what}"
        return f"{python} -m ensurepip && {python} -m pip install {what}"
    return f"{python} -m pip install {what}"
