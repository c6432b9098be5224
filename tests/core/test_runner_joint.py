"""Many seeds trained as one: the same numbers as apart up to rounding, each replicate for itself, exact resume."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import novum
import numpy as np
import pytest
import torch
from novum.evaluator import Evaluator
from novum.runner import batched, suits
from novum.runner.batched import Batched, UnsuitedError, rebuilt, stacked
from novum.runner.checkpoint import Shelf
from novum.runner.joint import Joint, clip
from novum.runner.parts import Parts
from novum.runner.train import Trainer
from novum.seeds import trial_seed
from torch import nn

CLASSES, SIDE, TRAIN = 4, 8, 256


class Pictures(novum.Task):
    """Noisy pictures of four patterns; train and dev by turns."""

    def signature(self) -> novum.Signature:
        return novum.Signature(novum.Image(1, SIDE, SIDE), novum.Classes(tuple("abcd")))

    def observe(self) -> novum.Observation:
        return novum.Observation((), novum.Scale("accuracy", chance=0.25, reference=1.0))

    def source(self, split: novum.Split, seed: novum.Seed, recipe: novum.Recipe) -> novum.Source:
        draw = np.random.default_rng(["train", "dev", "test"].index(split.value))
        targets = np.arange(TRAIN) % CLASSES
        patterns = np.random.default_rng(9).normal(size=(CLASSES, 1, SIDE, SIDE))
        images = (128 + 30 * (patterns[targets] + 1.5 * draw.normal(size=(TRAIN, 1, SIDE, SIDE)))).clip(0, 255)
        ids = [f"{split.value}-{row}" for row in range(TRAIN)]
        return novum.Examples(images.astype(np.uint8), targets, ids, seed=seed, batch_size=recipe.batch_size)

    def fingerprint(self) -> str:
        return "pictures"


class Net(novum.Model):
    """A network of this module, by name."""

    inputs = ("image",)
    outputs = ("classes",)
    make: Any = None

    def recipe(self, signature: novum.Signature) -> novum.Recipe:
        return novum.Recipe(learning_rate=3e-3)

    def build(self, signature: Any, preparation: Any, seed: novum.Seed, start: Any) -> nn.Module:
        net: nn.Module = type(self).make()
        return net

    def losses(self, net: nn.Module, batch: novum.Batch) -> Iterator[novum.Loss]:
        yield novum.Loss(self.loss, (batch.inputs.float() / 255, batch.targets))

    def loss(self, net: nn.Module, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        dtype = next(net.parameters()).dtype
        return nn.functional.cross_entropy(net(images.to(dtype)), targets)

    def act(self, net: nn.Module, inputs: Any, explore: bool) -> novum.Prediction:
        probabilities = net((inputs.float() / 255).to(next(net.parameters()).dtype)).softmax(-1)
        return novum.Prediction(probabilities.argmax(-1), probabilities)


def mlp(dropout: float = 0.0) -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(SIDE * SIDE, 32), nn.ReLU(), nn.Dropout(dropout), nn.Linear(32, CLASSES)
    )


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3), nn.ReLU(),
        nn.Flatten(), nn.Linear(32, CLASSES),
    )  # fmt: skip


def parts(make: Any, **recipe: Any) -> Parts:
    from novum.classification import Classification

    model = type("Made", (Net,), {"make": staticmethod(make)})(novum.Config())
    task = Pictures(novum.Config())
    evaluator: Evaluator = Classification(Classification.Config())
    values = {"batch_size": 16, "learning_rate": 3e-3, "clip": 1.0, "schedule": "cosine", **recipe}
    return Parts(task, model, evaluator, novum.Recipe(**values), task.signature())


SEEDS = [trial_seed(0, "0", index) for index in range(4)]


def joint(made: Parts, units: int, **options: Any) -> Joint:
    return Joint(made, options.pop("seeds", SEEDS), units=units, device_kind="cpu", precision="fp32", **options)


def alone(made: Parts, units: int, seed: novum.Seed) -> Trainer:
    return Trainer(made, seed, units=units, device_kind="cpu", precision="fp32")


def probabilities(nets: list[nn.Module]) -> torch.Tensor:
    """(S, units, classes) on dev."""
    source = Pictures(novum.Config()).source(novum.Split.DEV, SEEDS[0], novum.Recipe())
    images = torch.as_tensor(np.concatenate([batch.inputs for batch in source.each(lambda *_: None)])) / 255  # type: ignore[arg-type, return-value]
    with torch.no_grad():
        return torch.stack([net.eval()(images.to(next(net.parameters()).dtype)).softmax(-1) for net in nets])


def doubled(make: Any) -> Any:
    return lambda: make().double()


STEPS = 300


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd", "rmsprop"])
def test_networks_of_linear_layers_predict_what_they_predict_when_trained_apart(optimizer: str) -> None:
    made = parts(mlp, optimizer=optimizer, warmup=0.1, weight_decay=0.01)
    units = STEPS * 16

    together = [each.net for each in joint(made, units).run()]
    apart = [alone(made, units, seed).run().net for seed in SEEDS]

    ours, theirs = probabilities(together), probabilities(apart)
    assert torch.equal(ours.argmax(-1), theirs.argmax(-1))
    assert (ours - theirs).abs().max() < 1e-4


def test_small_convolutional_networks_agree_on_999_of_1000_predictions() -> None:
    made, units = parts(cnn), STEPS * 16

    ours = probabilities([each.net for each in joint(made, units).run()])
    theirs = probabilities([alone(made, units, seed).run().net for seed in SEEDS])

    assert (ours.argmax(-1) == theirs.argmax(-1)).float().mean() >= 0.999


@pytest.mark.parametrize("make", [mlp, cnn])
def test_in_double_precision_nothing_but_rounding_is_left(make: Any) -> None:
    made, units = parts(doubled(make), learning_rate=1e-3), STEPS * 16

    ours = probabilities([each.net for each in joint(made, units).run()])
    theirs = probabilities([alone(made, units, seed).run().net for seed in SEEDS])

    assert (ours - theirs).abs().max() < 1e-8


class Scaled(nn.Module):
    """A linear layer whose outputs are multiplied with one learned number, which has no dimension."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, CLASSES))
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.scale * self.layer(images)
        return found


