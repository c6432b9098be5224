"""The models `linear` and `mlp`, on digits and on small tables made for one claim each."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import novum
import numpy as np
import pytest
import torch
from novum import Batch, Config, ConfigError, Examples, MismatchError, Model, Seed, Split, Weights, plugins
from novum.config import parse
from novum.mlp import Linear, Mlp, Standard
from novum.seeds import installed
from torch import nn

SEED = Seed(7)


class Rows(novum.Task):
    """Two classes of rows, drawn anew for each split: `xor` of two signs, or the sign of the first number."""

    class Config(Config):
        xor: bool = False
        """The class is whether two signs differ."""
        shape: tuple[int, ...] = (2,)
        """Shape of a row."""
        scale: float = 1.0
        """What every number is multiplied by."""
        offset: float = 0.0
        """What is added to every number then."""
        image: bool = False
        """The same numbers as an image of one channel."""
        size: int = 400
        """Rows in a split."""

    def signature(self) -> novum.Signature:
        shape = self.config.shape
        inputs = novum.Image(1, *shape) if self.config.image else novum.Vector(shape)
        return novum.Signature(inputs, novum.Classes(("no", "yes")))

    def source(self, split: Split, seed: Seed, recipe: novum.Recipe) -> Examples:
        draw = Seed(0, (str(split),)).numpy()
        rows = draw.integers(0, 256, (self.config.size, *self.config.shape)).astype(np.float64)
        signs = rows.reshape(len(rows), -1)[:, :2] > 127.5
        targets = (signs[:, 0] ^ signs[:, 1] if self.config.xor else signs[:, 0]).astype(np.int64)
        rows = rows * self.config.scale + self.config.offset
        ids = [f"{split}-{row}" for row in range(len(rows))]
        inputs = rows[:, None].astype(np.uint8) if self.config.image else rows
        return Examples(inputs, targets, ids, seed=seed, batch_size=recipe.batch_size)

    def observe(self) -> novum.Observation:
        return novum.Observation((), novum.Scale("accuracy", 0.5, 1.0))

    def fingerprint(self) -> str:
        return novum.content_hash(json.dumps(self.config.model_dump()))


@pytest.fixture
def study(tmp_path: Path) -> Iterator[novum.Study]:
    with novum.Study(tmp_path, executor="inline", debug=True) as opened:
        yield opened


def examples(rows: Any, targets: Any = None) -> Examples:
    return Examples(np.asarray(rows), targets, [str(row) for row in range(len(rows))], seed=SEED, batch_size=8)


def signature(numbers: int, classes: int = 2) -> novum.Signature:
    return novum.Signature(novum.Vector((numbers,)), novum.Classes(tuple("abcdefghij"[:classes])))


def built(model: Model, numbers: int = 4, classes: int = 2, seed: int = 0, start: Weights | None = None) -> nn.Module:
    preparation = Standard(np.zeros(numbers), np.ones(numbers))
    with installed(Seed(seed)):
        return model.build(signature(numbers, classes), preparation, Seed(seed), start)


def mlp(**options: Any) -> Mlp:
    return Mlp(Mlp.Config(**options))


def loss(model: Model, net: nn.Module, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    (found,) = model.losses(net, Batch(inputs, targets, len(inputs)))
    return found.function(net, *found.arguments)


# ----------------------------------------------------------------------------------------------------- what it learns


@functools.cache
def digits(split: str) -> tuple[np.ndarray, np.ndarray]:
    """float (N, 64) and int (N,)."""
    task = plugins.load("task", "image-classification")
    source = task(task.Config(data="digits")).source(Split(split), SEED, novum.Recipe())
    return source.inputs.reshape(len(source.inputs), -1).astype(float), source.targets


@functools.cache
def reference(name: str) -> float:
    """Accuracy on the dev of digits of scikit-learn's model of the same kind, on its own standardised inputs."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    kinds = {
        "linear": LogisticRegression(max_iter=1000),
        "mlp": MLPClassifier((64, 64), max_iter=300, random_state=0),
    }
    fitted = make_pipeline(StandardScaler(), kinds[name]).fit(*digits("train"))
    return float(fitted.score(*digits("dev")))


@pytest.mark.parametrize(("name", "bar"), [("linear", 0.93), ("mlp", 0.95)])
def test_digits_are_read_as_well_as_by_scikit_learns_model_of_that_kind(
    study: novum.Study, name: str, bar: float
) -> None:
    run = study.train(novum.arm(novum.task("image-classification", data="digits"), novum.model(name)))

    accuracy = run.metrics["accuracy"]
    assert accuracy >= bar
    assert accuracy >= reference(name) - 0.02


