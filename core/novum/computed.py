"""How an arm's trials were computed, in words: device, precision, layout, compiled or not, together or apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from novum.numbers import listed

DEVICES = {"cpu": "a CPU", "cuda": "a CUDA GPU", "mps": "a Mac's GPU (MPS)"}
PRECISIONS = {
    "fp32": "float32",
    "tf32": "float32 with TF32 products",
    "bf16": "bfloat16 losses over float32 weights",
}
LAYOUTS = {"contiguous": "contiguous tensors", "channels-last": "images channels-last"}
COMPILED = {
    "none": "eager steps",
    "default": "compiled losses",
    "reduce-overhead": "compiled losses replayed as CUDA graphs",
}
MODES = {"separate": "each seed trained apart (separate)", "joint": "the seeds of a block trained together (joint)"}


def line(plan: Mapping[str, Any]) -> str:
    """One arm: "a CPU, float32, contiguous tensors, eager steps, each seed trained apart (separate)".

    A value without words of its own stands for itself. A plan from before such things were recorded names the device
    and the precision alone.
    """
    how = plan.get("how") or {}
    said = [
        DEVICES.get(plan["device"], plan["device"]),
        PRECISIONS.get(plan["precision"], plan["precision"]),
        *(
            words.get(how[name], how[name])
            for name, words in (("layout", LAYOUTS), ("compile", COMPILED), ("mode", MODES))
            if name in how
        ),
    ]
    return ", ".join(said)


def lines(plan: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(whose, how) for all arms of a registered plan, arms that are computed alike together: "every arm", or tasks by
    name, with a side where the task's sides differ.
    """
    alike: dict[str, list[str]] = {}
    for name in plan["order"]:
        arms = {side: plan["tasks"][name][side] for side in ("control", "treatment")}
        told = {side: line(arm) for side, arm in arms.items() if arm is not None}
        if len(set(told.values())) == 1:
            told = {"": next(iter(told.values()))}
        for side, how in told.items():
            alike.setdefault(how, []).append(f"{name} {side}".strip())
    return [("every arm" if len(alike) == 1 else listed(whose), how) for how, whose in alike.items()]
