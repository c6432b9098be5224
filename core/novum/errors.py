"""Everything Novum raises on purpose.

::

    NovumError                  exit code of the CLI
    ├── InputError              2   what a person wrote cannot be used
    │   ├── ConfigError             an option: unknown, of the wrong type, out of range
    │   ├── DataError               data or an environment: missing, empty, unreadable, inconsistent
    │   └── MismatchError           two parts that do not fit each other (a model and a task)
    ├── PluginError             2   a plugin: not installed, ambiguous, or broken
    ├── StudyError              3   the study cannot run: folder, ledger, worker
    │   └── RegistrationError       a plan that was never registered, or was edited since
    └── SplitClosed             1   code opened a split that its phase must not see

Every message says what was wrong, the value received, what is allowed and what to do next.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import ClassVar


class NovumError(Exception):
    """Base of every error that Novum raises on purpose."""

    exit_code: ClassVar[int] = 1


class InputError(NovumError):
    """Something a person wrote cannot be used."""

    exit_code: ClassVar[int] = 2


class ConfigError(InputError):
    """An option is unknown, of the wrong type or out of range."""


class DataError(InputError):
    """Data or an environment is missing, empty, unreadable or inconsistent."""


class MismatchError(InputError):
    """Two parts do not fit each other, such as a model and a task."""


class PluginError(NovumError):
    """A plugin is not installed, is ambiguous or is broken."""

    exit_code: ClassVar[int] = 2


class StudyError(NovumError):
    """The study cannot run: its folder, its ledger or its workers."""

    exit_code: ClassVar[int] = 3


class DiskFullError(StudyError):
    """There is no room for what has to be written. Nothing was half-written; the study waits, or goes on later."""


class RegistrationError(StudyError):
    """A plan was never registered, or was edited after it was."""


class SplitClosed(NovumError):  # noqa: N818 - the state is the name, as in StopIteration
    """Code opened a split that its phase must not see (design law 5)."""


KINDS: dict[str, type[NovumError]] = {
    kind.__name__: kind
    for kind in (
        NovumError,
        InputError,
        ConfigError,
        DataError,
        MismatchError,
        PluginError,
        StudyError,
        DiskFullError,
        RegistrationError,
        SplitClosed,
    )
}
"""By name, so that an error crosses from a worker as two strings and comes back as itself."""


def closest(name: str, allowed: Iterable[str]) -> str:
    """A sentence listing what is allowed, led by the closest match where there is one."""
    names = sorted(allowed)
    if not names:
        return "nothing of that kind is available"
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{hint}allowed: {', '.join(names)}"
