"""Early stop: training ends when the loss on a slice of `train` that is held back stops falling.

The slice belongs to the trial: it is drawn from a stream of its seed, and neither a preparation nor a step ever sees
it. `dev` has no part in it. See Prechelt, "Early stopping - but when?" (1998).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from novum.errors import ConfigError
from novum.runner.resume import fill, tensors_of

if TYPE_CHECKING:
    from torch import nn

    from novum.recipe import Recipe
    from novum.seeds import Seed
    from novum.task import Source

CHECKS = 20
"""Looks at the slice, evenly over the budget."""


def divide(source: Source, share: float, seed: Seed) -> tuple[Source, Source]:
    """An opened `train` as what is trained on and the slice that is held back, drawn by `seed`.

    Raises ConfigError for an environment, for a source that offers no `select`, and where either part would be empty.
    """
    if source.size is None:
        raise ConfigError(
            "recipe.early_stop: an environment has no units to hold back, for its experience comes from acting; leave "
            "early_stop out, and give a budget in steps."
        )
    held = round(source.size * share)
    if not 0 < held < source.size:
        raise ConfigError(
            f"recipe.early_stop_share: {share} of {source.size} training units are {held}, and at least one must be "
            "held back and one be left; change the share, or give more data."
        )
    order = seed.numpy().permutation(source.size)
    return source.select(sorted(order[held:].tolist())), source.select(sorted(order[:held].tolist()))


def check(recipe: Recipe, source: Source, seed: Seed) -> None:
    """Raise ConfigError where what a recipe says of early stop cannot be done."""
    if recipe.early_stop is None:
        return
    if recipe.devices > 1:
        raise ConfigError(
            f"recipe.early_stop: recipe.devices is {recipe.devices}, and devices whose losses differ by a rounding "
            "could not agree on an end; leave early_stop out, or say devices = 1."
        )
    if recipe.averaging == "swa":
        raise ConfigError(
            "recipe.early_stop: 'swa' averages the last quarter of the budget, which an early stop may never reach; "
            "leave one of them out, or say averaging = 'ema'."
        )
    divide(source, recipe.early_stop_share, seed)


class EarlyStop:
    """The looks of one training at its slice, and the best weights so far.

    patience: looks in a row without a lower loss after which training ends. A look counts only where training went on
    since the last one. A loss that is not finite is no lower one.
    """

    def __init__(self, patience: int) -> None:
        self._patience = patience
        self._looks = 0
        self._waits = 0
        self._last = 0
        self.best: float | None = None
        """The lowest loss so far; None before the first look."""
        self.net: nn.Module | None = None
        """A copy of the network that had it."""

    def due(self, units: int) -> int:
        """Where in a budget of so many units the next look comes."""
        return math.ceil(units * min(self._looks + 1, CHECKS) / CHECKS)

    def look(self, used: int, net: nn.Module, measure: Callable[[], float]) -> bool:
        """Look at the slice, and keep the network where it is the best so far; returns whether training ends."""
        self._looks += 1
        if used > self._last:
            self._last = used
            loss = measure()
            if math.isfinite(loss) and (self.best is None or loss < self.best):
                self.best, self._waits = loss, 0
                self._keep(net)
            else:
                self._waits += 1
        return self._waits >= self._patience

    def _keep(self, net: nn.Module) -> None:
        if self.net is None:
            self.net = copy.deepcopy(net)
        else:
            fill(self.net, tensors_of(net))

    def state(self) -> dict[str, Any]:
        """All that the rest of the looks depend on."""
        net = None if self.net is None else tensors_of(self.net)
        return {"looks": self._looks, "waits": self._waits, "last": self._last, "best": self.best, "net": net}

    def restore(self, state: dict[str, Any], like: nn.Module) -> None:
        """The inverse of `state`; like: a network of the same kind. Raises ValueError where it does not fit."""
        self._looks, self._waits, self._last = state["looks"], state["waits"], state["last"]
        self.best = state["best"]
        if state["net"] is not None:
            self.net = copy.deepcopy(like)
            fill(self.net, state["net"])
