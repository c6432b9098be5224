"""The one training loop. It knows no domain: sources give batches, models yield losses."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from novum import plugins
from novum.data import Number, Scores
from novum.errors import MismatchError
from novum.model import Weights
from novum.runner import device as devices
from novum.runner.parts import Actor, Encoder, Parts
from novum.runner.schedules import with_warmup
from novum.seeds import Seed, installed
from novum.task import Split, only

if TYPE_CHECKING:
    import torch
    from torch import nn

    from novum.data import Loss
    from novum.model import Preparation

CHECK_EVERY = 50
"""Batches between looks at the finite-loss flag on a device whose every look would wait for it."""


@dataclass(frozen=True)
class Point:
    """One point of a learning curve. losses: mean since the last point. scores: on `dev`, None where not asked."""

    units: int
    share: float
    seconds: float
    losses: Mapping[str, float]
    metrics: Mapping[str, Number]


@dataclass
class Trained:
    """What training gives. diverged: None, or why (then the trial counts as the metric's worst value)."""

    net: nn.Module
    preparation: Preparation
    units: int
    seconds: float
    curve: list[Point] = field(default_factory=list)
    diverged: str | None = None
    start: dict[str, Any] | None = None
    scores: Scores | None = None


class Trainer:
    """One arm, one seed, from nothing to a trained network.

    `watch` hears every curve point. `points` is how many there are, evenly over the budget; at each the network
    is scored on `dev`, which changes no number of the training (the generators are put back).
    """

    def __init__(
        self,
        parts: Parts,
        seed: Seed,
        *,
        units: int,
        device_kind: str,
        precision: str,
        points: int = 1,
        start: tuple[Weights, Preparation] | None = None,
        watch: Callable[[Point], None] = lambda point: None,
    ) -> None:

        self.parts = parts
        self.seed = seed
        self.units = units
        self.device = devices.device(device_kind)
        self.precision = precision
        self.points = max(1, points)
        self.watch = watch
        self._optimizers: dict[str, tuple[torch.optim.Optimizer, list[nn.Parameter]]] = {}
        self._schedule = with_warmup(plugins.load("schedule", parts.recipe.schedule), parts.recipe.warmup)
        self._sums: dict[str, tuple[torch.Tensor, int]] = {}
        self._average: torch.optim.swa_utils.AveragedModel | None = None
        self._states: dict[str, Any] = {}
        self._build(start)

    def _build(self, start: tuple[Weights, Preparation] | None) -> None:
        import torch

        parts, seed = self.parts, self.seed
        weights = start[0] if start else None
        with only(Split.TRAIN):
            if start is not None:
                self.preparation = start[1]  # the parent's vocabulary or scale: its weights mean nothing without it
            else:
                with installed(seed.child("prepare")):
                    sample = parts.task.source(Split.TRAIN, seed.child("data"), parts.recipe)
                    self.preparation = parts.model.prepare(parts.signature, sample)
            with installed(seed.child("build")):
                net = parts.model.build(parts.signature, self.preparation, seed.child("build"), weights)
            self.source = parts.task.source(Split.TRAIN, seed.child("data"), parts.recipe)
        self.start = None
        if weights is not None:
            if not weights.loaded:
                weights.copy_into(net)
            self.start = {"loaded": len(weights.loaded), "fresh": list(weights.skipped)}
        self.net = net.to(self.device)
        self._encoders = {split: Encoder(self.preparation, self.device) for split in Split}
        if parts.recipe.averaging == "ema":
            self._average = torch.optim.swa_utils.AveragedModel(self.net, multi_avg_fn=_ema)

    # ------------------------------------------------------------------------------------------------- training

    def run(self) -> Trained:
        """Train to the budget, or until a loss is no longer finite."""
        used, began, curve = 0, time.perf_counter(), list[Point]()
        spent = 0.0
        scores: Scores | None = None
        diverged: str | None = None
        for point in range(1, self.points + 1):
            until = math.ceil(self.units * point / self.points)
            used, diverged = self.stretch(used, until)
            devices.synchronize(self.device.type)
            spent = time.perf_counter() - began
            if diverged is not None:
                break
            paused = time.perf_counter()
            scores = self.score(Split.DEV)
            curve.append(Point(used, used / self.units, spent, self._means(), scores.metrics))
            self.watch(curve[-1])
            began += time.perf_counter() - paused  # scoring is not training time
        return Trained(self.net, self.preparation, used, spent, curve, diverged, self.start, scores)

    def stretch(self, used: int, until: int) -> tuple[int, str | None]:
        """Go on from `used` to at least `until` units; returns the units used and why it diverged, if it did."""
        import torch

        source, model, net = self.source, self.parts.model, self.net
        act = Actor(model, net, self._encoders[Split.TRAIN])
        encoder = self._encoders[Split.TRAIN]
        patient = CHECK_EVERY if self.device.type == "cuda" else 1
        finite = torch.ones((), dtype=torch.bool, device=self.device)
        count = 0
        net.train()
        with only(Split.TRAIN), installed(self.seed.child("train"), self._states), torch.no_grad():
            while used < until:
                if source.acts:
                    net.eval()
                    raw = source.next(act)
                    net.train()
                else:
                    raw = source.next(act)
                batch = encoder.batch(raw)
                share = (used + raw.units / 2) / self.units  # a step belongs to the middle of the units it uses
                for loss in model.losses(net, batch):
                    finite &= self.step(loss, min(share, 1.0))
                used += raw.units
                count += 1
                if count % patient == 0 and not finite:
                    break
            healthy = bool(finite) and all(bool(param.isfinite().all()) for param in net.parameters())
        return used, None if healthy else f"a loss or weight was not finite after {used} of {self.units} units"

    def step(self, loss: Loss, share: float) -> torch.Tensor:
        """Compute one loss, differentiate it for the parameters that it names, and step. Returns whether finite."""
        import torch

        optimizer, params = self._optimizer(loss.prefix)
        rate = self.parts.recipe.learning_rate * self._schedule(share)
        for group in optimizer.param_groups:
            group["lr"] = rate
        with torch.enable_grad():
            with devices.autocast(self.precision, self.device.type):
                value = loss.function(self.net, *loss.arguments)
            torch.autograd.backward(value, inputs=params)
        if self.parts.recipe.clip > 0:
            torch.nn.utils.clip_grad_norm_(params, self.parts.recipe.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if self._average is not None:
            self._average.update_parameters(self.net)
        value = value.detach()
        total, times = self._sums.get(loss.name, (0.0, 0))
        self._sums[loss.name] = (total + value, times + 1)
        return value.isfinite()

    def _optimizer(self, prefix: str) -> tuple[torch.optim.Optimizer, list[nn.Parameter]]:
        if prefix not in self._optimizers:
            params = [
                param for name, param in self.net.named_parameters() if name.startswith(prefix) and param.requires_grad
            ]
            if not params:
                heads = sorted({name.split(".")[0] + "." for name, _ in self.net.named_parameters()})
                raise MismatchError(
                    f"a loss of the model names the parameters below {prefix!r}, but its network has none there that "
                    f"are trained; it has {', '.join(heads)}."
                )
            self._optimizers[prefix] = (make_optimizer(self.parts, params), params)
        return self._optimizers[prefix]

    def _means(self) -> dict[str, float]:
        means = {name: float(total) / times for name, (total, times) in self._sums.items()}
        self._sums.clear()
        return means

    # -------------------------------------------------------------------------------------------------- scoring

    @property
    def scored(self) -> nn.Module:
        """The network that is scored and kept: the average where the recipe asks for one."""
        return self.net if self._average is None else self._average.module

    def score(self, split: Split) -> Scores:
        """Score one pass over a split, from a stream of its own."""
        return score(self.parts, self.scored, self._encoders[split], split, self.seed)


def score(parts: Parts, net: nn.Module, encoder: Encoder, split: Split, seed: Seed) -> Scores:
    """Score a network over one split. Every call draws the same numbers, whatever was drawn before."""
    net.eval()
    stream = seed.child("score", split)
    with only(split), installed(stream):
        source = parts.task.source(split, stream, parts.recipe)
        return parts.evaluator.score(Actor(parts.model, net, encoder), source, parts.signature)


def make_optimizer(parts: Parts, params: list[nn.Parameter]) -> Any:
    """The recipe's optimiser over some parameters; it receives those further recipe values that it names."""
    import inspect

    recipe = parts.recipe
    make = plugins.load("optimizer", recipe.optimizer)
    named = set(inspect.signature(make).parameters)
    extra = {name: value for name, value in recipe.model_dump().items() if name in named - {"learning_rate"}}
    extra.pop("weight_decay", None)
    return make(params, recipe.learning_rate, recipe.weight_decay, **extra)


def _ema(averaged: Any, current: Any, count: Any) -> None:
    """Exponential moving average with decay min(0.999, (1 + n) / (10 + n)) after n updates."""
    import torch

    decay = min(0.999, (1.0 + float(count)) / (10.0 + float(count)))
    torch._foreach_lerp_(averaged, current, 1.0 - decay)
