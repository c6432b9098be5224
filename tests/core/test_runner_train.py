from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import novum
import numpy as np
import pytest
import torch
from novum import Batch, Loss, Model, Prediction, Recipe, Seed, Signature, Split
from novum.model import Preparation
from novum.recipe import units
from novum.runner.parts import Encoder, Parts
from novum.runner.train import Point, Trained, Trainer
from novum.seeds import trial_seed

Make = Callable[..., Trainer]
SIZE = 40


@pytest.fixture
def trainer(toy: Any) -> Make:
    """Makes a trainer of one of the toy's models on its task, by the model's name or class."""

    def make(
        model: Any = "Slope", options: dict[str, Any] | None = None, seed: int = 0, points: int = 1, **recipe: Any
    ) -> Trainer:
        cls = getattr(toy, model) if isinstance(model, str) else model
        arm = novum.arm(novum.task(toy.Blobs, size=SIZE), novum.model(cls, **(options or {})), **recipe)
        parts = Parts.of(arm.to_json())
        budget = units(parts.recipe.budget, SIZE)
        return Trainer(
            parts, trial_seed(0, "0", seed), units=budget, device_kind="cpu", precision="fp32", points=points
        )

    return make


def values(trained: Trained | Trainer) -> tuple[float, float]:
    net: Any = trained.net
    return float(net.one.value.detach()), float(net.two.value.detach())


# --------------------------------------------------------------------------------------------- losses and parameters


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([""], (-10.0, -10.0)),
        (["one."], (-10.0, 0.0)),
        (["two."], (0.0, -10.0)),
        (["one.", "two."], (-10.0, -10.0)),
        (["one.", "one.", "two."], (-20.0, -10.0)),
    ],
)
def test_a_loss_trains_the_parameters_below_its_prefix_and_no_others(
    trainer: Make, losses: list[str], expected: tuple[float, float]
) -> None:
    trained = trainer(options={"losses": losses}).run()  # 40 samples by 4: ten steps, each of minus the rate

    assert values(trained) == pytest.approx(expected)


def test_each_prefix_has_an_optimiser_of_its_own(trainer: Make) -> None:
    made = trainer(options={"losses": ["one.", "two."]}, momentum=0.5)

    made.run()

    assert sorted(made.steps._optimizers) == ["one.", "two."]
    first, second = (made.steps._optimizers[name] for name in ("one.", "two."))
    assert first[0] is not second[0]
    assert [len(params) for _, params in (first, second)] == [1, 1]


def test_losses_that_share_parameters_leave_no_gradient_behind_for_each_other(trainer: Make) -> None:
    made = trainer(options={"losses": ["one.", ""]})

    trained = made.run()

    assert values(trained) == pytest.approx((-20.0, -10.0))
    assert all(param.grad is None for param in made.net.parameters())


def test_a_frozen_parameter_stays(trainer: Make) -> None:
    assert values(trainer(options={"frozen": True}).run()) == pytest.approx((-10.0, 0.0))


def test_clipping_bounds_the_norm_of_each_losses_gradient(trainer: Make) -> None:
    step = 0.5 / math.sqrt(2)  # two equal gradients, of norm .5 together

    trained = trainer(options={"height": 7.0}, clip=0.5).run()

    assert values(trained) == pytest.approx((-10 * step, -10 * step), rel=1e-4)


def test_a_gradient_below_the_bound_is_not_clipped(trainer: Make) -> None:
    assert values(trainer(options={"height": 0.1}, clip=0.5).run()) == pytest.approx((-1.0, -1.0))


def test_the_recipes_optimiser_gets_the_values_that_it_names(trainer: Make) -> None:
    made = trainer(optimizer="sgd", momentum=0.9, weight_decay=0.25, learning_rate=0.5)

    made.run()

    (group,) = made.steps._optimizers[""][0].param_groups
    assert (group["momentum"], group["weight_decay"], group["lr"]) == (0.9, 0.25, 0.5)


FURTHEST = {"adafactor": 1e-5 * 10}  # its steps are relative to the weights, and these begin at 0


