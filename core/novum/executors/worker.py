"""One job's own process: everything between the fork in the server and its end. It never returns to the server."""

from __future__ import annotations

import ctypes
import faulthandler
import os
import signal
import sys
import traceback
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn, TextIO

from novum.executors.base import Perform
from novum.executors.outcome import CANNOT_STORE, attempt

_PR_SET_PDEATHSIG = 1
_BROKEN = 70
"""Exit status where our own code failed (EX_SOFTWARE)."""


def main(
    job: dict[str, Any], folder: Path, perform: Perform, server: int, output: int, shut: Iterable[int]
) -> NoReturn:
    """Perform `job` in this freshly forked process, store the outcome and exit.

    `server` is the parent's process id, `output` the pipe for standard output and error, and `shut` holds the
    server's descriptors that this process must not keep open.
    """
    status = _BROKEN
    try:
        leave_server(server, shut)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(output)
        sys.stdout, sys.stderr = _lines(1), _lines(2)
        faulthandler.enable(file=2)
        os.environ["NOVUM_SLOT"] = str(job["slot"])
        os.environ["NOVUM_SHARED"] = str(int(job["shared"]))
        os.environ.pop("NOVUM_GPUS", None)
        if job["gpus"]:
            os.environ["NOVUM_GPUS"] = ",".join(map(str, job["gpus"]))
        # It keeps the server fit for forking. A job would pay at each step: optimisers ask for CUDA every time.
        os.environ.pop("PYTORCH_NVML_BASED_CUDA_CHECK", None)
        with suppress(OSError):  # where memory runs out, this process is the one to give up, not the server
            Path("/proc/self/oom_score_adj").write_text("500")
        if "torch" in sys.modules:
            import torch

            torch.set_num_threads(1)
        sys.stderr.write(attempt(perform, job, folder, debug=False))
        status = 0
    except OSError:
        status = CANNOT_STORE
        traceback.print_exc()
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(Exception):
            sys.stdout.flush()
        with suppress(Exception):
            sys.stderr.flush()
        os._exit(status)  # no atexit: those handlers belong to the server


def _lines(descriptor: int) -> TextIO:
    """A text stream that loses no whole line when the process is killed, and takes every character."""
    return open(descriptor, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)


def leave_server(server: int, shut: Iterable[int]) -> None:
    """A process group of its own, the usual signals, and an end together with the server (on Linux)."""
    signal.set_wakeup_fd(-1)
    signal.setitimer(signal.ITIMER_REAL, 0)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the caller decides when a job ends, not the terminal
    with suppress(PermissionError):  # the server has done it already
        os.setpgid(0, 0)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    if os.getppid() != server:  # it died before it could be followed
        os._exit(_BROKEN)
    for descriptor in shut:
        os.close(descriptor)
