"""What runs on a node of a Ray cluster: a fork server of its own for each Ray worker, which does one job at a time.

Ray sends `work` by its name, so the same novum must be installed on each node. All that it is given and gives back are
parcels (see `novum.executors.parcels`): bytes and JSON.
"""

from __future__ import annotations

import errno
import functools
import importlib.metadata
import json
import os
import shutil
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from novum import plugins
from novum.errors import StudyError
from novum.executors import parcels
from novum.executors.base import Job, Result
from novum.executors.local import LocalExecutor
from novum.executors.scratch import Scratch

IDLE = 60.0
"""Seconds after which a server without a job ends: Ray may keep its worker for long."""
SCRATCH = "novum-ray-"
"""How the names of private folders begin."""


@functools.cache
def installed() -> dict[str, str]:
    """What must be the same on all nodes: versions of novum and torch, and a hash over novum's Python files."""
    found = {name: importlib.metadata.version(name) for name in ("novum", "torch")}
    return found | {"sources of novum": plugins.package_hash("novum")[:12]}


def work(order: bytes, inputs: Sequence[Any]) -> Iterator[bytes]:
    """Do one job: yields a parcel when it begins and one when it has ended.

    order: {"job", "executor": what `_Warm.key` is made of, "folder", "nonce": a file there and what it holds,
        "installed"}, and the job's checkpoints as files.
    inputs: references of parcels with the weights that it needs, fetched only where the study's folder is not here.

    Yields {"node", "installed"}, then {"outcome": {"value"} | {"error"} | {"lost"} | {"failed"}, "seconds", "shared"}
    with the files that it left; "failed" says that no job can run on this node.
    """
    told, files = parcels.unpack(order)
    yield parcels.pack({"node": node(), "installed": installed()})
    if told["installed"] != installed():
        return
    shared = _holds(Path(told["folder"], told["nonce"]["file"]), told["nonce"]["text"])
    try:
        warm = _warmed(told, shared)
    except StudyError as error:
        yield parcels.pack({"outcome": {"failed": str(error)}, "seconds": 0.0, "shared": shared})
        return
    try:
        if not shared:
            warm.empty()
            for parcel in _fetch(inputs):
                files |= parcels.unpack(parcel)[1]
        done = _perform(warm, Job(**told["job"]), {} if shared else files)
        if "lost" in done["outcome"]:
            lost = done["outcome"]["lost"]
            lost["message"] = lost["message"].replace(str(warm.local.folder), told["folder"])  # where its files will be
        yield parcels.pack(done | {"shared": shared}, {} if shared else parcels.collect(warm.local.folder))
        if not shared:
            warm.empty()
    finally:
        warm.rest()


def _perform(warm: _Warm, job: Job, files: Mapping[str, bytes]) -> dict[str, Any]:
    """{"outcome", "seconds"} of a job in the folder of `warm`, after these files have been put there."""
    folder = warm.local.folder
    missing = [] if warm.scratch is None else _absent(job.payload)
    if missing:
        why = (
            f"node {node()} has no file {', '.join(missing)}, and a class of a script travels by its file's name. "
            "Put the file at the same path on every node (a shared disk), or install it as a plugin."
        )
        return {"outcome": {"error": {"type": "StudyError", "message": why, "traceback": ""}}, "seconds": 0.0}
    try:
        parcels.place(folder, files)
        with closing(warm.local.run([job])) as results:  # type: ignore[type-var]
            result = next(results)
        if warm.scratch is not None:  # the caller has its own copy then
            warm.local.acknowledge(job)
        return {"outcome": _outcome(result), "seconds": result.seconds}
    except OSError as error:
        kind = "NoSpace" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "Lost"
        return {"outcome": {"lost": {"type": kind, "message": f"{type(error).__name__}: {error}."}}, "seconds": 0.0}
    except StudyError as error:  # its server stood, and died: no fault of the job or the study
        return {"outcome": {"lost": {"type": "Lost", "message": str(error)}}, "seconds": 0.0}


def _outcome(result: Result) -> dict[str, Any]:
    if result.error is None:
        return {"value": result.value}
    told = {"type": result.error.type, "message": result.error.message, "traceback": result.error.traceback}
    return {"lost" if result.lost else "error": told}


def _absent(payload: Mapping[str, Any]) -> list[str]:
    files = [str(code["file"]) for _, code in payload.get("local") or [] if code["file"] is not None]
    return sorted({file for file in files if not Path(file).is_file()})


def _fetch(inputs: Sequence[Any]) -> list[bytes]:
    import ray  # heavy, and here already

    return list(ray.get(list(inputs)))


def _holds(path: Path, text: str) -> bool:
    try:
        return path.read_text() == text
    except OSError:
        return False


@functools.cache
def node() -> str:
    """The node that this runs on, for people."""
    import ray

    context = ray.get_runtime_context()
    return f"{socket.gethostname()} ({ray.util.get_node_ip_address()}, {context.get_node_id()[:8]})"


# ------------------------------------------------------------------------------------------------ the server, kept


@dataclass
class _Warm:
    """An executor that stands ready for the next job of the same caller."""

    key: str
    local: LocalExecutor
    scratch: Scratch | None
    timer: threading.Timer | None = None

    def rest(self) -> None:
        """No job now: end after a while."""
        self.timer = threading.Timer(IDLE, _cool, [self])
        self.timer.daemon = True
        self.timer.start()

    def empty(self) -> None:
        """Forget what the last job left."""
        for top in (*parcels.TOPS, "spool"):
            for path in (self.local.folder / top).glob("*"):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)

    def end(self) -> None:
        self.local.close()
        if self.scratch is not None:
            self.scratch.end()


_lock = threading.Lock()
_warm: list[_Warm] = []
"""At most one."""


def _warmed(told: Mapping[str, Any], shared: bool) -> _Warm:
    """The executor for this caller, as it stands or started now. Raises StudyError where it cannot start."""
    gpus = os.environ.get("CUDA_VISIBLE_DEVICES")
    key = json.dumps([told["executor"], told["folder"], shared, gpus], sort_keys=True)
    with _lock:
        old = _warm.pop() if _warm else None
    if old is not None and old.timer is not None:
        old.timer.cancel()
    if old is None or old.key != key:
        if old is not None:
            old.end()
        old = _start(key, told, shared)
    with _lock:
        _warm.append(old)
    return old


def _start(key: str, told: Mapping[str, Any], shared: bool) -> _Warm:
    given = told["executor"]
    home = given["scratch"] if given["scratch"] and Path(given["scratch"]).is_dir() else tempfile.gettempdir()
    scratch = None if shared else Scratch(SCRATCH, Path(home))
    folder = Path(told["folder"]) if scratch is None else scratch.folder
    local = LocalExecutor(
        folder,
        workers=1,
        preload=given["preload"],
        perform=given["perform"],
        light=given["light"],
        grace=given["grace"],
    )
    mine = list(sys.path)
    theirs = [entry for entry in given["path"] if Path(entry).exists()]
    try:
        sys.path[:] = [*theirs, *(entry for entry in mine if entry not in theirs)]
        local.hello()
    except BaseException:
        local.close()
        if scratch is not None:
            scratch.end()
        raise
    finally:
        sys.path[:] = mine
    return _Warm(key, local, scratch)


def _cool(warm: _Warm) -> None:
    with _lock:
        if warm not in _warm:  # it has work again
            return
        _warm.remove(warm)
    warm.end()
