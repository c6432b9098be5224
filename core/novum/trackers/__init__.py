"""Trackers: where a running trial's curve is written, live. Entry points `novum.trackers`.

A tracker only ever writes; no number is read back from it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from novum import plugins


class Tracker(ABC):
    """Follows one trial. A context manager: `close` is called also when training fails."""

    def __init__(self, folder: Path, trial: str) -> None:
        self.folder = folder
        self.trial = trial

    @abstractmethod
    def point(self, point: Mapping[str, Any]) -> None:
        """One curve point: {"units", "share", "seconds", "losses": {...}, "metrics": {...}}."""

    def close(self) -> None:  # noqa: B027 - optional
        """The trial has ended."""

    def __enter__(self) -> Tracker:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def open_tracker(name: str, folder: Path, trial: str) -> Tracker:
    """The tracker of that name for one trial of the study in `folder`. Raises PluginError for an unknown name."""
    made: Tracker = plugins.load("tracker", name)(folder, trial)
    return made
