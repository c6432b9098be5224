"""The command `novum doctor`: what is here to compute with, what the runner would make of it, and what is missing."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from novum import plugins as registry
from novum.cli.terminal import console as make_console
from novum.data import Undefined
from novum.plugins.tried import tried

console = make_console()
Json = Annotated[bool, typer.Option("--json", help="Print one JSON value and nothing else.")]
VERSIONED = ("novum", "torch", "transformers", "timm", "gymnasium")


def add(app: typer.Typer) -> None:
    """Put the command on the application."""
    app.command()(doctor)


def doctor(as_json: Json = False) -> None:
    """Devices and what the runner chooses on them; versions, space; what is missing, and how to get it."""
    from novum.runner.inventory import inventory  # imports torch: two seconds, paid only by who asks for devices

    here = inventory()
    found: dict[str, Any] = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": here.cpu.cores,
        "free_disk_gb": round(shutil.disk_usage(".").free / 1e9, 1),
        "versions": {name: _version(name) for name in VERSIONED},
        "devices": _plain(asdict(here)),
        **chosen(),
        "plugins": dict(_plugins()),
    }
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    console.print(f"Python {found['python']} on {found['platform']}, {found['free_disk_gb']} GB free here")
    for name, version in found["versions"].items():
        console.print(f"  {name} {version}")
    console.print("\n[bold]Devices[/]")
    for line in _devices(found["devices"]):
        console.print(f"  {escape(line)}")
    console.print("\n[bold]What the runner chooses[/]")
    for line in _choices(found):
        console.print(f"  {escape(line)}")
    broken = {name: state for name, state in found["plugins"].items() if state != "ok"}
    console.print(f"\n{len(found['plugins']) - len(broken)} plugins load.")
    for name, state in broken.items():
        console.print(f"  [red]{escape(name)}[/]: {escape(state)}")


def chosen() -> dict[str, Any]:
    """What the runner would choose here for an arm that leaves it the choice.

    {"device": kind; "precision": {"auto", "because", "refused": {name: why}}; "workers": {"at_a_time",
    "threads_each"}; "compile": {"possible", "because"}}. `because` of compile is None where nothing is known to miss.
    """
    from novum.runner import compiling, device

    kind = device.kind()
    value, because = device.automatic(kind)
    refused = {name: why for name, why in device.precisions(kind).items() if why is not None}
    about = registry.load("executor", "inline")(Path.cwd()).describe()
    missing = compiling.missing(kind)
    return {
        "device": kind,
        "precision": {"auto": value, "because": because, "refused": refused},
        "workers": {"at_a_time": (about["gpus"] if kind == "cuda" else 0) or about["cores"], "threads_each": 1},
        "compile": {"possible": missing is None, "because": missing},
    }


def _devices(devices: Mapping[str, Any]) -> Iterator[str]:
    cpu = devices["cpu"]
    instructions = ", ".join(cpu["instructions"]) or "none of those that torch tells"
    yield f"CPU   {_said(cpu['name'])}, {_count(cpu['cores'], 'core')} usable; instructions: {instructions}"
    yield f"      memory {_bytes(cpu['memory'])}, available now {_bytes(cpu['available'])}"
    for gpu in devices["gpus"]:
        room = f"{_bytes(gpu['memory'])}, free now {_bytes(gpu['free'])}"
        yield f"GPU {gpu['index']} {gpu['name']}, compute capability {gpu['capability']}, {room}"
        busy = gpu["busy"]
        used = f"{100 * busy:.0f} % busy" if isinstance(busy, float) else f"use {_said(busy)}"
        others = gpu["others"]
        who = f"{others} other processes" if isinstance(others, int) else f"other processes {_said(others)}"
        yield f"      {used}; {who}"
    if not devices["gpus"]:
        yield "GPU   none that torch can use"
    if devices["mps"]:
        yield "MPS   a Mac's GPU; trials use it where the environment says NOVUM_DEVICE=mps"


def _choices(found: Mapping[str, Any]) -> Iterator[str]:
    precision, workers, compiling = found["precision"], found["workers"], found["compile"]
    yield f"trials run on    {found['device']} (NOVUM_DEVICE names another)"
    yield f"precision        {precision['auto']}: {precision['because']}"
    for name, why in precision["refused"].items():
        yield f"                 {name} is refused: {why}"
    yield (f"workers          {workers['at_a_time']} at a time, {_count(workers['threads_each'], 'thread')} each")
    yield "layout           of images: channels-last where a probe at registration finds it 5 % faster"
    possible = "where a probe finds that it repays itself" if compiling["possible"] else f"no: {compiling['because']}"
    yield f"compiled losses  {possible}"


def _said(value: Any) -> str:
    return f"undefined, because {value['undefined']}" if isinstance(value, Mapping) else str(value)


def _bytes(value: Any) -> str:
    return f"{value / 1e9:.1f} GB" if isinstance(value, int) else _said(value)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _plain(value: Any) -> Any:
    if isinstance(value, Undefined):
        return {"undefined": value.because}
    if isinstance(value, dict):
        if set(value) == {"because"}:  # as `asdict` leaves what is undefined
            return {"undefined": value["because"]}
        return {name: _plain(each) for name, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


def _plugins() -> Iterator[tuple[str, str]]:
    """Each plugin, and whether it loads: tried in another process."""
    for one, state in tried(registry.listings()):
        yield f"{one.kind} {one.name}", state


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed (its plugin is installed with pip)"
