"""Checkpoints of a trial (placeholder until the branch lands)."""

from __future__ import annotations

import shutil
from pathlib import Path


def discard(folder: Path, key: str) -> None:
    """Forget a trial's checkpoints; harmless where there are none."""
    shutil.rmtree(folder / "checkpoints" / key, ignore_errors=True)
