"""What code does beside what it returns: output, files written, threads, processes, changes to the process."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

WRITING = {"os.mkdir", "os.remove", "os.rmdir", "os.rename", "os.symlink", "os.link", "os.truncate", "shutil.rmtree"}
SOURCES = (".py", ".pyc", ".pyi", ".so", ".dylib", ".pth", ".toml", ".cfg", ".typed")
PATIENCE = 1.0
"""Seconds that a thread or a process may take to end after the work has."""

_watches: list[Traces] = []
_hooked = False


@dataclass
class Traces:
    """What was seen. output: bytes written to standard output and error. written, read: paths of files. left: threads
    and processes that still ran. changed: what of the process was left otherwise than it was.
    """

    allowed: tuple[Path, ...] = ()
    output: int = 0
    head: str = ""
    written: list[str] = field(default_factory=list)
    read: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        """One event of the interpreter (see Python's audit events)."""
        if event == "open":
            path, mode, flags = arguments
            writes = (isinstance(mode, str) and any(each in mode for each in "wax+")) or (
                isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC))
            )
            self._note(path, writes)
        elif event in WRITING and arguments:
            self._note(arguments[0], True)
            if event == "os.rename":
                self._note(arguments[1], True)

    def _note(self, given: Any, writes: bool) -> None:
        if not isinstance(given, str | bytes | os.PathLike):
            return  # a file descriptor: what opened it was heard
        path = Path(os.path.abspath(os.fsdecode(given)))  # noqa: PTH100 - resolving asks the disk for every link
        if path.suffix in SOURCES or "__pycache__" in path.parts or path.is_relative_to("/dev"):
            return
        if not writes:
            self.read.append(str(path))
        elif not any(path.is_relative_to(each) for each in self.allowed):
            self.written.append(str(path))


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    if _watches and (event == "open" or event in WRITING):
        for each in _watches:
            each.hear(event, arguments)


@contextlib.contextmanager
def watched(folder: Path) -> Iterator[Traces]:
    """Watch what a block does; temporary files go below `folder` meanwhile. The traces are complete after the block.

    What is written by code that is no Python (a library of C) shows only where Python opened the file.
    """
    global _hooked
    if not _hooked:
        sys.addaudithook(_hear)  # a hook stays for good; it listens only while somebody watches
        _hooked = True
    scratch = folder / "temporary"
    scratch.mkdir(parents=True, exist_ok=True)
    traces = Traces(allowed=(folder.absolute(), *caches()))
    before, threads, children = _state(), set(threading.enumerate()), _children()
    environment, kept = dict(os.environ), tempfile.tempdir
    os.environ["TMPDIR"], tempfile.tempdir = str(scratch), str(scratch)
    asked = dict(os.environ)
    try:
        with _captured(folder / "output.txt") as output:
            _watches.append(traces)
            try:
                yield traces
            finally:
                _watches.remove(traces)
                traces.changed += _differences(before, _state(), asked)
    finally:
        tempfile.tempdir = kept
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(before["the working directory"])
    traces.output = output.stat().st_size
    traces.head = output.read_bytes()[:200].decode(errors="replace")
    traces.left += _left(threads, children)


@contextlib.contextmanager
def _captured(file: Path) -> Iterator[Path]:
    """Send everything written to standard output and error to a file, also by libraries that are no Python."""
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    kept: list[int] = []
    with file.open("w", errors="replace") as sink:
        for number in (1, 2):
            try:
                kept.append(os.dup(number))
            except OSError:  # it is closed
                kept.append(-1)
            os.dup2(sink.fileno(), number)
        try:
            with contextlib.redirect_stdout(sink), contextlib.redirect_stderr(sink):
                yield file
        finally:
            with contextlib.suppress(ValueError):
                sink.flush()
            for number, copy in zip((1, 2), kept, strict=True):
                if copy >= 0:
                    os.dup2(copy, number)
                    os.close(copy)


def caches() -> tuple[Path, ...]:
    """Folders for what is fetched once and kept for all: where libraries put downloads."""
    named = [os.environ.get(name) for name in ("XDG_CACHE_HOME", "HF_HOME", "TORCH_HOME", "MPLCONFIGDIR")]
    return (*(Path(each).absolute() for each in named if each), Path.home() / ".cache")


def _state() -> dict[str, Any]:
    """What of the process others rely on."""
    found: dict[str, Any] = {"the working directory": os.getcwd()}  # noqa: PTH109 - as it was given
    if threading.current_thread() is threading.main_thread():
        found |= {f"the handler of {each.name}": signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "get_default_dtype"):
        found["torch's default type"] = torch.get_default_dtype()
        found["torch's gradients being on"] = torch.is_grad_enabled()
        found["torch's threads"] = torch.get_num_threads()
        found["torch's deterministic algorithms"] = torch.are_deterministic_algorithms_enabled()
    return found


def _differences(before: dict[str, Any], after: dict[str, Any], environment: dict[str, str]) -> list[str]:
    found = [f"{name} is {after[name]!r} and was {before[name]!r}" for name in before if after[name] != before[name]]
    now = dict(os.environ)
    names = sorted(name for name in environment.keys() | now.keys() if environment.get(name) != now.get(name))
    names = [name for name in names if not name.startswith("PYTEST_") and name not in BENIGN]
    return found + [f"the environment variable {name} was changed" for name in names]


BENIGN = (
    "KMP_DUPLICATE_LIB_OK",
    "KMP_INIT_AT_FORK",
    "TORCHINDUCTOR_CACHE_DIR",
    "TRITON_CACHE_DIR",
    "LC_CTYPE",
    "SDL_AUDIODRIVER",
)
"""Variables that widespread libraries set for themselves when they are first imported."""


def _left(threads: set[threading.Thread], children: set[int]) -> list[str]:
    deadline = time.monotonic() + PATIENCE
    while True:
        alive = [each for each in threading.enumerate() if each not in threads and not _known(each)]
        running = sorted(_children() - children)
        if not (alive or running) or time.monotonic() > deadline:
            return [f"the thread {each.name!r}" for each in alive] + [f"the process {each}" for each in running]
        time.sleep(0.02)


def _known(thread: threading.Thread) -> bool:
    """Tqdm's monitor lives as long as the process, and is that library's own."""
    return type(thread).__name__ == "TMonitor"


def _children() -> set[int]:
    """Living children of this process, where Linux tells; empty elsewhere."""
    found: set[int] = set()
    for tasks in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found.update(int(each) for each in tasks.read_text().split())
    return {each for each in found if not _zombie(each)}


def _zombie(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (OSError, IndexError):
        return True


class TookTooLong(Exception):  # noqa: N818 - the state is the name
    """A block did not end in time."""


@contextlib.contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise TookTooLong in the main thread when the block has not ended after so many seconds.

    Elsewhere than in the main thread, and where somebody else uses the alarm, there is no limit.
    """
    main = threading.current_thread() is threading.main_thread()
    if not main or not hasattr(signal, "setitimer") or signal.getitimer(signal.ITIMER_REAL)[0] > 0:
        yield
        return

    def ring(number: int, frame: FrameType | None) -> None:
        raise TookTooLong(f"it had not ended after {seconds:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
