"""Which device and arithmetic a trial uses. Asked in a worker, never at import."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from novum.errors import ConfigError

if TYPE_CHECKING:
    import torch


def kind() -> str:
    """The device kind that trials of this machine use: "cuda" where there is a GPU, else "cpu"."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def device(kind: str) -> torch.device:
    """The device of a kind that belongs to this worker: the first GPU that its executor named for it (NOVUM_GPUS), else
    one by its slot.
    """
    import torch

    if kind == "cuda":
        named = os.environ.get("NOVUM_GPUS")
        if named:
            return torch.device("cuda", int(named.split(",")[0]))
        return torch.device("cuda", int(os.environ.get("NOVUM_SLOT", "0")) % torch.cuda.device_count())
    return torch.device(kind)


def precision(asked: str, kind: str) -> str:
    """Resolve a recipe's precision: "auto" is bf16 on a GPU with bf16 units, else fp32.

    Raises ConfigError for bf16 on a CPU, where without bf16 units it is tens of times slower than fp32.
    """
    if asked == "bf16" and kind == "cpu":
        raise ConfigError("recipe.precision: 'bf16' is not offered on a CPU; say 'fp32' or 'auto'.")
    if asked != "auto":
        return asked
    if kind == "cuda":
        import torch

        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "fp32"


def autocast(precision: str, kind: str) -> AbstractContextManager[Any]:
    """The context in which a loss is computed."""
    import torch

    return torch.autocast(kind, dtype=torch.bfloat16) if precision == "bf16" else nullcontext()


def synchronize(kind: str) -> None:
    """Wait for the device, so that a measured time is true."""
    import torch

    if kind == "cuda":
        torch.cuda.synchronize(device(kind))  # not the current one: to ask the first GPU would open it, too
