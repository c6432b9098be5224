"""The commands about what is installed: plugins list, plugins describe."""

from __future__ import annotations

import json
import types
import typing
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.markup import escape

from novum import plugins as registry
from novum.cli.check import check
from novum.cli.terminal import console as make_console
from novum.cli.terminal import rows_table
from novum.errors import PluginError

console = make_console()
Json = Annotated[bool, typer.Option("--json", help="Print one JSON value and nothing else.")]
DESCRIBED = ("task", "model", "evaluator", "technique", "proposer")

plugins = typer.Typer(help="What is installed.", no_args_is_help=True, rich_markup_mode=None)


def add(app: typer.Typer) -> None:
    """Put these commands on the application."""
    plugins.command("check")(check)
    app.add_typer(plugins, name="plugins")


@plugins.command("list")
def list_plugins(
    kind: Annotated[str | None, typer.Option("--kind", help="Only this kind.")] = None, as_json: Json = False
) -> None:
    """Every installed plugin, without importing any; and what files given by --load offer."""
    if kind is not None:
        registry.names(kind)
    found = [asdict(one) for one in registry.listings(kind)]
    for which, code in registry.offered():
        if kind in (None, which):
            made = registry.provenance(which, code.name)
            where = {"distribution": made["distribution"], "version": made["version"], "value": code.qualname}
            found.append({"kind": which, "name": code.name, **where})
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    else:
        console.print(rows_table(found, ["kind", "name", "distribution", "version", "value"]))


@plugins.command()
def describe(
    name: Annotated[str, typer.Argument(help="A plugin's name.")],
    kind: Annotated[str | None, typer.Option("--kind", help="Its kind, where several share the name.")] = None,
    as_json: Json = False,
) -> None:
    """A plugin's options: types, defaults, descriptions; with --json their JSON Schema."""
    kinds = [each for each in DESCRIBED if (kind in (None, each)) and name in registry.names(each)]
    if not kinds:
        names = sorted({one for each in DESCRIBED for one in registry.names(each)})
        from novum.errors import closest

        raise PluginError(f"no plugin with options is called {name!r}; {closest(name, names)}.")
    described = {each: registry.load(each, name).Config.model_json_schema() for each in kinds}
    if as_json:
        typer.echo(json.dumps(described, indent=2))
        return
    for each in kinds:
        cls = registry.load(each, name)
        about = " ".join((cls.__doc__ or "").strip().split("\n\n")[0].split())
        console.print(f"[bold]{each} {escape(name)}[/]  {escape(about)}")
        rows = [
            {
                "option": option,
                "type": _type(field.annotation),
                "default": "required" if field.is_required() else repr(field.default),
                "about": " ".join((field.description or "").split()),
            }
            for option, field in cls.Config.model_fields.items()
        ]
        console.print(rows_table(rows, ["option", "type", "default", "about"]) if rows else "  It has no options.")


def _type(annotation: Any) -> str:
    """A type as one would say it, without pydantic's constraints: they stand in the JSON Schema."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return _type(typing.get_args(annotation)[0])
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_type(each) for each in typing.get_args(annotation))
    if origin is typing.Literal:
        return " or ".join(repr(each) for each in typing.get_args(annotation))
    if origin is not None:
        inner = ", ".join("…" if each is Ellipsis else _type(each) for each in typing.get_args(annotation))
        return f"{getattr(origin, '__name__', origin)}[{inner}]"
    return "none" if annotation is type(None) else getattr(annotation, "__name__", str(annotation))
