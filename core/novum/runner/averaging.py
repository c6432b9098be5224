"""Averages of the weights over the steps of a training: what is scored and kept instead of the last weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from novum.errors import ConfigError
from novum.runner.resume import fill, tensors_of

if TYPE_CHECKING:
    import torch
    from torch import nn

    from novum.recipe import Recipe

BEGINS = {"ema": 0.0, "swa": 0.75}
"""Share of the budget from which on each kind averages."""
DECAY = 0.999


class Average:
    """The average of a network's parameters over its steps, by `torch.optim.swa_utils.AveragedModel`.

    kind: "ema", the exponential moving average with decay min(0.999, (1 + n) / (10 + n)) after n updates; or "swa", the
    mean over every step of the last quarter of the budget (stochastic weight averaging, Izmailov et al. 2018). Buffers
    are those of the network itself; see `estimate` for those of batch norm.
    """

    def __init__(self, net: nn.Module, kind: str) -> None:
        from torch.optim.swa_utils import AveragedModel

        self._net = net
        self._begins = BEGINS[kind]
        self._weight = _of_ema if kind == "ema" else _of_mean
        self._model = AveragedModel(net, multi_avg_fn=self._move)
        self.estimates = kind == "swa" and has_statistics(net)
        """Whether the statistics of its batch norms must be estimated anew before it is scored."""

    @property
    def begun(self) -> bool:
        """Whether it holds anything yet."""
        return bool(self._model.n_averaged)  # of a CPU: nothing waits

    @property
    def net(self) -> nn.Module:
        """The network with the average as its weights; the plain one as long as there is none."""
        return self._model.module if self.begun or self._begins == 0 else self._net

    def update(self, share: float) -> None:
        """Take in the weights after a step at this share of the budget."""
        if share >= self._begins:
            self._model.update_parameters(self._net)

    def _move(self, averaged: Any, current: Any, count: Any) -> None:
        import torch

        # `count` is the same on the device, and to read it is to wait for it
        torch._foreach_lerp_(averaged, current, self._weight(float(self._model.n_averaged)))

    def state(self) -> dict[str, torch.Tensor]:
        """The average and how many steps are in it."""
        return tensors_of(self._model)

    def restore(self, state: dict[str, torch.Tensor]) -> None:
        """The inverse of `state`. Raises ValueError where it does not fit."""
        fill(self._model, state)


def _of_ema(done: float) -> float:
    return 1.0 - min(DECAY, (1.0 + done) / (10.0 + done))


def _of_mean(done: float) -> float:
    return 1.0 / (done + 1.0)


def average(net: nn.Module, recipe: Recipe) -> Average | None:
    """The average that a recipe asks for."""
    return None if recipe.averaging == "none" else Average(net, recipe.averaging)


def has_statistics(net: nn.Module) -> bool:
    """Whether a network has batch norms that keep statistics of their inputs."""
    import torch

    kind = torch.nn.modules.batchnorm._BatchNorm
    return any(isinstance(each, kind) and each.track_running_stats for each in net.modules())


def estimate(net: nn.Module, batches: Iterable[Any], forward: Callable[[nn.Module, Any], object]) -> None:
    """Set the statistics of batch norms to their means over batches, by `torch.optim.swa_utils.update_bn`: those of the
    steps belong to weights that the average never had.
    """
    import torch
    from torch.optim.swa_utils import update_bn

    class Forward(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, batch: Any) -> object:
            return forward(self.net, batch)

    update_bn(batches, Forward())


def check(recipe: Recipe, units: int) -> None:
    """Raise ConfigError where no step of a budget would be averaged."""
    steps = -(-units // recipe.batch_size)
    last = (steps - 0.5) * recipe.batch_size / units  # the middle of the last batch
    if recipe.averaging == "swa" and last < BEGINS["swa"]:
        raise ConfigError(
            f"recipe.averaging: 'swa' is the mean over the steps of the last quarter of the budget, and a budget of "
            f"{units} units in batches of {recipe.batch_size} has no step there; raise recipe.budget, lower "
            "recipe.batch_size, or say 'none' or 'ema'."
        )