@pytest.mark.parametrize("optimizer", ["adafactor", "adam", "adamw", "lion", "muon", "rmsprop", "sgd"])
def test_every_optimiser_goes_downhill(trainer: Make, optimizer: str) -> None:
    walked = FURTHEST.get(optimizer, 0.01)

    assert max(values(trainer(optimizer=optimizer, learning_rate=0.01).run())) < -0.99 * walked


# -------------------------------------------------------------------------------------------------------- schedules


def shares(count: int = 10) -> list[float]:
    return [(at + 0.5) / count for at in range(count)]


def one_cycle(share: float) -> float:
    """Smith & Topin 2018 with half cosines: 1/25 to 1 over three tenths, then to 1/250,000."""
    if share < 0.3:
        return 0.04 + 0.96 * math.sin(math.pi / 2 * share / 0.3) ** 2
    return 4e-6 + (1 - 4e-6) * math.cos(math.pi / 2 * (share - 0.3) / 0.7) ** 2


@pytest.mark.parametrize(
    ("recipe", "factor"),
    [
        ({"schedule": "constant"}, lambda share: 1.0),
        ({"schedule": "linear"}, lambda share: 1 - share),
        ({"schedule": "cosine"}, lambda share: (1 + math.cos(math.pi * share)) / 2),
        ({"schedule": "one-cycle"}, one_cycle),
        ({"warmup": 0.3}, lambda share: min(share / 0.3, 1.0)),
        ({"schedule": "linear", "warmup": 0.5}, lambda share: share / 0.5 if share < 0.5 else 1 - (share - 0.5) / 0.5),
    ],
)
def test_the_rate_follows_the_schedule_over_the_share_of_the_budget(
    trainer: Make, recipe: dict[str, Any], factor: Callable[[float], float]
) -> None:
    trained = trainer(**recipe).run()

    assert values(trained)[0] == pytest.approx(-sum(factor(share) for share in shares()), rel=1e-5)


def test_a_schedule_is_the_same_however_often_the_run_is_scored(trainer: Make) -> None:
    found = [values(trainer(points=points, schedule="cosine").run()) for points in (1, 3, 10)]

    assert found[0] == found[1] == found[2]


# --------------------------------------------------------------------------------------------------------- averaging


def test_the_average_of_the_weights_is_what_is_scored_and_kept(trainer: Make) -> None:
    made = trainer(averaging="ema")
    expected = -1.0  # the first step's weights are the first average
    for count in range(1, 10):
        decay = min(0.999, (1 + count) / (10 + count))
        expected = decay * expected - (1 - decay) * (count + 1)

    made.run()

    kept: Any = made.scored
    assert float(kept.one.value.detach()) == pytest.approx(expected, rel=1e-5)
    assert values(made)[0] == pytest.approx(-10.0)


def test_without_averaging_the_network_itself_is_kept(trainer: Make) -> None:
    made = trainer()

    assert made.scored is made.net


def test_averaging_changes_no_weight_of_the_training(trainer: Make) -> None:
    plain, averaged = (trainer("Linear", averaging=how) for how in ("none", "ema"))

    plain.run()
    averaged.run()

    for one, two in zip(plain.net.parameters(), averaged.net.parameters(), strict=True):
        assert torch.equal(one, two)


# ------------------------------------------------------------------------------------------- units, passes and curves


def test_a_budget_of_epochs_gives_every_example_that_often_across_passes(trainer: Make, toy: Any) -> None:
    toy.SEEN.clear()

    trained = trainer("Linear", budget="3 epochs", batch_size=8).run()

    counts = Counter(unit for batch in toy.SEEN for unit in batch)
    assert trained.units == 3 * SIZE
    assert len(toy.SEEN) == 15
    assert set(counts.values()) == {3}
    assert len(counts) == SIZE


def test_a_batch_may_span_two_passes(trainer: Make, toy: Any) -> None:
    toy.SEEN.clear()

    trained = trainer("Linear", budget="2 epochs", batch_size=16).run()

    assert (trained.units, [len(batch) for batch in toy.SEEN]) == (80, [16] * 5)
    assert set(Counter(unit for batch in toy.SEEN for unit in batch).values()) == {2}


