"""The jobs of one run that have not started: which may start, and which never will."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from graphlib import CycleError, TopologicalSorter

from novum.errors import StudyError
from novum.executors.base import Failure, Job, Result


class Waiting:
    """Keeps the order given, as far as `after` allows. Raises StudyError for jobs that can never all run."""

    def __init__(self, jobs: Iterable[Job | None]) -> None:
        self._jobs: dict[str, Job] = {}
        self._well: set[str] = set()
        self._ill: dict[str, str] = {}
        self._coming: Iterator[Job | None] | None = None
        if not isinstance(jobs, Sequence):
            self._coming = iter(jobs)
            return
        twice = [id for id, times in Counter(job.id for job in jobs).items() if times > 1]
        if twice:
            raise StudyError(f"several jobs of one run are called {', '.join(sorted(twice))}; a job's id is unique.")
        self._jobs = {job.id: job for job in jobs}
        for job in jobs:
            strange = [id for id in job.after if id not in self._jobs]
            if strange:
                raise StudyError(
                    f"job {job.id} waits for {', '.join(strange)}, which is not among the jobs of this run; "
                    "add it, or leave it out of `after` where it already ended well."
                )
            _check_payload(job)
        try:
            TopologicalSorter({job.id: job.after for job in jobs}).prepare()
        except CycleError as error:
            raise StudyError(f"these jobs wait for one another in a circle: {' → '.join(error.args[1])}.") from error

    @property
    def over(self) -> bool:
        """Whether no job is left and none is to come."""
        return not self._jobs and self._coming is None

    def take(self) -> Job | None:
        """The first job that may start now, no longer waiting; None where there is none."""
        for job in self._jobs.values():
            if self._well.issuperset(job.after):
                return self._jobs.pop(job.id)
        return None if self._coming is None else self._draw(self._coming)

    def _draw(self, coming: Iterator[Job | None]) -> Job | None:
        """The next job of an iterator that makes them as it goes."""
        try:
            job = next(coming)
        except StopIteration:
            self._coming = None
            return None
        if job is not None:
            _check_payload(job)
            if job.after:
                raise StudyError(f"job {job.id} waits for others, which only jobs that are all given at once may do.")
        return job

    def ended(self, id: str, *, well: bool) -> None:
        """A job that was taken has ended."""
        if well:
            self._well.add(id)
        else:
            self._ill[id] = "failed"

    def drop(self, ids: Collection[str] | None = None) -> None:
        """Forget the jobs of these ids, or all of them, without a result."""
        if ids is None:
            self._coming = None
        for id in list(self._jobs) if ids is None else ids:
            if self._jobs.pop(id, None) is not None:
                self._ill[id] = "was cancelled"

    def doomed(self) -> Iterator[Result]:
        """A result for each job that can never start, since one that it waits for did not end well."""
        found = True
        while found:
            found = False
            for job in list(self._jobs.values()):
                why = [f"{id} {self._ill[id]}" for id in job.after if id in self._ill]
                if why:
                    found = True
                    del self._jobs[job.id]
                    self._ill[job.id] = "could not start"
                    error = Failure("Dependency", f"job {job.id} was not started: {', '.join(why)}.")
                    yield Result(job, None, error, lost=False, seconds=0.0)


def _check_payload(job: Job) -> None:
    try:
        json.dumps(job.payload)
    except (TypeError, ValueError) as error:
        raise StudyError(f"the payload of job {job.id} is not JSON: {error}.") from error
