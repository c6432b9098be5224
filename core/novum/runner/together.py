"""The job that trains several trials of one arm as one."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from novum.runner import artifacts, memory
from novum.runner.jobs import dump_point, refuse_other_code, shelf, stored, trained_result
from novum.runner.joint import Joint
from novum.runner.parts import Parts
from novum.seeds import trial_seed


def train(payload: dict[str, Any], folder: Path) -> dict[str, Any]:
    """{"trials": {key: what the job `train` gives}}; seconds and peak memory are shares of the whole job's."""
    from novum.trackers import open_tracker

    plan, keys = payload["plan"], payload["keys"]
    refuse_other_code(plan)
    parts = Parts.of(plan["arm"])
    starts = [None if parent is None else stored(parts, folder, parent) for parent in payload["parents"]]
    kept = shelf(payload, folder)
    micro = payload.get("micro", 1)
    peak = memory.measure(plan["device"])
    with ExitStack() as stack:
        trackers = [stack.enter_context(open_tracker(payload["tracker"], folder, key)) for key in keys]

        def make() -> Joint:
            return Joint(
                parts,
                [trial_seed(**seed) for seed in payload["seeds"]],
                units=plan["units"],
                device_kind=plan["device"],
                precision=plan["precision"],
                points=payload["points"],
                starts=starts,
                watch=lambda replicate, point: trackers[replicate].point(dump_point(point)),
                micro=micro,
                shelf=kept,
            )

        joint = kept.resume(make)
        if micro > 1:
            kept.tell(f"micro-batches of 1/{micro} after running out of memory")
        for tracker, curve in zip(trackers, joint.curves, strict=True):  # the trackers started anew
            for point in curve:
                tracker.point(dump_point(point))
        trained = joint.run()
    used = _share(peak(), len(keys))
    told = {"resumed": kept.resumed, "deviations": kept.deviations, "memory": used, "together": len(keys)}
    values = {}
    for key, each in zip(keys, trained, strict=True):
        digest, size = artifacts.save(folder, each.net, each.preparation.dump())
        values[key] = trained_result(each) | {"weights": digest, "bytes": size} | told
    return {"trials": values}


def _share(reading: memory.Reading, trials: int) -> memory.Reading:
    """Of one trial in a peak that all of them share; what packing needs beside it stays that of the whole job."""
    return {**reading, "bytes": reading["bytes"] // trials} if "bytes" in reading else reading
