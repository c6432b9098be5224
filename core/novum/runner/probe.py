"""Timing ways to compute the same steps against each other, so that a machine's moods hit all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from novum.runner import compiling, device
from novum.runner.parts import Actor, Encoder, Parts
from novum.runner.train import Trainer
from novum.seeds import installed, trial_seed
from novum.task import Split, only

if TYPE_CHECKING:
    from torch import nn

SECONDS = 1.0
"""About how long one probe measures, all its ways together."""
ROUNDS = (3, 200)
"""Steps of each way: at least, however long they take, and at most."""

Clock = Callable[[], float]


def clock(kind: str) -> Clock:
    """Seconds, for differences: of this thread on the CPU, where it has to wait for others; else of the wall, once the
    device has done its work.
    """
    if kind == "cpu":
        return time.thread_time

    def read() -> float:
        device.synchronize(kind)
        return time.perf_counter()

    return read


def interleaved(ways: Sequence[Callable[[], object]], clock: Clock, seconds: float = SECONDS) -> list[float]:
    """The median time of each way, in seconds of the clock: one step of each in turn, until `seconds` are used."""
    taken: list[list[float]] = [[] for _ in ways]
    used = 0.0
    while len(taken[0]) < ROUNDS[0] or (used < seconds and len(taken[0]) < ROUNDS[1]):
        for way, times in zip(ways, taken, strict=True):
            before = clock()
            way()
            times.append(clock() - before)
            used += times[-1]
    return [statistics.median(times) for times in taken]


def convolves(net: nn.Module) -> bool:
    """Whether a network has two-dimensional convolutions."""
    from torch.nn import Conv2d

    return any(isinstance(module, Conv2d) for module in net.modules())


class Stepper:
    """Takes steps of a plan, computed in a given way, on its first batch; nothing of it is kept.

    An instance is called with no arguments for one batch's losses. `units` is what that batch counts. `failed` holds
    what went wrong with compiling, if anything did. What a step raises is raised.
    """

    def __init__(self, plan: Mapping[str, Any], how: Mapping[str, str]) -> None:
        self._parts = Parts.of(plan["arm"])
        self._seed = trial_seed(0, "probe", 0)
        self._states: dict[str, Any] = {}
        self._trainer = Trainer(
            self._parts,
            self._seed,
            units=plan["units"],
            device_kind=plan["device"],
            precision=plan["precision"],
            how=how,
        )
        self._net = self._trainer.net
        self._encoder = Encoder(self._trainer.preparation, self._trainer.device, how["layout"])
        self._act = Actor(self._parts.model, self._net, self._encoder)
        with self._training(False):
            self._raw = self._trainer.source.next(self._act)
            self._batch = self._encoder.batch(self._raw)
        self.units = self._raw.units

    @property
    def failed(self) -> Sequence[str]:
        return self._trainer.deviations

    def convolves(self) -> bool:
        """Whether it puts batches of images (four dimensions) through two-dimensional convolutions."""
        import torch

        inputs = self._batch.inputs
        return isinstance(inputs, torch.Tensor) and inputs.ndim == 4 and convolves(self._net)

    def shapes(self, batches: int = 16) -> int:
        """How many shapes the losses' arguments have in the next batches; 1 where batches are collected by acting."""
        if self._trainer.source.acts:
            return 1
        seen = set()
        with self._training(True):
            for _ in range(batches):
                batch = self._encoder.batch(self._trainer.source.next(self._act))
                seen |= {compiling.signature(loss.arguments) for loss in self._parts.model.losses(self._net, batch)}
        return len(seen)

    def __call__(self) -> None:
        with self._training(True):
            for loss in self._parts.model.losses(self._net, self._batch):
                self._trainer.steps.take(loss, 0.5, self._batch.units)
        self._trainer.steps.means()  # nobody looks at the losses of a probe

    def act(self) -> None:
        """Answer the batch once, as scoring would."""
        with self._training(False):
            self._act(self._raw.inputs, self._raw.ids)

    def _training(self, trains: bool) -> ExitStack:
        import torch

        self._net.train(trains)
        stack = ExitStack()
        stack.enter_context(only(Split.TRAIN))
        stack.enter_context(installed(self._seed.child("train"), self._states))
        stack.enter_context(device.products(self._trainer.precision, self._trainer.device.type))
        stack.enter_context(torch.no_grad())
        return stack
