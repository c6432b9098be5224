"""The default tracker: one JSON line per curve point in `runs/<trial>.jsonl`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from novum.trackers import Tracker


class JsonlTracker(Tracker):
    """Starts its file anew with each attempt at the trial, and flushes every line."""

    def __init__(self, folder: Path, trial: str) -> None:
        super().__init__(folder, trial)
        path = folder / "runs" / f"{trial}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("w", encoding="utf-8")

    def point(self, point: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(point, allow_nan=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()
