"""Averages of the weights: what they are, what is scored when, and that they change nothing of the training."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import novum
import numpy as np
import pytest
import torch
from novum import Batch, ConfigError, Examples, Loss, MismatchError, Prediction, Source
from novum.recipe import units
from novum.runner.parts import Parts
from novum.runner.resolve import resolve
from novum.runner.train import Trainer
from novum.seeds import trial_seed

Make = Callable[..., Trainer]
SIZE = 40


@pytest.fixture
def trainer(toy: Any) -> Make:
    def make(model: Any, task: Any = None, points: int = 1, **recipe: Any) -> Trainer:
        given = {"averaging": "swa", "budget": "100 samples", "batch_size": 10} | recipe
        arm = novum.arm(novum.task(task or toy.Blobs, size=SIZE), novum.model(model), **given)
        parts = Parts.of(arm.to_json())
        budget = units(parts.recipe.budget, SIZE)
        return Trainer(parts, trial_seed(0, "0", 0), units=budget, device_kind="cpu", precision="fp32", points=points)

    return make


@pytest.fixture
def normed(toy: Any) -> type:
    """A model whose network begins with a batch norm of the inputs."""

    class Normed(toy.Linear):  # type: ignore[misc]
        def build(self, signature: Any, preparation: Any, seed: Any, start: Any) -> torch.nn.Module:
            return torch.nn.Sequential(torch.nn.BatchNorm1d(4), torch.nn.Dropout(0.5), torch.nn.Linear(4, 2))

    return Normed


def same(one: torch.nn.Module, two: torch.nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), two.state_dict().values(), strict=True)
    return all(torch.equal(*pair) for pair in pairs)


def test_swa_is_the_mean_over_the_steps_of_the_last_quarter(trainer: Make, toy: Any) -> None:
    made = trainer(toy.Slope, learning_rate=1.0)  # after step k of ten the weights are -k

    made.run()

    kept: Any = made.scored
    assert float(kept.one.value.detach()) == pytest.approx(-(8 + 9 + 10) / 3)


def test_until_the_last_quarter_the_weights_themselves_are_scored(trainer: Make, toy: Any) -> None:
    plain, averaged = (trainer(toy.Linear, points=10, averaging=how, learning_rate=0.5) for how in ("none", "swa"))
    told = [[(point.units, point.losses, point.metrics) for point in each.run().curve] for each in (plain, averaged)]

    assert told[0][:8] == told[1][:8]
    assert [each[1] for each in told[0]] == [each[1] for each in told[1]]
    assert told[0][9][2] != told[1][9][2]
    assert plain.scored is plain.net and averaged.scored is not averaged.net


def test_the_statistics_of_batch_norms_are_those_of_one_pass_over_train(trainer: Make, toy: Any, normed: type) -> None:
    made = trainer(normed)

    trained = made.run()

    x, y = toy.Blobs(toy.Blobs.Config(size=SIZE)).data("train")
    source = Examples(x, y, [str(row) for row in range(SIZE)], seed=made.seed.child("statistics"), batch_size=10)
    seen = [np.asarray(made.preparation.encode(source.next(None).inputs)) for _ in range(4)]  # type: ignore[arg-type]
    kept: Any = made.scored
    assert int(kept[0].num_batches_tracked) == 4
    assert kept[0].running_mean.numpy() == pytest.approx(np.mean([each.mean(0) for each in seen], 0), abs=1e-6)
    assert kept[0].running_var.numpy() == pytest.approx(np.mean([each.var(0, ddof=1) for each in seen], 0), abs=1e-6)
    assert kept[0].momentum == 0.1
    assert not torch.equal(kept[0].running_mean, trained.net[0].running_mean)  # type: ignore[index,union-attr]


@pytest.mark.parametrize(("budget", "size"), [("100 samples", 10), ("36 samples", 2)])  # more than a pass, and less
def test_swa_changes_nothing_of_the_training_even_where_encoding_and_layers_draw(
    trainer: Make, toy: Any, normed: type, budget: str, size: int
) -> None:
    class Noisy(toy.Centre):  # type: ignore[misc]
        def encode(self, inputs: Any) -> Any:
            return [each + np.float32(random.random()) for each in super().encode(inputs)]

    class Drawing(normed):  # type: ignore[misc]
        preparation = Noisy

        def prepare(self, signature: Any, train: Any) -> Any:
            return Noisy(super().prepare(signature, train).mean)

    given = {"points": 10, "budget": budget, "batch_size": size}
    plain, averaged = (trainer(Drawing, averaging=how, **given) for how in ("none", "swa"))

    ended = [each.run() for each in (plain, averaged)]

    assert same(ended[0].net, ended[1].net)
    assert not same(averaged.scored, averaged.net)


def test_an_average_without_batch_norm_asks_for_no_pass(trainer: Make, toy: Any) -> None:
    made = trainer(toy.Linear)
    toy.SEEN.clear()

    made.run()

    assert len(toy.SEEN) == 10


def test_a_network_with_batch_norms_in_an_environment_is_refused(trainer: Make, toy: Any, normed: type) -> None:
    class Endless(Source):
        size = None

        def __init__(self, inner: Source) -> None:
            self.inner = inner

        def next(self, act: Any) -> Batch:
            return self.inner.next(act)

        def each(self, act: Any) -> Iterator[Batch]:
            return self.inner.each(act)

    class Environment(toy.Blobs):  # type: ignore[misc]
        def source(self, split: Any, seed: Any, recipe: Any) -> Source:
            return Endless(super().source(split, seed, recipe))

    with pytest.raises(MismatchError, match=r"'swa' estimates the statistics of batch norms .* say 'none' or 'ema'"):
        trainer(normed, task=Environment)

    assert trainer(toy.Linear, task=Environment).steps.average is not None


@pytest.mark.parametrize(("budget", "fits"), [("10 samples", False), ("13 samples", True), ("20 samples", True)])
def test_a_budget_without_a_step_in_its_last_quarter_is_refused(
    arm: Callable[..., Any], budget: str, fits: bool
) -> None:
    written = arm(averaging="swa", budget=budget, batch_size=10).to_json()

    if fits:
        assert resolve(written)["units"] == int(budget.split()[0])
    else:
        with pytest.raises(ConfigError, match=r"averaging: 'swa' .* 10 units in batches of 10 has no step there"):
            resolve(written)


class Several(novum.Model):
    """Two losses a batch, each of its own half of the network."""

    inputs = ("vector",)
    outputs = ("classes",)

    def recipe(self, signature: Any) -> novum.Recipe:
        return novum.Recipe(optimizer="sgd", learning_rate=1.0, momentum=0.0)

    def build(self, signature: Any, preparation: Any, seed: Any, start: Any) -> torch.nn.Module:
        net = torch.nn.Module()
        for name in ("one", "two"):
            net.register_parameter(name, torch.nn.Parameter(torch.zeros(())))
        return net

    def losses(self, net: Any, batch: Batch) -> Iterator[Loss]:
        for prefix in ("one", "two"):
            yield Loss(lambda net, x, name=prefix: getattr(net, name) + 0 * x.mean(), (batch.inputs,), prefix)

    def act(self, net: Any, inputs: Any, explore: bool) -> Prediction:
        return Prediction(torch.zeros(len(inputs), dtype=torch.int64))


def test_a_model_of_several_losses_is_averaged_after_each_of_its_steps(trainer: Make) -> None:
    made = trainer(Several)

    made.run()

    kept: Any = made.scored
    # `one` moves first: it stands at -k at both steps of batch k, `two` at -(k - 1) and -k.
    assert float(kept.one.detach()) == pytest.approx(-9.0)
    assert float(kept.two.detach()) == pytest.approx(-8.5)
