"""The commands about what is installed: plugins list, plugins describe."""

from __future__ import annotations

import inspect
import json
import types
import typing
from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated, Any

import typer
from pydantic import BaseModel
from rich.markup import escape

from novum import plugins as registry
from novum.cli.check import check
from novum.cli.terminal import console as make_console
from novum.cli.terminal import rows_table
from novum.config import Config
from novum.errors import ConfigError
from novum.plugins import installed
from novum.plugins.aside import aside
from novum.recipe import Recipe

console = make_console()
Json = Annotated[bool, typer.Option("--json", help="Print one JSON value and nothing else.")]
BOUNDS = (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<"), ("min_length", "length ≥"), ("max_length", "length ≤"))
"""Limits of pydantic's fields, and how they are said."""

plugins = typer.Typer(help="What is installed.", no_args_is_help=True, rich_markup_mode=None)


def add(app: typer.Typer) -> None:
    """Put these commands on the application."""
    plugins.command("check")(check)
    app.add_typer(plugins, name="plugins")


@plugins.command("list")
def list_plugins(
    kind: Annotated[str | None, typer.Option("--kind", help="Only this kind.")] = None, as_json: Json = False
) -> None:
    """Every installed plugin and its state, without importing any; and what files given by --load offer."""
    if kind is not None:
        registry.names(kind)
    found = [_row(one) for one in installed.installed(kind)]
    for which, code in registry.offered():
        if kind in (None, which):
            made = registry.provenance(which, code.name)
            where = {"distribution": made["distribution"], "version": made["version"], "value": code.qualname}
            found.append({"kind": which, "name": code.name, **where, "state": "ok", "because": ""})
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    console.print(rows_table(found, ["kind", "name", "distribution", "version", "value", "state"]))
    for row in found:
        if row["because"]:
            console.print(f"{row['kind']} [bold]{escape(row['name'])}[/]  {row['state']}: {escape(row['because'])}.")
    for distribution, why in installed.unreadable():
        console.print(f"[bold]{escape(distribution)}[/]  broken: {escape(why)}; none of its plugins are listed.")
    for name in installed.idle_names():
        console.print(f"{registry.LIMIT} names {escape(repr(name))}, which is no installed plugin and no distribution.")


def _row(one: registry.Listing) -> dict[str, Any]:
    stands = registry.state(one)
    row = {name: value for name, value in asdict(one).items() if name not in ("extras", "contract")}
    return {**row, "state": stands.word, "because": stands.because}


@plugins.command()
def describe(
    name: Annotated[str | None, typer.Argument(help="A plugin's name.")] = None,
    kind: Annotated[str | None, typer.Option("--kind", help="Its kind, where several share the name.")] = None,
    as_json: Json = False,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON Schema of claim files instead, for editors; takes no name.")
    ] = False,
) -> None:
    """A plugin's options: types, defaults, ranges, descriptions, and an example; with --json their JSON Schema."""
    if schema:
        _schema(name)
        return
    if name is None:
        raise ConfigError("no plugin is named; give a name (`novum plugins list` shows them), or --schema.")
    if kind is not None:
        registry.names(kind)
    kinds = registry.kinds_of(name, [each for each in registry.NAMESPACES if kind in (None, each)])
    described = {each: registry.load(each, name) for each in kinds}
    if as_json:
        typer.echo(json.dumps({each: _config(cls).model_json_schema() for each, cls in described.items()}, indent=2))
        return
    for each, cls in described.items():
        _describe(each, name, cls)


def _schema(name: str | None) -> None:
    from novum.plugins.tried import PATIENCE, tried
    from novum.schema import CODED, claim_files

    if name is not None:
        raise ConfigError(
            f"--schema is that of claim files, with every plugin in it, and takes no name; got {name!r}. The options "
            f"of one plugin: `novum plugins describe {name} --json`."
        )
    wanted = [one for kind in CODED for one in registry.listings(kind)]
    unsound = {(one.kind, one.name): why for one, why in tried(wanted, PATIENCE) if why != "ok"}
    found, left_out = claim_files(unsound)
    for each, why in left_out.items():
        typer.echo(f"{each} is not in the schema, its options are free: {why}", err=True)
    typer.echo(json.dumps(found, indent=2, sort_keys=False, ensure_ascii=False))


