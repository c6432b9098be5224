"""Ways to train one small network, each as its documentation says; measured by `step_overhead.py`."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from novum import (
    Batch,
    Classes,
    Examples,
    Loss,
    Model,
    Observation,
    Prediction,
    Recipe,
    Scale,
    Seed,
    Signature,
    Source,
    Split,
    Task,
    Vector,
    arm,
    model,
    task,
)
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

SIZE, WIDTH, HIDDEN, CLASSES, BATCH = 4096, 32, 64, 2, 32
RATE, DECAY, CLIP, WARMUP = 1e-3, 0.01, 1.0, 0.1
SKIPPED = 10
"""Steps at the beginning that do not count."""
LOOK = 50
"""Steps from one look of the bare loop, at whether its losses are finite, to the next."""


def mlp() -> nn.Sequential:
    """The network."""
    return nn.Sequential(nn.Linear(WIDTH, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, CLASSES))


def data() -> tuple[np.ndarray, np.ndarray]:
    """Inputs (SIZE, WIDTH) and labels (SIZE,)."""
    draw = np.random.default_rng(0)
    inputs = draw.normal(size=(SIZE, WIDTH)).astype("float32")
    return inputs, (inputs[:, 0] * inputs[:, 1] > 0).astype("int64")


def factor(share: float) -> float:
    """On the learning rate, at a share of the budget."""
    return share / WARMUP if share < WARMUP else 0.5 * (1 + math.cos(math.pi * (share - WARMUP) / (1 - WARMUP)))


# --------------------------------------------------------------------------------------------- Novum's task and model


class Rows(Task):
    """Labelled vectors in memory."""

    def signature(self) -> Signature:
        return Signature(Vector((WIDTH,)), Classes(("same", "other")))

    def observe(self) -> Observation:
        return Observation((), Scale("accuracy", 0.5, 1.0))

    def source(self, split: Split, seed: Seed, recipe: Recipe) -> Source:
        inputs, targets = data()
        return Examples(inputs, targets, [str(row) for row in range(SIZE)], seed=seed, batch_size=recipe.batch_size)

    def fingerprint(self) -> str:
        return "rows"


class Mlp(Model):
    """The network and its cross-entropy."""

    inputs = ("vector",)
    outputs = ("classes",)

    def recipe(self, signature: Signature) -> Recipe:
        steps = {"optimizer": "adamw", "learning_rate": RATE, "weight_decay": DECAY, "clip": CLIP, "batch_size": BATCH}
        return Recipe(schedule="cosine", warmup=WARMUP, **steps)

    def build(self, signature: Signature, preparation: Any, seed: Seed, start: Any) -> nn.Module:
        return mlp()

    def losses(self, net: nn.Module, batch: Batch) -> Iterator[Loss]:
        yield Loss(self._cross_entropy, (batch.inputs, batch.targets))

    def _cross_entropy(self, net: nn.Module, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return cross_entropy(net(inputs), targets)

    def act(self, net: nn.Module, inputs: Any, explore: bool) -> Prediction:
        return Prediction(net(inputs).argmax(-1))


def trainer(steps: int, shelf: Any = None) -> Any:
    """Novum's, for so many steps. shelf: where its checkpoints go, as in every trial; None writes none."""
    from novum.runner.parts import Parts
    from novum.runner.train import Trainer

    parts = Parts.of(arm(task(Rows), model(Mlp), budget=f"{steps * BATCH} samples").to_json())
    return Trainer(parts, Seed(0), units=steps * BATCH, device_kind="cpu", precision="fp32", shelf=shelf)


# ------------------------------------------------------------------------------------------------------------ the ways


class Clock:
    """Seconds of CPU and of wall time from its beginning to its end; `step` counts, and begins after the first ten."""

    def __init__(self, steps: int) -> None:
        self._left = SKIPPED
        self._counted = steps - SKIPPED
        self._cpu = self._wall = 0.0

    def step(self) -> None:
        self._left -= 1
        if self._left == 0:
            self.begin()

    def begin(self) -> None:
        self._cpu, self._wall = time.process_time(), time.perf_counter()

    def end(self) -> tuple[float, float]:
        """(CPU, wall) seconds a step."""
        took = time.process_time() - self._cpu, time.perf_counter() - self._wall
        return took[0] / self._counted, took[1] / self._counted


