"""Images that are moved and mirrored in training, and networks of which only a part is trained."""

from __future__ import annotations

from typing import Any

import novum
import numpy as np
import pytest
import torch
from novum import Seed, Split, Weights, plugins
from novum.config import parse
from novum.runner.joint import Joint
from novum.runner.parts import Parts
from novum.runner.train import Trainer
from novum.seeds import installed, trial_seed
from novum_vision.network import Network, varied
from novum_vision.timm import Normalisation, Timm
from torch import nn

IMAGES = torch.randint(1, 256, (40, 1, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def drawn(seed: int, **how: Any) -> torch.Tensor:
    with installed(Seed(seed)):
        return varied(IMAGES, how.get("shift", 0.0), how.get("flip", False))


def arm(**options: Any) -> novum.Arm:
    task = novum.task("image-classification", data="digits", per_class=10)
    return novum.arm(task, novum.model("timm", **options), budget="3 epochs", batch_size=20)


def trainer(options: dict[str, Any], start: Any = None, seed: int = 0, units: int = 300) -> Trainer:
    parts = Parts.of(arm(**options).to_json())
    where = trial_seed(0, "b", seed)
    return Trainer(parts, where, units=units, device_kind="cpu", precision="fp32", start=start)


def state(net: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in net.named_parameters()}


# ------------------------------------------------------------------------------------------------------- variations


def test_the_same_stream_gives_the_same_images_and_another_gives_others() -> None:
    how = {"shift": 0.25, "flip": True}

    assert torch.equal(drawn(0, **how), drawn(0, **how))
    assert not torch.equal(drawn(0, **how), drawn(1, **how))


def test_each_image_is_moved_by_whole_pixels_up_to_the_share_and_black_comes_in() -> None:
    found = drawn(0, shift=0.25)

    moves = set()
    for before, after in zip(IMAGES, found, strict=True):
        fits = []
        for down in range(-2, 3):
            for right in range(-2, 3):
                wanted = torch.zeros_like(before)
                inner = before[:, max(0, -down) : 8 - max(0, down), max(0, -right) : 8 - max(0, right)]
                wanted[:, max(0, down) : 8 + min(0, down), max(0, right) : 8 + min(0, right)] = inner
                fits += [(down, right)] if torch.equal(wanted, after) else []
        assert len(fits) == 1
        moves.add(fits[0])
    assert len(moves) > 10
    assert {abs(each) for move in moves for each in move} == {0, 1, 2}


def test_about_half_of_the_images_are_mirrored_and_the_others_are_as_they_were() -> None:
    found = drawn(0, flip=True)

    kept = [torch.equal(before, after) for before, after in zip(IMAGES, found, strict=True)]
    turned = [torch.equal(before.flip(2), after) for before, after in zip(IMAGES, found, strict=True)]
    assert all(a != b for a, b in zip(kept, turned, strict=True))
    assert 10 < sum(kept) < 30


def test_a_share_below_a_pixel_is_a_pixel() -> None:
    assert not torch.equal(drawn(0, shift=0.01), IMAGES)


def test_images_are_varied_in_training_alone() -> None:
    made = trainer({"shift": 0.25, "flip": True})
    loss = made.parts.model._cross_entropy  # type: ignore[attr-defined]
    targets = torch.zeros(40, dtype=torch.int64)

    def value(training: bool) -> float:
        for each in made.net.modules():
            each.training = False
        made.net.training = training
        with torch.no_grad(), installed(Seed(3)):
            return float(loss(made.net, IMAGES, targets))

    plain = float(loss(made.net.eval(), IMAGES, targets).detach())
    assert value(False) == plain
    assert value(True) != plain


def test_off_and_written_out_they_change_nothing() -> None:
    nets = [trainer(each) for each in ({}, {"shift": 0.0, "flip": False, "trained": "all", "focal": 0.0})]
    for each in nets:
        each.run()

    first, second = (state(each.net) for each in nets)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_seeds_that_are_trained_as_one_see_images_of_their_own() -> None:
    parts = Parts.of(arm(shift=0.25, flip=True).to_json())
    seeds = [trial_seed(0, "b", at) for at in range(2)]

    block = Joint(parts, seeds, units=200, device_kind="cpu", precision="fp32")
    block.run()

    first, second = (state(each.net) for each in block.replicates)
    assert all(each.isfinite().all() for each in first.values())
    assert any(not torch.equal(first[name], second[name]) for name in first)


# ------------------------------------------------------------------------------------------------- what is trained


@pytest.fixture(scope="module")
def parent() -> tuple[Weights, Normalisation]:
    """A network of five epochs on digits."""
    made = trainer({}, units=500)
    made.run()
    return Weights(made.net.state_dict()), made.preparation  # type: ignore[return-value]


def fresh(start: tuple[Weights, Normalisation]) -> tuple[Weights, Normalisation]:
    return Weights({name: each.clone() for name, each in start[0].tensors.items()}), start[1]


def moved(before: dict[str, torch.Tensor], net: nn.Module) -> set[str]:
    return {name for name, own in net.named_parameters() if not torch.equal(before[name], own)}


def test_with_the_head_alone_nothing_else_moves(parent: Any) -> None:
    made = trainer({"trained": "head"}, fresh(parent))
    before = state(made.net)

    made.run()

    assert moved(before, made.net) == {"body.fc.weight", "body.fc.bias"}


def test_with_biases_nothing_of_two_dimensions_moves_but_the_head(parent: Any) -> None:
    made = trainer({"trained": "biases"}, fresh(parent))
    before = state(made.net)

    made.run()

    vectors = {name for name, own in made.net.named_parameters() if own.ndim == 1}
    assert moved(before, made.net) == vectors | {"body.fc.weight"}


def test_without_a_start_all_is_trained() -> None:
    made = trainer({"trained": "head"})
    before = state(made.net)

    made.run()

    assert moved(before, made.net) == set(before)


def test_seeds_trained_as_one_keep_what_is_not_trained(parent: Any) -> None:
    parts = Parts.of(arm(trained="head").to_json())
    seeds = [trial_seed(0, "b", at) for at in range(2)]

    block = Joint(parts, seeds, units=200, device_kind="cpu", precision="fp32", starts=[fresh(parent), fresh(parent)])
    before = [state(each.net) for each in block.replicates]
    block.run()

    for own, each in zip(before, block.replicates, strict=True):
        assert moved(own, each.net) == {"body.fc.weight", "body.fc.bias"}


@pytest.mark.parametrize(
    "name", ["test_resnet", "test_vit", "test_efficientnet", "resnet18", "deit_tiny_distilled_patch16_224"]
)
def test_timm_tells_which_part_is_the_head(name: str) -> None:
    made = Timm(parse(Timm.Config, {"name": name, "size": 0, "trained": "head"}, "model 'timm'"))
    body = plugins.load("model", "timm")(made.config)._body(3, 5, (224, 224))

    heads = made._head(Network(body, (0.5,) * 3, (0.5,) * 3, (224, 224)))

    assert heads
    assert all(each.startswith("body.") for each in heads)


def test_moved_digits_are_read_better_after_training_on_moved_ones() -> None:
    task = plugins.create("task", "image-classification", {"data": "digits"})
    source = task.source(Split.DEV, Seed(0), novum.Recipe())
    with installed(Seed(0)):
        shifted = varied(torch.as_tensor(np.array(source.inputs)), 0.125, False)

    def accuracy(**options: Any) -> float:
        made = trainer(options, units=1500)
        made.run()
        made.net.eval()
        with torch.no_grad():
            return float((made.net(shifted).argmax(1).numpy() == source.targets).mean())

    assert accuracy(shift=0.125) > accuracy() + 0.05
