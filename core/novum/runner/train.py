"""The one training loop. It knows no domain: sources give batches, models yield losses."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from novum.data import Number, Scores
from novum.errors import MismatchError
from novum.model import Model, Preparation, Weights
from novum.runner import device as devices
from novum.runner import strict, tally
from novum.runner.averaging import estimate
from novum.runner.compiling import Compiler
from novum.runner.early import EarlyStop, divide
from novum.runner.hooks import Hooks
from novum.runner.parts import Actor, Encoder, Parts
from novum.runner.ranks import synchronised
from novum.runner.resolve import PLAIN
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
from novum.task import Source, Split, only

if TYPE_CHECKING:
    from torch import nn

    from novum.data import Batch
    from novum.runner.checkpoint import Shelf
    from novum.runner.ranks import Ranks, Together


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
    """What training gives.

    diverged: None, or why (then the trial counts as the metric's worst value). stopped: None, or where training
    stopped early.
    """

    net: nn.Module
    preparation: Preparation
    units: int
    seconds: float
    curve: list[Point] = field(default_factory=list)
    diverged: str | None = None
    start: dict[str, Any] | None = None
    scores: Scores | None = None
    stopped: str | None = None


class Trainer:
    """One arm, one seed, from nothing to a trained network.

    `watch` hears every curve point. `points` is how many there are, evenly over the budget; at each the network
    is scored on `dev`, which changes no number of the training (the generators are put back).

    `how`: that of the plan; here its layout and whether losses are compiled.

    `micro`: pieces into which the batch of every loss is divided, see `Steps`.

    `shelf` takes a checkpoint between batches whenever one is due, which changes no number either; `restore` goes
    on from one. A source without a state, and one whose units are encoded at random (what was drawn for a unit is kept
    and stands in no checkpoint), take none.

    `ranks`: the processes that train this trial together, each with a trainer like this one. They differ in what they
    compute a loss of; the first alone scores.
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
        how: Mapping[str, str] = PLAIN,
        micro: int = 1,
        shelf: Shelf | Together | None = None,
        ranks: Ranks | None = None,
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
        self.how = how
        self.micro = micro
        self.shelf = shelf
        self.ranks = ranks
        self.used = 0
        self.curve: list[Point] = []
        self.deviations: list[str] = []
        self._spent = 0.0  # seconds of training before this process
        self._began = time.perf_counter()
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
                    self.preparation = parts.model.prepare(parts.signature, self._open(seed.child("data"))[0])
            with installed(seed.child("build")):
                net = parts.model.build(parts.signature, self.preparation, seed.child("build"), weights)
            self.hooks = Hooks(parts.recipe.techniques, seed, self.device)
            self.hooks.on_build(net)
            self.source, self._held = self._open(seed.child("data"))
            if type(parts.model).begin is not Model.begin:
                with installed(seed.child("begin")):
                    parts.model.begin(net, parts.signature, self._open(seed.child("data"))[0])
        self.early = None if parts.recipe.early_stop is None else EarlyStop(parts.recipe.early_stop)
        self.start = None
        if weights is not None:
            if not weights.loaded:
                weights.copy_into(net)
            self.start = {"loaded": len(weights.loaded), "fresh": list(weights.skipped)}
        layout = self.how["layout"]
        self.net = devices.arrange(net.to(self.device), layout)
        if self.ranks is not None:
            self.net = synchronised(self.net, self.device.type, self.ranks.count)
        self._encoders = {split: Encoder(self.preparation, self.device, layout) for split in Split}
        self._holder = Encoder(self.preparation, self.device, layout)  # of units that are held back
        way = self.how["compile"]
        if way == "reduce-overhead" and self.micro > 1:
            way = "default"  # a graph's gradients would not outlive its next replay
        compiler = None if way == "none" else Compiler(way, self._deviate)
        self.steps = Steps(
            parts,
            self.net,
            device_kind=self.device.type,
            precision=self.precision,
            micro=self.micro,
            ranks=self.ranks,
            compiler=compiler,
            hooks=self.hooks if parts.recipe.techniques else None,
        )
        average = self.steps.average
        if average is not None and average.estimates and (self.source.size is None or self.ranks is not None):
            raise MismatchError(
                "recipe.averaging: 'swa' estimates the statistics of batch norms by one pass over `train`, which an "
                "environment does not have and several devices do not share; the network of "
                f"{type(parts.model).__name__} has batch norms, so say 'none' or 'ema'."
            )

    def _open(self, stream: Seed) -> tuple[Source, Source | None]:
        """`train` as this trial learns from it, and the slice that is held back where the recipe may stop early."""
        source = self.parts.task.source(Split.TRAIN, stream, self.parts.recipe)
        if self.parts.recipe.early_stop is None:
            return source, None
        return divide(source, self.parts.recipe.early_stop_share, self.seed.child("held-back"))

    def _deviate(self, sentence: str) -> None:
        """Compiling failed: from here the trial is computed in another way, which a resumed one could not repeat."""
        self.deviations.append(sentence)
        if self.shelf is not None:
            self.shelf.tell(sentence)
            self.shelf.stop()

    # ------------------------------------------------------------------------------------------------- training

    def run(self) -> Trained:
        """Train to the budget, to an early stop, or until a loss is no longer finite."""
        self._began = time.perf_counter() - self._spent
        scores: Scores | None = None
        diverged: str | None = None
        if self.ranks is not None:
            self.ranks.check(self.net)
        early, ended, passed = self.early, False, len(self.curve)
        while not ended and passed < self.points:
            point = math.ceil(self.units * (passed + 1) / self.points)
            look = point + 1 if early is None else early.due(self.units)
            self.used, diverged = self.stretch(self.used, min(point, look))
            if early is not None and diverged is None and look <= point:
                ended = early.look(self.used, self.steps.scored, self._loss_of_held)
            devices.synchronize(self.device.type)
            self._spent = time.perf_counter() - self._began
            if diverged is not None:
                break
            if look < point and not ended:
                continue
            passed += 1
            if self.ranks is not None:
                self.ranks.check(self.net)
                if self.ranks.rank > 0:
                    continue
            self._estimate()
            scores = self.score(Split.DEV)
            self.curve.append(Point(self.used, self.used / self.units, self._spent, self.steps.means(), scores.metrics))
            self.watch(self.curve[-1])
            self._began = time.perf_counter() - self._spent  # scoring is not training time
        told = f"stopped early at {self.used:,} of {self.units:,} units" if ended and self.used < self.units else None
        return Trained(
            self.net, self.preparation, self.used, self._spent, self.curve, diverged, self.start, scores, told
        )

    def _products(self) -> AbstractContextManager[None]:
        """How matrices are multiplied while this trial trains."""
        return devices.products(self.precision, self.device.type)

    def stretch(self, used: int, until: int) -> tuple[int, str | None]:
        """Go on from `used` to at least `until` units; returns the units used and why it diverged, if it did."""
        import torch

        source, model, net, steps = self.source, self.parts.model, self.net, self.steps
        encoder = self._encoders[Split.TRAIN]
        act = Actor(model, net, encoder)
        broken: int | None = None
        net.train()
        with (
            only(Split.TRAIN),
            installed(self.seed.child("train"), self._states),
            self._products(),
            torch.no_grad(),
        ):
            timed = self.ranks is None  # all ranks stop at the same batch, and their clocks differ
            try:
                while used < until and broken is None:
                    if source.acts:
                        net.eval()
                        raw = source.next(act)
                        net.train()
                    else:
                        raw = source.next(act)
                    batch = self._encoded(encoder, raw, used)
                    share = (used + raw.units / 2) / self.units  # a step belongs to the middle of the units it uses
                    used += raw.units
                    losses = model.losses(net, batch)
                    if self.ranks is not None:
                        losses = self.ranks.single(losses, type(model).__name__)
                    for loss in losses:
                        steps.take(loss, min(share, 1.0), used, batch)
                    shelf = self.shelf if self.shelf is not None and self.shelf.due() else None
                    # An environment waits for the network anyway.
                    if source.acts or shelf is not None or steps.tally.due(timed):
                        broken = steps.tally.look()
                    if shelf is not None and broken is None:
                        self._save(shelf, used)
            except Exception:  # weights that are not finite break much: the first cause is what counts
                if steps.tally.look() is None:
                    raise
            broken = steps.tally.look()
            whole = [param.isfinite().all() for param in net.parameters()]
        if broken is None and (not whole or bool(torch.stack(whole).all())):  # one look for all of them
            return used, None
        used = used if broken is None else broken
        return used, tally.diverged(used, self.units)

    # ---------------------------------------------------------------------------------------------- checkpoints

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where a state was saved. Raises what shows that it does not fit: this trainer is then of no use."""
        if state["preparation"] != content(self.preparation):
            raise ValueError("the model's preparation came out differently this time")
        fill(self.net, state["net"])
        self.steps.restore(state)
        if self.early is not None:
            self.early.restore(state["early"], self.net)
        self.hooks.restore(state["techniques"])
        self.source.load_state_dict(state["source"])
        self._states = of_machine(state["generators"])
        self.used, self._spent = state["used"], state["seconds"]
        self.curve = [
            Point(units, share, seconds, losses, numbers(metrics))
            for units, share, seconds, losses, metrics in state["curve"]
        ]

    def _save(self, shelf: Shelf | Together, used: int) -> None:
        """Write a checkpoint. Between batches only: what a half-run generator of losses holds cannot be saved."""
        devices.synchronize(self.device.type)
        spent, generators = time.perf_counter() - self._began, read()
        shelf.save(lambda: self._state(used, spent, generators))
        write(generators)
        self._began = time.perf_counter() - spent  # saving is not training time

    def _state(self, used: int, spent: float, generators: dict[str, Any]) -> dict[str, Any] | None:
        """All that the rest of the training depends on; None where the source promises no state."""
        source = self.source.state_dict()
        if source is None:
            return None
        return {
            "used": used,
            "seconds": spent,
            "curve": [
                (each.units, each.share, each.seconds, dict(each.losses), plain(each.metrics)) for each in self.curve
            ],
            "net": tensors_of(self.net),
            **self.steps.state(),
            "early": None if self.early is None else self.early.state(),
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
        """The network that is scored and kept: the best one so far where the recipe may stop early, else the average
        where it asks for one.
        """
        return self.steps.scored if self.early is None or self.early.net is None else self.early.net

    def _loss_of_held(self) -> float:
        """The mean loss of the weights as they are over the slice that is held back, each time by the same draws."""
        import torch

        assert self._held is not None
        net, model = self.steps.scored, self.parts.model
        act = Actor(model, net, self._holder)
        net.eval()
        total, count = torch.zeros((), device=self.device), 0
        with only(Split.TRAIN), installed(self.seed.child("held-back", "loss")), self._products(), torch.no_grad():
            for raw in self._held.each(act):
                total = total + self.steps.forward(net, self._holder.batch(raw)) * raw.units
                count += raw.units
        return float(total) / count

    def _estimate(self) -> None:
        """Where the weights are a mean, set the statistics of batch norms to those of a pass over `train` by them. The
        pass has a stream of its own and keeps no encoded unit, so that it changes no number of the training.
        """
        average = self.steps.average
        if average is None or not average.estimates or not average.begun:
            return
        stream, encoder = self.seed.child("statistics"), Encoder(self.preparation, self.device, self.how["layout"])
        with only(Split.TRAIN), installed(stream), self._products():
            source, _ = self._open(stream)
            act = Actor(self.parts.model, average.net, encoder)
            passes = math.ceil((source.size or 0) / self.parts.recipe.batch_size)
            estimate(average.net, (encoder.batch(source.next(act)) for _ in range(passes)), self.steps.forward)

    def score(self, split: Split) -> Scores:
        """Score one pass over a split, from a stream of its own."""
        return score(self.parts, self.scored, self._encoders[split], split, self.seed)


def score(parts: Parts, net: nn.Module, encoder: Encoder, split: Split, seed: Seed) -> Scores:
    """Score a network over one split. Every call draws the same numbers, whatever was drawn before.

    `train` is opened as this trial's training opened it: a task may draw what a trial sees of it.
    """
    net.eval()
    stream = seed.child("score", split)
    with only(split), installed(stream), devices.products("fp32", encoder.device.type):
        opened = seed.child("data") if split is Split.TRAIN else stream
        source = parts.task.source(split, opened, parts.recipe)
        given = parts.evaluator.score(Actor(parts.model, net, encoder), source, parts.signature)
    return strict.scores(given, parts.evaluator.metrics, type(parts.evaluator).__name__)
