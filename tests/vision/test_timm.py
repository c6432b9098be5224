"""The model `timm`, trained by a small loop of this file's own; the runner has another."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from novum import (
    Batch,
    Classes,
    ConfigError,
    DataError,
    Examples,
    Image,
    MismatchError,
    Prediction,
    Seed,
    Signature,
    Split,
    Task,
    Weights,
)
from novum.config import parse
from novum.recipe import units
from novum.seeds import installed
from novum_vision.classification import ImageClassification
from novum_vision.network import Network
from novum_vision.timm import FITTED_ON, Normalisation, Timm
from torch import nn

FIVE = Classes(("a", "b", "c", "d", "e"))
GREY = Signature(Image(1, 8, 8), FIVE)
COLOUR = Signature(Image(3, 8, 8), FIVE)


def model(**options: Any) -> Timm:
    return Timm(parse(Timm.Config, options, "model 'timm'"))


def digits(**options: Any) -> ImageClassification:
    return ImageClassification(parse(ImageClassification.Config, options, "task 'image-classification'"))


def images(count: int, signature: Signature = GREY, seed: int = 0) -> np.ndarray:
    shape = (count, signature.inputs.channels, signature.inputs.height, signature.inputs.width)
    return np.random.default_rng(seed).integers(0, 256, size=shape, dtype=np.uint8)


def source(pixels: np.ndarray) -> Examples:
    ids = [str(row) for row in range(len(pixels))]
    return Examples(pixels, np.zeros(len(pixels), dtype=np.int64), ids, seed=Seed(0), batch_size=8)


def built(which: Timm, signature: Signature = GREY, *, seed: int = 0, start: Weights | None = None) -> Network:
    scale = Normalisation((0.4,) * signature.inputs.channels, (0.2,) * signature.inputs.channels)
    with installed(Seed(seed)):
        net = which.build(signature, scale, Seed(seed), start)
    assert isinstance(net, Network)
    return net


def train(task: Task, which: Timm, seed: Seed, **recipe: Any) -> tuple[nn.Module, Normalisation]:
    torch.set_num_threads(1)
    signature = task.signature()
    plan = which.recipe(signature).model_copy(update=recipe)
    with installed(seed.child("prepare")):
        scale = which.prepare(signature, task.source(Split.TRAIN, seed.child("data"), plan))
    with installed(seed.child("build")):
        net = which.build(signature, scale, seed.child("build"), None)
    examples = task.source(Split.TRAIN, seed.child("data"), plan)
    optimizer = torch.optim.AdamW(net.parameters(), lr=plan.learning_rate, weight_decay=plan.weight_decay)
    budget, used = units(plan.budget, examples.size), 0
    net.train()
    with installed(seed.child("train")):
        while used < budget:
            batch = encoded(scale, examples.next(actor(which, net, scale)))
            share = min(1.0, (used + batch.units / 2) / budget)
            optimizer.param_groups[0]["lr"] = plan.learning_rate * 0.5 * (1 + math.cos(math.pi * share))
            for loss in which.losses(net, batch):
                optimizer.zero_grad()
                value: Any = loss.function(net, *loss.arguments)
                value.backward()
                optimizer.step()
            used += batch.units
    return net, scale


def encoded(scale: Normalisation, batch: Batch) -> Batch:
    inputs = scale.collate(scale.encode(batch.inputs))
    return dataclasses.replace(batch, inputs=inputs, targets=torch.as_tensor(batch.targets))


def actor(which: Timm, net: nn.Module, scale: Normalisation) -> Any:
    def act(inputs: Any, ids: Sequence[str] = (), explore: bool = False) -> Prediction:
        with torch.no_grad():
            return which.act(net, scale.collate(scale.encode(inputs)), explore)

    return act


def accuracy(task: Task, which: Timm, net: nn.Module, scale: Normalisation, split: Split) -> float:
    net.eval()
    act = actor(which, net, scale)
    batches = task.source(split, Seed(0), which.recipe(task.signature())).each(act)
    return float(np.concatenate([act(batch.inputs).value.numpy() == batch.targets for batch in batches]).mean())


# ----------------------------------------------------------------------------------------------------- training


def test_the_default_recipe_reads_digits() -> None:
    task, which = digits(), model()

    net, scale = train(task, which, Seed(0))

    assert accuracy(task, which, net, scale, Split.DEV) >= 0.95
    assert accuracy(task, which, net, scale, Split.TEST) >= 0.95


def test_equal_seeds_train_equal_weights_and_others_do_not() -> None:
    first, again, other = (train(digits(), model(), Seed(seed), budget="128 samples")[0] for seed in (1, 1, 2))

    tensors = [
        {name: each.numpy().tobytes() for name, each in net.state_dict().items()} for net in (first, again, other)
    ]
    assert tensors[0] == tensors[1]
    assert tensors[0]["body.conv1.0.weight"] != tensors[2]["body.conv1.0.weight"]


def test_the_loss_is_the_mean_cross_entropy_with_smoothed_labels() -> None:
    which = model(label_smoothing=0.2)
    net = built(which).eval()
    inputs, targets = torch.as_tensor(images(4)), torch.tensor([0, 1, 4, 2])

    losses = list(which.losses(net, Batch(inputs, targets, 4)))

    assert len(losses) == 1
    value = losses[0].function(net, *losses[0].arguments)
    chosen = net(inputs).log_softmax(dim=1)
    by_hand = -(0.8 * chosen[torch.arange(4), targets] + 0.2 * chosen.mean(dim=1)).mean()
    torch.testing.assert_close(value, by_hand)


def test_an_answer_is_the_most_probable_class_with_probabilities_that_sum_to_one() -> None:
    which = model()
    net = built(which).eval()

    answer = actor(which, net, Normalisation())(images(6))

    assert answer.probabilities is not None
    assert answer.probabilities.shape == (6, 5)
    torch.testing.assert_close(answer.probabilities.sum(dim=1), torch.ones(6))
    assert answer.value.tolist() == answer.probabilities.argmax(dim=1).tolist()
    assert answer.value.dtype == torch.int64


@pytest.mark.parametrize("signature", [GREY, COLOUR], ids=["grey", "colour"])
def test_replicates_can_be_stacked_by_vmap(signature: Signature) -> None:
    which = model()
    nets = [built(which, signature, seed=seed).eval() for seed in range(2)]
    inputs = torch.as_tensor(images(3, signature))

    def run(params: Any, buffers: Any) -> torch.Tensor:
        answer: torch.Tensor = torch.func.functional_call(nets[0], (params, buffers), (inputs,))
        return answer

    stacked = torch.func.vmap(run)(*torch.func.stack_module_state(nets))

    for row, net in zip(stacked, nets, strict=True):
        torch.testing.assert_close(row, net(inputs), rtol=1e-4, atol=1e-4)


# -------------------------------------------------------------------------------------------------- preparation


def test_mean_and_deviation_are_fitted_on_train_and_survive_being_stored() -> None:
    pixels = images(30, COLOUR)

    fitted = model().prepare(COLOUR, source(pixels))
    loaded = Normalisation.load(fitted.dump())

    np.testing.assert_allclose(fitted.mean, pixels.mean(axis=(0, 2, 3)) / 255)
    np.testing.assert_allclose(fitted.deviation, pixels.std(axis=(0, 2, 3)) / 255)
    assert loaded == fitted


def test_at_most_5000_images_are_looked_at_evenly_over_the_whole_set() -> None:
    rising = np.repeat(np.arange(12_001) // 50, 4).astype(np.uint8).reshape(-1, 1, 2, 2)  # as a set sorted by class
    looked = rising[::3]

    fitted = model().prepare(Signature(Image(1, 2, 2), FIVE), source(rising))

    assert len(looked) <= FITTED_ON
    np.testing.assert_allclose(fitted.mean, [looked.mean() / 255])
    np.testing.assert_allclose(fitted.deviation, [looked.std() / 255])


def test_images_of_one_value_do_not_divide_by_zero() -> None:
    black = np.zeros((4, 1, 8, 8), dtype=np.uint8)
    which = model()

    fitted = which.prepare(GREY, source(black))

    assert fitted.deviation == (1 / 255,)
    with installed(Seed(0)):
        net = which.build(GREY, fitted, Seed(0), None).eval()
    assert bool(net(torch.as_tensor(black)).isfinite().all())


def test_a_pretrained_network_keeps_its_own_scale_where_the_channels_agree() -> None:
    which = model(name="resnet18", pretrained=True)

    colour, grey = which.prepare(COLOUR, source(images(9, COLOUR))), which.prepare(GREY, source(images(9)))

    assert colour == Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    np.testing.assert_allclose(grey.mean, [images(9).mean() / 255])


# ----------------------------------------------------------------------------------------------------- building


def test_images_are_normalised_and_resized_inside_the_network() -> None:
    net = Network(nn.Identity(), (0.5, 0.25), (0.2, 0.1), (4, 6))
    pixels = torch.full((1, 2, 8, 8), 51, dtype=torch.uint8)  # a fifth of 255

    out = net(pixels)

    assert out.shape == (1, 2, 4, 6)
    torch.testing.assert_close(out[0, 0], torch.full((4, 6), -1.5))
    torch.testing.assert_close(out[0, 1], torch.full((4, 6), -0.5))


def test_shrinking_is_antialiased() -> None:
    stripes = torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
    stripes[..., ::4] = 255

    out = Network(nn.Identity(), (0.0,), (1.0,), (2, 2))(stripes)

    assert bool((out > 0).all())  # plain bilinear would look between the stripes alone
    torch.testing.assert_close(out.mean(), torch.tensor(0.25), atol=0.05, rtol=0)


def test_size_zero_keeps_the_images_own_size() -> None:
    assert built(model(size=0), Signature(Image(1, 40, 24), FIVE)).shape == (40, 24)
    assert built(model(size=16)).shape == (16, 16)


def test_tensors_have_timms_own_names_below_body() -> None:
    import timm

    net = built(model(), COLOUR)

    theirs = timm.create_model("test_resnet", num_classes=5, in_chans=3).state_dict()
    assert list(net.state_dict()) == [f"body.{name}" for name in theirs]


@pytest.mark.parametrize("size", [32, 48])
def test_a_transformer_is_built_for_the_size_it_gets(size: int) -> None:
    net = built(model(name="test_vit", size=size), COLOUR)

    assert net(torch.as_tensor(images(2, COLOUR))).shape == (2, 5)


def test_dropout_is_passed_on() -> None:
    net: Any = built(model(drop_rate=0.3))

    assert net.body.drop_rate == 0.3
    assert net.training


def test_a_start_copies_every_tensor_that_fits_and_tells_which_do_not() -> None:
    parent = built(model(), seed=1)
    same, wider = Weights(dict(parent.state_dict())), Weights(dict(parent.state_dict()))
    ten = Signature(GREY.inputs, Classes(tuple("0123456789")))

    copied = built(model(), seed=2, start=same)
    other = built(model(), ten, seed=2, start=wider)

    assert all(torch.equal(each, parent.state_dict()[name]) for name, each in copied.state_dict().items())
    assert same.skipped == ()
    assert set(wider.skipped) == {"body.fc.weight", "body.fc.bias"}
    assert torch.equal(other.state_dict()["body.conv1.0.weight"], parent.state_dict()["body.conv1.0.weight"])


# ------------------------------------------------------------------------------------------------------- errors


def test_an_unknown_name_is_refused_with_close_ones() -> None:
    with pytest.raises(ConfigError, match=r"'test_resnot', which timm .* did you mean test_resnet"):
        model(name="test_resnot").recipe(GREY)


@pytest.mark.parametrize("name", ["hf-hub:someone/something", "local-dir:/etc"])
def test_a_name_never_reaches_beyond_timms_own_list(name: str) -> None:
    with pytest.raises(ConfigError, match="does not have"):
        built(model(name=name))


def test_an_unknown_tag_is_refused_with_those_that_exist() -> None:
    with pytest.raises(ConfigError, match=r"no weights tagged 'mine'; allowed tags: .*a1_in1k"):
        model(name="resnet18.mine").recipe(GREY)


def test_asking_for_pretrained_weights_that_do_not_exist_is_refused() -> None:
    with pytest.raises(ConfigError, match="no pretrained weights for 'mixer_s16_224'"):
        model(name="mixer_s16_224", pretrained=True).recipe(GREY)


def test_weights_that_cannot_be_fetched_are_an_error_that_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    import timm

    def offline(*given: Any, **options: Any) -> nn.Module:
        raise OSError("the network is unreachable")

    monkeypatch.setattr(timm, "create_model", offline)

    with pytest.raises(DataError, match=r"'resnet18' could not be loaded \(OSError: the network.*HF_HOME"):
        built(model(name="resnet18", pretrained=True), COLOUR)


def test_images_too_small_for_a_network_are_refused_before_training() -> None:
    with pytest.raises(MismatchError, match=r"'inception_v3' cannot take images of 3 x 32 x 32"):
        built(model(name="inception_v3"), COLOUR)


def test_a_parent_that_saw_other_channels_is_refused() -> None:
    with pytest.raises(MismatchError, match="saw images of 3 channels, this task has 1"):
        model().build(GREY, Normalisation((0.5,) * 3, (0.2,) * 3), Seed(0), None)