def test_the_xor_of_two_signs_is_learned_with_hidden_layers_and_not_without(study: novum.Study) -> None:
    task = novum.task(Rows, xor=True)

    without, with_them = (
        study.train(novum.arm(task, novum.model(name))).metrics["accuracy"] for name in ("linear", "mlp")
    )

    assert without < 0.65
    assert with_them > 0.95


@pytest.mark.parametrize("model", [Linear(Linear.Config()), mlp()], ids=["linear", "mlp"])
def test_one_batch_is_fitted_whole(model: Model) -> None:
    draw = torch.Generator().manual_seed(0)
    inputs, targets = torch.randn(8, 16, generator=draw), torch.arange(8) % 3
    net = built(model, 16, 3)
    optimizer = torch.optim.Adam(net.parameters(), 0.05)

    for _ in range(200):
        optimizer.zero_grad()
        torch.autograd.backward(loss(model, net, inputs, targets))
        optimizer.step()

    assert loss(model, net, inputs, targets).item() < 0.01
    assert torch.equal(model.act(net, inputs, explore=False).value, targets)


# --------------------------------------------------------------------------------------------------- the preparation


def test_every_number_has_mean_0_and_deviation_1_over_all_batches_of_train() -> None:
    rows = Seed(1).numpy().normal(3, 5, (1000, 6))  # four batches of scoring

    encoded = np.asarray(Standard.fit(examples(rows)).encode(rows))

    assert encoded.dtype == np.float32
    np.testing.assert_allclose(encoded.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(encoded.std(0), 1, atol=1e-6)


@pytest.mark.parametrize("constant", [0.0, 0.1, -1e9, 1e-30])
def test_a_number_that_is_constant_over_train_is_0_whatever_it_is_later(constant: float) -> None:
    rows = np.stack([np.full(600, constant), np.arange(600.0)], axis=1)

    preparation = Standard.fit(examples(rows))

    assert np.asarray(preparation.encode(rows))[:, 0].tolist() == [0.0] * 600
    assert np.asarray(preparation.encode([[constant + 5.0, 2.0]]))[0, 0] == 0.0


@pytest.mark.parametrize(("scale", "offset"), [(1e-12, 0.0), (1e12, 0.0), (1.0, 1e6), (1e-3, -1e3)])
def test_the_unit_of_measure_does_not_matter(scale: float, offset: float) -> None:
    rows = Seed(2).numpy().normal(0, 1, (500, 3))
    plain = np.asarray(Standard.fit(examples(rows)).encode(rows))

    measured = rows * scale + offset
    encoded = np.asarray(Standard.fit(examples(measured)).encode(measured))

    np.testing.assert_allclose(encoded, plain, rtol=1e-4, atol=1e-6)


def test_a_rare_value_is_no_constant() -> None:
    rows = np.zeros((1000, 1))
    rows[999] = 1.0

    encoded = np.asarray(Standard.fit(examples(rows)).encode(rows))

    assert encoded[999, 0] == pytest.approx(999**0.5, rel=1e-6)


def test_inputs_of_any_shape_and_type_are_laid_flat() -> None:
    images = Seed(3).numpy().integers(0, 256, (50, 2, 3, 4)).astype(np.uint8)
    flat = images.reshape(50, 24).astype(np.float64)

    encoded = np.asarray(Standard.fit(examples(images)).encode(list(images)))

    assert encoded.shape == (50, 24)
    assert encoded.tolist() == np.asarray(Standard.fit(examples(flat)).encode(flat)).tolist()


def test_images_and_vectors_of_the_same_numbers_train_alike(study: novum.Study) -> None:
    runs = [
        study.train(novum.arm(novum.task(Rows, shape=(3, 3), image=image), novum.model("mlp"), budget="2 epochs"))
        for image in (False, True)
    ]

    vectors, images = (run.metrics for run in runs)
    assert vectors == images


def test_the_preparation_comes_back_from_its_files_to_the_bit() -> None:
    rows = np.hstack([Seed(4).numpy().normal(1, 9, (300, 3)), np.ones((300, 1))])
    preparation = Standard.fit(examples(rows))

    again = Standard.load(preparation.dump())

    assert again.dump() == preparation.dump()
    assert np.asarray(again.encode(rows)).tobytes() == np.asarray(preparation.encode(rows)).tobytes()


def test_a_trained_network_answers_as_when_it_was_scored(study: novum.Study) -> None:
    run = study.train(novum.arm(novum.task(Rows, offset=1e3), novum.model("mlp", dropout=0.3), budget="2 epochs"))
    dev = Rows(Rows.Config(offset=1e3)).source(Split.DEV, SEED, novum.Recipe())

    answer = run.predict(dev.inputs)

    assert (answer.value.numpy() == dev.targets).mean() == run.metrics["accuracy"]


def test_an_environment_is_refused_for_it_has_no_data_that_lie_ready() -> None:
    class Playing(Examples):
        acts = True

    source = Playing(np.zeros((1, 2)), None, ["a"], seed=SEED, batch_size=1)

    with pytest.raises(MismatchError, match="an environment has none"):
        Linear(Linear.Config()).prepare(signature(2), source)


# ------------------------------------------------------------------------------------------------------- the network


@pytest.mark.parametrize(("layers", "width"), [(1, 5), (3, 7)])
def test_layers_and_width_are_those_of_the_options(layers: int, width: int) -> None:
    net = built(mlp(layers=layers, width=width), numbers=4, classes=3)

    sizes = [(each.in_features, each.out_features) for each in net.modules() if isinstance(each, nn.Linear)]

    assert sizes == [(4, width), *[(width, width)] * (layers - 1), (width, 3)]


def test_the_linear_model_is_one_layer() -> None:
    net = built(Linear(Linear.Config()), numbers=4, classes=3)

    assert {name: tuple(each.shape) for name, each in net.named_parameters()} == {"weight": (3, 4), "bias": (3,)}


def test_dropout_zeroes_that_share_of_each_hidden_layer_in_training_alone() -> None:
    net = built(mlp(dropout=0.25, layers=2, width=1000))
    drops = [each for each in net.modules() if isinstance(each, nn.Dropout)]
    inputs = torch.ones(64, 4)

    with installed(SEED):
        first, second = net.train()(inputs), net(inputs)
        zeroed = [float((each(torch.ones(64, 1000)) == 0).float().mean()) for each in drops]

    assert len(drops) == 2
    assert zeroed == pytest.approx([0.25, 0.25], abs=0.02)
    assert not torch.equal(first, second)
    assert torch.equal(net.eval()(inputs), net(inputs))


def test_no_dropout_draws_nothing() -> None:
    net = built(mlp()).train()
    with installed(SEED):
        before = torch.get_rng_state()

        net(torch.ones(2, 4))

        assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("kind", [Linear, Mlp])
def test_smoothing_mixes_the_target_with_all_classes(kind: type[Linear]) -> None:
    net = built(kind(kind.Config()), 4, 3).eval()
    inputs, targets = torch.randn(5, 4, generator=torch.Generator().manual_seed(1)), torch.tensor([0, 1, 2, 0, 1])

    plain, smooth = (loss(kind(kind.Config(label_smoothing=share)), net, inputs, targets) for share in (0.0, 0.3))

    even = -net(inputs).log_softmax(-1).mean()
    torch.testing.assert_close(smooth, 0.7 * plain + 0.3 * even)


def test_the_answer_is_the_likeliest_class_with_all_probabilities() -> None:
    model = mlp()
    net, inputs = built(model, 4, 3).eval(), torch.randn(6, 4, generator=torch.Generator().manual_seed(2))

    answer = model.act(net, inputs, explore=False)

    assert answer.probabilities is not None
    torch.testing.assert_close(answer.probabilities, net(inputs).softmax(-1))
    assert torch.equal(answer.value, net(inputs).argmax(-1))


def test_the_same_seed_builds_the_same_network_and_another_seed_another() -> None:
    first, again, other = (built(mlp(), seed=seed).state_dict()["0.weight"] for seed in (1, 1, 2))

    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("kind", [Linear, Mlp])
def test_it_starts_from_the_weights_of_another(kind: type[Linear]) -> None:
    model = kind(kind.Config())
    parent = built(model, seed=1).state_dict()
    start = Weights(parent)

    child = built(model, seed=2, start=start).state_dict()

    assert all(torch.equal(child[name], parent[name]) for name in parent)
    assert (start.loaded, start.skipped) == (tuple(sorted(parent)), ())


def test_another_number_of_classes_keeps_all_layers_but_the_last_of_the_parent() -> None:
    parent = built(mlp(layers=1), classes=2, seed=1).state_dict()
    start = Weights(parent)

    child = built(mlp(layers=1), classes=3, seed=2, start=start).state_dict()

    assert torch.equal(child["0.weight"], parent["0.weight"])
    assert (start.loaded, start.skipped) == (("0.bias", "0.weight"), ("2.bias", "2.weight"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": 0}, "option 'layers' received 0"),
        ({"width": 0}, "option 'width' received 0"),
        ({"dropout": 1.0}, "option 'dropout' received 1.0"),
        ({"label_smoothing": -0.1}, "option 'label_smoothing' received -0.1"),
        ({"widht": 3}, "did you mean 'width'"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(Mlp.Config, options, "model 'mlp'")
