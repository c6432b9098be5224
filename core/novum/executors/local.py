"""Each job in a fresh process of this machine, forked from a server that has imported torch once."""

from __future__ import annotations

import sys
import time
import weakref
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from novum.errors import StudyError
from novum.executors import leases, spool
from novum.executors.base import PERFORM, Job, cores
from novum.executors.connection import Connection
from novum.executors.outcome import fields, result
from novum.executors.placing import Gpu, Place, Placing
from novum.executors.pumped import TICK, Pumped, Run


@dataclass
class _Running:
    job: Job
    run: Run
    place: Place
    pid: int | None = None
    stopping: bool = False


class LocalExecutor(Pumped):
    """The default: isolation of a process per job, at a few hundredths of a second each once the server stands.

    The server starts with the first `run` or with `start`, which returns at once; it needs some seconds, since it
    imports torch. It is no part of multiprocessing: nothing re-imports the caller's `__main__`, so it works in an
    unguarded script, a notebook and at a prompt. Modules are found as in this process (`sys.path` as it is when the
    server starts). A job uses one thread; what it prints, and the traceback of its error, stand in
    `folder/logs/<id>.log` (the first 1 MB of the latest attempt).

    Jobs run side by side while cores and memory last (see `novum.executors.placing`): on one GPU as many as fit by
    their measured need, payload["resources"]["device_memory"] in bytes, against its memory that was free when the
    server started; a job without one, or of several "devices", has its GPUs to itself. Without a GPU the same holds
    for "process_memory" and the machine's memory, where an unknown need is an equal share. A job that does not fit is
    passed by a few later ones, then waited for. It learns its GPUs from the environment variable NOVUM_GPUS ("0", or
    "0,1"), whether others may come there from NOVUM_SHARED ("0" or "1"), and a number that no other running job has
    from NOVUM_SLOT.

    `workers` is the most jobs at a time; it defaults to the number of cores. `environment` adds variables to the
    workers' environment. `light` leaves numpy and torch out of the server, for jobs that need neither; it then counts
    no GPUs. `grace` is the number of seconds between SIGTERM and SIGKILL for a job that must end. `gpus`, each
    {"total", "free"} in bytes, and `memory` in bytes stand in for this machine's, in tests and in simulations.

    Raises StudyError from `run` where the server cannot start or dies.
    """

    def __init__(
        self,
        folder: Path,
        *,
        workers: int | None = None,
        preload: Sequence[str] = (),
        perform: str = PERFORM,
        environment: Mapping[str, str] | None = None,
        light: bool = False,
        grace: float = 10.0,
        gpus: Sequence[Mapping[str, int]] | None = None,
        memory: int | None = None,
    ) -> None:
        super().__init__(folder, workers=workers, preload=preload, perform=perform)
        self._environment = dict(environment or {})
        self._gpus, self._memory = gpus, memory
        self._placing: Placing | None = None
        self._remarked = False
        self._light, self._grace = light, grace
        self._server: Connection | None = None
        self._hello: dict[str, Any] | None = None
        self._finalizer: weakref.finalize[[], LocalExecutor] | None = None
        self._running: dict[str, _Running] = {}

    # -- the server

    def start(self) -> None:
        """Start the server if there is none, without waiting for it: its imports then overlap with other work."""
        with self._lock:
            if self._server is not None:
                return
            for name in ("spool", "logs"):
                (self.folder / name).mkdir(parents=True, exist_ok=True)
            configuration = {
                "folder": str(self.folder),
                "preload": self.preload,
                "perform": self._perform,
                "path": [entry for entry in sys.path if isinstance(entry, str)],
                "light": self._light,
                "grace": self._grace,
            }
            self._server = Connection(configuration, self._environment)
            self._finalizer = weakref.finalize(self, self._server.end)

    def hello(self) -> dict[str, Any]:
        """What the server said of itself: {"torch": version or None, "gpus": how many, "not_preloaded": {module: why}}.

        Starts the server where there is none, and waits for it.
        """
        self.start()
        while self._hello is None:
            if self._server is None:
                raise StudyError("the executor was closed while its workers were starting; call run again.")
            self._pump(TICK)
        return {name: self._hello[name] for name in ("torch", "not_preloaded")} | {"gpus": len(self._hello["gpus"])}

    def describe(self) -> dict[str, Any]:
        gpus = self.hello()["gpus"]
        return {"kind": "local", "workers": self._workers or gpus or cores(), "cores": cores(), "gpus": gpus}

    def close(self) -> None:
        with self._lock:
            server, self._server, self._hello = self._server, None, None
            groups = [one.pid for one in self._running.values() if one.pid is not None]
            self._running.clear()
            for run in list(self._runs):
                run.waiting.drop()
                run.active.clear()
        if server is not None:
            if self._finalizer is not None:
                self._finalizer.detach()
            server.end(self._grace if groups else 0.0, groups)

    def clear(self) -> None:
        leases.clear(self.folder, own=None if self._server is None else self._server.pid)

    def _pump(self, timeout: float) -> None:
        """Take in what the server has to say, waiting at most `timeout` seconds for it."""
        server = self._server
        if server is None:  # closed meanwhile
            return
        try:
            messages = server.receive(timeout)
        except EOFError:
            self._died(server)
            return
        except (OSError, ValueError):  # closed by another thread while this one waited
            if self._server is server:
                raise
            return
        for message in messages:
            with self._lock:
                self._take_in(message)

    def _died(self, server: Connection) -> None:
        if self._server is not server:  # closed, or mourned by another thread
            return
        told, starting = server.obituary(), self._hello is None
        self.close()
        when = "could not start" if starting else "died"
        raise StudyError(
            f"the process that starts the workers {when}: {told}\n"
            "Finished results are kept. Repair what it names and run again, or use the executor 'inline'."
        )

    def _take_in(self, message: dict[str, Any]) -> None:
        if "ready" in message:
            found = message["gpus"] if self._gpus is None else [dict(each) for each in self._gpus]
            memory = message["memory"] if self._memory is None else self._memory
            self._hello = {**message, "gpus": found}
            self._placing = Placing(
                self._workers, cores(), [Gpu(each["total"], each["free"]) for each in found], memory
            )
        elif "failed" in message:
            self.close()
            raise StudyError(message["failed"])
        elif "started" in message and message["started"] in self._running:
            self._running[message["started"]].pid = message["pid"]
        elif "gone" in message:  # its end was told, but an interrupt kept us from listening
            one = self._running.get(message["gone"])
            if one is not None and one.stopping:
                one.run.active.discard(one.job.id)
                del self._running[one.job.id]
        elif "done" in message and message["done"] in self._running:
            one = self._running[message["done"]]
            came = result(one.job, self.folder, message["seconds"], status=message["status"], why=message["why"])
            one.run.waiting.ended(one.job.id, well=came.error is None)
            one.run.inbox.append(came)
            one.run.active.discard(one.job.id)
            del self._running[one.job.id]

    # -- the jobs

    def _begin(self) -> Placing:
        self.hello()
        if self._placing is None:
            raise StudyError("the executor was closed while its workers were starting; call run again.")
        return self._placing

    def _dispatch(self, run: Run, placing: Placing) -> None:
        while True:
            taken = [one.place for one in self._running.values()]
            found: dict[str, Place] = {}

            def fits(job: Job, taken: list[Place] = taken, found: dict[str, Place] = found) -> bool:
                place = placing.place(job, taken)
                if place is not None:
                    found[job.id] = place
                return place is not None

            job = None if placing.full(taken) else run.waiting.take(fits)
            if job is None:
                return
            if job.id in self._running:
                raise StudyError(f"a job called {job.id} is running already, from another call of run.")
            if self._server is None:
                raise StudyError("the executor was closed while jobs were waiting; call run again.")
            spool.remove(self.folder, job.id, job.attempt)
            place = found[job.id]
            self._running[job.id] = _Running(job, run, place)
            run.active.add(job.id)
            where = {"slot": place.slot, "gpus": place.gpus, "shared": place.shared}
            self._server.send({"run": fields(job) | where})

    def remarks(self) -> tuple[str, ...]:
        short = None if self._placing is None else self._placing.short
        if short is None or self._remarked:
            return ()
        self._remarked = True
        return (short,)

    def cancel(self, ids: Collection[str]) -> None:
        with self._lock:
            for run in list(self._runs):
                run.waiting.drop(ids)
            self._stop(ids, self._grace)

    def _stop(self, ids: Collection[str], grace: float) -> None:
        for id in ids:
            if self._server is not None and id in self._running:
                self._running[id].stopping = True
                self._server.send({"stop": id, "grace": grace})

    def _abandon(self, run: Run) -> None:
        """Nobody reads these results any more (an interrupt, an error, a closed iterator): end what still runs.

        A second interrupt does not wait for the grace to pass. What was finished stays in the spool.
        """
        run.waiting.drop()
        if not run.active:
            return
        grace = self._grace
        try:
            self._wait_out(run, grace)
        except KeyboardInterrupt:
            self._wait_out(run, 0.0)
            raise

    def _wait_out(self, run: Run, grace: float) -> None:
        deadline = time.monotonic() + grace + 5
        if self._server is not None and not self._server.in_doubt:
            with self._lock:
                self._stop(tuple(run.active), grace)
            with suppress(StudyError):  # a server that died left nothing running, and what brought us here says more
                while run.active and self._server is not None and time.monotonic() < deadline:
                    self._pump(TICK)
        if run.active:
            self.close()

    def running(self) -> tuple[str, ...]:
        with self._lock:
            return tuple(self._running)
