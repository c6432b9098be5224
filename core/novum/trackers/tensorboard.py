"""Curves for TensorBoard, in `runs/tensorboard/<trial>/` (extra `tensorboard`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from novum.errors import PluginError
from novum.trackers import Tracker


class TensorboardTracker(Tracker):
    """Losses and metrics over units of experience."""

    def __init__(self, folder: Path, trial: str) -> None:
        super().__init__(folder, trial)
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise PluginError(
                "the tracker 'tensorboard' needs the package tensorboard: pip install 'novum[tensorboard]'."
            ) from None
        self._writer: Any = SummaryWriter(str(folder / "runs" / "tensorboard" / trial))

    def point(self, point: Mapping[str, Any]) -> None:
        for group in ("losses", "metrics"):
            for name, value in point[group].items():
                if isinstance(value, int | float):  # what is undefined has no place on a plot
                    self._writer.add_scalar(f"{group}/{name}", value, point["units"])
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()
