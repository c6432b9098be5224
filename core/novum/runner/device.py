"""Which device and arithmetic a trial uses. Asked in a worker, never at import."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from novum.errors import ConfigError

if TYPE_CHECKING:
    import torch
    from torch import nn

KINDS = ("cuda", "mps", "cpu")
CHOICE = "NOVUM_DEVICE"
"""The environment variable that names a device kind where another than the usual one is wanted."""
PRECISIONS = ("auto", "fp32", "tf32", "bf16")
"""What a recipe may ask for."""
AMPERE = (8, 0)
"""The CUDA compute capability from which bfloat16 and TF32 have units of their own."""


def kind() -> str:
    """The device kind that trials of this machine use: "cuda" where torch sees such a GPU, else "cpu"; or what the
    environment variable NOVUM_DEVICE names. "mps", a Mac's GPU, is used only where it is named.

    Raises ConfigError where it names a kind that this machine does not have.
    """
    import torch

    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    usable = [each for each in KINDS if there[each]]
    asked = os.environ.get(CHOICE) or ("cuda" if there["cuda"] else "cpu")
    if asked not in usable:
        raise ConfigError(
            f"{CHOICE} is {asked!r}, which this machine does not have; it has {', '.join(usable)}. Set {CHOICE} to one "
            "of these, or unset it."
        )
    return asked


def device(kind: str) -> torch.device:
    """The device of a kind that belongs to this worker: the first GPU that its executor named for it (NOVUM_GPUS), else
    one by its slot.
    """
    import torch

    if kind == "cuda":
        return torch.device("cuda", gpus(1)[0])
    return torch.device(kind)


def gpus(count: int) -> list[int]:
    """The GPUs that belong to this worker, one for each of `count` devices of its trial.

    The environment variable NOVUM_GPUS names them ("0,1"); without it, or where it names fewer, they follow from the
    worker's slot.
    """
    import torch

    given = [int(each) for each in os.environ.get("NOVUM_GPUS", "").split(",") if each.strip()]
    if len(given) >= count:
        return given[:count]
    slot = int(os.environ.get("NOVUM_SLOT", "0"))
    return [(slot * count + at) % torch.cuda.device_count() for at in range(count)]


# ------------------------------------------------------------------------------------------------------- precision


def precision(asked: str, kind: str) -> str:
    """Resolve a recipe's precision for a device kind; see `precisions` for what each means.

    Raises ConfigError where the device does not have what was asked for, with what it has.
    """
    found = precisions(kind)
    why = found[asked]
    if why is not None:
        allowed = ", ".join(f"'{each}'" for each, reason in found.items() if reason is None)
        raise ConfigError(
            f"recipe.precision: {asked!r} is not offered on this {_named(kind)}: {why}; allowed here: {allowed} "
            f"('auto' is {automatic(kind)[0]!r} here)."
        )
    return automatic(kind)[0] if asked == "auto" else asked


def automatic(kind: str) -> tuple[str, str]:
    """What "auto" means on a device kind, and why."""
    if kind == "cuda":
        if precisions(kind)["bf16"] is None:
            return "bf16", f"compute capability {_capability()} has units for it"
        return "fp32", f"compute capability {_capability()} has units for neither bf16 nor TF32"
    if kind == "mps":
        return "fp32", "bf16 has not been measured on MPS"
    return "fp32", "on a CPU, bf16 must be asked for"


def precisions(kind: str) -> dict[str, str | None]:
    """Every precision a recipe may ask for, with None where a device kind offers it, else the reason why not.

    fp32    float32 throughout, as IEEE 754 has it, also where the device would by itself compute in TF32
    tf32    float32 whose matrix products and convolutions round their inputs to 10 bits of mantissa (CUDA, from
            capability 8.0)
    bf16    losses under autocast to bfloat16; weights, optimiser and scores stay float32. On a CPU only with
            instructions for it (avx512_bf16 or AMX): without them it was measured 40 times slower than float32
    """
    found: dict[str, str | None] = dict.fromkeys(PRECISIONS)
    if kind == "cuda":
        import torch

        if torch.cuda.get_device_capability(device(kind)) < AMPERE:
            why = f"it needs compute capability 8.0 or more, and this GPU has {_capability()}"
            found |= {"bf16": why, "tf32": why}
    else:
        found["tf32"] = "it is arithmetic of NVIDIA GPUs"
        if kind == "mps":
            found["bf16"] = "bf16 has not been measured on MPS"
        elif not bf16_instructions():
            found["bf16"] = "it has neither avx512_bf16 nor AMX, without which bf16 is tens of times slower than fp32"
    return found


def bf16_instructions() -> tuple[str, ...]:
    """The instructions of this CPU that make bfloat16 fast: of "avx512_bf16" and "amx_bf16", those that it has."""
    import torch

    has: Any = getattr(torch.cpu, "get_capabilities", dict)()  # torch before 2.10 or so does not tell
    return tuple(name for name in ("avx512_bf16", "amx_bf16") if has.get(name))


def _capability() -> str:
    import torch

    return ".".join(str(part) for part in torch.cuda.get_device_capability(device("cuda")))


def _named(kind: str) -> str:
    return {"cuda": "GPU", "mps": "Mac's GPU", "cpu": "CPU"}[kind]


def autocast(precision: str, kind: str) -> AbstractContextManager[Any]:
    """The context in which a loss is computed."""
    import torch

    return torch.autocast(kind, dtype=torch.bfloat16) if precision == "bf16" else nullcontext()


@contextmanager
def products(precision: str, kind: str) -> Iterator[None]:
    """The context of a whole phase: what float32 matrix products and convolutions do on a CUDA device.

    In "fp32" they are float32, in "tf32" TF32, and so is in "bf16" what autocast leaves in float32. torch's own
    default is a mixture (convolutions in TF32, products not). Elsewhere this does nothing. Leaving it puts back what
    was set.
    """
    if kind != "cuda":
        yield
        return
    import torch

    switches: tuple[Any, ...] = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [each.allow_tf32 for each in switches]
    try:
        for each in switches:
            each.allow_tf32 = precision != "fp32"
        yield
    finally:
        for each, was in zip(switches, before, strict=True):
            each.allow_tf32 = was


# ------------------------------------------------------------------------------------------------- layout and time


def arrange(net: nn.Module, layout: str) -> nn.Module:
    """The network with its convolutions' weights in a layout: "contiguous" as torch makes them, or "channels-last".

    Numbers stay, strides change: rounding differs between the layouts, so a plan names the one it is of.
    """
    import torch

    if layout == "channels-last":
        for tensor in (*net.parameters(), *net.buffers()):
            if tensor.ndim == 4:  # Module.to would also try those of 5, and fail
                tensor.data = tensor.data.to(memory_format=torch.channels_last)
    return net


def synchronize(kind: str) -> None:
    """Wait for the device, so that a measured time is true."""
    import torch

    if kind == "cuda":
        torch.cuda.synchronize(device(kind))  # not the current one: to ask the first GPU would open it, too
    elif kind == "mps":
        torch.mps.synchronize()
