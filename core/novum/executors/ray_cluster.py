"""A connection to a Ray cluster: the one that is there, or one of this machine, started and ended for the purpose."""

from __future__ import annotations

import importlib.util
import logging
import math
import os
import signal
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from novum.errors import ConfigError, StudyError
from novum.executors.base import cores
from novum.executors.scratch import Scratch

STORE = 100_000_000
"""Bytes of shared memory for the objects of an own cluster; what is more goes to the disk."""
LONGEST_FOLDER = 40
"""Characters that a folder for sockets may have: the system allows 107 for the whole path, and Ray needs some 60."""
RESOURCES = {"cpus": "CPU", "gpus": "GPU", "memory": "memory"}
"""Ours → Ray's."""
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
}
"""Environment while Ray is imported and connects: nothing is sent home, no warning of what changes in a later Ray; and
under `uv run` Ray would have every worker start by the same command in a copy of the working folder, where it hangs.
"""


def require() -> None:
    """Raises StudyError where Ray is not installed; does not import it."""
    if importlib.util.find_spec("ray") is None:
        raise StudyError(
            "the executor 'ray' needs the package ray, which is not installed: pip install 'novum[ray]'. "
            "Without it, use the executor 'local'."
        )


@dataclass
class _Held:
    """The connection that was made here. Ray knows one for each process, so all executors of a process share it."""

    own: bool
    home: Scratch | None
    users: int = 1
    printing: Any = None


_held: list[_Held] = []
"""At most one."""
_lock = threading.Lock()


class Cluster:
    """Connected from now until `leave`. `own`: the cluster was started here, and ends when its last user leaves; `home`
    is its folder.

    address: "host:port" of a cluster, "auto" for the one of this machine, None for $RAY_ADDRESS, or else an own one
    with as many CPUs as this process may use, and at least `workers`. A connection that the process has already is
    used, and left as it is. Raises StudyError where there is no such cluster or it cannot be started.
    """

    def __init__(self, address: str | None, workers: int | None) -> None:
        require()
        address = address or os.environ.get("RAY_ADDRESS") or "local"
        if address.startswith("ray://"):
            raise ConfigError(
                f"address: received {address!r}; allowed: 'host:port' of the cluster's head or 'auto'. Ray's client "
                "protocol is not supported: run the study on a machine of the cluster."
            )
        with _lock, _quietly():
            import ray

            if ray.is_initialized():
                for held in _held:
                    held.users += 1
            else:
                _held[:] = [_connect(address, workers)]
            self.own = any(held.own for held in _held)
            home = _held[0].home if _held else None
            self.home = None if home is None else home.folder
            self._mine = list(_held)

    def leave(self) -> None:
        """Disconnect, and end the cluster where it is an own one, once nobody else in this process uses it."""
        with _lock:
            for held in self._mine:
                held.users -= 1
                if held.users == 0:
                    _disconnect(held)
                    _held.remove(held)
            self._mine = []

    def totals(self) -> dict[str, float]:
        """{"CPU", "GPU", "memory", …} of the whole cluster as it is now; what there is none of is left out."""
        import ray

        return dict(ray.cluster_resources())

    def room(self, wants: Mapping[str, float]) -> bool:
        """Whether some node has all of that {"CPU", "GPU", "memory"}, free or not."""
        import ray

        alive = [each["Resources"] for each in ray.nodes() if each["Alive"]]
        return any(all(has.get(name, 0.0) >= amount for name, amount in wants.items()) for has in alive)


def _connect(address: str, workers: int | None) -> _Held:
    import ray

    with suppress(Exception):  # read when Ray was imported, perhaps by the caller
        from ray._private import ray_constants

        ray_constants.RAY_ENABLE_UV_RUN_RUNTIME_ENV = False
    held = _Held(own=address == "local", home=None)
    options: dict[str, Any] = {}
    if held.own:
        held.home = Scratch("nvm-ray-", _short())
        options = {
            "num_cpus": max(cores(), workers or 0),
            "include_dashboard": False,
            "object_store_memory": STORE,
            "_temp_dir": str(held.home.folder),
        }
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL, **options)
    except BaseException as error:
        with suppress(Exception):
            ray.shutdown()
        if held.home is not None:
            held.home.end()
        if not isinstance(error, Exception):
            raise
        what = "a Ray cluster could not be started here" if held.own else f"no Ray cluster answers at {address!r}"
        raise StudyError(
            f"{what}: {type(error).__name__}: {str(error)[-2000:]} "
            "Repair what it names (`ray status` shows a running cluster), or use the executor 'local'."
        ) from error
    with suppress(Exception):
        # Ray prints to standard output what the results tell anyway of lost workers, and has no switch for that.
        from ray._private import worker

        held.printing, worker.print_to_stdstream = worker.print_to_stdstream, lambda *_, **__: None
    return held


def _disconnect(held: _Held) -> None:
    import ray

    with _quietly():
        ray.shutdown()
    if held.printing is not None:
        from ray._private import worker

        worker.print_to_stdstream = held.printing
    if held.home is not None:
        held.home.end()


def checked(resources: Mapping[str, Any], what: str) -> dict[str, float]:
    """What a job takes, by our names. Raises ConfigError, which names `what`."""
    for name, amount in resources.items():
        number = isinstance(amount, int | float) and not isinstance(amount, bool) and math.isfinite(amount)
        if name not in RESOURCES or not number or amount < 0:
            raise ConfigError(
                f"{what}: received {name!r} = {amount!r}; allowed: {', '.join(RESOURCES)}, each a number of at least 0 "
                "(memory in bytes)."
            )
    return {name: float(amount) for name, amount in resources.items()}


def loss(id: str, node: str, error: Exception, folder: Path) -> str:
    """Why a job of the study in `folder` is lost, with its node where that is known ("" where it is not)."""
    import ray

    where = f" on node {node}" if node else ""
    if isinstance(error, ray.exceptions.OutOfMemoryError):
        what = f"job {id} was ended{where}, which ran out of memory"
    elif isinstance(error, ray.exceptions.NodeDiedError):
        what = f"the node of job {id} died or cannot be reached{where and f' ({node})'}"
    elif isinstance(error, ray.exceptions.WorkerCrashedError):
        what = f"the Ray worker of job {id} died{where}"
    else:
        what = f"job {id} was lost{where}"
    log = folder / "logs" / f"{id}.log"
    kept = f"Its output is in {log}." if log.exists() else "Nothing of its output could be had."
    return f"{what} ({type(error).__name__}: {' '.join(str(error).split())[:500]}). {kept}"


def _short() -> Path:
    """A folder for temporary files whose name is short."""
    usual, short = tempfile.gettempdir(), "/tmp"  # noqa: S108 - mkdtemp makes a private folder there
    return Path(short if len(usual) > LONGEST_FOLDER and os.access(short, os.W_OK) else usual)


@contextmanager
def _quietly() -> Iterator[None]:
    """Ray takes over SIGTERM, has its say in the log, and reads its wishes from the environment."""
    before = {name: os.environ.get(name) for name in QUIET}
    os.environ.update({name: text for name, text in QUIET.items() if before[name] is None})
    main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGTERM) if main else None
    logger = logging.getLogger("ray")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        if main:
            signal.signal(signal.SIGTERM, handler)
        logger.setLevel(level)
        for name in QUIET:
            if before[name] is None:
                os.environ.pop(name, None)
