"""The further processes of a trial over several devices, as its first one starts, watches and ends them.

They are plain processes of `python -m novum.runner.rank` (no multiprocessing, no pickle): they are told what to do by
lines of JSON on standard input, and end when it closes, which the death of this process does. They find one another
through a file in a private folder of the study.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from novum.errors import KINDS
from novum.executors.scratch import Scratch
from novum.runner import device
from novum.runner.ranks import RankLost, Ranks

if TYPE_CHECKING:
    from collections.abc import Callable

    from novum.seeds import Seed

FOLDER = "scratch"
"""Below the study's folder: where the processes of one trial meet."""
TICK = 0.02
"""Seconds between two looks at whether the others are ready."""
PATIENCE = 10.0
"""Seconds for what follows from an end by itself: ours from a death among the others, theirs from ours."""
THREADS = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


@contextmanager
def crew(
    payload: Mapping[str, Any], folder: Path, task: str, seed: Seed, wish: Callable[[], bool] = lambda: False
) -> Iterator[Crew | None]:
    """The processes that train a plan together with this one; None where its recipe asks for one device.

    task: what they do, "train" or "rehearse" (see `novum.runner.rank`). wish: whether a checkpoint is due.

    Raises RankLost where one of them dies, and what one of them raised where it names its reason.
    """
    count = payload["plan"]["arm"]["recipe"].get("devices", 1)
    if count == 1:
        yield None
        return
    import torch.distributed as dist

    found = Crew(payload, folder, task, count, seed, wish)
    well = False
    try:
        yield found
        well = True
    except (RankLost, dist.DistError) as error:
        raise found.why(error) from error
    except RuntimeError as error:  # a layer of the network may have been talking to the others
        if found.killed:
            raise found.why(error) from error
        raise
    finally:
        found.close(well=well)


class Crew:
    """Ranks 1 and up of one trial. See `crew`, which makes and ends it; `ranks` is this process among them."""

    def __init__(
        self, payload: Mapping[str, Any], folder: Path, task: str, count: int, seed: Seed, wish: Callable[[], bool]
    ) -> None:
        kind = payload["plan"]["device"]
        gpus = device.gpus(count) if kind == "cuda" else []
        self._backend = backend(kind, gpus)
        self._scratch = Scratch("ranks-", _made(folder / FOLDER))
        self._closing = threading.Event()
        self._processes: list[subprocess.Popen[bytes]] = []
        self.ranks = Ranks(0, count, seed, device.device(kind), wish)
        told = {
            "payload": payload,
            "folder": str(folder),
            "task": task,
            "count": count,
            "scratch": str(self._scratch.folder),
            "backend": self._backend,
            "path": [entry for entry in sys.path if isinstance(entry, str)],
            "parent": os.getpid(),
        }
        try:
            for rank in range(1, count):
                self._processes.append(_start(gpus[rank] if gpus else None))
                self._tell(rank, {"rank": rank, **told})
        except BaseException:
            self.close(well=False)
            raise

    @property
    def killed(self) -> bool:
        """Whether one of them was ended by a signal."""
        return any((process.poll() or 0) < 0 for process in self._processes)

    def begin(self, resume: int | None = None) -> None:
        """Wait until all stand where this process stands, and join them. resume: the checkpoint to go on from.

        Raises RankLost, or what one of them raised.
        """
        while not all(ready(self._scratch.folder, rank).exists() for rank in range(1, self.ranks.count)):
            if any(process.poll() is not None for process in self._processes):
                raise self.why(RankLost("a rank of this trial ended before it began"))
            time.sleep(TICK)
        for rank in range(1, self.ranks.count):
            self._tell(rank, {"resume": resume})
        threading.Thread(target=self._watch, name="novum-ranks", daemon=True).start()
        self.ranks.join(self._scratch.folder, self._backend)

    def why(self, error: BaseException) -> BaseException:
        """What to raise for a step that failed since others were gone: what one of them raised, else RankLost."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and all(process.poll() is None for process in self._processes):
            time.sleep(TICK)
        ends = []
        for rank, process in enumerate(self._processes, 1):
            with suppress(OSError, ValueError):
                told = json.loads(report(self._scratch.folder, rank).read_text())
                if told["type"] != RankLost.__name__:  # else it is not the one that began
                    return _as_raised(told["type"], f"{told['message']} (in rank {rank} of the trial)")
            if process.poll() is not None:
                ends.append(f"rank {rank} {_end(process.poll())}")
        return RankLost(f"the trial's devices lost one another: {', '.join(ends) or error}")

    def close(self, *, well: bool) -> None:
        """End them, where all went `well` those that have nothing left to do: they see it and end by themselves."""
        self._closing.set()
        for process in self._processes:
            with suppress(OSError):
                assert process.stdin is not None
                process.stdin.close()
            if not well:
                process.kill()
        deadline = time.monotonic() + PATIENCE
        for process in self._processes:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if well or self._backend != "nccl":  # it would wait for the dead; this process ends soon
            leave()
        self._scratch.end()

    def _tell(self, rank: int, message: Mapping[str, Any]) -> None:
        stdin = self._processes[rank - 1].stdin
        assert stdin is not None
        with suppress(BrokenPipeError):  # one that is gone is noticed by who waits for it
            stdin.write(json.dumps(message).encode() + b"\n")
            stdin.flush()

    def _watch(self) -> None:
        """End this process where another one died and nothing here notices: a GPU may wait for the dead for ever."""
        while not self._closing.wait(0.2):
            if any(process.poll() is not None for process in self._processes):
                if not self._closing.wait(PATIENCE):
                    os.kill(os.getpid(), signal.SIGTERM)
                return


def backend(kind: str, gpus: Sequence[int]) -> str:
    """What torch.distributed calls the way of talking: "nccl" among GPUs, "gloo" elsewhere and where two share one."""
    import torch.distributed as dist

    return "nccl" if kind == "cuda" and len(set(gpus)) == len(gpus) and dist.is_nccl_available() else "gloo"


def leave() -> None:
    """Leave the group of this trial, if this process is in one."""
    import torch.distributed as dist

    if dist.is_initialized():
        with suppress(RuntimeError):
            dist.destroy_process_group()


def ready(scratch: Path, rank: int) -> Path:
    """The file by which a rank says that it stands ready."""
    return scratch / f"ready-{rank}"


def report(scratch: Path, rank: int) -> Path:
    """The file in which a rank says what it raised: {"type", "message"}."""
    return scratch / f"error-{rank}.json"


def _start(gpu: int | None) -> subprocess.Popen[bytes]:
    """In this process's group, so that whoever ends the job ends all of it."""
    environment = {**os.environ, **THREADS}
    if gpu is not None:
        environment["NOVUM_GPUS"] = str(gpu)
    return subprocess.Popen([sys.executable, "-P", "-m", "novum.runner.rank"], stdin=subprocess.PIPE, env=environment)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _end(status: int | None) -> str:
    if status is not None and status < 0:
        with suppress(ValueError):
            return f"was ended by {signal.Signals(-status).name} ({-status})"
    return f"exited with status {status}"


def _as_raised(name: str, message: str) -> BaseException:
    """The error of this name, as far as its class decides what follows (see `novum.faults`)."""
    import torch

    kinds: dict[str, type[BaseException]] = {
        **KINDS,
        "OutOfMemoryError": torch.OutOfMemoryError,
        "MemoryError": MemoryError,
        "OSError": OSError,
    }
    return kinds[name](message) if name in kinds else RuntimeError(f"{name}: {message}")
