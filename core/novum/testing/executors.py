"""What an executor promises: every job ends once, well or not, and nothing outlives it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from novum.testing.laws import expect, law
from novum.testing.watch import watched

if TYPE_CHECKING:
    from novum.executors.base import Executor, Job, Result
    from novum.testing.subject import Subject

WORK = "novum.testing.executors:work"


def work(kind: str, payload: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What the jobs of these checks do: "echo" returns the payload, "fail" raises, "sleep" waits."""
    if kind == "fail":
        raise ValueError("this job fails")
    if kind == "sleep":
        time.sleep(float(payload["seconds"]))
    return {"echo": payload}


def _opened(subject: Subject, name: str) -> Executor:
    made: Executor = subject.cls(subject.folder / name, workers=1, perform=WORK, **dict(subject.options))
    return made


def _jobs(*kinds: str, after: bool = False) -> list[Job]:
    from novum.executors.base import Job

    return [
        Job(f"job-{at}", kind, {"number": at}, after=(f"job-{at - 1}",) if after and at else ())
        for at, kind in enumerate(kinds)
    ]


def _run(executor: Executor, jobs: list[Job]) -> dict[str, Result]:
    found: dict[str, Result] = {}
    for result in executor.run(jobs):
        expect(result.job.id not in found, f"{result.job.id} ended twice; every job yields one result")
        found[result.job.id] = result
        executor.acknowledge(result.job)
    missing = [job.id for job in jobs if job.id not in found]
    expect(not missing, f"{', '.join(missing)} never ended; every job yields one result")
    return found


@law("every job yields one result, with what its work returned", "executor")
def every_job_ends_once(subject: Subject) -> None:
    with _opened(subject, "once") as executor:
        jobs = _jobs(*["echo"] * 4)
        found = _run(executor, jobs)
    for job in jobs:
        result = found[job.id]
        expect(result.error is None, f"{job.id} failed: {result.error}")
        expect(result.value == {"echo": job.payload}, f"{job.id} gave {result.value!r} for {job.payload!r}")


@law("a job that raises fails alone, with the type and message of what it raised", "executor")
def a_failing_job_fails_alone(subject: Subject) -> None:
    with _opened(subject, "fails") as executor:
        found = _run(executor, _jobs("echo", "fail", "echo"))
    failed = found["job-1"].error
    expect(failed is not None and failed.type == "ValueError", f"the job that raised ValueError ended with {failed!r}")
    expect(not found["job-1"].lost, "a job that raised is no lost job: its outcome is known")
    for name in ("job-0", "job-2"):
        expect(found[name].error is None, f"{name} failed beside it: {found[name].error}")


@law("a job starts after those that it waits for, and not at all where one of them failed", "executor")
def jobs_wait_for_each_other(subject: Subject) -> None:
    with _opened(subject, "waits") as executor:
        well = _run(executor, _jobs("echo", "echo", "echo", after=True))
        expect(list(well) == ["job-0", "job-1", "job-2"], f"jobs that wait for each other ended as {list(well)}")
        badly = _run(executor, _jobs("fail", "echo", after=True))
    error = badly["job-1"].error
    expect(error is not None and error.type == "Dependency", f"a job whose predecessor failed ended with {error!r}")


@law("it describes itself, can be used again after `close`, and leaves no process and no thread", "executor")
def nothing_outlives_it(subject: Subject) -> None:
    with watched(subject.folder / "watched") as traces:
        executor = _opened(subject, "closed")
        about = executor.describe()
        _run(executor, _jobs("echo"))
        executor.close()
        again = _run(executor, _jobs("echo"))
        executor.close()
    expect(not executor.running(), f"after `close` it still says that {executor.running()} run")
    expect({"kind", "workers", "cores", "gpus"} <= set(about), f"`describe` gives {sorted(about)}")
    expect(again["job-0"].error is None, f"after `close` a job fails: {again['job-0'].error}")
    expect(not traces.left, f"it leaves {', '.join(traces.left)}; `close` ends everything")
