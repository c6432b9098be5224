"""What a check is, and how it says what it saw. The checks themselves stand in `every`, `tasks`, `models`, ….

A check is a function of a `Subject`. It returns when the contract holds, raises `Broken` where it does not, and
`Inapplicable` where it says nothing about such a plugin.
"""

from __future__ import annotations

import importlib
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from novum.config import plain

if TYPE_CHECKING:
    from novum.testing.subject import Subject

PAGE = "docs/contract.md"
"""Where every check is described."""
LONGEST = 1500
"""Characters of what a check saw that its message repeats."""


class Broken(AssertionError):  # noqa: N818 - what is broken is the plugin
    """A contract does not hold. The message says what was seen, and what is to be done."""


class Inapplicable(Exception):  # noqa: N818 - no error: the check says nothing about such a plugin
    """The check says nothing about this plugin; the message says why."""


@dataclass(frozen=True)
class Check:
    """One contract, for one or more kinds of plugin.

    name: as in `test_NAME`. contract: what must hold, one sentence. kinds: to which it applies.
    """

    name: str
    contract: str
    kinds: tuple[str, ...]
    run: Callable[[Subject], None]

    @property
    def place(self) -> str:
        """Where it is described: a page and a heading."""
        return f"{PAGE}#{self.name.replace('_', '-')}"

    def told(self, seen: str) -> str:
        """The message of its failure."""
        return f"the contract: {self.contract}\nseen: {seen[:LONGEST]}\nsee: {self.place}"


MODULES = (
    *("every", "tasks", "choices", "models", "answers", "evaluators", "exercise"),
    *("smaller", "proposers", "executors"),
)
"""Where checks stand, in the order in which they are told."""
_checks: dict[str, Check] = {}


def law(contract: str, *kinds: str) -> Callable[[Callable[[Subject], None]], Callable[[Subject], None]]:
    """Make a function a check of these kinds of plugins, under its own name."""

    def register(run: Callable[[Subject], None]) -> Callable[[Subject], None]:
        if run.__name__ in _checks:
            raise ValueError(f"two checks are called {run.__name__!r}; rename one.")
        _checks[run.__name__] = Check(run.__name__, contract, kinds, run)
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


def expect(holds: object, seen: str) -> None:
    """Raise Broken with what was seen, unless it holds."""
    if not holds:
        raise Broken(seen)


def failure(error: BaseException) -> str:
    """What an exception that a plugin raised says, with the place in its own files."""
    if isinstance(error, Broken):
        return str(error)
    frames = [each for each in traceback.extract_tb(error.__traceback__) if not _ours(each.filename)]
    where = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    text = str(error) or "without a message"
    return f"it raised {type(error).__name__}{where}: {plain(text, LONGEST)}"


def _ours(file: str) -> bool:
    return Path(file).is_relative_to(Path(__file__).parents[1]) or file.startswith("<frozen")
