"""A stand-in for training that needs no torch: numbers from the seed alone, in as many 10 ms steps as asked.

It is a work function as `novum.runner.jobs.perform` is: the executors, the ledger and the loop around it are the real
ones. Environment variables make it misbehave:

    SOAK_SECONDS   how long a trial trains (default 0.05)
    SOAK_TOGETHER  the seeds of an arm are trained together, in one job
    SOAK_FAULTS    JSON: {"control/2": "kill"}: what the trial of that side and seed does on its first attempt (or on
                   every one, with a "!" after it): kill, hang, deaf (a hang that ignores SIGTERM), exit, raise, memory
                   (the host's), device-memory, nan, worker (a data loader's process is killed), stop (SIGSTOP), slow
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

METRIC = {"name": "accuracy", "direction": "max", "worst": 0.0, "unit": "", "low": 0.0, "high": 1.0}
METRIC |= {"per_unit": False, "kind": "score"}
SIZES = {"train": 100, "dev": 50, "test": 50}


def perform(kind: str, payload: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Do one job: `kind` names a function here."""
    if kind in json.loads(os.environ.get("SOAK_FAULTS", "{}")) and not (folder / f"{kind}.met").exists():
        (folder / f"{kind}.met").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return {
        "resolve": resolve,
        "observe": observe,
        "preflight": preflight,
        "recheck": recheck,
        "train": train,
        "together": together,
        "score": score,
    }[kind](payload, folder)


