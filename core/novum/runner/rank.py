"""A further process of a trial over several devices: `python -m novum.runner.rank`, started by `novum.runner.crew`.

Standard input carries lines of JSON: what to do, and, once all stand ready, {"resume": checkpoint or null}. It stays
open for as long as the first process lives; when it closes, this process ends. What this one raises goes into a file.
"""

from __future__ import annotations

import ctypes
import json
import os
import queue
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import Any, BinaryIO

_PR_SET_PDEATHSIG = 1


class Line:
    """The line to the first process. Once it closes, this process ends: at once, or when it has done its part."""

    def __init__(self, pipe: BinaryIO) -> None:
        self._pipe = pipe
        self._messages: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._done = self._closed = False
        self._lock = threading.Lock()
        threading.Thread(target=self._listen, daemon=True).start()

    def next(self) -> dict[str, Any]:
        """The next message, as soon as it is there."""
        return self._messages.get()

    def end(self, status: int) -> None:
        """There is nothing left to do: end with this status, if well not before the first process says so."""
        with self._lock:
            self._done = True
            closed = self._closed
        if status == 0 and not closed:
            threading.Event().wait()  # the other thread ends this process
        _exit(status)

    def _listen(self) -> None:
        for line in self._pipe:
            self._messages.put(json.loads(line))
        with self._lock:
            self._closed = True
            done = self._done
        _exit(0 if done else 1)


def main() -> None:
    """Take part in one trial, and exit."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process decides when a trial ends, not the terminal
    pipe = os.fdopen(os.dup(0), "rb")
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)  # what a plugin reads is not ours
    line = Line(pipe)
    told = line.next()
    if os.getppid() != told["parent"]:  # it died before its death could be followed
        _exit(1)
    sys.path[:] = [*told["path"], *(entry for entry in sys.path if entry not in told["path"])]
    status = 0
    try:
        _take_part(told, line)
    except BaseException as error:
        traceback.print_exc()
        _report(told, error)
        status = 1
    line.end(status)


def _take_part(told: dict[str, Any], line: Line) -> None:
    import torch

    from novum.runner import crew, device, jobs
    from novum.runner.ranks import Ranks, Together
    from novum.seeds import trial_seed

    torch.set_num_threads(1)
    payload, scratch = told["payload"], Path(told["scratch"])
    kind = payload["plan"]["device"]
    if kind == "cuda":
        torch.cuda.set_device(device.device(kind))
    ranks = Ranks(told["rank"], told["count"], trial_seed(**payload["seed"]), device.device(kind))
    shelf = Together(ranks, None) if told["task"] == "train" else None
    folder = Path(told["folder"])
    jobs.receive(payload)
    trainer = jobs.trainer(payload, folder, ranks=ranks, shelf=shelf)
    crew.ready(scratch, told["rank"]).touch()
    number = line.next()["resume"]
    if number is not None:
        jobs.shelf(payload, folder).follow(number, trainer)
    ranks.join(scratch, told["backend"])
    if told["task"] == "train":
        trainer.run()
    else:
        jobs.paces(trainer)


def _report(told: dict[str, Any], error: BaseException) -> None:
    """Leave what was raised where the first process looks for it."""
    from novum.runner.crew import report

    name = type(error).__name__
    if name == "AcceleratorError" and "out of memory" in str(error):
        name = "OutOfMemoryError"
    place = report(Path(told["scratch"]), told["rank"])
    try:
        unfinished = place.with_suffix(".tmp")
        unfinished.write_text(json.dumps({"type": name, "message": str(error)[-20_000:]}))
        unfinished.rename(place)
    except OSError:
        traceback.print_exc()


def _exit(status: int) -> None:
    """At once: nothing of torch's has to be taken down, and nobody may have to wait for it."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            continue
    os._exit(status)


if __name__ == "__main__":
    main()
