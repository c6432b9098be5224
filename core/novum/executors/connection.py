"""The caller's end of the fork server: a process, a socket that carries lines of JSON, and what it wrote to stderr."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Any

from novum.errors import StudyError

THREADS = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
"""One thread for each worker: more collapse under contention, and their number changes the last digits."""


class Connection:
    """Starts the server and talks to it. `send` and `receive` may be called from several threads."""

    def __init__(self, configuration: Mapping[str, Any], environment: Mapping[str, str]) -> None:
        if not sys.executable:
            raise StudyError("this Python does not know its own program (sys.executable is empty); use 'inline'.")
        self._socket, theirs = socket.socketpair()
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the connection
        self._lock, self._buffer = threading.Lock(), b""
        self._in_doubt = self._ready = False
        self._owner = os.getpid()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "novum.executors.server", str(theirs.fileno()), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=self._stderr,
                stderr=self._stderr,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # a Ctrl-C in the terminal reaches the caller alone
                env={**os.environ, "PYTORCH_NVML_BASED_CUDA_CHECK": "1", **THREADS, **environment},
            )
        self.send(configuration)

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self._process.pid

    @property
    def in_doubt(self) -> bool:
        """An interrupt hit while a line was on its way: what the server understood is unknown; only `end` is left."""
        return self._in_doubt

    def send(self, message: Mapping[str, Any]) -> None:
        """Send one line; a server that is gone is noticed by the next `receive`."""
        with self._lock:
            self._in_doubt = True
            with suppress(BrokenPipeError, ConnectionResetError):
                self._socket.sendall(json.dumps(message).encode() + b"\n")
            self._in_doubt = False

    def receive(self, timeout: float) -> list[dict[str, Any]]:
        """The messages that came within `timeout` seconds, none where nothing came; EOFError where it has died."""
        if not select.select([self._socket], [], [], timeout)[0]:
            return []
        with self._lock:
            if not select.select([self._socket], [], [], 0)[0]:
                return []  # another thread was faster
            try:
                data = self._socket.recv(1 << 20)
            except ConnectionResetError:
                data = b""
            if not data:
                raise EOFError
            self._ready = True
            *lines, self._buffer = (self._buffer + data).split(b"\n")
        return [json.loads(line) for line in lines]

    def obituary(self) -> str:
        """How the server ended, and the end of what it wrote."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        self._stderr.seek(0)
        told = self._stderr.read()[-3000:].decode(errors="replace").strip()
        return f"it ended with status {self._process.returncode} and wrote:\n{told or '(nothing)'}"

    def end(self, grace: float = 0.0, groups: Collection[int] = ()) -> None:
        """End the server and all under it; its jobs get `grace` seconds. Returns once it is gone.

        `groups` are the process groups of jobs, killed here should the server have died without doing so.
        """
        if self._owner != os.getpid():  # a fork of the caller inherited this object, not the server
            return
        deadline = time.monotonic() + grace + 5
        if not self._ready:  # it is still importing and listens to nothing
            self._process.kill()
        elif not self._in_doubt:  # else the closed socket tells it
            self.send({"close": grace})
        self._socket.close()
        try:
            self._process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.returncode != 0:
            for group in groups:
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(group, signal.SIGKILL)
        self._stderr.close()