def resolve(payload: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Plans that name everything a real one names."""
    return {
        "arms": {
            name: {"plan": _plan(arm), "signature": {"inputs": {}, "outputs": {}}, "metrics": [METRIC]}
            for name, arm in payload["arms"].items()
        }
    }


def _plan(arm: dict[str, Any]) -> dict[str, Any]:
    part = {"distribution": "soak", "version": "1", "sources": "0", "requires": {}}
    recipe = {"budget": "10 units", "batch_size": 10, "optimizer": "sgd", "schedule": "constant"}
    return {
        "arm": {
            "task": arm["task"],
            "model": arm["model"],
            "evaluator": {"plugin": "classification"},
            "recipe": {**recipe, **arm["recipe"]},
        },
        "units": 10,
        "data": os.environ.get("SOAK_DATA", "coins"),
        "checkpoint": "",
        "code": {"runner": "0", "torch": "0", "numpy": "0", "task": part, "model": part, "evaluator": part},
        "device": "cpu",
        "precision": "fp32",
        "start_from": None,
    }


def recheck(payload: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Whether the data are still the same."""
    now = os.environ.get("SOAK_DATA", "coins")
    return {"differs": {name: [] if plan["data"] == now else ["the data"] for name, plan in payload["plans"].items()}}


def observe(payload: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Sizes, and a scale from a half to one."""
    facts = [{"id": f"{split}.size", "value": size, "unit": "", "about": ""} for split, size in SIZES.items()]
    return {"facts": facts, "scale": {"metric": "accuracy", "chance": 0.5, "reference": 1.0}}


def preflight(payload: dict[str, Any], folder: Path) -> dict[str, Any]:
    """How fast it is."""
    each = float(os.environ.get("SOAK_SECONDS", "0.05")) / 10
    answers: dict[str, str] = {}
    measured: dict[str, Any] = {"together": {"undefined": "nobody asked for it"}}
    if os.environ.get("SOAK_TOGETHER"):
        answers, measured = {"mode": "joint"}, {"together": {"block": 0.3, "seed": 0.7, "apart": 1.0}}
    how = [{"answers": answers, "measured": measured} if asked else None for asked in payload["asked"]]
    speed = {"seconds_per_unit": each, "score_seconds": 0.01, "scored": 16, "units": 10, "bytes": 100, "seconds": 0.01}
    return speed | {"how": how}


def train(payload: dict[str, Any], folder: Path) -> dict[str, Any]:
    """An accuracy from the seed and the model's skill; a side's skill is its mean over seeds."""
    _misbehave(payload, folder)
    end = time.monotonic() + float(os.environ.get("SOAK_SECONDS", "0.05"))
    while time.monotonic() < end:
        time.sleep(0.01)
    skill = float(payload["plan"]["arm"]["model"].get("skill", 0.0))
    seed = json.dumps(payload["seed"], sort_keys=True)
    luck, own = random.Random(seed), random.Random(f"{seed}{skill}")  # noqa: S311 - numbers from the seed
    accuracy = 0.6 + skill + luck.gauss(0.0, 0.02) + own.gauss(0.0, 0.01)
    content = json.dumps([seed, skill, accuracy]).encode()
    digest = hashlib.sha256(content).hexdigest()[:40]
    _save(folder / "weights" / digest, content)
    wrong = _fault(payload) == "nan"
    return {
        "units": 10,
        "seconds": 0.05,
        "curve": [],
        "diverged": "a loss was not finite after 3 of 10 units" if wrong else None,
        "start": None,
        "scores": {} if wrong else {"dev": _scores(accuracy)},
        "weights": digest,
        "bytes": len(content),
        "memory": {"undefined": "nothing was trained"},
        "deviations": [] if payload.get("micro", 1) == 1 else [f"each batch in {payload['micro']} pieces"],
    }


def together(payload: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What each of the trials would give alone, one after the other."""
    alone = {name: payload[name] for name in ("plan", "micro")}
    keyed = zip(payload["keys"], payload["seeds"], strict=True)
    return {"trials": {key: train({**alone, "key": key, "seed": seed}, folder) for key, seed in keyed}}


def score(payload: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The same accuracy on new data."""
    stored = json.loads((folder / "weights" / payload["weights"] / "net").read_bytes())
    return {"seconds": 0.01, "scores": {payload["split"]: _scores(stored[2])}}


def _scores(accuracy: float) -> dict[str, Any]:
    return {"metrics": {"accuracy": accuracy}, "tables": {}, "units": {"id": ["a", "b"], "accuracy": [accuracy] * 2}}


def _save(target: Path, content: bytes) -> None:
    target.parent.mkdir(exist_ok=True)
    scratch = target.with_name(f".writing-{os.getpid()}")
    scratch.mkdir(exist_ok=True)
    (scratch / "net").write_bytes(content)
    try:
        scratch.rename(target)
    except OSError:
        if not target.exists():
            raise


def _fault(payload: dict[str, Any]) -> str:
    """What this trial is to do, without its "!"."""
    side = "treatment" if payload["plan"]["arm"]["model"].get("skill") else "control"
    faults: dict[str, str] = json.loads(os.environ.get("SOAK_FAULTS", "{}"))
    return faults.get(f"{side}/{payload['seed']['index']}", "")


def _misbehave(payload: dict[str, Any], folder: Path) -> None:
    fault = _fault(payload)
    if not fault or fault == "nan":
        return
    mark = folder / f"{payload['key']}.met"  # so that it happens once
    if not fault.endswith("!") and mark.exists():
        return
    mark.touch()
    fault = fault.rstrip("!")
    if fault in ("kill", "stop"):
        os.kill(os.getpid(), signal.SIGKILL if fault == "kill" else signal.SIGSTOP)
    elif fault in ("hang", "deaf"):
        if fault == "deaf":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            pass
    elif fault == "slow":
        time.sleep(0.7)
    elif fault == "exit":
        os._exit(3)
    elif fault == "memory":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (400_000_000, resource.RLIM_INFINITY))
        bytearray(1_000_000_000)
    elif fault == "device-memory":
        raise OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
    elif fault == "worker":
        raise RuntimeError("DataLoader worker (pid 12345) is killed by signal: Killed.")
    else:
        raise ValueError("it is broken")


class OutOfMemoryError(RuntimeError):
    """As torch's is called."""
