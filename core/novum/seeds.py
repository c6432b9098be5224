"""Every random draw comes from a named stream of one root seed (design law 4).

A stream is a path of names below an integer root, hashed with SHA-256; streams of different names are
independent, and equal paths give equal draws on every machine. `installed` puts a stream into the ordinary
generators (Python, numpy, torch), so that plugins draw as usual; leaving the block puts back what was there.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import torch


@dataclass(frozen=True)
class Seed:
    """A named stream: an integer root and a path of names."""

    root: int
    path: tuple[str, ...] = ()

    def child(self, *names: str | int) -> Seed:
        """The stream below this one; `seed.child("data", 3)` never collides with `seed.child("data3")`."""
        return Seed(self.root, self.path + tuple(str(name) for name in names))

    def integer(self, bits: int = 63) -> int:
        """A non-negative integer below `2**bits` (1 to 256), fixed by the root and the path."""
        # Lengths before the names, so that no two paths give the same text.
        text = "/".join([str(self.root), *(f"{len(name)}:{name}" for name in self.path)])
        return int.from_bytes(hashlib.sha256(text.encode()).digest(), "big") >> (256 - bits)

    def numpy(self) -> np.random.Generator:
        """A fresh numpy generator (PCG64) at the start of this stream."""
        import numpy as np

        return np.random.Generator(np.random.PCG64(self.integer(128)))

    def torch(self, device: str = "cpu") -> torch.Generator:
        """A fresh torch generator on `device` at the start of this stream."""
        import torch

        return torch.Generator(device=device).manual_seed(self.integer())


def trial_seed(root: int, block: str, index: int) -> Seed:
    """The root stream of one trial: seed `index` (from 0) of `block` in a schedule that starts at `root`.

    Blocks keep apart the seeds of claims from those of exploratory runs, which use the block "explore".
    """
    return Seed(Seed(root, ("trial", block, str(index))).integer())


@contextmanager
def installed(seed: Seed, state: dict[str, Any] | None = None) -> Iterator[dict[str, Any]]:
    """Run a block with this stream in the ordinary generators (Python, numpy, torch, CUDA, MPS).

    Yields a dictionary that holds the generators' states once the block has ended; pass it back as `state` to
    go on where the block stopped. What was installed before returns at the end, so nesting is safe.
    """
    outer = read()
    if state:
        write(state)
    else:
        _start(seed)
    inner: dict[str, Any] = state if state is not None else {}
    try:
        yield inner
    finally:
        inner.update(read())
        write(outer)


def _start(seed: Seed) -> None:
    import numpy as np
    import torch

    random.seed(seed.child("python").integer(64))
    np.random.seed(seed.child("numpy").integer(32))
    torch.manual_seed(seed.child("torch").integer())  # covers every CUDA device, lazily, and MPS


def read() -> dict[str, Any]:
    """The states of the ordinary generators: "python", "numpy", "torch", "cuda" once CUDA is in use, and "mps" where a
    Mac's GPU is there.
    """
    import numpy as np
    import torch

    state = {"python": random.getstate(), "numpy": np.random.get_state(), "torch": torch.get_rng_state()}
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        state["cuda"] = torch.cuda.get_rng_state_all()
    if torch.backends.mps.is_available():
        state["mps"] = torch.mps.get_rng_state()
    return state


def write(state: dict[str, Any]) -> None:
    """Put states that `read` gave into the ordinary generators."""
    import numpy as np
    import torch

    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"])
    if "cuda" in state:
        torch.cuda.set_rng_state_all(state["cuda"])
    if "mps" in state:
        torch.mps.set_rng_state(state["mps"])
