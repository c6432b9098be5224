"""A person's own code: classes and functions of a script, a notebook or a file, usable beside what is installed.

A person hands them in, never a file: see `adopt`, `offer` and `read`. They travel to workers as names and a hash.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import inspect
import os
import re
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from novum.errors import ConfigError, DataError, PluginError, StudyError
from novum.plugins.installed import listings

LOCAL = "local:"
"""Prefix of the names of classes handed in by a script; a claim file cannot create such a name."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True)
class LocalCode:
    """A class or function of a person's own file, as it travels to a worker: names and a hash, never a pickle.

    `file` is None for one from a notebook cell or a prompt, which can only run in this process.
    """

    name: str
    qualname: str
    file: str | None
    sha256: str


_adopted: dict[tuple[str, str], tuple[type[Any], LocalCode]] = {}
_receiving: list[str] = []
"""The script that is being read for a class, in a worker."""


class NestedStudyError(StudyError):
    """A script that a worker reads for a class came to the point where it starts a study."""


def adopted(kind: str, name: str) -> Any:
    """The class or function that goes by this name here and is not installed; None where there is none."""
    found = _adopted.get((kind, name))
    return found[0] if found else None


def adopted_names(kind: str) -> set[str]:
    """Names of one kind that were handed in."""
    return {name for which, name in _adopted if which == kind}


@contextmanager
def outlived() -> Iterator[None]:
    """Let an import that ends the process by `os._exit` raise instead, so that its plugin can be named."""

    def leave(status: int) -> NoReturn:
        raise SystemExit(f"its import ends the process with status {status}")

    before, os._exit = os._exit, leave
    try:
        yield
    finally:
        os._exit = before


def adopt(kind: str, cls: type[Any]) -> str:
    """Make a class of the caller's own script usable, and return the name it goes by, "local:ClassName".

    A class from a .py file travels to workers as file, name and hash; one from a notebook cell stays here. Raises
    ConfigError when another file's class goes by that name already.
    """
    name = LOCAL + cls.__name__
    if (kind, name) in _adopted and _adopted[kind, name][0] is cls:
        return name
    code = _local(name, cls)
    before = local_code(kind, name)
    if before is not None and None not in (before.file, code.file) and before.file != code.file:
        raise ConfigError(f"two {kind}s are called {cls.__name__!r}: in {before.file} and in {code.file}; rename one.")
    _adopted[kind, name] = (cls, code)
    return name


def _local(name: str, thing: Any) -> LocalCode:
    """How a class or function travels, from where its source is."""
    try:
        file = inspect.getsourcefile(thing)
    except (OSError, TypeError):  # of a notebook cell or a prompt
        file = None
    if file is not None and Path(file).is_file() and "<locals>" not in thing.__qualname__:
        path = Path(file).resolve()
        return LocalCode(name, thing.__qualname__, str(path), hashlib.sha256(path.read_bytes()).hexdigest())
    try:
        digest = hashlib.sha256(inspect.getsource(thing).encode()).hexdigest()
    except (OSError, TypeError):  # what cannot be read equals nothing else: no trial of another class is its own
        digest = os.urandom(32).hex()
    return LocalCode(name, thing.__qualname__, None, digest)


def offer(kind: str, thing: Any, name: str) -> None:
    """Make a class or function of a person's own file usable under a plain name, until this process ends.

    Raises ConfigError for what cannot be a name, for a name that an installed plugin has, and for one that another
    class or function has; each with both places.
    """
    if not NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} is no name for a {kind}; allowed: up to 64 letters, digits, '-' and '_', led by no sign."
        )
    code = _local(name, thing)
    mine = f"{thing.__qualname__} in {code.file or 'this process'}"
    for one in listings(kind):
        if one.name == name:
            raise ConfigError(
                f"the {kind} {name!r} is installed by {one.distribution} ({one.value}), and {mine} would take its "
                f"name; give yours another one: @novum.{kind}('…')."
            )
    before = local_code(kind, name)
    if before is not None and before.file is not None and (before.file, before.qualname) != (code.file, code.qualname):
        raise ConfigError(
            f"two {kind}s are called {name!r}: {before.qualname} in {before.file}, and {mine}; rename one."
        )
    _adopted[kind, name] = (thing, code)


