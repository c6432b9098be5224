"""What is installed, read from the metadata of distributions alone: nothing here imports a plugin.

A distribution says by entry points what it brings (`novum.tasks`, …), and by one of the group `novum.contract`, called
`v1`, which version of the contracts it was built for; without one it counts as built for the present version.
"""

from __future__ import annotations

import ast
import functools
import importlib.metadata
import importlib.util
import os
import re
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from novum.config import plain

NAMESPACES: Mapping[str, str] = MappingProxyType(
    {
        "task": "novum.tasks",
        "model": "novum.models",
        "evaluator": "novum.evaluators",
        "proposer": "novum.proposers",
        "executor": "novum.executors",
        "tracker": "novum.trackers",
        "optimizer": "novum.optimizers",
        "schedule": "novum.schedules",
        "technique": "novum.techniques",
        "rule": "novum.rules",
    }
)
CONTRACT = 1
"""Version of what a plugin is written against: the contracts and the public names. It grows when an old plugin would
break."""
HANDSHAKE = "novum.contract"
LIMIT = "NOVUM_PLUGINS"
"""Names the distributions or plugins that may load, with commas between; unset or empty: all. The core's own always
may."""
CORE = "novum"
UNKNOWN = "unknown"
LARGEST_SOURCE = 1_000_000
"""Bytes of a module that are read to see whether it is Python at all."""

_REFERENCE = re.compile(r"(?P<module>[\w.]+)\s*(?::\s*(?P<thing>[\w.]+))?\s*(?:\[(?P<extras>[^\]]*)\])?\s*")
_REQUIREMENT = re.compile(r"\s*(?P<name>[A-Za-z0-9][\w.-]*)\s*(?:\[[^\]]*\])?[^;]*(?:;(?P<marker>.*))?")
_EXTRA = re.compile(r"""extra\s*==\s*["']([^"']+)["']""")

Word = Literal["ok", "needs extra", "broken", "other contract", "duplicate", "left out"]


@dataclass(frozen=True)
class Listing:
    """One installed entry point, read without importing it.

    `value` is "module:name". `extras` are those that the entry point names in brackets: what it needs of its own
    distribution's optional dependencies. `contract` holds the versions that its distribution was built for; empty
    where it says none.
    """

    kind: str
    name: str
    value: str
    distribution: str
    version: str
    extras: tuple[str, ...] = ()
    contract: tuple[str, ...] = ()

    @property
    def told(self) -> str:
        """As an error names it."""
        return f"{self.distribution} {self.version} ({self.value})"


@dataclass(frozen=True)
class State:
    """Whether a listed plugin can be used, as far as metadata tell; `because` is empty where it is ok."""

    word: Word
    because: str = ""

    def __str__(self) -> str:
        return f"{self.word}: {self.because}" if self.because else self.word


def installed(kind: str | None = None) -> list[Listing]:
    """All installed plugins of one kind or of every kind, sorted by kind and name; imports none of them."""
    kinds = sorted(NAMESPACES) if kind is None else [each for each in NAMESPACES if each == kind]
    return [one for each in kinds for one in _installed(each, tuple(sys.path))]


def listings(kind: str | None = None) -> list[Listing]:
    """Those of `installed` that the environment variable NOVUM_PLUGINS does not leave out."""
    return [one for one in installed(kind) if admitted(one)]


def limit() -> tuple[str, ...]:
    """What NOVUM_PLUGINS names, in order; empty where it leaves nothing out."""
    return tuple(each.strip() for each in os.environ.get(LIMIT, "").split(",") if each.strip())


def admitted(one: Listing) -> bool:
    """Whether NOVUM_PLUGINS lets a plugin load: it names the plugin or its distribution, or it is the core's own."""
    named = limit()
    wanted = not named or one.name in named or _same(one.distribution) in map(_same, named)
    return wanted or _same(one.distribution) == CORE


def idle_names() -> list[str]:
    """What NOVUM_PLUGINS names that is neither an installed distribution with plugins nor a plugin: slips."""
    known = {each for one in installed() for each in (one.name, _same(one.distribution))}
    return [each for each in limit() if each not in known and _same(each) not in known]


def unreadable() -> list[tuple[str, str]]:
    """Distributions whose list of entry points cannot be read, and why: (name, reason), sorted."""
    return sorted((name, why) for name, why in _faults(tuple(sys.path)).items())


def state(one: Listing) -> State:
    """Whether a plugin can be used, by metadata and by where its module's source is; imports nothing.

    "ok" promises no more than that: what fails while a module runs is told when it is loaded.
    """
    if not admitted(one):
        return State("left out", f"{LIMIT}={','.join(limit())} names neither it nor its distribution")
    rivals = [each.told for each in listings(one.kind) if each.name == one.name and each != one]
    if rivals:
        return State("duplicate", f"{' and '.join(rivals)} has the same name; uninstall one of them")
    odds = mismatch(one)
    if odds:
        return State("other contract", odds)
    lacking = missing(one)
    for extra, packages in lacking.items():
        if extra:
            return State("needs extra", f"{extra}: {_and(packages)} missing, {install(one, extra)}")
    if lacking:
        return State("broken", f"{one.distribution} requires {_and(lacking[''])}, not installed")
    fault = _fault_of_module(one.value.partition(":")[0])
    return State("broken", fault) if fault else State("ok")


