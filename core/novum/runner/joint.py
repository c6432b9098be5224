"""Many seeds of one arm trained as one: their parameters are stacked, and every step is one step for all.

Each replicate has its own initialisation, order of data, clipping, and end where its loss is no number any more. The
schedule is the same for all. Draws inside the losses (dropout) and of sources that draw differ between replicates and
come from one stream of the block. The numbers equal those of separate trials up to rounding, not to the bit: the block
stands in the trials' keys. After "horizontal fusion" (Wang et al. 2021, arXiv 2102.02344) by `torch.func`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch

from novum import plugins
from novum.data import Scores
from novum.errors import MismatchError
from novum.model import Preparation, Weights
from novum.runner import device as devices
from novum.runner.batched import Batched, Gradients, UnsuitedError
from novum.runner.parts import Actor, Parts
from novum.runner.resume import content, numbers, of_device, of_machine, pieces, plain, refill
from novum.runner.schedules import with_warmup
from novum.runner.step import make_optimizer
from novum.runner.table import Table
from novum.runner.train import Point, Trained, Trainer
from novum.seeds import Seed, installed, read, write
from novum.task import Split, only

if TYPE_CHECKING:
    from novum.data import Batch, Loss
    from novum.runner.checkpoint import Shelf


class Joint:
    """One arm at several seeds, from nothing to as many trained networks.

    starts: for each seed, what `Trainer` takes as its start. watch: hears (replicate, point) of every curve. The rest
    is as `Trainer` has it.

    A replicate whose loss or weights are no longer finite has diverged: it is named in its result, and its numbers
    reach no other. `losses` of the model must yield once for each batch; else MismatchError.
    """

    def __init__(
        self,
        parts: Parts,
        seeds: Sequence[Seed],
        *,
        units: int,
        device_kind: str,
        precision: str,
        points: int = 1,
        starts: Sequence[tuple[Weights, Preparation] | None] | None = None,
        watch: Callable[[int, Point], None] = lambda replicate, point: None,
        micro: int = 1,
        shelf: Shelf | None = None,
    ) -> None:
        self.parts = parts
        self.units = units
        self.points = max(1, points)
        self.watch = watch
        self.micro = micro
        self.shelf = shelf
        self.used = 0
        self.replicates = [
            Trainer(parts, seed, units=units, device_kind=device_kind, precision=precision, start=start)
            for seed, start in zip(seeds, starts or [None] * len(seeds), strict=True)
        ]
        first = self.replicates[0]
        self.device = first.device
        self.curves: list[list[Point]] = [[] for _ in seeds]
        self.ends: list[int | None] = [None] * len(seeds)
        """Units after which each replicate diverged; None while it has not."""
        self._stream = seeds[0].child("train", "together", *(str(seed.integer()) for seed in seeds))
        self._states: dict[str, Any] = {}
        self._table: tuple[Table | None] | None = None  # None: not looked yet
        self._spent, self._began = 0.0, time.perf_counter()
        self._share_encoders()
        self.parameters, self.buffers = self._stack()
        self._batched = Batched(
            first.net, self.parameters, self.buffers, device_kind=self.device.type, precision=precision
        )
        self._optimizers: dict[str, tuple[torch.optim.Optimizer, list[str]]] = {}
        self._schedule = with_warmup(plugins.load("schedule", parts.recipe.schedule), parts.recipe.warmup)
        self._finite = torch.ones(len(seeds), dtype=torch.bool, device=self.device)
        self._sums: dict[str, tuple[torch.Tensor | float, int]] = {}

    def _share_encoders(self) -> None:
        """Where the preparations came out alike, a unit is encoded once for all replicates."""
        first = self.replicates[0]
        for each in self.replicates[1:]:
            if content(each.preparation) == content(first.preparation):
                each._encoders = first._encoders

    def _stack(self) -> tuple[dict[str, torch.nn.Parameter], dict[str, torch.Tensor]]:
        """Parameters and buffers of all replicates; each network's own become views of them."""
        nets = [each.net for each in self.replicates]
        found: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
        for at, named in enumerate((torch.nn.Module.named_parameters, torch.nn.Module.named_buffers)):
            columns = [dict(named(net)) for net in nets]
            for name in columns[0]:
                own = [column[name] for column in columns]
                whole = torch.stack([each.detach() for each in own])
                for each, view in zip(own, whole.unbind(), strict=True):
                    each.data = view
                found[at][name] = torch.nn.Parameter(whole, own[0].requires_grad) if at == 0 else whole
        return found

    # ------------------------------------------------------------------------------------------------- training

    def run(self) -> list[Trained]:
        """Train to the budget, or until every replicate has diverged."""
        self._began = time.perf_counter() - self._spent
        scores: list[Scores | None] = [None] * len(self.replicates)
        for point in range(1 + max(len(curve) for curve in self.curves), self.points + 1):
            until = math.ceil(self.units * point / self.points)
            self.stretch(until)
            devices.synchronize(self.device.type)
            self._spent = time.perf_counter() - self._began
            means = self._means()
            for at, replicate in enumerate(self.replicates):
                if self.ends[at] is None:
                    found = scores[at] = replicate.score(Split.DEV)
                    each = self._spent / len(self.replicates)
                    self.curves[at].append(Point(self.used, self.used / self.units, each, means[at], found.metrics))
                    self.watch(at, self.curves[at][-1])
            if all(end is not None for end in self.ends):
                break
            self._began = time.perf_counter() - self._spent  # scoring is not training time
        return [self._trained(at, scores[at]) for at in range(len(self.replicates))]

    def _trained(self, at: int, scores: Scores | None) -> Trained:
        replicate, end = self.replicates[at], self.ends[at]
        told = None if end is None else f"a loss or weight was not finite after {end} of {self.units} units"
        seconds = self._spent / len(self.replicates)
        units = self.used if end is None else end
        return Trained(
            replicate.net, replicate.preparation, units, seconds, self.curves[at], told, replicate.start, scores
        )

    def stretch(self, until: int) -> None:
        """Go on to at least `until` units."""
        model = self.parts.model
        acts = [Actor(model, each.net, each._encoders[Split.TRAIN]) for each in self.replicates]
        for each in self.replicates:
            each.net.train()
        with only(Split.TRAIN), installed(self._stream, self._states), torch.no_grad():
            table = self._looked_up()
            while self.used < until and None in self.ends:
                if table is not None:
                    batches = table.next()
                else:
                    batches = [
                        each._encoders[Split.TRAIN].batch(each.source.next(act))
                        for each, act in zip(self.replicates, acts, strict=True)
                    ]
                share = min((self.used + batches[0].units / 2) / self.units, 1.0)
                self.step(batches, share)
                self.used += batches[0].units
                if not self._finite.all():
                    self._note_ends()
                if self.shelf is not None and self.shelf.due():
                    self._save(self.shelf)
        for params in self.parameters.values():
            self._finite &= params.detach().isfinite().view(len(self.replicates), -1).all(1)
        self._note_ends()

    def _looked_up(self) -> Table | None:
        """The data as one table, made once; None where they are no such thing."""
        if self._table is None:
            first = self.replicates[0]
            shared = all(each._encoders is first._encoders for each in self.replicates)
            sources = [each.source for each in self.replicates]
            made = Table.of(sources, first._encoders[Split.TRAIN], first.preparation) if shared else None
            self._table = (made,)
        return self._table[0]

    def _note_ends(self) -> None:
        for at, finite in enumerate(self._finite.tolist()):
            if not finite and self.ends[at] is None:
                self.ends[at] = self.used

    def step(self, batches: Sequence[Batch], share: float) -> None:
        """One step of every replicate, each on its own batch."""
        model = self.parts.model
        generators = [model.losses(each.net, batch) for each, batch in zip(self.replicates, batches, strict=True)]
        losses = [next(each) for each in generators]
        values = self._differentiate(losses)
        optimizer, names = self._optimizer(losses[0].prefix)
        rate = self.parts.recipe.learning_rate * self._schedule(share)
        for group in optimizer.param_groups:
            group["lr"] = rate
        if self.parts.recipe.clip > 0:
            clip([grad for name in names if (grad := self.parameters[name].grad) is not None], self.parts.recipe.clip)
        optimizer.step()
        for name in names:
            self.parameters[name].grad = None
        total, times = self._sums.get(losses[0].name, (0.0, 0))
        self._sums[losses[0].name] = (total + values, times + 1)
        self._finite &= values.isfinite()
        for each in generators:
            if next(each, None) is not None:
                raise MismatchError(
                    f"{type(model).__name__}.losses yields more than once for a batch, so that its seeds cannot be "
                    "trained together; set recipe.replicates = 'separate'."
                )

    def _differentiate(self, losses: Sequence[Loss]) -> torch.Tensor:
        """The losses (S,), with their gradients put to the stacked parameters."""
        _, names = self._optimizer(losses[0].prefix)
        if self.micro == 1:
            values, grads = self._gradients(losses, [loss.arguments for loss in losses], names)
            for name, grad in zip(names, grads, strict=True):
                self.parameters[name].grad = grad
            return values
        total: torch.Tensor | None = None
        for parts in zip(*(pieces(loss.arguments, self.micro) for loss in losses), strict=True):
            share = parts[0][0]
            values, grads = self._gradients(losses, [each for _, each in parts], names)
            for name, grad in zip(names, grads, strict=True):
                if grad is not None:
                    own = self.parameters[name]
                    grad = grad if share == 1 else grad * share
                    own.grad = grad if own.grad is None else own.grad + grad
            values = values if share == 1 else values * share
            total = values if total is None else total + values
        assert total is not None
        return total

    def _gradients(self, losses: Sequence[Loss], arguments: Sequence[Any], names: Sequence[str]) -> Gradients:
        try:
            return self._batched.gradients(losses[0].function, arguments, names)
        except UnsuitedError:  # batches of unlike shapes, such as the longest texts give
            return self._one_by_one(losses, arguments, names)

    def _one_by_one(self, losses: Sequence[Loss], arguments: Sequence[Any], names: Sequence[str]) -> Gradients:
        values, columns = [], []
        for replicate, loss, own in zip(self.replicates, losses, arguments, strict=True):
            net = dict(replicate.net.named_parameters())
            with torch.enable_grad(), devices.autocast(replicate.precision, self.device.type):
                value = loss.function(replicate.net, *own)
            values.append(value.detach())
            columns.append(torch.autograd.grad(value, [net[name] for name in names], allow_unused=True))
        grads = [
            None if any(each is None for each in column) else torch.stack([each for each in column if each is not None])
            for column in zip(*columns, strict=True)
        ]
        return torch.stack(values), grads

    def _optimizer(self, prefix: str) -> tuple[torch.optim.Optimizer, list[str]]:
        if prefix not in self._optimizers:
            names = [name for name, own in self.parameters.items() if name.startswith(prefix) and own.requires_grad]
            made = make_optimizer(self.parts, [self.parameters[name] for name in names])
            self._optimizers[prefix] = (made, names)
        return self._optimizers[prefix]

    def _means(self) -> list[dict[str, float]]:
        """For each replicate the mean of each loss since the last call."""
        means: list[dict[str, float]] = [{} for _ in self.replicates]
        for name, (total, times) in self._sums.items():
            for at, value in enumerate(torch.as_tensor(total).tolist()):
                means[at][name] = value / times
        self._sums.clear()
        return means

    # ---------------------------------------------------------------------------------------------- checkpoints

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where a state was saved. Raises what shows that it does not fit: this object is then of no use."""
        if state["preparations"] != [content(each.preparation) for each in self.replicates]:
            raise ValueError("the model's preparation came out differently this time")
        for name, saved in state["stacks"].items():
            own = self.parameters[name].data if name in self.parameters else self.buffers[name]
            own.copy_(saved)
        for prefix, saved in state["optimizers"]:
            refill(self._optimizer(prefix)[0], saved)
        for each, source in zip(self.replicates, state["sources"], strict=True):
            each.source.load_state_dict(source)
        self._sums = state["sums"]
        self._states = of_machine(state["generators"])
        self._finite = state["finite"]
        self.ends = list(state["ends"])
        self.used, self._spent = state["used"], state["seconds"]
        self.curves = [
            [Point(units, share, seconds, losses, numbers(metrics)) for units, share, seconds, losses, metrics in curve]
            for curve in state["curves"]
        ]

    def _save(self, shelf: Shelf) -> None:
        devices.synchronize(self.device.type)
        spent, generators = time.perf_counter() - self._began, read()
        shelf.save(lambda: self._state(spent, generators))
        write(generators)
        self._began = time.perf_counter() - spent

    def _state(self, spent: float, generators: dict[str, Any]) -> dict[str, Any] | None:
        sources = [each.source.state_dict() for each in self.replicates]
        if any(source is None for source in sources):
            return None
        return {
            "used": self.used,
            "seconds": spent,
            "ends": list(self.ends),
            "finite": self._finite,
            "curves": [
                [(each.units, each.share, each.seconds, dict(each.losses), plain(each.metrics)) for each in curve]
                for curve in self.curves
            ],
            "stacks": {name: own.detach() for name, own in self.parameters.items()} | self.buffers,
            "optimizers": [(prefix, optimizer.state_dict()) for prefix, (optimizer, _) in self._optimizers.items()],
            "sums": self._sums,
            "generators": of_device(generators, self.device),
            "sources": sources,
            "preparations": [content(each.preparation) for each in self.replicates],
        }


def clip(gradients: Sequence[torch.Tensor], most: float) -> None:
    """Scale each replicate's gradients (S, …) in place to a norm of at most `most`, as torch's clipping does."""
    norms = torch.stack([torch.linalg.vector_norm(each.reshape(len(each), -1), dim=1) for each in gradients])
    factor = (most / (torch.linalg.vector_norm(norms, dim=0) + 1e-6)).clamp_(max=1.0)
    for each in gradients:
        each.mul_(factor.view(-1, *[1] * (each.dim() - 1)))
