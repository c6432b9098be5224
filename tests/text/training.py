"""A training loop of thirty lines, so that these tests need no runner."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from novum import Batch, Model, Prediction, Preparation, Seed, Split, Task
from novum.recipe import units
from novum.seeds import installed


def no_model(inputs: Any, ids: Any = (), explore: bool = False) -> Prediction:
    raise AssertionError("a source of texts asks no model")


def train(task: Task, model: Model, seed: Seed, **recipe: Any) -> tuple[torch.nn.Module, Preparation]:
    """AdamW, with the recipe's budget, batch size and rate; the rate falls linearly after the warm-up."""
    signature = task.signature()
    chosen = model.recipe(signature).model_copy(update=recipe)
    with installed(seed):
        preparation = model.prepare(signature, task.source(Split.TRAIN, seed, chosen))
        net = model.build(signature, preparation, seed, None).train()
        source = task.source(Split.TRAIN, seed, chosen)
        optimizer = torch.optim.AdamW(
            net.parameters(), chosen.learning_rate, weight_decay=chosen.weight_decay, fused=True
        )
        budget, used = units(chosen.budget, source.size), 0
        while used < budget:
            batch = encoded(source.next(no_model), preparation)
            share = used / budget
            optimizer.param_groups[0]["lr"] = chosen.learning_rate * min(
                1 - share, share / max(chosen.warmup, 1e-9) + 0.01
            )
            for loss in model.losses(net, batch):
                torch.autograd.backward(loss.function(net, *loss.arguments))
                torch.nn.utils.clip_grad_norm_(net.parameters(), chosen.clip or torch.inf)
                optimizer.step()
                optimizer.zero_grad()
            used += batch.units
    return net.eval(), preparation


def encoded(batch: Batch, preparation: Preparation) -> Batch:
    inputs = preparation.collate(preparation.encode(batch.inputs))
    return dataclasses.replace(batch, inputs=inputs, targets=torch.as_tensor(batch.targets))


def accuracy(task: Task, model: Model, net: torch.nn.Module, preparation: Preparation, split: Split) -> float:
    source = task.source(split, Seed(0), model.recipe(task.signature()))
    hits = seen = 0
    with torch.no_grad():
        for batch in source.each(no_model):
            ready = encoded(batch, preparation)
            seen += batch.units
            hits += int((model.act(net, ready.inputs, explore=False).value == ready.targets).sum())
    return hits / seen
