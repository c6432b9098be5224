"""The model `ppo`: proximal policy optimisation with generalised advantage estimation.

Shapes: T steps, N environments side by side, B = T · N rows or a part of them, A the size of an action.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import novum
from novum import Batch, Loss, Prediction, Recipe, Seed, Signature, Weights
from pydantic import Field

if TYPE_CHECKING:
    from torch import Tensor, nn


class PPO(novum.Model):
    """PPO with the clipped objective (Schulman et al. 2017, arXiv:1707.06347) and GAE (Schulman et al. 2016,
    arXiv:1506.02438).

    The recipe's batch_size is one rollout, over all environments. Each rollout is learned from `epochs` times, in
    minibatches whose advantages are normalised to mean 0 and deviation 1.
    """

    class Config(novum.Config):
        """Options of the model `ppo`; the defaults are those tuned for CartPole-v1 by RL Baselines3 Zoo."""

        hidden: tuple[Annotated[int, Field(ge=1)], ...] = (64, 64)
        """Widths of the hidden layers, of the policy and of the value network alike."""
        epochs: Annotated[int, Field(ge=1)] = 20
        """Times that each rollout is learned from."""
        minibatch: Annotated[int, Field(ge=1)] = 256
        """Rows of one update; a rollout is divided into round(batch_size / minibatch) nearly equal parts, at
        least one."""
        gamma: Annotated[float, Field(ge=0, le=1)] = 0.98
        """Discount of the next step's value."""
        gae_lambda: Annotated[float, Field(ge=0, le=1)] = 0.8
        """Decay of later errors in the advantage, on top of gamma: 0 trusts the value, 1 the rewards."""
        clip_range: Annotated[float, Field(gt=0)] = 0.2
        """The ratio of new to old probability gains nothing beyond 1 ± this."""
        entropy: Annotated[float, Field(ge=0, json_schema_extra={"usual": [0.0, 0.1]})] = 0.0
        """Coefficient of the entropy bonus."""
        value: Annotated[float, Field(ge=0)] = 0.5
        """Coefficient of the value's mean squared error."""
        target_kl: Annotated[float, Field(ge=0)] = 0.0
        """After an epoch that moved the policy further than this (nats, estimated), the rollout is left; 0 never
        leaves it early."""

    config: Config
    inputs = ("vector",)
    outputs = ("actions", "controls")

    def recipe(self, signature: Signature) -> Recipe:
        """Rollouts of 256 steps, Adam, a learning rate falling to zero.

        With these, 55 of 58 seeds reached a mean return of 450 on CartPole-v1's dev and test episodes; the other
        three ended between 119 and 240.
        """
        return Recipe(
            budget="60_000 steps",
            batch_size=256,
            optimizer="adam",
            learning_rate=1e-3,
            schedule="linear",
            clip=0.5,
            precision="fp32",  # a ratio of probabilities near 1 has no room for bfloat16's three digits
        )

    def build(self, signature: Signature, preparation: Any, seed: Seed, start: Weights | None) -> nn.Module:
        """Two perceptrons (see `novum_rl.network.ActorCritic`)."""
        from novum_rl.network import ActorCritic

        net = ActorCritic(signature.inputs.shape, signature.outputs, self.config.hidden)
        if start is not None:
            start.copy_into(net)
        return net

    def act(self, net: Any, inputs: Any, explore: bool) -> Prediction:
        """Exploring: a draw from the policy, with extras "log_prob" and "value", each (B,). Else its mode.

        Real-valued actions may lie outside the bounds; the environment clips them.
        """
        from novum_rl import network

        policy = net.policy_of(inputs)
        if not explore:
            return Prediction(network.mode(policy, net.discrete))
        actions = network.sample(policy, net.discrete)
        log_prob = network.log_probability(policy, actions, net.discrete)
        return Prediction(actions, extras={"log_prob": log_prob, "value": net.value_of(inputs)})

    def losses(self, net: Any, batch: Batch) -> Iterator[Loss]:
        """One loss per minibatch and epoch, for a rollout as `novum.Episodes` gives it, in tensors."""
        import torch

        from novum_rl.network import log_probability

        config, extras = self.config, batch.extras
        next_values = net.value_of(extras["next_inputs"].flatten(0, 1)).view_as(extras["value"])
        estimates = advantages(
            extras["rewards"],
            extras["value"],
            next_values,
            extras["terminated"],
            extras["truncated"],
            config.gamma,
            config.gae_lambda,
        )
        returns = (estimates + extras["value"]).flatten()
        inputs, actions = batch.inputs.flatten(0, 1), extras["actions"].flatten(0, 1)
        old, flat = extras["log_prob"].flatten(), estimates.flatten()
        parts = max(1, round(len(flat) / config.minibatch))
        whole = (slice(None),)  # one part needs no order, and no copies
        for _ in range(config.epochs):
            for pick in torch.randperm(len(flat)).to(flat.device).tensor_split(parts) if parts > 1 else whole:
                chosen = flat[pick]
                chosen = (chosen - chosen.mean()) / (chosen.std(correction=0) + 1e-8)
                yield Loss(self._objective, (inputs[pick], actions[pick], old[pick], chosen, returns[pick]), name="ppo")
            if config.target_kl > 0:
                moved = log_probability(net.policy_of(inputs), actions, net.discrete) - old
                # the estimator k3 of http://joschu.net/blog/kl-approx.html: unbiased, never negative
                if float((moved.exp() - 1 - moved).mean()) > config.target_kl:
                    return

    def _objective(self, net: Any, *rows: Tensor) -> Tensor:
        """Mean over B rows of clipped objective, value error and entropy, negated where it is to grow."""
        import torch

        from novum_rl.network import entropy, log_probability

        inputs, actions, old_log_prob, advantage, returns = rows
        config, discrete = self.config, net.discrete
        policy, values = net(inputs)
        ratio = (log_probability(policy, actions, discrete) - old_log_prob).exp()
        # min(r·A, clip(r, 1-c, 1+c)·A) is min(r·A, A + c·|A|), with fewer operations to differentiate
        gain = torch.minimum(ratio * advantage, advantage + config.clip_range * advantage.abs())
        loss = config.value * (values - returns).square() - gain
        if config.entropy > 0:
            loss = loss - config.entropy * entropy(policy, discrete)
        mean: Tensor = loss.mean()
        return mean


def advantages(
    rewards: Tensor,
    values: Tensor,
    next_values: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    gamma: float,
    gae_lambda: float,
) -> Tensor:
    """Generalised advantage estimates (Schulman et al. 2016, equation 16), (T, N) like every argument.

    A_t = δ_t + γλ(1 - ended_t) A_{t+1} with δ_t = r_t + γ(1 - terminated_t) V(s_{t+1}) - V(s_t): an episode that
    was cut off by a time limit (truncated) still had a future worth `next_values`, one that terminated had none
    (Pardo et al. 2018). `next_values` are those of the observations after each step, before any reset.
    """
    import torch

    errors = rewards + gamma * (1 - terminated) * next_values - values
    decay = gamma * gae_lambda * (1 - terminated) * (1 - truncated)
    found = torch.empty_like(errors)
    running = torch.zeros_like(errors[0])
    for at in range(len(errors) - 1, -1, -1):
        running = torch.addcmul(errors[at], decay[at], running)
        found[at] = running
    return found
