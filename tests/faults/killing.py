"""A task and a model for trials that are killed: they kill their own process at batches that a file counts down.

Loaded by path, so that the classes travel to a worker as those of a person's script do. No test of its own.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import novum
from novum import (
    Batch,
    Classes,
    Examples,
    Fact,
    Loss,
    Observation,
    Prediction,
    Recipe,
    Scale,
    Seed,
    Signature,
    Source,
    Split,
    Vector,
)

SIZE, BATCH = 40, 8


class Points(novum.Task):
    """Points in four dimensions on either side of a plane."""

    class Config(novum.Config):
        loaders: int = 0
        """Processes that load the training batches; 0 loads them here."""

    def signature(self) -> Signature:
        return Signature(Vector((4,)), Classes(("left", "right")))

    def observe(self) -> Observation:
        return Observation((Fact("train.size", SIZE),), Scale("accuracy", 0.5, 1.0))

    def source(self, split: Split, seed: Seed, recipe: Recipe) -> Source:
        x = Seed(0, ("points", split)).numpy().normal(size=(SIZE, 4)).astype("float32")
        y = (x.sum(1) > 0).astype("int64")
        ids = [f"{split}-{row}" for row in range(SIZE)]
        source = Examples(x, y, ids, seed=seed, batch_size=recipe.batch_size)
        return Loaded(source, seed, recipe.batch_size, self.config.loaders) if self.config.loaders else source

    def fingerprint(self) -> str:
        return "points"


class Rows:
    """What a loader's process gives for one row: the row with noise that the process draws."""

    def __init__(self, source: Examples) -> None:
        self.source = source

    def __len__(self) -> int:
        return self.source.size

    def __getitem__(self, row: int) -> tuple[Any, int, int]:
        import torch

        assert self.source.targets is not None
        noise = 0.1 * torch.randn(4)  # from the loader's own stream
        return torch.as_tensor(self.source.inputs[row]) + noise, int(self.source.targets[row]), row


class Loaded(Source):
    """Batches from torch's DataLoader. What its processes are at cannot be saved, so it promises no state."""

    def __init__(self, source: Examples, seed: Seed, batch_size: int, loaders: int) -> None:
        from torch.utils.data import DataLoader

        data: Any = Rows(source)
        self.source = source
        self.loader: Any = DataLoader(
            data, batch_size, shuffle=True, num_workers=loaders, generator=seed.child("loader").torch()
        )
        self.batches: Iterator[Any] = iter(())

    @property
    def size(self) -> int:
        return self.source.size

    def next(self, act: Any) -> Batch:
        found = next(self.batches, None)
        if found is None:
            self.batches = iter(self.loader)
            found = next(self.batches)
        x, y, rows = found
        return Batch(x.numpy(), y.numpy(), len(y), tuple(self.source.ids[row] for row in rows))

    def each(self, act: Any) -> Iterator[Batch]:
        return self.source.each(act)


class Mortal(novum.Model):
    """A small network with dropout. `file` has one line for each time that it was killed."""

    class Config(novum.Config):
        file: str
        """Where kills are counted."""
        kills: tuple[int, ...] = ()
        """The batch of each process, from 1, at which it is killed: of the first process, of the second, and so on."""

    inputs = ("vector",)
    outputs = ("classes",)

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.batches = 0

    def recipe(self, signature: Signature) -> Recipe:
        return Recipe(
            budget="3 epochs",
            batch_size=BATCH,
            optimizer="adamw",
            learning_rate=0.01,
            schedule="cosine",
            averaging="ema",
            clip=1.0,
        )

    def build(self, signature: Signature, preparation: Any, seed: Seed, start: Any) -> Any:
        from torch import nn

        return nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 2))

    def losses(self, net: Any, batch: Batch) -> Iterator[Loss]:
        from torch.nn.functional import cross_entropy

        self.batches += 1
        file = Path(self.config.file)
        before = file.read_text().count("\n")
        if before < len(self.config.kills) and self.batches == self.config.kills[before]:
            with file.open("a") as count:
                count.write("killed\n")
            os.kill(os.getpid(), signal.SIGKILL)
        yield Loss(lambda net, x, y: cross_entropy(net(x), y), (batch.inputs, batch.targets))

    def act(self, net: Any, inputs: Any, explore: bool) -> Prediction:
        shares = net(inputs).softmax(-1)
        return Prediction(shares.argmax(-1), shares)


class Held:
    """As much of a trainer as a shelf asks for: it holds `number`, and a tensor full of it."""

    def __init__(self) -> None:
        import torch

        self.device = torch.device("cpu")
        self.used = 0

    def restore(self, state: dict[str, Any]) -> None:
        assert bool((state["tensor"] == state["number"]).all()), "torn"
        self.used = state["number"]


def save_and_die(folder: Path, kills: int) -> list[dict[str, Any]]:
    """Fork a child that saves without a pause, kill it at a moment of chance, read what it left; `kills` times."""
    import random
    import select
    import time

    import torch
    from novum.runner.checkpoint import Shelf

    moments, found = random.Random(7), []
    for _ in range(kills):
        out, into = os.pipe()
        child = os.fork()
        if child == 0:
            shelf: Any = Shelf(folder, "tight", {}, 0.0)
            number = shelf.resume(Held).used
            while True:
                number += 1
                state = {"number": number, "tensor": torch.full((50_000,), float(number)), "words": ["x"] * 1000}
                assert shelf.save(lambda state=state: state)
                os.write(into, number.to_bytes(8, "little"))
        os.close(into)
        select.select([out], [], [], 60)
        time.sleep(moments.uniform(0, 0.02))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        told = b""
        while part := os.read(out, 1 << 16):
            told += part
        os.close(out)
        torn = len([path for path in (folder / "checkpoints" / "tight").glob(".writing-*") if any(path.iterdir())])
        whole: Any = Shelf(folder, "tight", {}, 0.0)
        held = whole.resume(Held)
        last = int.from_bytes(told[-8:], "little")
        found.append({"held": held.used, "told": last, "torn": torn, "deviations": whole.deviations})
    return found


if __name__ == "__main__":
    import json
    import sys

    print(json.dumps(save_and_die(Path(sys.argv[1]), int(sys.argv[2]))))
