"""Pictures, networks and models to train as many seeds at once. The tests load this file by path (see conftest.py)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import novum
import numpy as np
import torch
from novum.classification import Classification
from novum.evaluator import Evaluator
from novum.runner.joint import Joint
from novum.runner.parts import Parts
from novum.runner.train import Trainer
from novum.seeds import trial_seed
from torch import nn

CLASSES, SIDE, TRAIN = 4, 8, 256


class Pictures(novum.Task):
    """Noisy pictures of four patterns; train and dev by turns."""

    def signature(self) -> novum.Signature:
        return novum.Signature(novum.Image(1, SIDE, SIDE), novum.Classes(tuple("abcd")))

    def observe(self) -> novum.Observation:
        return novum.Observation((), novum.Scale("accuracy", chance=0.25, reference=1.0))

    def source(self, split: novum.Split, seed: novum.Seed, recipe: novum.Recipe) -> novum.Source:
        draw = np.random.default_rng(["train", "dev", "test"].index(split.value))
        targets = np.arange(TRAIN) % CLASSES
        patterns = np.random.default_rng(9).normal(size=(CLASSES, 1, SIDE, SIDE))
        images = (128 + 30 * (patterns[targets] + 1.5 * draw.normal(size=(TRAIN, 1, SIDE, SIDE)))).clip(0, 255)
        ids = [f"{split.value}-{row}" for row in range(TRAIN)]
        return novum.Examples(images.astype(np.uint8), targets, ids, seed=seed, batch_size=recipe.batch_size)

    def fingerprint(self) -> str:
        return "pictures"


class Net(novum.Model):
    """Any network, made by `make`."""

    inputs = ("image",)
    outputs = ("classes",)
    make: Any = None

    def recipe(self, signature: novum.Signature) -> novum.Recipe:
        return novum.Recipe(learning_rate=3e-3)

    def build(self, signature: Any, preparation: Any, seed: novum.Seed, start: Any) -> nn.Module:
        net: nn.Module = type(self).make()
        return net

    def losses(self, net: nn.Module, batch: novum.Batch) -> Iterator[novum.Loss]:
        yield novum.Loss(self.loss, (batch.inputs.float() / 255, batch.targets))

    def loss(self, net: nn.Module, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        dtype = next(net.parameters()).dtype
        return nn.functional.cross_entropy(net(images.to(dtype)), targets)

    def act(self, net: nn.Module, inputs: Any, explore: bool) -> novum.Prediction:
        probabilities = net((inputs.float() / 255).to(next(net.parameters()).dtype)).softmax(-1)
        return novum.Prediction(probabilities.argmax(-1), probabilities)


def parts(make: Any, model: type[Net] = Net, **recipe: Any) -> Parts:
    """What training takes: the model, with a network that `make` gives, and a recipe that may differ in places."""
    made = type("Made", (model,), {"make": staticmethod(make)})(novum.Config())
    task = Pictures(novum.Config())
    evaluator: Evaluator = Classification(Classification.Config())
    values = {"batch_size": 16, "learning_rate": 3e-3, "clip": 1.0, "schedule": "cosine", **recipe}
    return Parts(task, made, evaluator, novum.Recipe(**values), task.signature())


PROBED = {"units": 4096, "device": "cpu", "precision": "fp32"}
"""What a probe is asked."""

SEEDS = [trial_seed(0, "0", index) for index in range(4)]


def joint(made: Parts, units: int, **options: Any) -> Joint:
    return Joint(made, options.pop("seeds", SEEDS), units=units, device_kind="cpu", precision="fp32", **options)


def alone(made: Parts, units: int, seed: novum.Seed) -> Trainer:
    return Trainer(made, seed, units=units, device_kind="cpu", precision="fp32")


def both(made: Parts, units: int) -> tuple[list[nn.Module], list[nn.Module]]:
    """The networks of all seeds, trained together and each alone."""
    return [each.net for each in joint(made, units).run()], [alone(made, units, seed).run().net for seed in SEEDS]


def probabilities(nets: list[nn.Module]) -> torch.Tensor:
    """(S, units, classes) on dev."""
    source = Pictures(novum.Config()).source(novum.Split.DEV, SEEDS[0], novum.Recipe())
    images = torch.as_tensor(np.concatenate([batch.inputs for batch in source.each(lambda *_: None)])) / 255  # type: ignore[arg-type]
    with torch.no_grad():
        return torch.stack([net.eval()(images.to(next(net.parameters()).dtype)).softmax(-1) for net in nets])


def doubled(make: Any) -> Any:
    return lambda: make().double()


# ------------------------------------------------------------------------------------------------------------- networks


def mlp(dropout: float = 0.0) -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(SIDE * SIDE, 32), nn.ReLU(), nn.Dropout(dropout), nn.Linear(32, CLASSES)
    )


def dropping() -> nn.Module:
    return mlp(0.4)


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3), nn.ReLU(),
        nn.Flatten(), nn.Linear(32, CLASSES),
    )  # fmt: skip


class Scaled(nn.Module):
    """A linear layer whose outputs are multiplied with one learned number, which has no dimension."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, CLASSES))
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.scale * self.layer(images)
        return found


