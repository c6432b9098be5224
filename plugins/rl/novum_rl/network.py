"""Policy and value networks, and the two distributions over actions. Imports torch: load it inside methods.

Shapes: B rows, A the size of an action, P = the number of actions, or 2A (means, then log deviations).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from novum import Actions, Controls
from torch import Tensor, nn
from torch.nn import functional

HALF_LOG_TAU = 0.5 * math.log(2.0 * math.pi)


class ActorCritic(nn.Module):
    """Two separate perceptrons with tanh: `policy`, and `value`.

    Weights are orthogonal (Saxe et al. 2014) with gain √2 in hidden layers, 0.01 for the policy's last layer and
    1 for the value's, biases zero (Andrychowicz et al. 2021). For Controls, the policy is a Gaussian whose log
    deviations depend on no input (Schulman et al. 2017); it starts centred in the bounds, with a deviation of
    half their distance where they are finite, else 1 around 0.
    """

    centre: Tensor
    reach: Tensor

    def __init__(self, shape: Sequence[int], outputs: Actions | Controls, hidden: Sequence[int]) -> None:
        super().__init__()
        width = math.prod(shape)
        self.discrete = isinstance(outputs, Actions)
        size = outputs.count if isinstance(outputs, Actions) else len(outputs.low)
        self.policy = _perceptron((width, *hidden, size), gain=0.01)
        self.value = _perceptron((width, *hidden, 1), gain=1.0)
        if isinstance(outputs, Controls):
            low, high = torch.tensor(outputs.low), torch.tensor(outputs.high)
            bounded = low.isfinite() & high.isfinite()
            self.log_std = nn.Parameter(torch.zeros(size))
            self.register_buffer("centre", torch.where(bounded, (low + high) / 2, torch.zeros(size)))
            self.register_buffer("reach", torch.where(bounded, (high - low) / 2, torch.ones(size)))

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs (B, …) → the policy's parameters (B, P) and values (B,)."""
        return self.policy_of(inputs), self.value_of(inputs)

    def policy_of(self, inputs: Tensor) -> Tensor:
        """Logits (B, P), or means and log deviations (B, 2A), in the action's own units."""
        answer: Tensor = self.policy(inputs.flatten(1)).float()
        if self.discrete:
            return answer
        means = self.centre + self.reach * answer
        return torch.cat([means, (self.log_std + self.reach.log()).expand_as(means)], dim=1)

    def value_of(self, inputs: Tensor) -> Tensor:
        """Values (B,), in units of reward."""
        answer: Tensor = self.value(inputs.flatten(1)).float()
        return answer.squeeze(1)


def _perceptron(widths: Sequence[int], gain: float) -> nn.Sequential:
    layers: list[nn.Module] = []
    last = len(widths) - 2
    for at, (into, out) in enumerate(itertools.pairwise(widths)):
        linear = nn.Linear(into, out)
        nn.init.orthogonal_(linear.weight, gain if at == last else math.sqrt(2.0))
        nn.init.zeros_(linear.bias)
        layers += [linear] if at == last else [linear, nn.Tanh()]
    return nn.Sequential(*layers)


def sample(policy: Tensor, discrete: bool) -> Tensor:
    """Draw actions from the ordinary generator: int64 (B,), or float (B, A).

    Weights that are not finite give some valid action instead of an error: the runner's own check then names the
    trial diverged, where a failing sampler would look like a crash.
    """
    if discrete:  # the smallest of exponential times is the categorical draw (Gumbel's trick)
        times = torch.empty_like(policy).exponential_()
        return (functional.log_softmax(policy, dim=1) - times.log()).argmax(1)
    means, log_std = policy.chunk(2, dim=1)
    return torch.nan_to_num(means + log_std.exp() * torch.randn_like(means))


def mode(policy: Tensor, discrete: bool) -> Tensor:
    """The most likely actions: int64 (B,), or float (B, A)."""
    return policy.argmax(1) if discrete else torch.nan_to_num(policy.chunk(2, dim=1)[0])


def log_probability(policy: Tensor, actions: Tensor, discrete: bool) -> Tensor:
    """Log-probability or log-density of actions, (B,)."""
    if discrete:
        return -functional.cross_entropy(policy, actions, reduction="none")
    means, log_std = policy.chunk(2, dim=1)
    standard = (actions - means) * (-log_std).exp()
    return -(0.5 * standard * standard + log_std + HALF_LOG_TAU).sum(1)


def entropy(policy: Tensor, discrete: bool) -> Tensor:
    """Entropy of each row's distribution in nats, (B,)."""
    if discrete:
        logs = functional.log_softmax(policy, dim=1)
        return -(logs.exp() * logs).sum(1)
    return (policy.chunk(2, dim=1)[1] + 0.5 + HALF_LOG_TAU).sum(1)
