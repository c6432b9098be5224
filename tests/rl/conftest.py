"""What these tests share: making the parts from their options, and a training loop that needs no runner."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import torch
from novum import Batch, Prediction, Seed, Split
from novum.config import parse
from novum.recipe import units
from novum.seeds import installed
from novum_rl.gym import Gym
from novum_rl.ppo import PPO
from novum_rl.returns import Returns
from torch import nn


@pytest.fixture(autouse=True)
def one_thread_and_every_warning() -> Iterator[None]:
    torch.set_num_threads(1)
    always = torch.is_warn_always_enabled()
    torch.set_warn_always(True)  # else a warning that torch gives once fails only the first test that earns it
    yield
    torch.set_warn_always(always)


@pytest.fixture
def gym() -> Callable[..., Gym]:
    return lambda **options: Gym(parse(Gym.Config, options, "task 'gym'"))


@pytest.fixture
def ppo() -> Callable[..., PPO]:
    return lambda **options: PPO(parse(PPO.Config, options, "model 'ppo'"))


@pytest.fixture
def returns() -> Callable[..., Returns]:
    return lambda **options: Returns(parse(Returns.Config, options, "evaluator 'returns'"))


class Played:
    """A model and its network, as a source sees them."""

    def __init__(self, model: PPO, net: nn.Module) -> None:
        self.model, self.net = model, net

    def __call__(self, inputs: Any, ids: Sequence[str] = (), explore: bool = False) -> Prediction:
        with torch.no_grad():
            return self.model.act(self.net, torch.as_tensor(inputs), explore)


def tensors(batch: Batch) -> Batch:
    extras = {name: torch.as_tensor(array) for name, array in batch.extras.items()}
    return dataclasses.replace(batch, inputs=torch.as_tensor(batch.inputs), extras=extras)


def train(task: Gym, model: PPO, root: int, **recipe: Any) -> tuple[Played, list[float]]:
    """Adam with clipping and a rate that falls to zero over the budget; returns the player and every loss."""
    signature, seed = task.signature(), Seed(root)
    chosen = model.recipe(signature).model_copy(update=recipe)
    with installed(seed.child("build")):
        net = model.build(signature, model.preparation(), seed, None)
    source, act = task.source(Split.TRAIN, seed.child("data"), chosen), Played(model, net)
    optimizer = torch.optim.Adam(net.parameters(), lr=chosen.learning_rate, fused=True)
    budget, used, losses = units(chosen.budget, source.size), 0, list[float]()
    with installed(seed.child("train")), torch.no_grad():
        while used < budget:
            batch = tensors(source.next(act))
            optimizer.param_groups[0]["lr"] = chosen.learning_rate * (1 - used / budget)
            for loss in model.losses(net, batch):
                with torch.enable_grad():
                    value: Any = loss.function(net, *loss.arguments)
                    value.backward()
                nn.utils.clip_grad_norm_(net.parameters(), chosen.clip)
                optimizer.step()
                optimizer.zero_grad()
                losses.append(float(value.detach()))
            used += batch.units
    return act, losses


@pytest.fixture
def trained() -> Callable[..., tuple[Played, list[float]]]:
    return train


@pytest.fixture
def rollout() -> Callable[..., tuple[nn.Module, Batch]]:
    """A network and one rollout that it played, in tensors."""

    def play(task: Gym, model: PPO, root: int, batch_size: int = 64) -> tuple[nn.Module, Batch]:
        signature, seed = task.signature(), Seed(root)
        with installed(seed.child("build")):
            net = model.build(signature, model.preparation(), seed, None)
        recipe = model.recipe(signature).model_copy(update={"batch_size": batch_size})
        source = task.source(Split.TRAIN, seed.child("data"), recipe)
        with installed(seed.child("train")):
            return net, tensors(source.next(Played(model, net)))

    return play