@dataclass(frozen=True)
class Job:
    """What one way is to do: from these weights, over these rows (a tensor of BATCH for each step)."""

    weights: dict[str, torch.Tensor]
    rows: list[torch.Tensor]

    def start(self) -> tuple[nn.Sequential, torch.optim.Optimizer]:
        net = mlp()
        net.load_state_dict(self.weights)
        return net, torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=DECAY, fused=True)

    def schedule(self, optimizer: torch.optim.Optimizer) -> Any:
        steps = len(self.rows)
        return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: factor(min((step + 0.5) / steps, 1.0)))

    def loader(self, named: bool = False) -> DataLoader[Any]:
        inputs, targets = map(torch.from_numpy, data())
        rows: Any = [each.tolist() for each in self.rows]
        if not named:
            return DataLoader(TensorDataset(inputs, targets), batch_sampler=rows)
        pairs: Any = [{"inputs": x, "labels": y} for x, y in zip(inputs, targets, strict=True)]
        return DataLoader(pairs, batch_sampler=rows)


def job(steps: int) -> Job:
    """For so many steps: the weights that Novum's runner begins with, and the order of its batches."""
    source = Rows(Rows.Config()).source(Split.TRAIN, Seed(0).child("data"), Recipe(batch_size=BATCH))
    rows = [torch.tensor([int(unit) for unit in source.next(_nobody).ids]) for _ in range(steps)]
    return Job({name: tensor.clone() for name, tensor in trainer(steps).net.state_dict().items()}, rows)


def _nobody(inputs: Any, ids: Any = (), explore: bool = False) -> Prediction:
    raise AssertionError("a data set never asks the model")


Took = tuple[float, float, nn.Module]


def raw(job: Job, tuned: bool = False) -> Took:
    """A bare loop over tensors in memory. tuned: with Novum's way of clipping, and gradients dropped by hand."""
    from novum.runner.clipping import clip

    net, optimizer = job.start()
    params, clock, steps = list(net.parameters()), Clock(len(job.rows)), len(job.rows)
    inputs, targets = map(torch.from_numpy, data())
    total = torch.zeros(())
    for step, rows in enumerate(job.rows):
        for group in optimizer.param_groups:
            group["lr"] = RATE * factor((step + 0.5) / steps)
        loss = cross_entropy(net(inputs[rows]), targets[rows])
        loss.backward()
        if tuned:
            clip(params, CLIP)
        else:
            nn.utils.clip_grad_norm_(params, CLIP)
        optimizer.step()
        if tuned:
            for param in params:
                param.grad = None
        else:
            optimizer.zero_grad(set_to_none=True)
        total += loss.detach()
        if step % LOOK == 0 and not total.isfinite():
            break
        clock.step()
    return *clock.end(), net


def raw_tuned(job: Job) -> Took:
    """The same, as lean as Novum's runner."""
    return raw(job, tuned=True)


def raw_loader(job: Job) -> Took:
    """The same with a DataLoader and a scheduler of torch."""
    net, optimizer = job.start()
    schedule, clock = job.schedule(optimizer), Clock(len(job.rows))
    total = torch.zeros(())
    for step, (x, y) in enumerate(job.loader()):
        loss = cross_entropy(net(x), y)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), CLIP)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        total += loss.detach()
        if step % LOOK == 0 and not total.isfinite():
            break
        clock.step()
    return *clock.end(), net


def accelerate(job: Job) -> Took:
    """The loop of Accelerate's quick tour."""
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    bare, optimizer = job.start()
    net, optimizer, loader, schedule = accelerator.prepare(bare, optimizer, job.loader(), job.schedule(optimizer))
    clock = Clock(len(job.rows))
    for x, y in loader:
        optimizer.zero_grad()
        loss = cross_entropy(net(x), y)
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(net.parameters(), CLIP)
        optimizer.step()
        schedule.step()
        clock.step()
    return *clock.end(), bare


