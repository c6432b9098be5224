"""The one training loop. It knows no domain: sources give batches, models yield losses."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from novum.data import Number, Scores
from novum.model import Preparation, Weights
from novum.runner import device as devices
from novum.runner import strict
from novum.runner.hooks import Hooks
from novum.runner.parts import Actor, Encoder, Parts
from novum.runner.resume import (
    content,
    fill,
    numbers,
    of_device,
    of_machine,
    plain,
    position,
    tensors_of,
)
from novum.runner.step import Steps
from novum.seeds import Seed, installed, read, write
from novum.task import Split, only

if TYPE_CHECKING:
    from torch import nn

    from novum.data import Batch
    from novum.runner.checkpoint import Shelf

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

    `micro`: pieces into which the batch of every loss is divided, see `Steps`.

    `shelf` takes a checkpoint between batches whenever one is due, which changes no number either; `restore` goes
    on from one. A source without a state, and one whose units are encoded at random (what was drawn for a unit is kept
    and stands in no checkpoint), take none.
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
        micro: int = 1,
        shelf: Shelf | None = None,
    ) -> None:
        if type(micro) is not int or micro < 1:
            raise ValueError(
                f"micro is {micro!r}; give the whole number of pieces, at least 1, that a batch is cut into."
            )
        self.parts = parts
        self.seed = seed
        self.units = units
        self.device = devices.device(device_kind)
        self.precision = precision
        self.points = max(1, points)
        self.watch = watch
        self.micro = micro
        self.shelf = shelf
        self.used = 0
        self.curve: list[Point] = []
        self._spent = 0.0  # seconds of training before this process
        self._began = time.perf_counter()
        self._count = 0
        self._states: dict[str, Any] = {}
        self._build(start)

    def _build(self, start: tuple[Weights, Preparation] | None) -> None:

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
            self.hooks = Hooks(parts.recipe.techniques, seed, self.device)
            self.hooks.on_build(net)
            self.source = parts.task.source(Split.TRAIN, seed.child("data"), parts.recipe)
        self.start = None
        if weights is not None:
            if not weights.loaded:
                weights.copy_into(net)
            self.start = {"loaded": len(weights.loaded), "fresh": list(weights.skipped)}
        self.net = net.to(self.device)
        self._encoders = {split: Encoder(self.preparation, self.device) for split in Split}
        self.steps = Steps(
            parts,
            self.net,
            device_kind=self.device.type,
            precision=self.precision,
            micro=self.micro,
            hooks=self.hooks if parts.recipe.techniques else None,
        )

    # ------------------------------------------------------------------------------------------------- training

    def run(self) -> Trained:
        """Train to the budget, or until a loss is no longer finite."""
        self._began = time.perf_counter() - self._spent
        scores: Scores | None = None
        diverged: str | None = None
        for point in range(len(self.curve) + 1, self.points + 1):
            until = math.ceil(self.units * point / self.points)
            self.used, diverged = self.stretch(self.used, until)
            devices.synchronize(self.device.type)
            self._spent = time.perf_counter() - self._began
            if diverged is not None:
                break
            scores = self.score(Split.DEV)
            self.curve.append(Point(self.used, self.used / self.units, self._spent, self.steps.means(), scores.metrics))
            self.watch(self.curve[-1])
            self._began = time.perf_counter() - self._spent  # scoring is not training time
        return Trained(self.net, self.preparation, self.used, self._spent, self.curve, diverged, self.start, scores)

    def stretch(self, used: int, until: int) -> tuple[int, str | None]:
        """Go on from `used` to at least `until` units; returns the units used and why it diverged, if it did."""
        import torch

        source, model, net = self.source, self.parts.model, self.net
        act = Actor(model, net, self._encoders[Split.TRAIN])
        encoder = self._encoders[Split.TRAIN]
        patient = CHECK_EVERY if self.device.type == "cuda" else 1
        finite = torch.ones((), dtype=torch.bool, device=self.device)
        count, self._count = self._count, 0
        net.train()
        with only(Split.TRAIN), installed(self.seed.child("train"), self._states), torch.no_grad():
            while used < until:
                if source.acts:
                    net.eval()
                    raw = source.next(act)
                    net.train()
                else:
                    raw = source.next(act)
                batch = self._encoded(encoder, raw, used)
                share = (used + raw.units / 2) / self.units  # a step belongs to the middle of the units it uses
                for loss in model.losses(net, batch):
                    finite &= self.steps.take(loss, min(share, 1.0), batch)
                used += raw.units
                count += 1
                if count % patient == 0 and not finite:
                    break
                if self.shelf is not None and self.shelf.due() and finite:
                    self._save(self.shelf, used, count)
            healthy = bool(finite) and all(bool(param.isfinite().all()) for param in net.parameters())
        return used, None if healthy else f"a loss or weight was not finite after {used} of {self.units} units"

    # ---------------------------------------------------------------------------------------------- checkpoints

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where a state was saved. Raises what shows that it does not fit: this trainer is then of no use."""
        if state["preparation"] != content(self.preparation):
            raise ValueError("the model's preparation came out differently this time")
        fill(self.net, state["net"])
        self.steps.restore(state)
        self.hooks.restore(state["techniques"])
        self.source.load_state_dict(state["source"])
        self._states = of_machine(state["generators"])
        self.used, self._count, self._spent = state["used"], state["count"], state["seconds"]
        self.curve = [
            Point(units, share, seconds, losses, numbers(metrics))
            for units, share, seconds, losses, metrics in state["curve"]
        ]

    def _save(self, shelf: Shelf, used: int, count: int) -> None:
        """Write a checkpoint. Between batches only: what a half-run generator of losses holds cannot be saved."""
        devices.synchronize(self.device.type)
        spent, generators = time.perf_counter() - self._began, read()
        shelf.save(lambda: self._state(used, count, spent, generators))
        write(generators)
        self._began = time.perf_counter() - spent  # saving is not training time

    def _state(self, used: int, count: int, spent: float, generators: dict[str, Any]) -> dict[str, Any] | None:
        """All that the rest of the training depends on; None where the source promises no state."""
        source = self.source.state_dict()
        if source is None:
            return None
        return {
            "used": used,
            "count": count,
            "seconds": spent,
            "curve": [
                (each.units, each.share, each.seconds, dict(each.losses), plain(each.metrics)) for each in self.curve
            ],
            "net": tensors_of(self.net),
            **self.steps.state(),
            "techniques": self.hooks.state(),
            "generators": of_device(generators, self.device),
            "source": source,
            "preparation": content(self.preparation),
        }

    def _encoded(self, encoder: Encoder, raw: Batch, used: int) -> Batch:
        """The encoded batch; in the first pass, when units are encoded, look whether that draws."""
        if self.shelf is None or used > (self.source.size or 0) or type(self.preparation).encode is Preparation.encode:
            return encoder.batch(raw)
        before = position(read())
        batch = encoder.batch(raw)
        if position(read()) != before:
            self.shelf.stop()
        return batch

    # -------------------------------------------------------------------------------------------------- scoring

    @property
    def scored(self) -> nn.Module:
        """The network that is scored and kept: the average where the recipe asks for one."""
        return self.steps.scored

    def score(self, split: Split) -> Scores:
        """Score one pass over a split, from a stream of its own."""
        return score(self.parts, self.scored, self._encoders[split], split, self.seed)


def score(parts: Parts, net: nn.Module, encoder: Encoder, split: Split, seed: Seed) -> Scores:
    """Score a network over one split. Every call draws the same numbers, whatever was drawn before."""
    net.eval()
    stream = seed.child("score", split)
    with only(split), installed(stream):
        source = parts.task.source(split, stream, parts.recipe)
        given = parts.evaluator.score(Actor(parts.model, net, encoder), source, parts.signature)
    return strict.scores(given, parts.evaluator.metrics, type(parts.evaluator).__name__)