def test_training_ends_with_the_first_batch_that_reaches_the_budget(trainer: Make) -> None:
    trained = trainer(budget="10 samples").run()

    assert trained.units == 12
    assert values(trained)[0] == pytest.approx(-3.0)


def test_a_curve_has_its_points_evenly_over_the_budget_and_tells_each_as_it_comes(trainer: Make) -> None:
    heard: list[Point] = []
    made = trainer("Linear", points=4, budget="2 epochs")
    made.watch = heard.append

    trained = made.run()

    assert [point.units for point in trained.curve] == [20, 40, 60, 80]
    assert [point.share for point in trained.curve] == [0.25, 0.5, 0.75, 1.0]
    assert heard == trained.curve
    assert all(0 <= one.seconds <= two.seconds for one, two in itertools.pairwise(heard))
    assert trained.scores is not None
    assert trained.curve[-1].metrics == trained.scores.metrics


def test_a_points_loss_is_the_mean_since_the_point_before(trainer: Make) -> None:
    trained = trainer(options={"losses": ["one.", "two."], "height": 1.0}, points=2).run()

    # Before step k the parameters are both -k; the second loss sees the first one's step.
    firsts = [-2.0 * step for step in range(10)]
    assert [point.losses["one"] for point in trained.curve] == pytest.approx([sum(firsts[:5]) / 5, sum(firsts[5:]) / 5])
    seconds = [each - 1.0 for each in firsts]
    assert [point.losses["two"] for point in trained.curve] == pytest.approx(
        [sum(seconds[:5]) / 5, sum(seconds[5:]) / 5]
    )


def test_more_points_than_batches_leave_out_losses_and_never_repeat_them(trainer: Make) -> None:
    trained = trainer(points=20, budget="8 samples").run()

    assert [len(point.losses) for point in trained.curve].count(1) == 2
    assert len(trained.curve) == 20


# ------------------------------------------------------------------------------------------------------- divergence


def test_a_loss_that_is_no_number_ends_training_as_diverged(trainer: Make, toy: Any) -> None:
    toy.SEEN.clear()

    trained = trainer("Linear", {"mode": "nan"}, points=4, budget="10 epochs").run()

    assert trained.diverged is not None
    assert "not finite after 30 of 400 units" in trained.diverged
    assert trained.units == 30
    assert trained.curve == []


def test_a_weight_that_is_no_number_counts_as_diverged_though_every_loss_was_finite(trainer: Make) -> None:
    trained = trainer(options={"height": 1e30}, learning_rate=1e30, budget="4 samples").run()

    assert trained.diverged == "a loss or weight was not finite after 4 of 4 units"


def test_a_sound_run_did_not_diverge(trainer: Make) -> None:
    assert trainer("Linear").run().diverged is None


# ------------------------------------------------------------------------------------- streams, preparations, starts


def test_a_seed_fixes_every_weight_and_another_changes_them(trainer: Make) -> None:
    first, again, other = (trainer("Linear", seed=seed).run().net.state_dict() for seed in (0, 0, 1))

    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first)


def test_what_was_drawn_before_in_the_process_changes_nothing(trainer: Make) -> None:
    first = trainer("Linear").run().net.state_dict()
    torch.manual_seed(99)
    torch.rand(1000)

    made = trainer("Linear")
    torch.rand(1000)
    second = made.run().net.state_dict()

    assert all(torch.equal(first[name], second[name]) for name in first)


def test_training_leaves_the_generators_of_the_process_alone(trainer: Make) -> None:
    torch.manual_seed(5)
    expected = torch.rand(2)[1]
    torch.manual_seed(5)
    torch.rand(1)

    trainer("Linear", points=3).run()

    assert torch.rand(1)[0] == expected


def test_scoring_draws_the_same_numbers_whenever_it_is_asked(toy: Any, trainer: Make) -> None:
    class Noisy(toy.Linear):  # type: ignore[misc]
        def act(self, net: Any, inputs: Any, explore: bool) -> Prediction:
            answer = super().act(net, inputs + torch.randn(inputs.shape), explore)
            assert isinstance(answer, Prediction)
            return answer

    made = trainer(Noisy)
    made.run()

    first = made.score(Split.DEV)
    torch.rand(10)
    second = made.score(Split.DEV)

    assert first == second
    assert made.score(Split.TEST) != first


