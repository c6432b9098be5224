"""Jobs in this very process, one after the other: for debuggers, and for classes that live in a notebook cell."""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from novum.errors import ConfigError
from novum.executors import spool
from novum.executors.base import PERFORM, Executor, Job, Result, cores, resolve
from novum.executors.outcome import CANNOT_STORE, attempt, fields, result
from novum.executors.waiting import Waiting


class InlineExecutor(Executor):
    """No isolation: a job that kills its process kills this one, and a timeout is not enforced.

    With `debug`, what a job raises reaches the caller of `run` as it was raised, for a debugger; otherwise it becomes
    a Failure. KeyboardInterrupt always propagates. `preload` has nothing to gain here and imports nothing.
    """

    def __init__(
        self,
        folder: Path,
        *,
        workers: int | None = None,
        preload: Sequence[str] = (),
        perform: str = PERFORM,
        debug: bool = False,
    ) -> None:
        if workers not in (None, 1):
            raise ConfigError(
                f"the executor 'inline' runs one job at a time; got workers={workers}. Leave it out, or use 'local'."
            )
        super().__init__(folder, workers=workers, preload=preload, perform=perform)
        self._debug = debug
        self._current: str | None = None
        self._runs: weakref.WeakSet[Waiting] = weakref.WeakSet()

    def run(self, jobs: Iterable[Job | None]) -> Iterator[Result]:
        waiting = Waiting(jobs)
        self._runs.add(waiting)
        return self._results(waiting)

    def _results(self, waiting: Waiting) -> Iterator[Result]:
        perform = resolve(self._perform)
        (self.folder / "spool").mkdir(parents=True, exist_ok=True)
        while True:
            yield from waiting.doomed()
            job = waiting.take()
            if job is None:
                return
            spool.remove(self.folder, job.id, job.attempt)
            self._current, slot = job.id, os.environ.get("NOVUM_SLOT")
            os.environ["NOVUM_SLOT"] = "0"
            started, status = time.monotonic(), 0
            try:
                attempt(perform, fields(job), self.folder, debug=self._debug)
            except OSError:  # of the spool: what the job itself raises is stored there
                if self._debug:
                    raise
                status = CANNOT_STORE
            finally:
                self._current = None
                if slot is None:
                    del os.environ["NOVUM_SLOT"]
                else:
                    os.environ["NOVUM_SLOT"] = slot
            done = result(job, self.folder, time.monotonic() - started, status=status)
            waiting.ended(job.id, well=done.error is None)
            yield done

    def cancel(self, ids: Collection[str]) -> None:
        for waiting in list(self._runs):
            waiting.drop(ids)

    def running(self) -> tuple[str, ...]:
        return () if self._current is None else (self._current,)

    def describe(self) -> dict[str, Any]:
        import torch  # heavy, and needed only to count devices

        return {"kind": "inline", "workers": 1, "cores": cores(), "gpus": torch.cuda.device_count()}

    def close(self) -> None:
        for waiting in list(self._runs):
            waiting.drop()