def test_a_parameter_without_a_dimension_is_trained_and_clipped_as_apart() -> None:
    made, units = parts(doubled(Scaled), clip=0.1), 2 * TRAIN

    ours = [each.net for each in joint(made, units).run()]
    theirs = [alone(made, units, seed).run().net for seed in SEEDS]

    scales = [torch.stack([net.get_parameter("scale").detach() for net in nets]) for nets in (ours, theirs)]
    assert (scales[0] - 2).abs().min() > 1e-3, "it was not trained"
    assert (scales[0] - scales[1]).abs().max() < 1e-9


def test_each_replicate_begins_and_reads_as_its_seed_does_alone() -> None:
    made = parts(mlp)

    block, apart = joint(made, 64), [alone(made, 64, seed) for seed in SEEDS]

    for ours, theirs in zip(block.replicates, apart, strict=True):
        for mine, other in zip(ours.net.parameters(), theirs.net.parameters(), strict=True):
            assert torch.equal(mine, other)
        assert ours.source.next(None).ids == theirs.source.next(None).ids  # type: ignore[arg-type]


def test_dropout_differs_between_replicates_and_repeats_with_the_block() -> None:
    made, same = parts(lambda: mlp(0.5)), [SEEDS[0]] * 2

    first, second = joint(made, 160, seeds=same).run()
    again, _ = joint(made, 160, seeds=same).run()

    weights = [next(each.net.parameters()) for each in (first, second, again)]
    assert not torch.equal(weights[0], weights[1])
    assert torch.equal(weights[0], weights[2])


def test_a_replicate_that_diverges_is_named_and_touches_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    made, units = parts(mlp), 320
    whole = joint(made, units).run()
    block = joint(made, units)
    with torch.no_grad():
        next(iter(block.parameters.values()))[1, 0, 0] = torch.nan

    found = block.run()

    assert [each.diverged is None for each in found] == [True, False, True, True]
    assert found[1].diverged == "a loss or weight was not finite after 16 of 320 units"
    assert (found[1].units, found[1].scores, found[1].curve) == (16, None, [])
    for at in (0, 2, 3):
        for mine, other in zip(found[at].net.parameters(), whole[at].net.parameters(), strict=True):
            assert torch.equal(mine, other)


def test_training_ends_where_every_replicate_has_diverged() -> None:
    block = joint(parts(mlp), 3200)
    with torch.no_grad():
        next(iter(block.parameters.values())).fill_(torch.nan)

    found = block.run()

    assert block.used == 16
    assert all(each.diverged for each in found)


def test_gradients_are_clipped_for_each_replicate_by_its_own_norm() -> None:
    draw = torch.Generator().manual_seed(0)
    grads = [10 * torch.rand(3, 4, 5, generator=draw), torch.rand(3, 2, generator=draw)]
    grads[0][2] *= 0.001
    expected = []
    for at in range(3):
        own = [nn.Parameter(torch.zeros_like(each[at])) for each in grads]
        for param, each in zip(own, grads, strict=True):
            param.grad = each[at].clone()
        nn.utils.clip_grad_norm_(own, 2.0)
        expected.append([param.grad for param in own])

    clip(grads, 2.0)

    for at in range(3):
        for mine, other in zip(grads, expected[at], strict=True):
            assert other is not None
            torch.testing.assert_close(mine[at], other, rtol=1e-6, atol=0)


