"""The jobs of one run that have not started: which may start, and which never will."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from graphlib import CycleError, TopologicalSorter

from novum.errors import StudyError
from novum.executors.base import Failure, Job, Result

OVERTAKEN = 4
"""A job for which there is no room is passed by so many later ones that find some, and by no more."""
AHEAD = 4
"""So many jobs of an iterator are held here while there is no room for them, so that smaller ones are found."""


class Waiting:
    """Keeps the order given, as far as `after` allows. Raises StudyError for jobs that can never all run."""

    def __init__(self, jobs: Iterable[Job | None]) -> None:
        self._jobs: dict[str, Job] = {}
        self._well: set[str] = set()
        self._ill: dict[str, str] = {}
        self._passed: Counter[str] = Counter()  # how often a later one started while this one had no place
        self._handed: set[str] = set()  # drawn from the iterator: whoever made them counts on a result
        self._cancelled: list[Job] = []
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
        return not self._jobs and not self._cancelled and self._coming is None

    def take(self, fits: Callable[[Job], bool] = lambda job: True) -> Job | None:
        """The first job that may start now and fits, no longer waiting; None where there is none.

        Later jobs pass one that does not fit, `OVERTAKEN` of them at most: then nothing starts until it does. An
        iterator is asked for so many jobs more as may wait here, `AHEAD`.
        """
        passed: list[str] = []
        for job in self._jobs.values():
            if not self._well.issuperset(job.after):
                continue
            if fits(job):
                self._passed.update(passed)
                return self._jobs.pop(job.id)
            if self._passed[job.id] >= OVERTAKEN:
                return None
            passed.append(job.id)
        while self._coming is not None and len(self._jobs) < AHEAD:
            drawn = self._draw(self._coming)
            if drawn is None:
                return None
            if fits(drawn):
                self._passed.update(passed)
                return drawn
            self._jobs[drawn.id] = drawn
            self._handed.add(drawn.id)
            passed.append(drawn.id)
        return None

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
        """Forget the jobs of these ids, or all of them, without a result; one that came from an iterator and is named
        here has one, "Cancelled".
        """
        if ids is None:
            self._coming = None
        for id in list(self._jobs) if ids is None else ids:
            job = self._jobs.pop(id, None)
            if job is not None:
                self._ill[id] = "was cancelled"
                if ids is not None and id in self._handed:
                    self._cancelled.append(job)

    def doomed(self) -> Iterator[Result]:
        """A result for each job that can never start: one that it waits for did not end well, or it came from an
        iterator and was cancelled before there was a place for it.
        """
        while self._cancelled:
            job = self._cancelled.pop(0)
            error = Failure("Cancelled", f"job {job.id} was cancelled before it ran.")
            yield Result(job, None, error, lost=True, seconds=0.0)
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
