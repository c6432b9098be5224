"""What holds for every kind: it loads, its options are documented and strict, importing and constructing do nothing."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from novum import plugins
from novum.config import Config
from novum.errors import ConfigError
from novum.testing.laws import Broken, Inapplicable, expect, law
from novum.testing.watch import watched

if TYPE_CHECKING:
    from novum.testing.subject import Subject

CONFIGURED = ("task", "model", "evaluator", "technique", "proposer")
ALL = tuple(plugins.NAMESPACES)
SLOW = (
    *("torch", "torchvision", "timm", "transformers", "datasets", "tokenizers", "gymnasium", "sklearn", "scipy"),
    *("pandas", "pyarrow", "matplotlib", "PIL", "cv2", "tensorflow", "jax", "lightning", "accelerate", "sqlalchemy"),
)
"""Libraries whose import takes long, so that it stands inside a method."""
LOADING = """
import json, os, random, sys, threading
sys.path[:] = json.loads(os.environ["NOVUM_KIT_PATH"])
kind, name, locals_ = json.loads(os.environ["NOVUM_KIT_PLUGIN"])
import functools, importlib
from novum import plugins
from novum.testing.watch import watched
from pathlib import Path
import novum.config, novum.data, novum.episodes, novum.sources, novum.technique, pydantic
before = set(sys.modules)
random.seed(0)
state = random.getstate()
with watched(Path(os.environ["NOVUM_KIT_FOLDER"])) as traces:
    for which, code in locals_:
        plugins.receive(which, code)
    module, _, path = name.partition(":")
    if kind == "":
        cls = functools.reduce(getattr, path.split("."), importlib.import_module(module))
    else:
        cls = plugins.load(kind, name)
now = {each.split(".")[0] for each in set(sys.modules) - before}
print(json.dumps({"modules": sorted(now), "written": traces.written, "left": traces.left, "changed": traces.changed,
                  "output": traces.output, "head": traces.head, "random": random.getstate() != state}), file=sys.stderr)
"""
"""Loads a plugin in an interpreter of its own, and tells what that did."""


@law("the plugin can be loaded, and what it says it imports is installed", *ALL)
def it_loads(subject: Subject) -> None:
    cls = plugins.complete(subject.kind, subject.plugin) if isinstance(subject.plugin, str) else subject.cls
    if subject.kind == "rule":  # a record, no code
        return
    expect(callable(cls), f"{subject.name} is {type(cls).__name__}; name a class (or a function) as its entry point")
    bases = {"task": "Task", "model": "Model", "evaluator": "Evaluator"}
    if subject.kind in bases:
        import novum

        base = getattr(novum, bases[subject.kind])
        expect(isinstance(cls, type) and issubclass(cls, base), f"{cls!r} is no subclass of novum.{base.__name__}")
        missing = sorted(cls.__abstractmethods__)
        expect(not missing, f"{cls.__name__} lacks {', '.join(missing)}; every plugin of this kind has them")


@law("importing a plugin does nothing: no slow library, no output, no file, no thread, no change of the process", *ALL)
def nothing_is_imported_early(subject: Subject) -> None:
    folder = subject.folder / "alone"
    folder.mkdir(parents=True, exist_ok=True)
    told = json.loads(interpreter(LOADING, folder, alone(subject)).strip().splitlines()[-1])
    where = f"importing {subject.name}"
    slow = [each for each in told["modules"] if each in SLOW]
    expect(not slow, f"{where} imports {', '.join(slow)}; import inside the methods, and name them in `imports`")
    for what, seen in (
        ("writes", told["written"]),
        ("leaves", told["left"]),
        ("changes the process:", told["changed"]),
    ):
        expect(not seen, f"{where} {what} {', '.join(seen[:3])}; do that in a method, or not at all")
    expect(not told["output"], f"{where} prints {told['output']} bytes ({told['head'][:60]!r}…); print nothing")
    expect(not told["random"], f"{where} seeds the global generator of Python; draw from the `seed` that methods get")


def alone(subject: Subject) -> list[Any]:
    """How an interpreter of its own finds the plugin: [kind, name, code that it must receive first], or
    ["", "module:class", []] for a class in a module that can be imported.

    Raises Inapplicable for a class that stands in no file.
    """
    if isinstance(subject.plugin, str):
        code = plugins.local_code(subject.kind, subject.plugin)
        return [subject.kind, subject.plugin, [] if code is None else [[subject.kind, dataclasses.asdict(code)]]]
    if _can_be_found(subject.module):
        return ["", f"{subject.module}:{subject.cls.__qualname__}", []]
    name = plugins.adopt(subject.kind, subject.cls)
    code = plugins.local_code(subject.kind, name)
    if code is None or code.file is None:
        raise Inapplicable("the class stands in no file that another interpreter could import")
    return [subject.kind, name, [[subject.kind, dataclasses.asdict(code)]]]


def _can_be_found(module: str) -> bool:
    """Whether an interpreter with the same path finds this very file under the module's name."""
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None:
        return False
    below = Path(*module.split("."))
    places = [Path(each or ".").absolute() / below for each in sys.path]
    return any(Path(file).absolute() in (place.with_suffix(".py"), place / "__init__.py") for place in places)


