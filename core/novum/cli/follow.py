"""Curves as they grow: the lines that the tracker `jsonl` writes, read while trials run."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

PAUSE = 0.2


class Follow:
    """While its block runs, calls `tell(trial, point)` for every curve point that trials of a study write.

    A torn last line waits for its end. Points written before the block began are not told.
    """

    def __init__(self, folder: Path, tell: Callable[[str, dict[str, Any]], None]) -> None:
        self._runs = folder / "runs"
        self._tell = tell
        self._read = {path: path.stat().st_size for path in self._files()}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Follow:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        if kind is None:
            self._look()

    def _files(self) -> list[Path]:
        return sorted(self._runs.glob("*.jsonl"))

    def _watch(self) -> None:
        while not self._over.wait(PAUSE):
            self._look()

    def _look(self) -> None:
        for path in self._files():
            start = self._read.get(path, 0)
            with path.open("rb") as file:
                if path.stat().st_size < start:  # a new attempt began the file anew
                    start = 0
                file.seek(start)
                text = file.read()
            whole = text[: text.rfind(b"\n") + 1]
            self._read[path] = start + len(whole)
            for line in whole.splitlines():
                self._tell(path.stem, json.loads(line))