def fabric(job: Job) -> Took:
    """The loop of Fabric's guide; it does not wait to see whether the norm is finite."""
    from lightning.fabric import Fabric

    runner = Fabric(accelerator="cpu", devices=1)
    bare, plain = job.start()
    schedule = job.schedule(plain)
    net, optimizer = runner.setup(bare, plain)
    loader = runner.setup_dataloaders(job.loader(), use_distributed_sampler=False)
    clock = Clock(len(job.rows))
    for x, y in loader:
        optimizer.zero_grad()
        loss = cross_entropy(net(x), y)
        runner.backward(loss)
        runner.clip_gradients(net, optimizer, max_norm=CLIP, error_if_nonfinite=False)
        optimizer.step()
        schedule.step()
        clock.step()
    return *clock.end(), bare


def hf_trainer(job: Job) -> Took:
    """Trainer of transformers."""
    from transformers import Trainer, TrainerCallback, TrainingArguments

    class Net(nn.Module):
        def __init__(self, net: nn.Module) -> None:
            super().__init__()
            self.net = net

        def forward(self, inputs: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
            logits = self.net(inputs)
            return {"loss": cross_entropy(logits, labels), "logits": logits}

    class Ordered(Trainer):  # type: ignore[misc]
        def get_train_dataloader(self) -> Any:
            return self.accelerator.prepare(job.loader(named=True))

    class Ticks(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            clock.step()

        def on_train_end(self, *args: Any, **kwargs: Any) -> None:
            took.append(clock.end())

    bare, optimizer = job.start()
    clock, took = Clock(len(job.rows)), list[tuple[float, float]]()
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder,
            max_steps=len(job.rows),
            per_device_train_batch_size=BATCH,
            max_grad_norm=CLIP,
            logging_strategy="no",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
        )
        optimizers = (optimizer, job.schedule(optimizer))
        made = Ordered(Net(bare), arguments, train_dataset=job.loader().dataset, optimizers=optimizers)
        made.add_callback(Ticks())
        made.train()
    return *took[0], bare


def lightning_trainer(job: Job) -> Took:
    """Trainer of Lightning."""
    import lightning

    class Net(lightning.LightningModule):  # type: ignore[misc]
        def __init__(self, net: nn.Module) -> None:
            super().__init__()
            self.net = net

        def training_step(self, batch: Any, index: int) -> torch.Tensor:
            return cross_entropy(self.net(batch[0]), batch[1])

        def configure_optimizers(self) -> Any:
            return {
                "optimizer": optimizer,
                "lr_scheduler": {"scheduler": job.schedule(optimizer), "interval": "step"},
            }

    class Ticks(lightning.Callback):  # type: ignore[misc]
        def on_train_batch_end(self, *args: Any, **kwargs: Any) -> None:
            clock.step()

        def on_train_end(self, *args: Any, **kwargs: Any) -> None:
            took.append(clock.end())

    bare, optimizer = job.start()
    clock, took = Clock(len(job.rows)), list[tuple[float, float]]()
    made = lightning.Trainer(
        accelerator="cpu",
        devices=1,
        max_steps=len(job.rows),
        max_epochs=-1,
        gradient_clip_val=CLIP,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        callbacks=[Ticks()],
    )
    made.fit(Net(bare), job.loader())
    return *took[0], bare


def novum(job: Job) -> Took:
    """Novum's runner, with everything that a trial does between two points of its curve."""
    from novum.runner.checkpoint import Shelf

    with tempfile.TemporaryDirectory() as folder:
        made, clock = trainer(len(job.rows), Shelf(Path(folder), "step", {})), Clock(len(job.rows))
        used, diverged = made.stretch(0, SKIPPED * BATCH)
        clock.begin()
        _, diverged = made.stretch(used, made.units)
        took = clock.end()
    assert diverged is None, diverged
    return *took, made.net


WAYS: dict[str, tuple[str, Callable[[Job], Took], tuple[str, ...]]] = {
    # name       shown as                       how                needs
    "raw": ("raw, in memory", raw, ()),
    "tuned": ("raw, tuned by hand", raw_tuned, ()),
    "novum": ("Novum", novum, ()),
    "loader": ("raw, DataLoader", raw_loader, ()),
    "accelerate": ("Accelerate", accelerate, ("accelerate",)),
    "fabric": ("Lightning Fabric", fabric, ("lightning",)),
    "hf": ("HF Trainer", hf_trainer, ("transformers", "accelerate")),
    "lightning": ("Lightning Trainer", lightning_trainer, ("lightning",)),
}
