"""The fork server: imports torch once, then forks one process for each job. Started by `LocalExecutor`.

`python -m novum.executors.server DESCRIPTOR PARENT`: the descriptor is one end of a socket pair that carries lines
of JSON. First comes the configuration; the server answers {"ready": …} or {"failed": why}. Then

    {"run": {"id", "kind", "payload", "slot", "gpus", "shared", …}}
                                                           →  {"started": id, "pid": …} … {"done": id, "status": …,
                                                              "why": …, "seconds": …}
    {"stop": id, "grace": seconds}                         →  SIGTERM, then SIGKILL to the job's group, then "done";
                                                              {"gone": id} where no such job runs
    {"close": grace}                                       →  the same for every job, then the end

It ends by itself, and every process under it, as soon as its parent has died. Unlike multiprocessing's, it never
imports the caller's `__main__` and reads no pickles.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import selectors
import signal
import socket
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from novum.errors import NovumError
from novum.executors import preloading, worker
from novum.executors.base import Perform, resolve
from novum.executors.leases import Lease
from novum.executors.placing import available

LOG_LIMIT = 1_000_000
"""Bytes of one attempt's output that are kept, the first ones."""
TICK = 0.5
"""Seconds between two looks at whether the parent still lives."""
HASTE = 0.5
"""Seconds that jobs get to end by themselves once the parent has died."""
_PR_SET_CHILD_SUBREAPER = 36


@dataclass
class Child:
    """A running job's process; `kill_at` and `stop_at` are moments of the monotonic clock, None for never."""

    id: str
    pid: int
    started: float
    grace: float
    stop_at: float | None
    kill_at: float | None = None
    why: str = ""
    kept: int = 0