def test_the_network_trains_in_training_mode_and_answers_in_evaluation_mode(toy: Any, trainer: Make) -> None:
    modes: list[tuple[str, bool, bool]] = []

    class Watching(toy.Linear):  # type: ignore[misc]
        def losses(self, net: Any, batch: Batch) -> Any:
            modes.append(("losses", net.training, torch.is_grad_enabled()))
            yield from super().losses(net, batch)

        def act(self, net: Any, inputs: Any, explore: bool) -> Prediction:
            modes.append(("act", net.training, torch.is_grad_enabled()))
            answer = super().act(net, inputs, explore)
            assert isinstance(answer, Prediction)
            return answer

    trainer(Watching, points=2).run()

    assert set(modes) == {("losses", True, False), ("act", False, False)}


def test_inputs_are_encoded_once_and_kept(toy: Any, trainer: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: Counter[float] = Counter()
    original = toy.Centre.encode

    def encode(self: Any, inputs: Any) -> Any:
        encoded.update(float(each[0]) for each in inputs)
        return original(self, inputs)

    monkeypatch.setattr(toy.Centre, "encode", encode)

    trainer("Linear", points=3, budget="4 epochs").run()

    assert set(encoded.values()) == {1}
    assert len(encoded) == 2 * SIZE  # train and dev


def test_a_start_brings_its_weights_and_its_preparation(toy: Any, trainer: Make) -> None:
    parent = trainer("Linear").run()
    weights = novum.Weights(parent.net.state_dict())
    mine = toy.Centre(parent.preparation.mean + 1)  # type: ignore[attr-defined]
    parts = trainer("Linear").parts

    child = Trainer(parts, Seed(1), units=10, device_kind="cpu", precision="fp32", start=(weights, mine))

    assert child.preparation is mine
    assert child.start == {"loaded": 2, "fresh": []}
    assert all(torch.equal(child.net.state_dict()[name], tensor) for name, tensor in weights.tensors.items())


class Forgetful(Model):
    """A model whose `build` does not look at `start`."""

    inputs = ("vector",)
    outputs = ("classes",)

    def recipe(self, signature: Signature) -> Recipe:
        return Recipe()

    def build(self, signature: Signature, preparation: Preparation, seed: Seed, start: Any) -> torch.nn.Module:
        return torch.nn.Sequential(torch.nn.Linear(4, 2), torch.nn.Linear(2, 2))

    def losses(self, net: torch.nn.Module, batch: Batch) -> Any:
        yield Loss(lambda net, x: net(x).mean(), (batch.inputs,))

    def act(self, net: torch.nn.Module, inputs: Any, explore: bool) -> Prediction:
        return Prediction(net(inputs).argmax(-1))


def test_a_build_that_forgets_its_start_gets_it_all_the_same_and_says_what_was_fresh(trainer: Make) -> None:
    start = (novum.Weights({"0.weight": torch.ones(2, 4), "other": torch.ones(3)}), Preparation())
    parts = trainer(Forgetful).parts

    made = Trainer(parts, Seed(1), units=10, device_kind="cpu", precision="fp32", start=start)

    net: Any = made.net
    assert torch.equal(net[0].weight, torch.ones(2, 4))
    assert made.start == {"loaded": 1, "fresh": ["0.bias", "1.bias", "1.weight"]}


def test_a_batch_of_a_class_of_its_own_reaches_the_model_with_all_that_it_carries() -> None:
    @dataclass(frozen=True)
    class Weighed(Batch):
        weight: float = 1.0

    raw = Weighed(np.ones((2, 4)), np.array([0, 1]), 2, ("a", "b"), {"side": np.zeros(2), "name": "x"}, weight=0.5)

    batch = Encoder(Preparation(), torch.device("cpu")).batch(raw)

    assert isinstance(batch, Weighed)
    assert (batch.weight, batch.units, batch.ids, batch.extras["name"]) == (0.5, 2, ("a", "b"), "x")
    assert all(isinstance(each, torch.Tensor) for each in (batch.inputs, batch.targets, batch.extras["side"]))