def offered() -> list[tuple[str, LocalCode]]:
    """What goes by a plain name and is not installed: (kind, code), sorted."""
    found = [(kind, code) for (kind, name), (_, code) in _adopted.items() if not name.startswith(LOCAL)]
    return sorted(found, key=lambda each: (each[0], each[1].name))


def read(path: str | Path) -> list[tuple[str, str]]:
    """Run a person's own .py file, and return what it offers: (kind, name), sorted. See `novum.technique`.

    What it defines before it starts a study counts, as in a worker. Raises DataError where there is no such file,
    ConfigError where it offers nothing or a name that is taken, and PluginError where it fails.
    """
    file = Path(path)
    if file.suffix != ".py" or not file.is_file():
        raise DataError(f"--load {path}: no Python file is there; give the path of a .py file.")
    file = file.resolve()
    known = dict(_adopted)
    try:
        try:
            _run(str(file), hashlib.sha256(file.read_bytes()).hexdigest())
        except BaseException:  # what it offered before it failed
            _adopted.clear()
            _adopted.update(known)
            raise
    except ConfigError as error:
        raise ConfigError(f"--load {path}: {error}") from None
    except (Exception, SystemExit) as error:
        raise PluginError(
            f"--load {path}: it cannot be run: {type(error).__name__}: {error}{_line_of(error, str(file))}. Mend the "
            "file; what it imports must be installed."
        ) from error
    found = sorted(key for key, each in _adopted.items() if known.get(key) != each and each[1].file == str(file))
    if not found:
        raise ConfigError(
            f"--load {path}: it offers nothing; put @novum.technique, @novum.optimizer, @novum.schedule or "
            "@novum.plugin above a class or function of it."
        )
    return found


def _line_of(error: BaseException, file: str) -> str:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return f" (line {lines[-1]})" if lines else ""


def _run(file: str, sha256: str) -> None:
    """Run a person's file as a module of its own, anew. Raises what it raises; a study that it starts ends it."""
    module = _module(sha256)
    spec = importlib.util.spec_from_file_location(module, file)
    assert spec is not None and spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[module] = loaded
    _receiving.append(file)
    try:
        with outlived():
            spec.loader.exec_module(loaded)
    except NestedStudyError:
        pass  # a script: what it defines before its first study is all that its first study can use
    except BaseException:
        del sys.modules[module]
        raise
    finally:
        _receiving.pop()


def _module(sha256: str) -> str:
    return f"novum_local_{sha256[:16]}"


def local_code(kind: str, name: str) -> LocalCode | None:
    """How an adopted class or function travels; None for an installed plugin."""
    found = _adopted.get((kind, name))
    return found[1] if found else None


def receive(kind: str, code: Mapping[str, Any]) -> None:
    """In a worker: import an adopted class from its file, after checking that the file is still the same.

    Raises PluginError when the file changed since the caller read it, or no longer holds the class.
    """
    name, file = code["name"], code["file"]
    if (kind, name) in _adopted:
        return
    if file is None:
        raise PluginError(f"{name} has no file, so it cannot travel to a worker; use the executor 'inline'.")
    if hashlib.sha256(Path(file).read_bytes()).hexdigest() != code["sha256"]:
        raise PluginError(f"{file} changed while the study ran; start the script, or give the command, again.")
    module = _module(code["sha256"])
    if module not in sys.modules:
        try:
            _run(file, code["sha256"])
        except (Exception, SystemExit) as error:
            raise PluginError(
                f"{file} cannot be imported by a worker: {type(error).__name__}: {error}. Keep classes in a module "
                "that can be imported without the script's arguments and files, or pass executor='inline'."
            ) from error
    try:
        cls = functools.reduce(getattr, code["qualname"].split("."), sys.modules[module])
    except AttributeError:
        raise PluginError(
            f"{file} does not define {code['qualname']} before it starts its first study, where a worker stops reading "
            "it. Move the class into a module of its own and import it, or use executor='inline'."
        ) from None
    _adopted[kind, name] = (cls, LocalCode(**code))  # type: ignore[assignment]


def refuse_within_worker() -> None:
    """Called where a study starts. Raises NestedStudyError in a worker that reads a class from the caller's script.

    The script itself starts a study: without this, every worker would start it again, and its workers too.
    """
    if _receiving:
        raise NestedStudyError(
            f"a worker that reads {_receiving[-1]} for a class came to a study there, and starts none. Move the class "
            "into a module of its own and import it, or use executor='inline'."
        )
