"""Work functions for the executor's tests: what a job may do to its process, good and bad. No test of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


class OddError(Exception):
    """Known to nobody but this module."""


def perform(kind: str, payload: dict[str, Any], folder: Path) -> Any:
    """`kind` names a function of this module."""
    return globals()[kind](payload, folder)


def echo(payload: dict[str, Any], folder: Path) -> dict[str, Any]:
    return {"payload": payload, "folder": str(folder), "pid": os.getpid(), "slot": os.environ["NOVUM_SLOT"]}


def process(payload: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Facts about the worker; "imported" before anything here could import."""
    torch = sys.modules.get("torch")
    return {
        "imported": [name for name in payload["modules"] if name in sys.modules],
        "threads": None if torch is None else torch.get_num_threads(),
        "environment": {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")},
        "main": getattr(sys.modules["__main__"], "__file__", ""),
        "group": os.getpgid(0) == os.getpid(),
        "parent": os.getppid(),
        "session": os.getsid(0),
    }


def optimise(payload: dict[str, Any], folder: Path) -> dict[str, Any]:
    before = set(sys.modules)
    import torch

    layer = torch.nn.Linear(3, 1)
    optimizer = torch.optim.AdamW(layer.parameters())
    layer(torch.ones(2, 3)).sum().backward()
    optimizer.step()
    new = {name for name in set(sys.modules) - before if name.startswith("torch._dynamo")}
    return {"dynamo": "torch._dynamo" in before, "new": sorted(new)}


def fail(payload: dict[str, Any], folder: Path) -> dict[str, Any]:
    raise OddError("the message – whole")


def user_error(payload: dict[str, Any], folder: Path) -> dict[str, Any]:
    from novum.errors import DataError

    raise DataError("no such file")


def leave(payload: dict[str, Any], folder: Path) -> dict[str, Any]:
    sys.exit("as if it were a script")


def interrupt(payload: dict[str, Any], folder: Path) -> dict[str, Any]:
    raise KeyboardInterrupt


def kill(payload: dict[str, Any], folder: Path) -> dict[str, Any]:
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


def vanish(payload: dict[str, Any], folder: Path) -> dict[str, Any]:
    os._exit(payload["status"])


def nothing(payload: dict[str, Any], folder: Path) -> None:
    return None


def not_json(payload: dict[str, Any], folder: Path) -> dict[str, Any]:
    return {"a": object()}


def not_a_number(payload: dict[str, Any], folder: Path) -> dict[str, Any]:
    return {"loss": float("nan"), "bound": float("inf")}


def unwritable(payload: dict[str, Any], folder: Path) -> dict[str, Any]:
    (folder / "spool").rename(folder / "elsewhere")
    return {}


def sleep(payload: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Leaves its process id in a file, then sleeps, deaf to SIGTERM where asked."""
    if payload.get("deaf"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _leave_pids(payload, [os.getpid()])
    time.sleep(payload.get("seconds", 300))
    return {}


def family(payload: dict[str, Any], folder: Path) -> dict[str, Any]:
    """As `sleep`, with a grandchild, which leaves the group and the session where asked; `stay` False returns."""
    child = subprocess.Popen(["sleep", "300"], start_new_session=payload.get("daemon", False))
    _leave_pids(payload, [os.getpid(), child.pid])
    if payload.get("stay", True):
        time.sleep(300)
    return {}


def _leave_pids(payload: dict[str, Any], pids: list[int]) -> None:
    path = Path(payload["pids"])
    unfinished = path.with_suffix(".part")
    unfinished.write_text("\n".join(map(str, pids)))
    unfinished.rename(path)


def mark(payload: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Appends its name to a file: who ran, and in which order."""
    with Path(payload["file"]).open("a") as file:
        file.write(payload["name"] + "\n")
    return {}


def flood(payload: dict[str, Any], folder: Path) -> dict[str, Any]:
    line = "x" * 999
    for _ in range(payload["bytes"] // 1000):
        print(line)
    return {"printed": payload["bytes"]}


def talk(payload: dict[str, Any], folder: Path) -> dict[str, Any]:
    print("said – in letters of all kinds")
    print("complained", file=sys.stderr)
    subprocess.run(["echo", "said by a child"], check=True)
    return {}


def mute(payload: dict[str, Any], folder: Path) -> dict[str, Any]:
    sys.stdout.close()
    os.close(1)
    os.close(2)
    return {"quiet": True}


def big(payload: dict[str, Any], folder: Path) -> dict[str, Any]:
    return {"length": len(payload["text"]), "text": payload["text"]}