def interpreter(code: str, folder: Any, plugin: list[Any], **environment: str) -> str:
    """Run code in an interpreter of its own with the same path; returns what it wrote to standard error."""
    path = [each or os.getcwd() for each in sys.path]  # noqa: PTH109 - the path as Python would take it
    told = {"NOVUM_KIT_PATH": json.dumps(path), "NOVUM_KIT_PLUGIN": json.dumps(plugin), "NOVUM_KIT_FOLDER": str(folder)}
    try:
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | told | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=60,
        )
    except subprocess.TimeoutExpired:
        raise Broken("an interpreter of its own had not ended after 60 s") from None
    if done.returncode != 0:
        raise Broken(
            f"in an interpreter of its own it ended with status {done.returncode}: {done.stderr.strip()[-600:]}"
        )
    return done.stderr


@law("every option is described, in a nested Config", *CONFIGURED)
def options_are_described(subject: Subject) -> None:
    config: Any = getattr(subject.cls, "Config", None)
    expect(
        isinstance(config, type) and issubclass(config, Config),
        f"{subject.name}.Config is {config!r}; nest `class Config(novum.Config)` in the class",
    )
    for owner, name, field in _fields(config):
        expect(
            field.description,
            f"the option {name!r} of {owner.__qualname__} has no description; write a string below it that says what "
            "it is, in which unit",
        )


@law("options are strict: unknown ones and NaN are refused, and nothing can be changed afterwards", *CONFIGURED)
def options_are_strict(subject: Subject) -> None:
    made = subject.config()
    for each in _nested(type(made)):
        try:
            each.model_validate({"an_option_that_is_not_there": 1})
        except ValueError as error:
            refused = "an_option_that_is_not_there" in str(error)
        else:
            refused = False
        expect(
            refused, f"{each.__qualname__} takes unknown options; derive it from novum.Config and leave its settings"
        )
        expect(
            each.model_config.get("frozen"), f"{each.__qualname__} can be changed; it must be frozen, as novum.Config"
        )
        expect(
            each.model_config.get("allow_inf_nan") is False,
            f"{each.__qualname__} takes NaN and infinity; leave `allow_inf_nan` as novum.Config has it",
        )
    for name, value in _values(made):
        expect(
            not isinstance(value, list | dict | set | bytearray),
            f"the option {name!r} is a {type(value).__name__}, which can be changed; use a tuple, or a read-only "
            "mapping",
        )
    try:
        subject.config(an_option_that_is_not_there=1)
    except ConfigError:
        return
    raise Broken(f"{subject.name} takes an unknown option in silence; let Config refuse it")


@law("options written out at their defaults change nothing", *CONFIGURED)
def defaults_are_what_they_say(subject: Subject) -> None:
    short = subject.config()
    written = short.model_dump(mode="json")
    again = type(short).model_validate(written)
    same = again.model_dump(mode="json") == written
    expect(same, f"its options do not come back from JSON: {written} became {again.model_dump(mode='json')}")


@law("constructing opens, reads and writes nothing", *CONFIGURED)
def constructing_opens_nothing(subject: Subject) -> None:
    cls, config = subject.cls, subject.config()
    with watched(subject.folder / "constructing") as traces:
        cls(config)
    for what, seen in (("reads", traces.read), ("writes", traces.written), ("leaves", traces.left)):
        expect(
            not seen, f"{subject.name}(config) {what} {', '.join(seen[:3])}; keep the options, and do that in a method"
        )
    expect(not traces.output, f"{subject.name}(config) prints {traces.head[:60]!r}; print nothing")


def _fields(config: type[BaseModel]) -> Iterator[tuple[type[BaseModel], str, Any]]:
    for each in _nested(config):
        for name, field in each.model_fields.items():
            yield each, name, field


def _nested(config: type[BaseModel]) -> list[type[BaseModel]]:
    """A configuration and those within it, each once."""
    found: list[type[BaseModel]] = []

    def look(kind: Any) -> None:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            if kind not in found:
                found.append(kind)
                for field in kind.model_fields.values():
                    look(field.annotation)
            return
        for each in getattr(kind, "__args__", ()):
            look(each)

    look(config)
    return found


def _values(config: BaseModel, above: str = "") -> Iterator[tuple[str, Any]]:
    for name in type(config).model_fields:
        value = getattr(config, name)
        if isinstance(value, BaseModel):
            yield from _values(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value
