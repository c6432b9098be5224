"""Jobs as tasks of a Ray cluster, each in a fresh process of one of its nodes."""

from __future__ import annotations

import math
import secrets
import sys
import time
import weakref
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from novum.errors import StudyError
from novum.executors import parcels, ray_worker, spool
from novum.executors.base import PERFORM, Failure, Job, Result
from novum.executors.outcome import CANNOT_STORE, fields, result
from novum.executors.pumped import TICK, Pumped, Run
from novum.executors.ray_cluster import RESOURCES, Cluster, checked, loss, require

HASTE = 15.0
"""Seconds beyond the grace until a worker that was asked to stop its job is killed itself."""
PATIENCE = 600.0
"""Seconds that a job waits for a node big enough to join the cluster."""
MEASURED = ("device_memory", "process_memory")
"""Resources of a job by which `LocalExecutor` packs; Ray reserves what a recipe asks for."""


@dataclass(eq=False)
class _Task:
    """A job that Ray has; `node` and `began` are known once it runs, and `force_at` once it was asked to stop."""

    job: Job
    run: Run
    wants: dict[str, float]
    stream: Any
    sent: float
    node: str = ""
    began: float | None = None
    stopping: bool = False
    force_at: float = math.inf


class RayExecutor(Pumped):
    """For several machines: an existing cluster, or one of this machine that ends with `close`.

    Each Ray worker keeps a fork server (see `LocalExecutor`) for the jobs that come to it, so a job costs a fork and
    not the import of torch, and its timeout, its output, its end and what it leaves behind are handled there as on one
    machine. A node that sees the study's folder itself works in it. Any other works in a private folder: it is sent
    the weights that a job begins with, and sends back what the job leaves in `weights`, `runs` and `checkpoints`, with
    its log. Either way the result stands in the study's spool before it is yielded.

    address: "host:port", "auto", or None for $RAY_ADDRESS, else an own cluster (see `Cluster`). resources: what a job
    takes, {"cpus": 1, "gpus": 1 where the cluster has some, "memory": bytes, default not counted}; a job's own
    payload["resources"] goes before it. `workers` limits the jobs that Ray has at a time; it defaults to the number of
    GPUs of the cluster, else of its CPUs, as it grows and shrinks. `light` and `grace` as in `LocalExecutor`. direct:
    False sends files even where a node sees the study's folder, for a disk that is slow to share.

    Ray never repeats a job: one whose worker or node is lost yields a lost result, and the caller decides. Raises
    StudyError without Ray, and from `run` where the cluster cannot be reached, a node has another novum or torch than
    this machine, or no node is big enough for a job.
    """

    def __init__(
        self,
        folder: Path,
        *,
        workers: int | None = None,
        preload: Sequence[str] = (),
        perform: str = PERFORM,
        address: str | None = None,
        resources: Mapping[str, float] | None = None,
        light: bool = False,
        grace: float = 10.0,
        direct: bool = True,
    ) -> None:
        super().__init__(folder, workers=workers, preload=preload, perform=perform)
        require()
        self._address, self._resources = address, checked(resources or {}, "resources")
        self._light, self._grace, self._direct = light, grace, direct
        self._cluster: Cluster | None = None
        self._finalizer: weakref.finalize[[], RayExecutor] | None = None
        self._nonce = {"file": "", "text": ""}
        self._sent = False
        self._tasks: dict[str, _Task] = {}
        self._weights: dict[str, Any] = {}
        self._function: Any = None

    # -- the cluster

    def _connected(self) -> Cluster:
        with self._lock:
            if self._cluster is None:
                for name in ("spool", "logs", "leases"):
                    (self.folder / name).mkdir(parents=True, exist_ok=True)
                self._cluster = Cluster(self._address, self._workers)
                self._finalizer = weakref.finalize(self, self._cluster.leave)
                import ray

                self._function = ray.remote(num_returns="streaming", max_retries=0)(ray_worker.work)
                self._nonce = {"file": f"leases/{secrets.token_hex(8)}.ray", "text": secrets.token_hex(32)}
                if self._direct:
                    (self.folder / self._nonce["file"]).write_text(self._nonce["text"])
            return self._cluster

    def describe(self) -> dict[str, Any]:
        totals = self._connected().totals()
        cpus, gpus = int(totals.get("CPU", 0)), int(totals.get("GPU", 0))
        return {"kind": "ray", "workers": self._workers or gpus or max(1, cpus), "cores": cpus, "gpus": gpus}

    def close(self) -> None:
        for run in list(self._runs):
            told = list(run.inbox)
            self._abandon(run)
            run.inbox = deque(told)  # not what only ended by this
        with self._lock:
            cluster, self._cluster, self._function, self._sent = self._cluster, None, None, False
            self._tasks.clear()
            self._weights.clear()
        if cluster is not None:
            (self.folder / self._nonce["file"]).unlink(missing_ok=True)
            if self._finalizer is not None:
                self._finalizer.detach()
            cluster.leave()

    def clear(self) -> None:
        if self._sent:  # the leases that are there now may be those of our own servers
            return
        super().clear()
        for stale in (self.folder / "leases").glob("*.ray"):
            if stale.name != Path(self._nonce["file"]).name:
                stale.unlink(missing_ok=True)

    # -- the jobs

    def _begin(self) -> Cluster:
        return self._connected()

    def _dispatch(self, run: Run, cluster: Cluster) -> None:
        room = self.describe()["workers"] if self._cluster is cluster else 0
        while len(self._tasks) < room:
            job = run.waiting.take()
            if job is None:
                return
            if job.id in self._tasks:
                raise StudyError(f"a job called {job.id} is running already, from another call of run.")
            self._send(run, job, cluster)
            run.active.add(job.id)

    def _send(self, run: Run, job: Job, cluster: Cluster) -> None:
        wants = self._wants(job, cluster)
        spool.remove(self.folder, job.id, job.attempt)
        (self.folder / "logs" / f"{job.id}.log").unlink(missing_ok=True)
        order = {
            "job": fields(job),
            "executor": {
                "preload": self.preload,
                "perform": self._perform,
                "path": [entry for entry in sys.path if isinstance(entry, str)],
                "light": self._light,
                "grace": self._grace,
                "scratch": None if cluster.home is None else str(cluster.home),
            },
            "folder": str(self.folder),
            "nonce": self._nonce,
            "installed": ray_worker.installed(),
        }
        parcel = parcels.pack(order, parcels.collect(self.folder, [f"checkpoints/{job.id}"]))
        options = {"num_cpus": wants["CPU"], "num_gpus": wants["GPU"]}
        options |= {"memory": wants["memory"]} if wants.get("memory") else {}
        stream = self._function.options(**options).remote(parcel, self._inputs(job))
        self._sent = True
        self._tasks[job.id] = _Task(job, run, wants, stream, time.monotonic())

    def _wants(self, job: Job, cluster: Cluster) -> dict[str, float]:
        """In Ray's names."""
        told = dict(job.payload.get("resources") or {})
        for name in MEASURED:
            told.pop(name, None)
        devices = float(told.pop("devices", 1))
        own = checked(told, f"resources of job {job.id}")
        if devices > 1:
            own |= {"cpus": max(devices, own.get("cpus", 1.0))}
            own |= {"gpus": devices} if cluster.totals().get("GPU") else {}
        gpus = 1.0 if cluster.totals().get("GPU") else 0.0
        return {"CPU": 1.0, "GPU": gpus} | {RESOURCES[name]: each for name, each in (self._resources | own).items()}

    def _inputs(self, job: Job) -> list[Any]:
        """References of the weights that a job begins with, each stored in the cluster once."""
        import ray

        named = [job.payload.get("parent"), job.payload.get("weights"), *job.payload.get("parents", [])]
        digests = list(dict.fromkeys(named))
        found = []
        for digest in dict.fromkeys(each for each in digests if isinstance(each, str)):
            if digest not in self._weights:
                files = parcels.collect(self.folder, [f"weights/{digest}"])
                self._weights[digest] = ray.put(parcels.pack({}, files))
            found.append(self._weights[digest])
        return found

    # -- their ends

    def _pump(self, timeout: float) -> None:
        """Take in what the nodes have to say, waiting at most `timeout` seconds for it."""
        import ray

        with self._lock:
            tasks = {each.stream: each for each in self._tasks.values()}
        if not tasks or self._cluster is None:
            time.sleep(timeout)
            return
        ready, _ = ray.wait(list(tasks), num_returns=1, timeout=timeout)
        if ready and len(tasks) > 1:
            ready, _ = ray.wait(list(tasks), num_returns=len(tasks), timeout=0)
        for stream in ready:
            with self._lock:
                if self._tasks.get(tasks[stream].job.id) is tasks[stream]:
                    self._listen(tasks[stream])
        with self._lock:
            self._watch_clock()

    def _listen(self, task: _Task) -> None:
        """Take in the next parcel of a task, or its end."""
        import ray

        try:
            head, files = parcels.unpack(ray.get(next(task.stream)))
        except StopIteration:
            self._end(task, {"lost": {"type": "Lost", "message": f"Ray ended job {task.job.id} without a result."}})
        except ray.exceptions.TaskCancelledError:
            self._end(task, {"lost": {"type": "Lost", "message": f"somebody cancelled job {task.job.id} in Ray."}})
        except ray.exceptions.RayTaskError as error:  # our own code, or none: what a job raises comes in a parcel
            self._refuse(task, f"cannot run Novum's jobs: {str(error)[-2000:]}\nInstall the same novum on every node")
        except ray.exceptions.RayError as error:
            self._end(task, {"lost": {"type": "Lost", "message": loss(task.job.id, task.node, error, self.folder)}})
        else:
            if "outcome" not in head:
                task.node, task.began = head["node"], time.monotonic()
                other = [name for name, each in ray_worker.installed().items() if head["installed"].get(name) != each]
                if other:
                    theirs, ours = (
                        ", ".join(f"{name} {each.get(name)}" for name in other)
                        for each in (head["installed"], ray_worker.installed())
                    )
                    self._refuse(task, f"has {theirs}; this is {ours}. Numbers of both must not be mixed: install one")
            elif "failed" in head["outcome"]:
                self._refuse(task, f"cannot run jobs: {head['outcome']['failed']} Repair it")
            else:
                self._end(task, head["outcome"], files, shared=head["shared"], seconds=head["seconds"])

    def _refuse(self, task: _Task, why: str) -> None:
        where = f"node {task.node}" if task.node else "a node"
        self._give_up(task, f"{where} of the Ray cluster {why}, or take it out of the cluster, and run again.")

    def _give_up(self, task: _Task, why: str) -> None:
        """Have the run of a task end with an error, when it comes to it: another one may be listening now."""
        task.run.refused = task.run.refused or StudyError(why)
        self._forget(task)

    def _end(
        self,
        task: _Task,
        outcome: Mapping[str, Any],
        files: Mapping[str, bytes] | None = None,
        *,
        shared: bool = True,
        seconds: float | None = None,
    ) -> None:
        """Store what a job left and its result, and have it told."""
        job = task.job
        if seconds is None:
            seconds = 0.0 if task.began is None else time.monotonic() - task.began
        status = 0
        try:
            parcels.place(self.folder, files or {})  # checked before anything is written
            known = {name: outcome[name] for name in ("value", "error") if name in outcome}
            # a shared disk may show the file of another machine late: what it holds came here, too
            if known and not (shared and spool.place(self.folder, job.id, job.attempt).exists()):
                spool.write(self.folder, job.id, known, job.attempt, job.about)
        except OSError:
            status = CANNOT_STORE
        except StudyError as error:
            self._give_up(task, str(error))
            return
        came = result(job, self.folder, seconds, status=status, why="cancelled" if task.stopping else "")
        if came.lost and status == 0 and not task.stopping:
            told = outcome["lost"]
            where = f" It ran on node {task.node}." if task.node and task.node not in told["message"] else ""
            came = Result(job, None, Failure(told["type"], told["message"] + where), lost=True, seconds=seconds)
        task.run.waiting.ended(job.id, well=came.error is None)
        task.run.inbox.append(came)
        self._forget(task)

    def _forget(self, task: _Task) -> None:
        task.run.active.discard(task.job.id)
        self._tasks.pop(task.job.id, None)

    def _watch_clock(self) -> None:
        import ray

        now = time.monotonic()
        for task in list(self._tasks.values()):
            if now >= task.force_at:
                task.force_at = math.inf
                ray.cancel(task.stream, force=True)
            if task.began is not None or self._cluster is None:
                continue
            patience = 0.0 if self._cluster.own else PATIENCE
            if now - task.sent > patience and not self._cluster.room(task.wants):
                self._stop([task.job.id], 0.0)
                wants = ", ".join(f"{name} {each:g}" for name, each in task.wants.items())
                self._give_up(
                    task,
                    f"no node of the Ray cluster is big enough for job {task.job.id}, which wants {wants}. "
                    "Lower its resources, or add such a node.",
                )

    # -- their stops

    def cancel(self, ids: Collection[str]) -> None:
        with self._lock:
            for run in list(self._runs):
                run.waiting.drop(ids)
            self._stop(ids, self._grace + HASTE)

    def _stop(self, ids: Collection[str], patience: float) -> None:
        """Ask jobs to end; after `patience` seconds, their Ray workers are killed. 0 kills at once."""
        import ray

        for task in [self._tasks[id] for id in ids if id in self._tasks]:
            if patience == 0 or not task.stopping:
                ray.cancel(task.stream, force=patience == 0)
            task.stopping = True
            task.force_at = math.inf if patience == 0 else min(task.force_at, time.monotonic() + patience)

    def _abandon(self, run: Run) -> None:
        """Nobody reads these results any more: end what still runs. What was finished stays in the spool.

        A second interrupt does not wait for the grace to pass.
        """
        run.waiting.drop()
        if not run.active or sys.is_finalizing():  # at the caller's end, the connection's own end stops them
            return
        try:
            self._wait_out(run, self._grace + HASTE)
        except KeyboardInterrupt:
            self._wait_out(run, 0.0)
            raise

    def _wait_out(self, run: Run, patience: float) -> None:
        deadline = time.monotonic() + patience + HASTE
        with self._lock:
            self._stop(tuple(run.active), patience)
        while run.active and self._cluster is not None and time.monotonic() < deadline:
            self._pump(TICK)
        with self._lock:
            for task in [each for each in self._tasks.values() if each.run is run]:
                self._forget(task)

    def running(self) -> tuple[str, ...]:
        with self._lock:
            return tuple(self._tasks)
