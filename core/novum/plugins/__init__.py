"""Installed plugins: the only package that knows stevedore.

Listing reads names alone and imports nothing (`installed`); loading one imports that one, and its failure is its own.
A person (never a file) may also hand in code of their own (`own`). What is needed elsewhere stands here.
"""

from __future__ import annotations

import functools
import importlib.util
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from novum import config
from novum.errors import ConfigError, PluginError, closest
from novum.plugins import installed, own
from novum.plugins.installed import CONTRACT, LIMIT, NAMESPACES, Listing, State, limit, listings, state
from novum.plugins.origin import NOT_INSTALLED, package_hash, provenance
from novum.plugins.own import (
    LOCAL,
    LocalCode,
    NestedStudyError,
    adopt,
    local_code,
    offer,
    offered,
    read,
    receive,
    refuse_within_worker,
)

__all__ = [
    "CONTRACT",
    "LIMIT",
    "LOCAL",
    "NAMESPACES",
    "NOT_INSTALLED",
    "Listing",
    "LocalCode",
    "NestedStudyError",
    "PluginError",
    "State",
    "adopt",
    "any_fitting",
    "complete",
    "create",
    "each_fitting",
    "fits",
    "fitting",
    "kinds_of",
    "limit",
    "listings",
    "load",
    "local_code",
    "names",
    "names_of_core",
    "offer",
    "offered",
    "package_hash",
    "provenance",
    "read",
    "receive",
    "refuse_within_worker",
    "sound",
    "state",
]

_CURE = (
    "A plugin that is missing is installed with pip (`novum plugins list` shows what is there); one of your own file "
    "is loaded with `novum --load FILE`."
)


def names(kind: str) -> list[str]:
    """Names that can be loaded, sorted; raises ConfigError for an unknown kind."""
    if kind not in NAMESPACES:
        raise ConfigError(f"unknown kind of plugin {kind!r}; {closest(kind, NAMESPACES)}.")
    return sorted({one.name for one in listings(kind)} | own.adopted_names(kind))


def load(kind: str, name: str) -> Any:
    """The class or function behind `name`; imports that plugin and no other.

    Raises PluginError when it is not installed (with the closest names) or left out by NOVUM_PLUGINS, when two
    distributions bring the same name, when it was built for another version of the contracts, or when its import fails
    in any way short of killing the process.
    """
    mine = own.adopted(kind, name)
    if mine is not None:
        return mine
    owners = [one for one in listings(kind) if one.name == name]
    if not owners:
        raise PluginError(_absent(kind, name))
    if len(owners) > 1:
        both = " and ".join(one.told for one in owners)
        raise PluginError(
            f"the {kind} {name!r} is brought by {both}; uninstall one of them, or let {LIMIT} name the distributions "
            "that may load."
        )
    odds = installed.mismatch(owners[0])
    if odds:
        raise PluginError(
            f"the {kind} {name!r} of {owners[0].distribution} {owners[0].version} was {odds}. Install a version of "
            f"{owners[0].distribution} that was built for v{CONTRACT}, or the Novum that it was built for."
        )
    return _load(owners[0])


def _absent(kind: str, name: str) -> str:
    barred = [one for one in installed.installed(kind) if one.name == name]
    if barred:
        return (
            f"the {kind} {name!r} of {barred[0].distribution} is installed, but {LIMIT}={','.join(limit())} leaves it "
            f"out; add {barred[0].distribution} to that list, or unset {LIMIT}."
        )
    return f"no {kind} is called {name!r}; {closest(name, names(kind))}. {_CURE}"


def names_of_core(kind: str) -> list[str]:
    """Names that Novum itself brings, sorted."""
    return sorted(one.name for one in listings(kind) if one.distribution == installed.CORE)


def kinds_of(name: str, among: Sequence[str] = tuple(NAMESPACES)) -> list[str]:
    """The kinds, of these, of which a plugin of that name can be loaded; one at least.

    Raises PluginError where there is none: with the closest names, or with what NOVUM_PLUGINS has to do with it.
    """
    found = [kind for kind in among if name in names(kind)]
    if found:
        return found
    for kind in among:
        if any(one.name == name for one in installed.installed(kind)):
            raise PluginError(_absent(kind, name))
    if len(among) == 1:
        raise PluginError(_absent(among[0], name))
    known = {one for kind in among for one in names(kind)}
    raise PluginError(f"no plugin is called {name!r}; {closest(name, known)}. {_CURE}")