def mismatch(one: Listing) -> str:
    """Why a plugin is built for another version of the contracts than this Novum's; "" where it is not."""
    if not one.contract or f"v{CONTRACT}" in one.contract:
        return ""
    return (
        f"built for {_and(one.contract)} of the plugin contract (entry point {HANDSHAKE!r}), and this Novum has "
        f"v{CONTRACT}"
    )


def missing(one: Listing) -> dict[str, list[str]]:
    """Distributions that a plugin needs and that are not installed, by extra; those needed in any case under "".

    Requirements with conditions other than an extra are not judged, nor are versions.
    """
    found: dict[str, list[str]] = {}
    try:
        lines = importlib.metadata.requires(one.distribution) or []
    except Exception:  # metadata that are gone or damaged say nothing
        return {}
    for line in lines:
        match = _REQUIREMENT.fullmatch(line)
        marker = (match["marker"] or "").strip() if match else "?"
        extra = _EXTRA.fullmatch(marker)
        wanted = not marker or (extra is not None and _same(extra[1]) in map(_same, one.extras))
        if match and wanted and not version_of(match["name"]):
            found.setdefault(extra[1] if extra else "", []).append(match["name"])
    return found


def install(one: Listing, extra: str) -> str:
    """The command that installs an extra of a plugin's distribution."""
    return f"pip install '{one.distribution}[{extra}]'"


@functools.cache  # a trial asks several times
def _installed(kind: str, path: tuple[str, ...]) -> tuple[Listing, ...]:
    built: dict[str, list[str]] = {}
    for point in _points(HANDSHAKE, path):
        built.setdefault(_about(point)[0], []).append(point.name)
    found = set()
    for point in _points(NAMESPACES[kind], path):
        distribution, version = _about(point)
        match = _REFERENCE.fullmatch(point.value)
        thing = f":{match['thing']}" if match and match["thing"] else ""
        value = f"{match['module']}{thing}" if match else point.value
        extras = tuple(each.strip() for each in (match["extras"] or "").split(",") if each.strip()) if match else ()
        contract = tuple(sorted(built.get(distribution, ())))
        found.add(Listing(kind, point.name, value, distribution, version, extras, contract))
    return tuple(sorted(found, key=lambda one: (one.name, one.distribution)))


@functools.cache  # reading the entry points of every distribution takes 10 ms and more
def _points(group: str, path: tuple[str, ...]) -> tuple[importlib.metadata.EntryPoint, ...]:
    try:
        return tuple(importlib.metadata.entry_points(group=group))
    except Exception:  # one list that cannot be read would hide all others
        return tuple(point for point in _sound_points({}) if point.group == group)


@functools.cache
def _faults(path: tuple[str, ...]) -> dict[str, str]:
    """Why the entry points of some distribution cannot be read, by its name."""
    faults: dict[str, str] = {}
    list(_sound_points(faults))
    return faults


def _sound_points(faults: dict[str, str]) -> Iterator[importlib.metadata.EntryPoint]:
    """The entry points of each distribution whose list can be read; the first of a name on the path counts."""
    seen: set[str] = set()
    for dist in importlib.metadata.distributions():
        name = _name(dist)
        if _same(name) in seen:
            continue
        seen.add(_same(name))
        try:
            yield from dist.entry_points
        except Exception as error:
            faults[name] = plain(f"its entry_points.txt cannot be read: {type(error).__name__}: {error}", 300)


def _about(point: importlib.metadata.EntryPoint) -> tuple[str, str]:
    """Name and version of the distribution that an entry point belongs to."""
    if point.dist is None:
        return UNKNOWN, UNKNOWN
    try:
        return _name(point.dist), str(point.dist.version)
    except Exception:  # metadata without a version, or not readable
        return _name(point.dist), UNKNOWN


def _name(dist: importlib.metadata.Distribution) -> str:
    try:
        return str(dist.metadata["Name"] or UNKNOWN)
    except Exception:
        return UNKNOWN


def _fault_of_module(module: str) -> str:
    """Why a module cannot be imported, as far as its place and its grammar tell; "" where nothing is known."""
    parts = module.split(".")
    spec: ModuleSpec | None = None
    try:
        for at, _ in enumerate(parts):
            name = ".".join(parts[: at + 1])
            if at == 0:
                spec = importlib.util.find_spec(name)
            else:  # `find_spec` would import what lies above
                above = spec.submodule_search_locations if spec is not None else None
                spec = PathFinder.find_spec(name, list(above)) if above is not None else None
            if spec is None:
                return f"the module {name} is missing"
    except Exception as error:
        return plain(f"the module {module} cannot be looked up: {type(error).__name__}: {error}", 300)
    return _fault_of_source(Path(spec.origin)) if spec is not None and spec.origin is not None else ""


def _fault_of_source(path: Path) -> str:
    if path.suffix != ".py":
        return ""
    try:
        if path.stat().st_size > LARGEST_SOURCE:
            return ""
        with warnings.catch_warnings(action="ignore"):
            ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        at = f" line {error.lineno}:" if isinstance(error, SyntaxError) and error.lineno else ""
        return plain(f"{path.name}:{at} {error.msg if isinstance(error, SyntaxError) else error}", 300)
    except OSError as error:
        return f"{path.name} cannot be read: {error.strerror}"
    return ""


def version_of(distribution: str) -> str:
    """The version of an installed distribution, "" where it is not installed."""
    try:
        return str(importlib.metadata.distribution(distribution).version or UNKNOWN)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _same(name: str) -> str:
    """A distribution's name in the one spelling that packaging compares."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _and(names: Iterable[str]) -> str:
    return " and ".join(names)
