"""Rules about environments: rewards that come seldom, episodes that fail."""

from __future__ import annotations

from novum.rules import Rule, Sign, Step

SPARSE = (Sign("rewards.share", below=0.05),)
SELDOM = "Acting at random, {rewards.share:.1%} of the steps have a reward other than 0; "
FAILING = (Sign("run.episodes.failing", above=0.3),)

longer_credit = Rule(
    name="longer-credit",
    claim="Giving credit over more steps helps",
    signs=SPARSE,
    remedies=(
        {"model.gae_lambda": Step(least=0.95), "model.gamma": Step(least=0.995)},
        {"model.gae_lambda": Step(least=0.95)},
    ),
    reason=SELDOM + "what led to it lies many steps back.",
    source="Schulman et al. 2016, High-Dimensional Continuous Control Using Generalized Advantage Estimation",
    gain=0.08,
)
more_environments = Rule(
    name="more-environments",
    claim="More environments side by side help",
    signs=SPARSE,
    remedies=({"task.envs": Step(times=2.0)},),
    reason=SELDOM + "more episodes at a time meet it more evenly.",
    source="Mnih et al. 2016, Asynchronous Methods for Deep Reinforcement Learning",
    gain=0.05,
)
more_exploration = Rule(
    name="more-exploration",
    claim="A bonus for acting at random helps",
    signs=SPARSE,
    remedies=({"model.entropy": Step(least=0.01)},),
    reason=SELDOM + "a policy that settles early never meets it.",
    source="Mnih et al. 2016, Asynchronous Methods for Deep Reinforcement Learning",
    gain=0.06,
)
longer_rollouts = Rule(
    name="longer-rollouts",
    claim="More steps before each update help",
    signs=(*FAILING, Sign("run.spread", above=0.05)),
    remedies=(
        {"recipe.batch_size": Step(times=2.0), "model.gae_lambda": Step(least=0.9)},
        {"recipe.batch_size": Step(times=2.0)},
    ),
    reason=(
        "{run.episodes.failing:.0%} of the episodes on dev fail, and seeds differ by {run.spread} of the scale; more "
        "steps make a steadier estimate of what pays."
    ),
    source="Andrychowicz et al. 2021, What Matters for On-Policy Deep Actor-Critic Methods?",
    gain=0.04,
)
