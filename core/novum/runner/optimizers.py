"""Optimisers by name (entry points `novum.optimizers`): torch's own, fused where the parameters allow it.

Each is a function `(params, learning_rate, weight_decay, **recipe values that it names) -> torch Optimizer`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    Params = list[torch.nn.Parameter]


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


def _fusible(params: Params) -> bool:
    return all(param.is_floating_point() and param.device.type in ("cpu", "cuda") for param in params)


def elementwise(name: str) -> bool:
    """Whether an optimiser's step for an element depends on that element alone, so that networks may be stacked."""
    return name in ("adam", "adamw", "rmsprop", "sgd")
