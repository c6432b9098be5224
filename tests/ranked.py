"""A model for trials over several devices: what it does may depend on the rank. Loaded by path."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import novum
from novum import Batch, Loss, Prediction, Recipe, Seed, Signature


class Net(novum.Model):
    """A small network with dropout, noise that is drawn outside of the loss, and a part that no loss reaches."""

    class Config(novum.Config):
        dropout: float = 0.0
        """Share of the hidden units that are dropped."""
        norm: bool = False
        """Whether it has batch norm."""
        blind: bool = False
        """See nothing of the inputs."""
        mode: Literal["", "two", "drift", "memory", "raise", "nan"] = ""
        """How to misbehave: in rank 1 alone, but for `two` losses."""
        file: str = ""
        """Where ranks note their process ids, and, with `kills`, that they were killed."""
        kills: tuple[tuple[int, int], ...] = ()
        """(rank, batch from 1) at which a process of each attempt kills itself: of the first, of the second …"""

    inputs = ("vector",)
    outputs = ("classes",)

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.batches = 0

    def recipe(self, signature: Signature) -> Recipe:
        return Recipe(
            budget="3 epochs",
            batch_size=7,
            optimizer="adamw",
            learning_rate=0.01,
            weight_decay=0.1,
            schedule="cosine",
            averaging="ema",
            clip=0.5,
            devices=2,
        )

    def build(self, signature: Signature, preparation: Any, seed: Seed, start: Any) -> Any:
        import torch
        from torch import nn

        middle = nn.BatchNorm1d(16) if self.config.norm else nn.Identity()
        net = nn.Sequential(nn.Linear(4, 16), middle, nn.ReLU(), nn.Dropout(self.config.dropout), nn.Linear(16, 2))
        net.register_parameter("idle", nn.Parameter(torch.ones(3)))
        return net

    def losses(self, net: Any, batch: Batch) -> Iterator[Loss]:
        import torch

        self.batches += 1
        self._note()
        if self.config.mode == "drift" and _rank() == 1:
            net[0].bias += 1e-3
        x = 0 * batch.inputs if self.config.blind else batch.inputs
        yield Loss(self._loss, (x + 0.1 * torch.randn_like(x), batch.targets))
        if self.config.mode == "two":
            yield Loss(self._loss, (x, batch.targets))

    def _loss(self, net: Any, x: Any, y: Any) -> Any:
        import torch
        from torch.nn.functional import cross_entropy

        if _rank() == 1 and self.batches > 2:
            if self.config.mode == "memory":
                raise torch.OutOfMemoryError("CUDA out of memory.")
            if self.config.mode == "raise":
                raise ValueError("this model is broken")
        bad = self.config.mode == "nan" and _rank() == 1 and self.batches > 2
        return cross_entropy(net(x), y) * (float("nan") if bad else 1.0)

    def act(self, net: Any, inputs: Any, explore: bool) -> Prediction:
        shares = net(0 * inputs if self.config.blind else inputs).softmax(-1)
        return Prediction(shares.argmax(-1), shares)

    def _note(self) -> None:
        if not self.config.file:
            return
        file = Path(self.config.file)
        if self.batches == 1:
            with file.with_suffix(".pids").open("a") as pids:
                pids.write(f"{os.getpid()}\n")
        before = file.read_text().count("\n") if file.exists() else 0
        if before < len(self.config.kills) and (_rank(), self.batches) == tuple(self.config.kills[before]):
            with file.open("a") as count:
                count.write("killed\n")
            os.kill(os.getpid(), signal.SIGKILL)


def _rank() -> int:
    import torch.distributed as dist

    return int(dist.get_rank()) if dist.is_initialized() else 0
