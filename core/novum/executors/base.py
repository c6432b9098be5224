"""The executor's contract: jobs in, results out, in the order in which they end."""

from __future__ import annotations

import importlib
import math
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from novum.errors import ConfigError, StudyError
from novum.executors import leases, spool

PERFORM = "novum.runner.jobs:perform"
"""The work function `(kind, payload, folder) -> value`, as "module:name"; only code can name another one."""
ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}")

Perform = Callable[[str, dict[str, Any], Path], dict[str, Any]]


@dataclass(frozen=True)
class Job:
    """One piece of work, as it travels to a worker: names and JSON.

    `after` holds ids of jobs of the same run that must end well before this one starts. `timeout` is in seconds of
    wall time, None for no limit. `attempt` (from 1) names the files of this very attempt, so that a late result never
    passes for that of the next. `about` is stored beside the result and tells what it is of; it is JSON.
    """

    id: str
    kind: str
    payload: dict[str, Any]
    after: tuple[str, ...] = ()
    timeout: float | None = None
    attempt: int = 1
    about: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        if not ID.fullmatch(self.id):
            raise ConfigError(
                f"a job's id names files, so it is 1 to 100 letters, digits, '_', '.' or '-', and does not "
                f"begin with a dot; got {self.id[:120]!r}."
            )
        if self.attempt < 1:
            raise ConfigError(f"the attempt of job {self.id} is {self.attempt!r}; attempts count from 1.")
        if self.timeout is not None and not (math.isfinite(self.timeout) and self.timeout > 0):
            raise ConfigError(
                f"the timeout of job {self.id} is {self.timeout!r}; "
                "give a positive number of seconds, or None for no limit."
            )


@dataclass(frozen=True)
class Failure:
    """Why a job has no value.

    `type` is the class name of the exception that the job raised, or one of ours: "Dependency" (a job that it
    waited for did not end well; it was not started), "Timeout", "Cancelled", "NoSpace" (its result could not be
    written) and "Lost" (its process died).
    """

    type: str
    message: str
    traceback: str = ""


@dataclass(frozen=True)
class Result:
    """How a job ended: exactly one of `value` and `error` is None.

    `lost`: its process ended without a result (a signal, an exit, a timeout, a cancel): nothing is known about the
    job itself. `seconds` is wall time from start to end, 0.0 for a job that was never started.
    """

    job: Job
    value: dict[str, Any] | None
    error: Failure | None
    lost: bool
    seconds: float


class Executor(ABC):
    """Runs jobs and yields their results. One thread iterates; `cancel` and `running` may be called from any.

    `folder` is the study's: results are spooled under `folder/spool`, output under `folder/logs`. The caller stores
    a result and then calls `acknowledge`; what it did not acknowledge before it died is found by `orphans`, to be
    imported before anything runs (a job that starts removes what an earlier attempt of the same id left).
    `preload` names modules worth importing once per machine rather than once per job.
    """

    def __init__(
        self, folder: Path, *, workers: int | None = None, preload: Sequence[str] = (), perform: str = PERFORM
    ) -> None:
        if workers is not None and workers < 1:
            raise ConfigError(f"workers is {workers!r}; give at least 1, or None for as many as this machine carries.")
        self.folder = Path(folder).absolute()
        self.preload = tuple(preload)
        self._workers = workers
        self._perform = perform

    @abstractmethod
    def run(self, jobs: Iterable[Job | None]) -> Iterator[Result]:
        """Start the jobs and yield each result as it comes; closing the iterator ends what still runs of them.

        jobs: all at once (a sequence), or an iterator that is asked for the next one whenever there is room; it
        yields None where nothing is ready before another result has been taken, and never while nothing runs.

        Raises StudyError at once where two jobs share an id, where `after` names a job that is not among them or goes
        in a circle, or where a payload is not JSON; and while iterating where the workers cannot run at all.
        """

    @abstractmethod
    def cancel(self, ids: Collection[str]) -> None:
        """Drop the ones that have not started, without a result, and terminate the ones that run.

        A terminated job yields a lost result of type "Cancelled", unless its value was already there. Unknown ids
        are ignored.
        """

    @abstractmethod
    def running(self) -> tuple[str, ...]:
        """Ids of the jobs that are in process now, in the order of their start."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """{"kind", "workers", "cores", "gpus"}; may wait until the workers have answered."""

    def remarks(self) -> tuple[str, ...]:
        """Sentences for a person that came up since this was last asked: what the machine does not allow."""
        return ()

    @abstractmethod
    def close(self) -> None:
        """End everything that still runs. An executor that was closed can be used again."""

    def clear(self) -> None:
        """End what an earlier, killed run of this study left running here. For who holds the study's lock."""
        leases.clear(self.folder)

    def acknowledge(self, job: Job, *, keep: bool = False) -> None:
        """The caller has stored this job's result: remove its spool file, or `keep` it among those from which a ledger
        can be rebuilt. Harmless where there is none.
        """
        if keep:
            spool.keep(self.folder, job.id, job.attempt)
        else:
            spool.remove(self.folder, job.id, job.attempt)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def resolve(perform: str) -> Perform:
    """The work function behind "module:name"; raises StudyError where it cannot be imported."""
    module, _, name = perform.partition(":")
    try:
        function: Perform = getattr(importlib.import_module(module), name)
    except (Exception, SystemExit) as error:
        raise StudyError(
            f"the work function {perform!r} cannot be imported: {type(error).__name__}: {error}. "
            "It is named as 'module:function'; the module must be importable by a fresh interpreter."
        ) from error
    return function


def cores(root: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")) -> int:
    """Cores that this process may use: its affinity, or the CPU quota of its control group (v2) where that is lower.

    Never below 1; a quota of 2.5 cores counts as 2.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for folder in control_groups(root, membership):
        with suppress(OSError, ValueError):
            quota, period = (folder / "cpu.max").read_text().split()
            allowed = min(allowed, int(quota) // int(period))  # "max 100000" is no number: no limit
    return max(1, allowed)


def control_groups(root: Path, membership: Path) -> list[Path]:
    """Folders of the control group (v2) of this process and of those around it; empty where there is none."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return []
    here = root / next((line[3:].strip("/") for line in lines if line.startswith("0::")), "")
    return [folder for folder in (here, *here.parents) if folder.is_relative_to(root)]