class Server:
    """One thread, one selector: the caller's messages, the ends of children, their output, their deadlines."""

    def __init__(self, control: socket.socket, parent: int, folder: Path, perform: Perform, grace: float) -> None:
        self.control, self.parent, self.folder, self.perform, self.grace = control, parent, folder, perform, grace
        self.children: dict[int, Child] = {}
        self.pipes: dict[int, Child] = {}
        self.incoming = b""
        self.leaving: float | None = None
        """The grace of the end that was asked for; None while the server serves."""
        self.lease = Lease(folder)
        self.selector = selectors.PollSelector()  # no descriptor that a fork would share
        self.selector.register(control, selectors.EVENT_READ)
        self.wake, self.waker = os.pipe()
        os.set_blocking(self.wake, False)
        os.set_blocking(self.waker, False)
        self.selector.register(self.wake, selectors.EVENT_READ)
        signal.set_wakeup_fd(self.waker, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._asked_to_end)
        signal.signal(signal.SIGHUP, self._asked_to_end)

    def _asked_to_end(self, *_: object) -> None:
        self.leaving = self.grace

    def serve(self) -> None:
        """Serve until the caller closes or dies; then end every job."""
        while self.leaving is None:
            self._turn()
        for child in self.children.values():
            self._stop(child, "cancelled", self.leaving)
        while self.children:
            self._turn()
        self._sweep()
        self.lease.end()

    def _turn(self) -> None:
        now = time.monotonic()
        moments = [at - now for child in self.children.values() for at in (child.stop_at, child.kill_at) if at]
        for key, _ in self.selector.select(max(0.0, min([TICK, *moments]))):
            if key.fileobj is self.control:
                self._listen()
            elif key.fd == self.wake:
                with suppress(BlockingIOError):
                    os.read(self.wake, 4096)
            else:
                self._log(key.fd)
        self._reap()
        self._watch_clock()
        if os.getppid() != self.parent:
            self._abandoned()

    def _abandoned(self) -> None:
        """Nobody waits for results any more: hurry."""
        if self.leaving != HASTE:
            self.leaving = HASTE
            for child in self.children.values():
                self._stop(child, "cancelled", HASTE)

    def _listen(self) -> None:
        try:
            data = self.control.recv(1 << 20)
        except OSError:
            data = b""
        if not data:
            self.selector.unregister(self.control)
            self._abandoned()
            return
        *lines, self.incoming = (self.incoming + data).split(b"\n")
        for line in lines:
            message = json.loads(line)
            if "run" in message:
                self._start(message["run"])
            elif "stop" in message:
                child = next((one for one in self.children.values() if one.id == message["stop"]), None)
                if child is None:
                    self._tell({"gone": message["stop"]})
                else:
                    self._stop(child, "cancelled", message["grace"])
            elif "close" in message:
                self.leaving = float(message["close"])

    def _tell(self, message: dict[str, Any]) -> None:
        with suppress(OSError):  # a caller that is gone is noticed by the next turn
            self.control.sendall(json.dumps(message).encode() + b"\n")

    def _start(self, job: dict[str, Any]) -> None:
        reading, writing = -1, -1
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGHUP))  # until the child can obey them
        try:
            self._log_file(job["id"]).unlink(missing_ok=True)
            reading, writing = os.pipe()
            sys.stdout.flush()
            sys.stderr.flush()
            shut = [self.control.fileno(), self.lease.descriptor, self.wake, self.waker, reading, *self.pipes]
            me, pid = os.getpid(), os.fork()
            if pid == 0:
                worker.main(job, self.folder, self.perform, me, writing, shut)
        except OSError as error:  # no more processes, descriptors, memory or disk
            if reading >= 0:
                os.close(reading)
            self._tell({"done": job["id"], "status": None, "why": f"{type(error).__name__}: {error}", "seconds": 0.0})
            return
        finally:
            if writing >= 0:
                os.close(writing)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM, signal.SIGHUP))
        with suppress(OSError):  # the child does it, too: whoever comes first
            os.setpgid(pid, pid)
        self.lease.note(pid, job["id"])
        now = time.monotonic()
        stop_at = None if job["timeout"] is None else now + job["timeout"]
        child = Child(job["id"], pid, now, self.grace, stop_at)
        os.set_blocking(reading, False)
        self.children[pid] = self.pipes[reading] = child
        self.selector.register(reading, selectors.EVENT_READ)
        self._tell({"started": job["id"], "pid": pid})

    def _log_file(self, id: str) -> Path:
        return self.folder / "logs" / f"{id}.log"

    def _log(self, pipe: int) -> bool:
        """Move some output from a job's pipe to its log; False where there is none now, or never will be again."""
        child = self.pipes[pipe]
        try:
            data = os.read(pipe, 1 << 16)
        except BlockingIOError:
            return False
        if not data:
            self._shut(pipe)
            return False
        room = LOG_LIMIT - child.kept
        if room >= 0:
            child.kept += len(data)
            kept = data[:room]
            if len(data) > room:
                kept += f"\n… output beyond {LOG_LIMIT} bytes was dropped.\n".encode()
            with suppress(OSError), self._log_file(child.id).open("ab") as log:  # a full disk costs no job
                log.write(kept)
        return True

    def _shut(self, pipe: int) -> None:
        self.selector.unregister(pipe)
        os.close(pipe)
        del self.pipes[pipe]

    def _stop(self, child: Child, why: str, grace: float) -> None:
        """Ask a job to end; after `grace` seconds it is killed. A second call can only hasten that."""
        kill_at = time.monotonic() + grace
        if child.kill_at is None:
            child.why = why
            self._signal(child.pid, signal.SIGTERM)
        child.kill_at = kill_at if child.kill_at is None else min(kill_at, child.kill_at)
        child.stop_at = None

    def _signal(self, group: int, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(group, number)

    def _watch_clock(self) -> None:
        now = time.monotonic()
        for child in self.children.values():
            if child.stop_at is not None and now >= child.stop_at:
                self._stop(child, "timeout", child.grace)
            if child.kill_at is not None and now >= child.kill_at:
                self._signal(child.pid, signal.SIGKILL)
                child.kill_at = now + TICK  # again, should a process have joined the group meanwhile

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                if not self.children:
                    self._sweep()  # only now is it certain that what is left belongs to no running job
                return
            child = self.children.pop(pid, None)
            if child is None:  # an orphan of a job, which came to us when the job ended
                continue
            self._signal(pid, signal.SIGKILL)  # whatever the job left running in its group
            for pipe in [fd for fd, owner in self.pipes.items() if owner is child]:
                while pipe in self.pipes and self._log(pipe):
                    pass
                if pipe in self.pipes:
                    self._shut(pipe)
            code = os.waitstatus_to_exitcode(status)
            seconds = time.monotonic() - child.started
            self._tell({"done": child.id, "status": code, "why": child.why, "seconds": seconds})

    def _sweep(self) -> None:
        """Kill what left its job's process group (a daemon): once its parents ended, it became a child of ours."""
        left = preloading.strays(os.getpid())
        while left:
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                with suppress(ChildProcessError):
                    os.waitpid(pid, 0)
            left = preloading.strays(os.getpid())


def _die_with(parent: int) -> None:
    """While imports run, nobody listens: look at the parent by a timer. (Linux' parent-death signal would not do:
    it is sent when the *thread* that started this process ends.)
    """

    def look(*_: object) -> None:
        if os.getppid() != parent:
            os._exit(1)

    signal.signal(signal.SIGALRM, look)
    signal.siginterrupt(signal.SIGALRM, False)
    signal.setitimer(signal.ITIMER_REAL, TICK, TICK)


def _first_line(control: socket.socket) -> dict[str, Any]:
    """The configuration; the caller sends nothing else before the server is ready."""
    data = b""
    while not data.endswith(b"\n"):
        more = control.recv(1 << 20)
        if not more:
            sys.exit("the caller is gone")
        data += more
    configuration: dict[str, Any] = json.loads(data)
    return configuration


def main(descriptor: int, parent: int) -> None:
    """Import, say what came of it, and serve."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _die_with(parent)
    control = socket.socket(fileno=descriptor)
    control.set_inheritable(False)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    given = _first_line(control)
    sys.path[:] = [*given["path"], *(entry for entry in sys.path if entry not in given["path"])]

    me = os.getpid()

    def leave() -> None:
        worker.leave_server(me, [control.fileno()])

    hello: dict[str, Any] = {"ready": True, "torch": None, "gpus": []}
    if not given["light"]:
        import numpy  # noqa: F401 - here for the jobs
        import torch
        import torch._dynamo  # the first optimiser of a process imports it, which takes longer than torch itself

        torch.set_num_threads(1)
        hello |= {"torch": torch.__version__, "gpus": preloading.gpus(leave)}
    hello["not_preloaded"] = preloading.preload(given["preload"], leave)
    try:
        perform = resolve(given["perform"])
    except NovumError as error:
        control.sendall(json.dumps({"failed": str(error)}).encode() + b"\n")
        return
    hello["memory"] = available()
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    server = Server(control, parent, Path(given["folder"]), perform, given["grace"])
    gc.collect()
    gc.freeze()  # the collector of a job never touches, and so never copies, the memory that all of them share
    control.sendall(json.dumps(hello).encode() + b"\n")
    server.serve()
    os._exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
