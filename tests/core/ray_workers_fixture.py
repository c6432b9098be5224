"""Work functions for the tests of the executor 'ray', beside those of `workers_fixture`. No test of its own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import workers_fixture


def perform(kind: str, payload: dict[str, Any], folder: Path) -> Any:
    """`kind` names a function of this module or of the other one."""
    return globals()[kind](payload, folder) if kind in globals() else workers_fixture.perform(kind, payload, folder)


def leave_files(payload: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Copies the weights it was told of, in capitals, and leaves a file of every kind, and some that stay behind."""
    given = (folder / "weights" / payload["weights"] / "net.safetensors").read_bytes()
    texts = {
        f"weights/{payload['new']}/net.safetensors": given.upper(),
        f"weights/{payload['new']}/preparation-words.json": b"[]",
        "runs/a.jsonl": b"{}\n",
        "runs/tensorboard/a/events": b"\0\1",
        "checkpoints/a/2.safetensors": b"two",
        "checkpoints/a/.half": b"unfinished",
        "elsewhere/secret": b"stays",
    }
    for name, content in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    (folder / "runs" / "link").symlink_to("/etc/hostname")
    checkpoints = folder / "checkpoints" / "only"
    return {
        "saw": sorted(path.name for path in (folder / "weights").iterdir()),
        "checkpoint": (checkpoints / "1.json").read_text() if checkpoints.is_dir() else None,
        "folder": str(folder),
    }


def ancestors(payload: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Its own process, the fork server's and the Ray worker's."""
    server = os.getppid()
    worker = int(Path(f"/proc/{server}/stat").read_text().rpartition(")")[2].split()[1])
    return {"job": os.getpid(), "server": server, "worker": worker}


def stay(payload: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Says so, leaves the ids of `ancestors` in a file, and sleeps."""
    print("still here", flush=True)
    found = ancestors(payload, folder)
    payload["pids"] = str(payload["pids"])
    workers_fixture._leave_pids(payload, [found["job"], found["server"], found["worker"]])
    return workers_fixture.sleep({"pids": payload["pids"] + ".too", "seconds": 300}, folder)
