"""What executors share whose results come from other processes: the jobs of each run, and what is done when."""

from __future__ import annotations

import threading
import weakref
from abc import abstractmethod
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from novum.errors import StudyError
from novum.executors.base import PERFORM, Executor, Job, Result
from novum.executors.waiting import Waiting

TICK = 0.5
"""Seconds after which a waiting thread looks whether another one has received its results."""


@dataclass(eq=False)
class Run:
    """The jobs of one call of `run`; `refused` is why it cannot go on."""

    waiting: Waiting
    inbox: deque[Result] = field(default_factory=deque)
    active: set[str] = field(default_factory=set)
    refused: StudyError | None = None


class Pumped(Executor):
    """Tells what is known before it starts anything more, and waits only when there is nothing to do."""

    def __init__(
        self, folder: Path, *, workers: int | None = None, preload: Sequence[str] = (), perform: str = PERFORM
    ) -> None:
        super().__init__(folder, workers=workers, preload=preload, perform=perform)
        self._lock = threading.RLock()
        self._runs: weakref.WeakSet[Run] = weakref.WeakSet()

    def run(self, jobs: Iterable[Job | None]) -> Iterator[Result]:
        run = Run(Waiting(jobs))
        self._runs.add(run)
        return self._results(run)

    def _results(self, run: Run) -> Iterator[Result]:
        try:
            place = self._begin()
            while True:
                self._pump(0)
                if run.refused is not None:
                    raise run.refused
                with self._lock:
                    run.inbox.extend(run.waiting.doomed())
                    if not run.inbox:  # first tell what is known: it may spare the next job
                        self._dispatch(run, place)
                    over = not run.active and run.waiting.over
                if run.inbox:
                    yield run.inbox.popleft()
                elif over:
                    return
                else:
                    self._pump(TICK)
        finally:
            self._abandon(run)

    @abstractmethod
    def _begin(self) -> Any:
        """Have ready what jobs run on; what it gives comes to each `_dispatch` of the run."""

    @abstractmethod
    def _pump(self, timeout: float) -> None:
        """Take in what the other processes have to say, waiting at most `timeout` seconds for it."""

    @abstractmethod
    def _dispatch(self, run: Run, place: Any) -> None:
        """Start jobs of a run while there is room."""

    @abstractmethod
    def _abandon(self, run: Run) -> None:
        """Nobody reads these results any more: end what still runs of them."""