class Sum(nn.Module):
    """Two embeddings of a position that are only ever added: one gradient for both."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = (nn.Parameter(0.1 * torch.ones(SIDE * SIDE)) for _ in range(2))
        self.out = nn.Linear(SIDE * SIDE, CLASSES)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.out(torch.tanh(images.flatten(1) + (self.a + self.b)))  # type: ignore[no-any-return]


class Replaced(Sum):
    """Puts another tensor in the place of its buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("m", torch.zeros(SIDE * SIDE))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.m = 0.9 * self.m + 0.1 * images.flatten(1).mean(0).detach()
        return super().forward(images - self.m.view(1, SIDE, SIDE))


class Counting(Sum):
    """Its output follows a number of Python's."""

    count = 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.count += 1
        return super().forward(images) * min(1.0, 0.1 + self.count / 10)


class Halving(Sum):
    """Changes a parameter each time it is asked."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            self.out.bias.mul_(0.5).add_(0.01)
        return super().forward(images)


class Decaying(Sum):
    """Reads a buffer in a product, then changes it in place, then adds a bias to the product."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("c", torch.eye(SIDE * SIDE))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        product = images.flatten(1) @ self.c
        self.c.mul_(0.9)
        return self.out(torch.tanh(product + self.a))  # type: ignore[no-any-return]


# --------------------------------------------------------------------------------------------------------------- models


class Rows(Net):
    """Its batches have different shapes."""

    def losses(self, net: nn.Module, batch: novum.Batch) -> Iterator[novum.Loss]:
        rows = 3 + int(batch.ids[0].split("-")[1]) % 4
        images = batch.inputs[:, :, :rows].double().flatten(1) / 255
        yield novum.Loss(self.padded, (images, batch.targets))

    def padded(self, net: nn.Module, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        wide = nn.functional.pad(images, (0, SIDE * SIDE - images.shape[1]))
        return nn.functional.cross_entropy(net(wide), targets)


class Twice(Net):
    def losses(self, net: nn.Module, batch: novum.Batch) -> Iterator[novum.Loss]:
        yield from super().losses(net, batch)
        yield from super().losses(net, batch)


class Anew(Net):
    def losses(self, net: nn.Module, batch: novum.Batch) -> Iterator[novum.Loss]:
        def closed(net: nn.Module, images: torch.Tensor) -> torch.Tensor:
            return nn.functional.cross_entropy(net(images), batch.targets)

        yield novum.Loss(closed, (batch.inputs.float() / 255,))


class Choosing(Net):
    """Asks for one of two losses, by the batch."""

    def losses(self, net: nn.Module, batch: novum.Batch) -> Iterator[novum.Loss]:
        chosen = self.loss if int(batch.ids[0].split("-")[1]) % 2 else self.other
        yield novum.Loss(chosen, (batch.inputs.float() / 255, batch.targets))

    def other(self, net: nn.Module, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return 2 * self.loss(net, images, targets)


class Silent(Net):
    """Asks for no loss at some batches."""

    def losses(self, net: nn.Module, batch: novum.Batch) -> Iterator[novum.Loss]:
        if int(batch.ids[0].split("-")[1]) % 2:
            yield from super().losses(net, batch)


class Multinomial(Net):
    """Its loss refuses probabilities that are no numbers."""

    def loss(self, net: nn.Module, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        logits = net(images)
        torch.multinomial(logits.softmax(-1), 1)
        return nn.functional.cross_entropy(logits, targets)


class Drawn(novum.Preparation):
    """Encodes each unit at random."""

    def encode(self, inputs: Any) -> Any:
        return [np.asarray(each, dtype=np.float32) + float(torch.rand(())) for each in inputs]


class Encoding(Net):
    preparation = Drawn
