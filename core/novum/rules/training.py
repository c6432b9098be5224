"""Rules about the course of training: too short, too fast, unsteady, stuck."""

from __future__ import annotations

from novum.rules import Held, Rule, Sign, Step

RISING = (Sign("run.rise", above=0.02), Sign("run.diverged", below=0.01))
STILL = "Dev still rose by {run.rise} of the scale over the last quarter of the budget; "
UNFITTED = (Sign("run.train", below=0.9), Sign("run.gap", below=0.15), Sign("run.diverged", below=0.01))
UNFIT = "Train is scored {run.train} on the scale, and dev {run.gap} worse: not even what was seen is learned yet; "
DIVERGED = (Sign("run.diverged", above=0.0),)
UNSTEADY = (Sign("run.spread", above=0.05),)
SPREAD = "Scores on dev have a spread of {run.spread} of the scale over seeds; "
STUCK = (
    *(Held(("recipe.schedule",), ("constant",)), Sign("run.rise", below=0.01)),
    *(Sign("run.fall", below=0.1), Sign("run.scaled", below=0.98)),
)

more_budget = Rule(
    name="more-budget",
    claim="Training for longer helps",
    signs=RISING,
    remedies=({"recipe.budget": Step(times=2.0)},),
    reason=STILL + "it is not at its end.",
    source="Hoffer et al. 2017, Train longer, generalize better",
    gain=0.06,
    cost=2.0,
)
higher_rate = Rule(
    name="higher-rate",
    claim="A higher learning rate helps",
    signs=RISING,
    remedies=({"recipe.learning_rate": Step(times=3.0)}, {"recipe.learning_rate": Step(times=1.7)}),
    reason=STILL + "larger steps get further within the same budget.",
    source="Bengio 2012, Practical Recommendations for Gradient-Based Training of Deep Architectures",
    gain=0.05,
)
faster_fit = Rule(
    name="faster-fit",
    claim="A higher learning rate helps",
    signs=(*UNFITTED, Sign("run.spread", below=0.1)),
    remedies=({"recipe.learning_rate": Step(times=3.0)}, {"recipe.learning_rate": Step(times=1.7)}),
    reason=UNFIT + "larger steps get further within the same budget.",
    source="Bengio 2012, Practical Recommendations for Gradient-Based Training of Deep Architectures",
    gain=0.05,
)
longer_fit = Rule(
    name="longer-fit",
    claim="Training for longer helps",
    signs=UNFITTED,
    remedies=({"recipe.budget": Step(times=2.0)},),
    reason=UNFIT + "a rate that has fallen to 0 hides that it was not at its end.",
    source="Hoffer et al. 2017, Train longer, generalize better",
    gain=0.05,
    cost=2.0,
)
steadier_fit = Rule(
    name="steadier-fit",
    claim="A lower learning rate helps",
    signs=(*UNFITTED, Sign("run.spread", above=0.05)),
    remedies=({"recipe.learning_rate": Step(times=0.3)}, {"recipe.learning_rate": Step(times=0.1)}),
    reason=UNFIT + "and seeds differ by {run.spread}: steps may be too large to settle anywhere.",
    source="Bengio 2012, Practical Recommendations for Gradient-Based Training of Deep Architectures",
    gain=0.04,
)
lower_rate = Rule(
    name="lower-rate",
    claim="A lower learning rate helps",
    signs=DIVERGED,
    remedies=({"recipe.learning_rate": Step(times=0.3)}, {"recipe.learning_rate": Step(times=0.1)}),
    reason="Training diverged at {run.diverged:.0%} of the seeds; smaller steps stay where the gradient tells the way.",
    source="Bengio 2012, Practical Recommendations for Gradient-Based Training of Deep Architectures",
    gain=0.3,
)
clipped_gradients = Rule(
    name="clipped-gradients",
    claim="Clipping gradients helps",
    signs=DIVERGED,
    remedies=({"recipe.clip": Step(to=1.0)}, {"recipe.clip": Step(to=0.5)}),
    reason="Training diverged at {run.diverged:.0%} of the seeds; a bound keeps one gradient from undoing the rest.",
    source="Pascanu et al. 2013, On the difficulty of training recurrent neural networks",
    gain=0.2,
)
warmed_up = Rule(
    name="warmed-up",
    claim="Warming up the learning rate helps",
    signs=UNSTEADY,
    remedies=({"recipe.warmup": Step(least=0.1)},),
    reason=SPREAD + "small first steps let it matter less where training began.",
    source="Goyal et al. 2017, Accurate, Large Minibatch SGD: Training ImageNet in 1 Hour",
    gain=0.03,
)
steady_gradients = Rule(
    name="steady-gradients",
    claim="Clipping gradients helps",
    signs=UNSTEADY,
    remedies=({"recipe.clip": Step(to=1.0)}, {"recipe.clip": Step(to=0.5)}),
    reason=SPREAD + "a bound on the gradient evens the steps.",
    source="Zhang et al. 2020, Why gradient clipping accelerates training",
    gain=0.02,
)
averaged_weights = Rule(
    name="averaged-weights",
    claim="Averaging the weights helps",
    signs=UNSTEADY,
    remedies=({"recipe.averaging": Step(to="ema")}, {"recipe.averaging": Step(to="swa")}),
    reason=SPREAD + "a mean of weights moves less than the last of them.",
    source="Polyak and Juditsky 1992, Acceleration of Stochastic Approximation by Averaging",
    gain=0.03,
)
falling_rate = Rule(
    name="falling-rate",
    claim="A falling learning rate helps",
    signs=STUCK,
    remedies=({"recipe.schedule": Step(to="cosine")}, {"recipe.schedule": Step(to="linear")}),
    reason=(
        "Over the last quarter of the budget dev rose by {run.rise} of the scale and the training loss fell by "
        "{run.fall:.0%}, at a constant rate; smaller steps settle."
    ),
    source="Loshchilov and Hutter 2017, SGDR: Stochastic Gradient Descent with Warm Restarts",
    gain=0.03,
)
one_cycle = Rule(
    name="one-cycle",
    claim="One cycle of the learning rate helps",
    signs=STUCK,
    remedies=({"recipe.schedule": Step(to="one-cycle")},),
    reason=(
        "Over the last quarter of the budget dev rose by {run.rise} of the scale and the training loss fell by "
        "{run.fall:.0%}, at a constant rate; a rate that rises and falls passes through and settles."
    ),
    source="Smith and Topin 2019, Super-Convergence: Very Fast Training of Neural Networks",
    gain=0.02,
)
