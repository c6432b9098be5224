"""The model `ppo`."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from novum import Actions, Controls, MismatchError, Seed, Signature, Split, Vector, Weights
from novum.seeds import installed
from novum_rl import network
from novum_rl.network import ActorCritic
from novum_rl.ppo import PPO, advantages

DISCRETE = Signature(Vector((4,)), Actions(2))
REAL = Signature(Vector((3,)), Controls((-2.0, 0.0), (2.0, 10.0)))


def column(*values: float) -> torch.Tensor:
    """T steps of one environment, (T, 1)."""
    return torch.tensor(values, dtype=torch.float64).unsqueeze(1)


# ------------------------------------------------------------------------------------------------------ advantages


def test_advantages_equal_an_example_computed_by_hand() -> None:
    # γ = 0.5, λ = 0.5. δ = r + γV' - V: 1 + 1 - 1 = 1; 2 + 1.5 - 2 = 1.5; 3 + 2 - 3 = 2.
    # A₂ = 2; A₁ = 1.5 + 0.25 · 2 = 2; A₀ = 1 + 0.25 · 2 = 1.5.
    none = column(0, 0, 0)

    found = advantages(column(1, 2, 3), column(1, 2, 3), column(2, 3, 4), none, none, 0.5, 0.5)

    torch.testing.assert_close(found, column(1.5, 2.0, 2.0))


def test_a_terminated_episode_has_no_future_and_a_truncated_one_keeps_its_value() -> None:
    # The middle step ends an episode. Terminated: δ₁ = 2 - 2 = 0. Truncated: δ₁ = 2 + 0.5 · 3 - 2 = 1.5.
    # Either way nothing of the next episode reaches back: A₁ = δ₁, and A₀ = 1 + 0.25 · A₁.
    none, ended = column(0, 0, 0), column(0, 1, 0)
    given = (column(1, 2, 3), column(1, 2, 3), column(2, 3, 4))

    terminated = advantages(*given, ended, none, 0.5, 0.5)
    truncated = advantages(*given, none, ended, 0.5, 0.5)

    torch.testing.assert_close(terminated, column(1.0, 0.0, 2.0))
    torch.testing.assert_close(truncated, column(1.375, 1.5, 2.0))


def test_with_lambda_one_the_advantage_is_the_discounted_return_minus_the_value() -> None:
    rewards, values = torch.rand(6, 3), torch.rand(6, 3)
    next_values = torch.cat([values[1:], torch.zeros(1, 3)])
    none, end = torch.zeros(6, 3), torch.zeros(6, 3)
    end[-1] = 1

    found = advantages(rewards, values, next_values, end, none, 0.9, 1.0)

    expected = sum(0.9**at * rewards[at] for at in range(6)) - values[0]
    torch.testing.assert_close(found[0], expected)


def test_environments_side_by_side_do_not_mix() -> None:
    rewards, values, nexts, none = torch.rand(5, 2), torch.rand(5, 2), torch.rand(5, 2), torch.zeros(5, 2)

    both = advantages(rewards, values, nexts, none, none, 0.9, 0.9)
    alone = advantages(rewards[:, 1:], values[:, 1:], nexts[:, 1:], none[:, 1:], none[:, 1:], 0.9, 0.9)

    torch.testing.assert_close(both[:, 1:], alone)


def test_the_value_after_a_truncation_is_that_of_the_observation_before_the_reset(
    gym: Any, ppo: Any, rollout: Any
) -> None:
    model = ppo(epochs=1, minibatch=10**6)
    net, batch = rollout(gym(max_steps=3, envs=2), model, 0, batch_size=16)
    (loss,) = model.losses(net, batch)
    changed = {**batch.extras, "next_inputs": batch.extras["next_inputs"].clone()}
    changed["next_inputs"][2] += 1.0  # where every episode is truncated
    (moved,) = model.losses(net, dataclasses.replace(batch, extras=changed))
    for name in ("truncated", "terminated"):
        changed[name] = batch.extras["terminated" if name == "truncated" else "truncated"]
    (cut,) = model.losses(net, dataclasses.replace(batch, extras=changed))
    changed["next_inputs"] = batch.extras["next_inputs"]
    (same,) = model.losses(net, dataclasses.replace(batch, extras=changed))

    def targets(loss: Any) -> list[float]:
        return sorted(loss.arguments[4].tolist())

    assert batch.extras["truncated"][2].tolist() == [1.0, 1.0]
    assert targets(moved) != targets(loss)
    assert targets(cut) == targets(same)


# ---------------------------------------------------------------------------------------------------- distributions


def test_log_probabilities_and_entropies_equal_torchs_own() -> None:
    logits, actions = torch.randn(7, 3), torch.randint(3, (7,))
    policy, reals = torch.randn(7, 4), torch.randn(7, 2)
    categorical: Any = torch.distributions.Categorical(logits=logits)
    normal: Any = torch.distributions.Normal(policy[:, :2], policy[:, 2:].exp())

    torch.testing.assert_close(network.log_probability(logits, actions, True), categorical.log_prob(actions))
    torch.testing.assert_close(network.entropy(logits, True), categorical.entropy())
    torch.testing.assert_close(network.log_probability(policy, reals, False), normal.log_prob(reals).sum(1))
    torch.testing.assert_close(network.entropy(policy, False), normal.entropy().sum(1))


def test_draws_follow_the_policy() -> None:
    with installed(Seed(3)):
        drawn = network.sample(torch.tensor([0.2, 0.3, 0.5]).log().expand(20_000, 3), True)
        reals = network.sample(torch.tensor([1.0, math.log(0.5)]).expand(20_000, 2), False)

    shares = torch.bincount(drawn, minlength=3) / 20_000
    torch.testing.assert_close(shares, torch.tensor([0.2, 0.3, 0.5]), atol=0.015, rtol=0)
    assert float(reals.mean()) == pytest.approx(1.0, abs=0.02)
    assert float(reals.std()) == pytest.approx(0.5, abs=0.02)


def test_a_policy_that_is_not_finite_still_answers_with_valid_actions() -> None:
    lost = torch.full((4, 2), math.nan)

    drawn = network.sample(lost, True)

    assert ((drawn >= 0) & (drawn < 2)).all()
    assert network.sample(lost, False).isfinite().all()
    assert network.mode(lost, False).isfinite().all()


def test_a_real_valued_policy_starts_centred_and_as_wide_as_its_bounds() -> None:
    net = ActorCritic((3,), REAL.outputs, (8,))

    means, log_std = net.policy_of(torch.zeros(1, 3)).chunk(2, dim=1)

    torch.testing.assert_close(means, torch.tensor([[0.0, 5.0]]))
    torch.testing.assert_close(log_std.exp(), torch.tensor([[2.0, 5.0]]))


def test_unbounded_actions_start_around_zero_with_deviation_one() -> None:
    net = ActorCritic((3,), Controls((-math.inf,), (math.inf,)), (8,))

    policy = net.policy_of(torch.zeros(1, 3))

    torch.testing.assert_close(policy, torch.zeros(1, 2))


# ------------------------------------------------------------------------------------------------- build, act, losses


def test_the_same_seed_builds_the_same_network_and_another_seed_another() -> None:
    nets = []
    for root in (1, 1, 2):
        with installed(Seed(root)):
            nets.append(PPO(PPO.Config()).build(DISCRETE, None, Seed(root), None).state_dict())

    one, same, other = nets
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["policy.0.weight"], other["policy.0.weight"])


def test_a_network_starts_from_the_tensors_that_fit() -> None:
    model = PPO(PPO.Config())
    parent = model.build(DISCRETE, None, Seed(0), None)
    weights = Weights({name: tensor + 1 for name, tensor in parent.state_dict().items()})

    child = model.build(Signature(Vector((4,)), Actions(3)), None, Seed(1), weights)

    assert torch.equal(child.state_dict()["value.0.weight"], weights.tensors["value.0.weight"])
    assert weights.skipped == ("policy.4.bias", "policy.4.weight")


def test_a_start_that_fits_nothing_is_refused() -> None:
    with pytest.raises(MismatchError, match="none of the parent's 1 tensors"):
        PPO(PPO.Config()).build(DISCRETE, None, Seed(0), Weights({"other": torch.zeros(1)}))


@pytest.mark.parametrize("signature", [DISCRETE, REAL])
def test_exploring_draws_and_says_how_likely_while_scoring_takes_the_mode(signature: Signature) -> None:
    model = PPO(PPO.Config())
    net = model.build(signature, None, Seed(0), None)
    inputs = torch.randn(50, *signature.inputs.shape)

    with torch.no_grad():
        explored, other = model.act(net, inputs, True), model.act(net, inputs, True)
        scored, again = model.act(net, inputs, False), model.act(net, inputs, False)
        policy, values = net(inputs)

    assert not torch.equal(explored.value, other.value)
    assert torch.equal(scored.value, again.value)
    assert dict(scored.extras) == {}
    expected = network.log_probability(policy, explored.value, signature is DISCRETE)
    torch.testing.assert_close(explored.extras["log_prob"], expected)
    torch.testing.assert_close(explored.extras["value"], values)


def test_each_epoch_yields_every_row_once_in_minibatches_of_equal_size(gym: Any, ppo: Any, rollout: Any) -> None:
    model = ppo(epochs=3, minibatch=20)
    net, batch = rollout(gym(), model, 0, batch_size=64)

    with torch.no_grad():
        losses = list(model.losses(net, batch))

    assert [len(loss.arguments[0]) for loss in losses] == [22, 21, 21] * 3
    rows = [torch.cat([loss.arguments[0] for loss in losses[at : at + 3]]) for at in (0, 3)]
    assert not torch.equal(rows[0], rows[1])
    for epoch in rows:
        assert sorted(epoch.tolist()) == sorted(batch.inputs.flatten(0, 1).tolist())
    for loss in losses:
        chosen = loss.arguments[3]
        torch.testing.assert_close(chosen.mean(), torch.zeros(()), atol=1e-5, rtol=0)
        torch.testing.assert_close(chosen.std(correction=0), torch.ones(()), atol=1e-3, rtol=0)


def test_the_objective_is_the_mean_over_rows_so_that_parts_average_to_the_whole(
    gym: Any, ppo: Any, rollout: Any
) -> None:
    model = ppo(epochs=1, minibatch=64, entropy=0.01)
    net, batch = rollout(gym(), model, 0, batch_size=64)
    (loss,) = model.losses(net, batch)

    whole = loss.function(net, *loss.arguments)
    halves = [loss.function(net, *(each.chunk(2)[at] for each in loss.arguments)) for at in (0, 1)]

    torch.testing.assert_close(whole, (halves[0] + halves[1]) / 2)


def test_at_the_policy_that_played_the_objective_is_the_values_error(gym: Any, ppo: Any, rollout: Any) -> None:
    # every ratio is 1 and normalised advantages sum to zero, so only the value's error is left
    model = ppo(epochs=1, minibatch=64, value=0.7)
    net, batch = rollout(gym(), model, 0, batch_size=64)
    (loss,) = model.losses(net, batch)

    value = loss.function(net, *loss.arguments)

    inputs, returns = loss.arguments[0], loss.arguments[4]
    torch.testing.assert_close(value, 0.7 * (net.value_of(inputs) - returns).square().mean(), atol=1e-5, rtol=1e-4)


def test_a_ratio_beyond_the_clip_range_gains_nothing_and_still_costs() -> None:
    model = PPO(PPO.Config(value=0.0, clip_range=0.2))
    net: Any = model.build(DISCRETE, None, Seed(0), None)
    inputs, actions = torch.zeros(1, 4), torch.zeros(1, dtype=torch.int64)
    log_prob = network.log_probability(net.policy_of(inputs), actions, True).detach()
    doubled = log_prob - math.log(2.0)  # the old policy's: the ratio is 2

    with torch.no_grad():
        gained = model._objective(net, inputs, actions, doubled, torch.tensor([1.0]), torch.zeros(1))
        lost = model._objective(net, inputs, actions, doubled, torch.tensor([-1.0]), torch.zeros(1))

    assert float(gained) == pytest.approx(-1.2)
    assert float(lost) == pytest.approx(2.0)


def test_a_kl_limit_leaves_the_rollout_early(gym: Any, ppo: Any, rollout: Any) -> None:
    model = ppo(epochs=10, minibatch=64, target_kl=0.01)
    net, batch = rollout(gym(), model, 0, batch_size=64)
    torch.manual_seed(0)  # of the noise below: a small one would stay within the limit
    yielded = 0

    with torch.no_grad():
        still = len(list(model.losses(net, batch)))
        for _ in model.losses(net, batch):
            yielded += 1
            net.policy[-1].weight.add_(torch.randn_like(net.policy[-1].weight))

    assert still == 10
    assert yielded == 1


def test_rollouts_and_losses_are_the_same_for_the_same_seed_and_differ_for_another(
    gym: Any, ppo: Any, trained: Any
) -> None:
    runs = [trained(gym(), ppo(epochs=2), root, budget="600 steps")[1] for root in (4, 4, 5)]

    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


def test_pendulums_real_actions_train_with_finite_losses(gym: Any, ppo: Any, returns: Any, trained: Any) -> None:
    task = gym(env="Pendulum-v1", episodes=2)

    act, losses = trained(task, ppo(epochs=3, minibatch=64, entropy=0.01), 0, budget="1_000 steps")
    source = task.source(Split.DEV, Seed(0), act.model.recipe(task.signature()))
    scores = returns(worst=-2000.0).score(act, source, task.signature())

    assert len(losses) == 4 * 3 * 4
    assert np.isfinite(losses).all()
    assert act.net.log_std.grad is None and act.net.log_std.abs().min() > 0
    assert all(-2000 < value < 0 for value in scores.units["return"])
    assert scores.units["length"] == [200.0, 200.0]


def test_cartpole_is_learned_with_the_defaults(gym: Any, ppo: Any, returns: Any, trained: Any) -> None:
    task = gym()

    act, _ = trained(task, ppo(), 0)

    recipe = act.model.recipe(task.signature())
    for split in (Split.DEV, Split.TEST):
        found = returns().score(act, task.source(split, Seed(0), recipe), task.signature())
        assert found.metrics["return"] >= 450, split