def _config(cls: Any) -> type[Config]:
    """The options of a plugin; those of a function, or of a class without a `Config`, are none."""
    found: type[Config] = getattr(cls, "Config", Config)
    return found


def _describe(kind: str, name: str, cls: Any) -> None:
    from novum.example import example

    about = f"{cls.claim}." if kind == "rule" else " ".join((cls.__doc__ or "").strip().split("\n\n")[0].split())
    console.print(f"[bold]{kind} {escape(name)}[/]  {escape(about)}")
    for line in _facts(kind, cls):
        console.print(f"  {escape(line)}")
    if kind == "rule":
        return
    rows = list(_rows(_config(cls)))
    columns = ["option", "type", "default", "range", "about"]
    console.print(rows_table(rows, columns) if rows else "  It has no options.")
    text, why = aside(lambda: example(kind, name))
    if why:
        console.print(f"\nNo example: {why}. Another plugin may be slow or broken; `novum doctor` names it.")
    if text:
        console.print("\nExample:\n")
        typer.echo(text)


def _rows(model: type[BaseModel], above: str = "") -> Iterator[dict[str, str]]:
    """A row for each option, and for each option of a table within; those of a table follow it."""
    for option, field in model.model_fields.items():
        inner = next((each for each in (field.annotation, *typing.get_args(field.annotation)) if _is_table(each)), None)
        default = "required" if field.is_required() else repr(field.get_default(call_default_factory=True))
        yield {
            "option": above + option,
            "type": _type(field.annotation),
            "default": "" if inner is field.annotation and not field.is_required() else default,
            "range": ", ".join(_bounds(field)),
            "about": " ".join((field.description or "").split()),
        }
        if inner is not None:
            yield from _rows(inner, f"{above}{option}.")


def _is_table(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _facts(kind: str, cls: Any) -> Iterator[str]:
    """What the class says of itself beside its options."""
    if kind == "task":
        yield f"evaluator: {cls.evaluator}"
    if kind == "model":
        yield f"fits inputs: {', '.join(cls.inputs)}; outputs: {', '.join(cls.outputs)}"
    if kind == "rule":
        yield f"fires where: {' and '.join(map(str, cls.signs))}"
        for at, remedy in enumerate(cls.remedies):
            changed = ", ".join(f"{path} {step}" for path, step in remedy.items())
            yield f"{'else' if at else 'then'}: {changed}"
        yield f"because: {cls.reason}"
        yield f"source: {cls.source}"
    if kind == "optimizer":
        told = [name for name in inspect.signature(cls).parameters if name in Recipe.model_fields]
        yield f"values of the recipe that it reads: {', '.join(told)}"
    if kind == "evaluator":
        for metric in cls.metrics:
            ends = ["…" if end is None else f"{end:g}" for end in (metric.low, metric.high)]
            yield f"metric {metric.name}: {metric.direction}, {ends[0]} to {ends[1]}, worst {metric.worst:g}"


def _bounds(field: Any) -> Iterator[str]:
    """The limits of a field, from its own constraints and those of its annotation's parts."""
    seen: list[Any] = [*field.metadata]
    parts: list[Any] = [field.annotation]
    while parts:
        each = parts.pop(0)
        if typing.get_origin(each) is typing.Annotated:
            for extra in typing.get_args(each)[1:]:
                seen += getattr(extra, "metadata", [extra])
        parts += [arg for arg in typing.get_args(each) if typing.get_args(arg)]
    for constraint in seen:
        for attribute, sign in BOUNDS:
            value = getattr(constraint, attribute, None)
            if value is not None:
                yield f"{sign} {value}"


def _type(annotation: Any) -> str:
    """A type as one would say it, without pydantic's constraints: see `_bounds`."""
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
    if _is_table(annotation):
        return "table"
    return "none" if annotation is type(None) else getattr(annotation, "__name__", str(annotation))