@pytest.mark.parametrize("make", [lambda: mlp(0.3), cnn])
@pytest.mark.parametrize("at", [1, 3, 7])
def test_a_block_that_was_killed_at_any_batch_goes_on_to_the_same_bytes(make: Any, at: int, tmp_path: Path) -> None:
    made, units = parts(make), 160
    whole = joint(made, units, points=2).run()
    shelf = Shelf(tmp_path, "block", {"a": 1}, every=0.0)
    killed = joint(made, units, points=2, shelf=shelf)
    steps = iter(range(at))
    step = killed.step

    def stepping(*arguments: Any) -> None:
        if next(steps, None) is None:
            raise KeyboardInterrupt
        step(*arguments)

    killed.step = stepping  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        killed.run()

    again = Shelf(tmp_path, "block", {"a": 1}, every=None)
    resumed = again.resume(lambda: joint(made, units, points=2, shelf=again))
    found = resumed.run()

    assert again.resumed == [16 * at]
    for mine, other in zip(found, whole, strict=True):
        assert mine.scores is not None and other.scores is not None
        assert mine.scores.metrics == other.scores.metrics
        assert [point.losses for point in mine.curve] == [point.losses for point in other.curve]
        for name, tensor in other.net.state_dict().items():
            assert torch.equal(mine.net.state_dict()[name], tensor), name


def test_micro_batches_follow_the_same_gradient() -> None:
    made = parts(doubled(mlp))

    whole = [each.net for each in joint(made, 320).run()]
    cut = [each.net for each in joint(made, 320, micro=3).run()]

    assert (probabilities(whole) - probabilities(cut)).abs().max() < 1e-10


