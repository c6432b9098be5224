"""Optimisers by name (entry points `novum.optimizers`): torch's and timm's own, fused where the parameters allow it.

Each is a function `(params, learning_rate, weight_decay, **recipe values that it names) -> torch Optimizer`; one that
names `net` also gets the network. A function may carry `imports`, the modules that it imports (as tasks and models do):
what is missing of them is told before anything is registered, and workers load them once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import torch

    Params = list[torch.nn.Parameter]

F = TypeVar("F", bound=Callable[..., object])

ELEMENTWISE = frozenset({"adam", "adamw", "lion", "rmsprop", "sgd"})
"""Those whose step for an element depends on that element's gradients alone."""


def _imports(*modules: str) -> Callable[[F], F]:
    def mark(make: F) -> F:
        make.imports = modules  # type: ignore[attr-defined]
        return make

    return mark


def adamw(params: Params, learning_rate: float, weight_decay: float) -> torch.optim.Optimizer:
    """AdamW (Loshchilov & Hutter 2019), decoupled weight decay, fused."""
    import torch

    return torch.optim.AdamW(params, lr=learning_rate, weight_decay=weight_decay, fused=_fusible(params))


def adam(params: Params, learning_rate: float, weight_decay: float) -> torch.optim.Optimizer:
    """Adam (Kingma & Ba 2015) with L2 regularisation, fused."""
    import torch

    return torch.optim.Adam(params, lr=learning_rate, weight_decay=weight_decay, fused=_fusible(params))


def sgd(params: Params, learning_rate: float, weight_decay: float, momentum: float) -> torch.optim.Optimizer:
    """Stochastic gradient descent with Nesterov momentum (plain when `momentum` is 0), fused."""
    import torch

    return torch.optim.SGD(
        params,
        lr=learning_rate,
        weight_decay=weight_decay,
        momentum=momentum,
        nesterov=momentum > 0,
        fused=_fusible(params),
    )


def rmsprop(params: Params, learning_rate: float, weight_decay: float, momentum: float) -> torch.optim.Optimizer:
    """RMSprop (Hinton 2012) with momentum."""
    import torch

    return torch.optim.RMSprop(params, lr=learning_rate, weight_decay=weight_decay, momentum=momentum)


def adafactor(params: Params, learning_rate: float, weight_decay: float) -> torch.optim.Optimizer:
    """Adafactor (Shazeer & Stern 2018), whose second moments of a matrix are a row and a column. The learning rate is
    relative to the size of the weights, and bounded by one over the root of the step.
    """
    import torch

    return torch.optim.Adafactor(params, lr=learning_rate, weight_decay=weight_decay)


@_imports("timm.optim")
def lion(params: Params, learning_rate: float, weight_decay: float) -> torch.optim.Optimizer:
    """Lion (Chen et al. 2023), the sign of a momentum, by timm: wants a third to a tenth of AdamW's rate."""
    from timm.optim import Lion

    made: torch.optim.Optimizer = Lion(params, lr=learning_rate, weight_decay=weight_decay)
    return made


def muon(
    params: Params, learning_rate: float, weight_decay: float, momentum: float, net: torch.nn.Module | None = None
) -> torch.optim.Optimizer:
    """Muon (Jordan 2024) for matrices and kernels, AdamW for the rest; see `novum.runner.muon`."""
    from novum.runner.muon import Muon

    return Muon(params, lr=learning_rate, weight_decay=weight_decay, momentum=momentum, fused=_fusible(params), net=net)


def _fusible(params: Params) -> bool:
    return all(param.is_floating_point() and param.device.type in ("cpu", "cuda") for param in params)


def elementwise(name: str) -> bool:
    """Whether an optimiser's step for an element depends on that element alone, so that networks may be stacked."""
    return name in ELEMENTWISE
