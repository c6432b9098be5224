"""What a check is, and how it says what it saw. The checks themselves stand in `every`, `tasks`, `models`, ….

A check is a function of a `Subject`. It returns when the contract holds, raises `Broken` where it does not, and
`Inapplicable` where it says nothing about such a plugin.
"""

from __future__ import annotations

import functools
import importlib
import re
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from novum import plugins
from novum.config import plain
from novum.errors import PluginError
from novum.testing.outcome import Outcome

if TYPE_CHECKING:
    from novum.testing.subject import Subject

PAGE = "docs/contract.md"
"""Where every check is described, in a checkout; a wheel has it beside this module."""
DATA, PLAYED = "data", "an environment"
"""What experience there is."""
SHIPPED = Path(__file__).with_name("contract.md")
LONGEST = 1500
"""Characters of what a check saw that its message repeats."""


class Broken(AssertionError):  # noqa: N818 - what is broken is the plugin
    """A contract does not hold. The message says what was seen, and what is to be done."""


class Inapplicable(Exception):  # noqa: N818 - no error: the check says nothing about such a plugin
    """The check says nothing about this plugin; the message says why."""


@dataclass(frozen=True)
class Check:
    """One contract, for one or more kinds of plugin.

    name: as in `test_NAME`. contract: what must hold, one sentence. kinds: to which it applies. on: DATA or PLAYED
    where it says something about that experience alone; "" for both, and where there is none.
    """

    name: str
    contract: str
    kinds: tuple[str, ...]
    run: Callable[[Subject], None]
    on: str = ""

    @property
    def applies(self) -> str:
        """To what it applies, in words."""
        kinds = "every kind" if set(self.kinds) == set(plugins.NAMESPACES) else ", ".join(self.kinds)
        return f"{kinds}, on {self.on} alone" if self.on else kinds

    @property
    def place(self) -> str:
        """Where it is described: a page and a heading."""
        return f"{SHIPPED if SHIPPED.is_file() else PAGE}#{self.name.replace('_', '-')}"

    @property
    def cure(self) -> str:
        """How to mend what it finds, as its page says."""
        return _cures().get(self.name, "")

    def told(self, seen: str) -> str:
        """The message of its failure."""
        return f"the contract: {self.contract}\nseen: {seen[:LONGEST]}\nto mend: {self.cure}\nsee: {self.place}"

    def outcome(self, state: str, told: str, seconds: float) -> Outcome:
        """How it ended."""
        return Outcome(self.name, self.contract, state, told, self.cure, self.place, round(seconds, 3))


MODULES = (
    *("every", "tasks", "choices", "models", "answers", "evaluators", "exercise"),
    *("smaller", "proposers", "executors"),
)
"""Where checks stand, in the order in which they are told."""
_checks: dict[str, Check] = {}


def law(contract: str, *kinds: str, on: str = "") -> Callable[[Callable[[Subject], None]], Callable[[Subject], None]]:
    """Make a function a check of these kinds of plugins, under its own name."""

    def register(run: Callable[[Subject], None]) -> Callable[[Subject], None]:
        if run.__name__ in _checks:
            raise ValueError(f"two checks are called {run.__name__!r}; rename one.")
        _checks[run.__name__] = Check(run.__name__, contract, kinds, run, on)
        return run

    return register


def known() -> Mapping[str, Check]:
    """Every check by name, those of every kind first."""
    for module in MODULES:
        importlib.import_module(f"novum.testing.{module}")  # importing them registers theirs
    return MappingProxyType(_checks)


def of(kind: str) -> list[Check]:
    """The checks of a kind of plugin, in the order in which they are told."""
    return [check for check in known().values() if kind in check.kinds]


@functools.cache
def _cures() -> Mapping[str, str]:
    """What the page says under "To mend", by the name of a check."""
    page = SHIPPED if SHIPPED.is_file() else Path(__file__).parents[3] / PAGE
    parts = re.split(r"^### (.+)$", page.read_text(encoding="utf-8"), flags=re.M)[1:]
    found = zip(
        parts[::2], (re.search(r"^To mend: (.+?)(?:\n\n|\Z)", each, re.M | re.S) for each in parts[1::2]), strict=True
    )
    return {name.strip().replace(" ", "_"): " ".join(cure[1].split()) for name, cure in found if cure}


def expect(holds: object, seen: str) -> None:
    """Raise Broken with what was seen, unless it holds."""
    if not holds:
        raise Broken(seen)


def failure(error: BaseException) -> str:
    """What an exception that a plugin raised says, with the place in its own files."""
    if isinstance(error, Broken):
        return str(error)
    frames = [each for each in traceback.extract_tb(error.__traceback__) if not _ours(each.filename)]
    if isinstance(error, PluginError):  # says itself whose fault it is
        frames = []
    where = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    text = str(error) or "without a message"
    return f"it raised {type(error).__name__}{where}: {plain(text, LONGEST)}"


def _ours(file: str) -> bool:
    return Path(file).is_relative_to(Path(__file__).parents[1]) or file.startswith("<frozen")