def complete(kind: str, name: str) -> Any:
    """What `load` gives, after a look that the libraries which it says it imports are installed; imports none of them.

    Raises PluginError (see `load`), also for a missing library, with the command that installs it.
    """
    found = load(kind, name)
    for module in getattr(found, "imports", ()):
        package = module.split(".")[0]
        if importlib.util.find_spec(package) is None:
            raise PluginError(
                f"the {kind} {name!r} needs {package}, which is not installed: `pip install {package}`, or choose "
                f"another of {', '.join(each for each in names(kind) if each != name)}."
            )
    return found


@functools.cache
def _load(one: Listing) -> Any:
    from importlib.metadata import EntryPoint

    from stevedore.driver import DriverManager

    class One(DriverManager):  # type: ignore[misc]
        """The entry point at hand, even where a distribution that NOVUM_PLUGINS leaves out has the same name."""

        def list_entry_points(self) -> list[EntryPoint]:
            return [EntryPoint(one.name, one.value, NAMESPACES[one.kind])]

    try:
        with own.outlived():
            return One(NAMESPACES[one.kind], one.name, invoke_on_load=False).driver
    except (Exception, SystemExit) as error:
        extras = [each for each in installed.missing(one) if each]
        cure = f"{installed.install(one, extras[0])}" if extras else "install what it needs"
        raise PluginError(
            f"the {one.kind} {one.name!r} of {one.distribution} cannot be imported: {type(error).__name__}: {error}. "
            f"Other plugins are not affected; {cure} or report this to its authors."
        ) from error


def create(kind: str, name: str, options: Mapping[str, Any]) -> Any:
    """Load a task, model or evaluator, validate its options and construct it.

    Raises PluginError (see `load`) or ConfigError (see `novum.config.parse`).
    """
    cls = load(kind, name)
    return cls(config.parse(cls.Config, options, f"{kind} {name!r}"))


def fitting(signature: Any) -> list[str]:
    """Names of the installed models that fit a signature, sorted; one that cannot be imported is left out."""
    return sorted(each_fitting(signature))


def any_fitting(signature: Any) -> str | None:
    """One of `fitting`, found with as few imports as may be: the core's models are asked first."""
    return next(each_fitting(signature), None)


def each_fitting(signature: Any, owner: str | None = None) -> Iterator[str]:
    """The installed models that fit a signature, as they are found: those of the distribution `owner`, then the core's
    and a person's own; then the others, each of which is imported here only after it was in another process. So one
    that hangs, dies or cannot be imported harms nobody who does not name it.
    """
    known = {one.name: one for one in listings("model")}
    known = {name: one for name, one in known.items() if state(one).word == "ok"}
    brought = sorted(name for name, one in known.items() if one.distribution == owner)
    core = names_of_core("model")
    near = [*brought, *core, *sorted(own.adopted_names("model"))]
    yield from _fitting(signature, dict.fromkeys(near))
    others = [one for name, one in sorted(known.items()) if name not in near]
    yield from _fitting(signature, sound(others))


def sound(wanted: Sequence[Listing]) -> Iterator[str]:
    """Names of those that load, as it is known: from another process, but for modules that this one has anyway."""
    from novum.plugins.tried import PATIENCE, tried

    new = []
    for one in wanted:
        if one.value.partition(":")[0] in sys.modules:
            yield one.name
        else:
            new.append(one)
    yield from (one.name for one, state in tried(new, PATIENCE) if state == "ok")


def _fitting(signature: Any, candidates: Iterable[str]) -> Iterator[str]:
    for name in candidates:
        try:
            good = fits(load("model", name), signature)
        except PluginError:
            continue
        if good:
            yield name


def fits(cls: Any, signature: Any) -> bool:
    """Whether a model class fits a signature by the kinds of its inputs and outputs."""
    return signature.inputs.kind in cls.inputs and signature.outputs.kind in cls.outputs