def test_batches_of_unlike_shapes_are_computed_one_by_one_to_the_same_numbers() -> None:
    class Rows(Net):
        def losses(self, net: nn.Module, batch: novum.Batch) -> Iterator[novum.Loss]:
            rows = 3 + int(batch.ids[0].split("-")[1]) % 4
            images = batch.inputs[:, :, :rows].double().flatten(1) / 255
            yield novum.Loss(self.padded, (images, batch.targets))

        def padded(self, net: nn.Module, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
            wide = nn.functional.pad(images, (0, SIDE * SIDE - images.shape[1]))
            return nn.functional.cross_entropy(net(wide), targets)

    made = parts(doubled(mlp))
    made = Parts(
        made.task,
        type("Made", (Rows,), {"make": staticmethod(doubled(mlp))})(novum.Config()),
        *(made.evaluator, made.recipe, made.signature),
    )

    ours = probabilities([each.net for each in joint(made, 320).run()])
    theirs = probabilities([alone(made, 320, seed).run().net for seed in SEEDS])

    assert (ours - theirs).abs().max() < 1e-10


# ------------------------------------------------------------------------------------------------- the computation


def test_arguments_are_stacked_and_put_together_again() -> None:
    one = lambda at: ({"ids": torch.full((2,), at), "more": (torch.ones(1), "text")}, 3)  # noqa: E731

    leaves, structure = stacked([one(0), one(1)])

    assert [tuple(leaf.shape) for leaf in leaves] == [(2, 2), (2, 1)]
    again = rebuilt(structure, [leaf[1] for leaf in leaves])
    assert torch.equal(again[0]["ids"], torch.tensor([1, 1]))
    assert (again[0]["more"][1], again[1]) == ("text", 3)


@pytest.mark.parametrize("other", [(torch.ones(3),), (torch.ones(2).double(),), (torch.ones(2), 1)])
def test_arguments_that_are_built_otherwise_cannot_be_stacked(other: Any) -> None:
    with pytest.raises(UnsuitedError, match="differs from seed to seed"):
        stacked([(torch.ones(2),), other])


def computation(net: nn.Module, replicates: int = 3) -> tuple[Batched, dict[str, torch.Tensor]]:
    stack = {name: torch.stack([own.detach()] * replicates) for name, own in net.named_parameters()}
    return Batched(net, stack, {}, device_kind="cpu", precision="fp32"), stack


def test_a_loss_that_data_steer_is_computed_by_vmap_alone() -> None:
    def steered(net: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
        kept = torch.where(inputs > 0, inputs, 2 * inputs)
        return net(kept).square().mean()

    net = nn.Linear(3, 2)
    made, stack = computation(net)
    inputs = torch.randn(3, 4, 3, generator=torch.Generator().manual_seed(1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batched, "simplify", lambda graph: (_ for _ in ()).throw(ValueError("no graph")))
        values, grads = made.gradients(steered, [(each,) for each in inputs], list(stack))

    assert list(made._traced.values()) == [None]
    again, other = computation(net)[0].gradients(steered, [(each,) for each in inputs], list(stack))
    torch.testing.assert_close(values, again)
    for mine, theirs in zip(grads, other, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_a_loss_that_draws_from_numpys_generator_is_unsuited() -> None:
    def drawing(net: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
        return net(inputs).mean() * float(np.random.uniform())

    made, stack = computation(nn.Linear(3, 2))

    with pytest.raises(UnsuitedError, match="Python's or numpy's generator"):
        made.gradients(drawing, [(torch.ones(4, 3),)] * 3, list(stack))


def test_a_loss_that_asks_a_tensor_for_its_value_is_unsuited() -> None:
    def asking(net: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
        out = net(inputs).mean()
        return out if float(out) > 0 else -out

    made, stack = computation(nn.Linear(3, 2))

    with pytest.raises(UnsuitedError, match="cannot be computed for many seeds at once"):
        made.gradients(asking, [(torch.ones(4, 3),)] * 3, list(stack))


def test_tracing_moves_no_generator_and_no_buffer() -> None:
    made = parts(cnn)
    block = joint(made, 320)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    images, targets = torch.rand(4, 16, 1, SIDE, SIDE), torch.zeros(4, 16, dtype=torch.int64)
    torch.set_rng_state(before)
    kept = {name: each.clone() for name, each in block.buffers.items()}
    compute = block._batched._function(
        made.model.loss, stacked([(images[0], targets[0])] * 4)[1], list(block.parameters)
    )  # type: ignore[attr-defined]

    block._batched._trace(compute, (list(block.parameters.values()), list(block.buffers.values()), [images, targets]))

    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(each, kept[name]) for name, each in block.buffers.items())


def test_gradients_lie_in_memory_as_their_parameters_do() -> None:
    made, stack = computation(nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2)))

    _, grads = made.gradients(
        lambda net, inputs: net(inputs).square().mean(), [(torch.randn(4, 3),) for _ in range(3)], list(stack)
    )

    assert [grad.stride() for grad in grads if grad is not None] == [own.stride() for own in stack.values()]


# --------------------------------------------------------------------------------------------------------- the probe


def test_training_together_is_chosen_only_where_it_pays() -> None:
    fast = {"apart": 1.0, "block": 4.0, "seed": 0.1}
    slow = {"apart": 1.0, "block": 4.0, "seed": 0.6}

    assert suits.decide(fast) == ("joint", fast)
    mode, told = suits.decide(slow)
    assert (mode, told) == ("separate", {"undefined": "a seed would take 0.85 times as long with others"})
    assert suits.decide(slow, "joint") == ("joint", slow)


@pytest.mark.parametrize(
    ("recipe", "why"),
    [
        ({"replicates": "separate"}, "the recipe says so"),
        ({"averaging": "ema"}, "its weights are averaged"),
        ({"time_limit": 5.0}, "its trials have a time limit"),
    ],
)
def test_what_cannot_be_trained_together_says_why(recipe: dict[str, Any], why: str) -> None:
    assert suits.refusal(novum.Recipe(**recipe)) == why


def test_a_probe_measures_a_block_and_a_seed_alone() -> None:
    made = parts(mlp)

    told = suits.probe({"units": 4096, "device": "cpu", "precision": "fp32"}, made)

    assert set(told) == {"apart", "block", "seed"}
    assert told["apart"] > 0 and told["block"] >= 0 and told["seed"] >= 0


def test_a_large_network_is_told_apart_without_a_measurement() -> None:
    made = parts(lambda: nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, 20_000), nn.Linear(20_000, CLASSES)))

    told = suits.probe({"units": 4096, "device": "cpu", "precision": "fp32"}, made)

    assert told == {"undefined": "its network has more than 1,000,000 parameters"}


class Twice(Net):
    def losses(self, net: nn.Module, batch: novum.Batch) -> Iterator[novum.Loss]:
        yield from super().losses(net, batch)
        yield from super().losses(net, batch)


class Anew(Net):
    def losses(self, net: nn.Module, batch: novum.Batch) -> Iterator[novum.Loss]:
        def closed(net: nn.Module, images: torch.Tensor) -> torch.Tensor:
            return nn.functional.cross_entropy(net(images), batch.targets)

        yield novum.Loss(closed, (batch.inputs.float() / 255,))


@pytest.mark.parametrize(
    ("model", "why"),
    [(Twice, "its model yields 2 losses for a batch"), (Anew, "its model makes a new loss function for each batch")],
)
def test_models_whose_losses_are_not_one_function_are_told_apart(model: Any, why: str) -> None:
    made = parts(mlp)
    other = Parts(
        made.task,
        type("Made", (model,), {"make": staticmethod(mlp)})(novum.Config()),
        *(made.evaluator, made.recipe, made.signature),
    )

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        told = suits.probe({"units": 4096, "device": "cpu", "precision": "fp32"}, other)

    assert told == {"undefined": why}
