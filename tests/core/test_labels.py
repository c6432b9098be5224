"""How classes are learned: weights, focus and smoothing, by formula and in training."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import novum
import numpy as np
import pytest
import torch
from novum import Batch, ConfigError, Examples, Labels, MismatchError, Seed, Split, plugins
from novum.config import parse
from novum.labels import WEIGHTS
from novum.mlp import Mlp
from novum.runner.joint import Joint
from novum.runner.parts import Parts
from novum.runner.train import Trainer
from novum.seeds import trial_seed
from torch import nn
from torch.nn.functional import cross_entropy

LOGITS = torch.randn(64, 3, generator=torch.Generator().manual_seed(0)) * 3
TARGETS = torch.tensor([0] * 50 + [1] * 10 + [2] * 4)
CLASSIFIERS = ("linear", "mlp", "bag", "transformer", "timm")


class Uneven(novum.Task):
    """Nine rows of one class for each of the other; no number tells them apart well."""

    def signature(self) -> novum.Signature:
        return novum.Signature(novum.Vector((3,)), novum.Classes(("often", "seldom", "never")))

    def source(self, split: Split, seed: Seed, recipe: novum.Recipe) -> Examples:
        draw = Seed(0, (str(split),)).numpy()
        targets = (np.arange(400) % 10 == 0).astype(np.int64)
        rows = draw.normal(size=(400, 3)) + 0.7 * targets[:, None]
        ids = [f"{split}-{row}" for row in range(400)]
        return Examples(rows, targets, ids, seed=seed, batch_size=recipe.batch_size)

    def observe(self) -> novum.Observation:
        return novum.Observation((), novum.Scale("recall_macro", 0.5, 1.0))

    def fingerprint(self) -> str:
        return "uneven"


def counted(labels: Labels, targets: Any, classes: int = 3) -> nn.Module:
    net = nn.Module()
    rows = np.zeros((len(targets), 1))
    ids = [str(at) for at in range(len(rows))]
    labels.begin(net, classes, Examples(rows, np.asarray(targets), ids, seed=Seed(0), batch_size=7))
    return net


def parts(recipe: dict[str, Any] | None = None, **options: Any) -> Parts:
    task, model = Uneven(Uneven.Config()), Mlp(Mlp.Config(**options))
    evaluator = plugins.create("evaluator", "classification", {})
    values = {"budget": "2 epochs", "batch_size": 40, "schedule": "constant", **(recipe or {})}
    return Parts(task, model, evaluator, novum.Recipe(**values), task.signature())


def trained(made: Parts, seed: int = 0, **more: Any) -> Trainer:
    trainer = Trainer(made, trial_seed(0, "b", seed), units=800, device_kind="cpu", precision="fp32", **more)
    trainer.run()
    return trainer


def state(net: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in net.state_dict().items()}


# ------------------------------------------------------------------------------------------------------ by formula


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    from sklearn.utils.class_weight import compute_class_weight

    net = counted(Labels(class_weights="balanced"), TARGETS)

    expected = compute_class_weight("balanced", classes=np.arange(3), y=TARGETS.numpy())
    assert net.get_buffer(WEIGHTS).tolist() == pytest.approx(expected)


def test_a_class_that_does_not_occur_has_the_weight_one_and_moves_no_other() -> None:
    net = counted(Labels(class_weights="balanced"), [0, 0, 0, 2], 4)

    assert net.get_buffer(WEIGHTS).tolist() == pytest.approx([2 / 3, 1, 2, 1])


def test_the_weighted_loss_is_torchs_where_the_mean_weight_is_one() -> None:
    labels = Labels(class_weights="balanced")
    net = counted(labels, TARGETS)

    found = labels.loss(net, LOGITS, TARGETS)

    weights = net.get_buffer(WEIGHTS)
    assert float(weights[TARGETS].mean()) == pytest.approx(1)
    assert float(found) == pytest.approx(float(cross_entropy(LOGITS, TARGETS, weight=weights)), rel=1e-6)


def test_the_weighted_loss_of_a_batch_is_the_mean_of_those_of_its_pieces() -> None:
    labels = Labels(class_weights="balanced", focal=1.5, label_smoothing=0.1)
    net = counted(labels, TARGETS)

    whole = labels.loss(net, LOGITS, TARGETS)
    pieces = [labels.loss(net, LOGITS[at : at + 16], TARGETS[at : at + 16]) for at in range(0, 64, 16)]

    assert float(whole) == pytest.approx(float(sum(pieces)) / 4, rel=1e-6)


def test_the_focal_loss_is_that_of_the_paper_by_hand() -> None:
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0]])

    found = Labels(focal=2.0).loss(nn.Module(), logits, torch.tensor([0, 0]))

    p = [np.exp(2) / (np.exp(2) + 1), 1 / (1 + np.exp(1))]
    assert float(found) == pytest.approx(np.mean([-((1 - each) ** 2) * np.log(each) for each in p]), rel=1e-6)


@pytest.mark.parametrize("focal", [0.3, 1.0, 2.0])
def test_the_slope_of_the_focal_loss_is_finite_where_a_unit_is_certain(focal: float) -> None:
    logits = torch.tensor([[200.0, 0.0], [0.0, 200.0], [1.0, 1.0]], requires_grad=True)

    Labels(focal=focal).loss(nn.Module(), logits, torch.tensor([0, 0, 1])).backward()

    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert logits.grad[1].abs().sum() > 0


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_by_default_the_loss_is_the_plain_cross_entropy_bit_for_bit(smoothing: float) -> None:
    found = Labels(label_smoothing=smoothing).loss(nn.Module(), LOGITS, TARGETS)

    assert torch.equal(found, cross_entropy(LOGITS, TARGETS, label_smoothing=smoothing))


def test_nothing_is_counted_and_held_where_no_weights_are_asked_for() -> None:
    assert list(counted(Labels(), TARGETS).buffers()) == []


def test_data_without_targets_are_refused() -> None:
    with pytest.raises(MismatchError, match="no targets to count"):
        source = Examples(np.zeros((2, 1)), None, ["a", "b"], seed=Seed(0), batch_size=2)
        Labels(class_weights="balanced").begin(nn.Module(), 2, source)


# ---------------------------------------------------------------------------------------------------- in training


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_every_classifier_of_the_tree_takes_them(name: str) -> None:
    cls = plugins.load("model", name)

    config = parse(cls.Config, {"class_weights": "balanced", "focal": 2}, f"model {name!r}")

    assert isinstance(config, Labels)
    assert cls.begin is not novum.Model.begin


def test_weights_and_focus_change_what_is_trained_and_the_defaults_written_out_do_not() -> None:
    plain, written = (state(trained(parts(**each)).net) for each in ({}, {"class_weights": "none", "focal": 0.0}))
    others = [state(trained(parts(**each)).net) for each in ({"class_weights": "balanced"}, {"focal": 2.0})]

    assert all(torch.equal(plain[name], written[name]) for name in plain)
    assert [set(each) for each in others] == [set(plain)] * 2  # weights of classes are not stored
    assert all(any(not torch.equal(plain[name], each[name]) for name in plain) for each in others)


def test_balanced_weights_find_the_seldom_class_more_often() -> None:
    plain, balanced = (trained(parts(class_weights=each)).score(Split.DEV) for each in ("none", "balanced"))

    before, after = (float(each.metrics["recall_macro"]) for each in (plain, balanced))  # type: ignore[arg-type]
    assert after > before + 0.1


def test_an_arm_that_starts_from_another_counts_its_own_classes() -> None:
    first = trained(parts())

    second = Trainer(
        parts(class_weights="balanced"),
        trial_seed(0, "b", 1),
        units=40,
        device_kind="cpu",
        precision="fp32",
        start=(novum.Weights(state(first.net)), first.preparation),
    )

    assert second.net.get_buffer(WEIGHTS).tolist() == pytest.approx([400 / 720, 5, 1])


def test_in_pieces_a_weighted_batch_takes_the_same_steps() -> None:
    made = parts(class_weights="balanced", focal=1.0)

    whole, cut = (state(trained(made, micro=micro).net) for micro in (1, 4))

    assert all(torch.allclose(whole[name], cut[name], atol=2e-5) for name in whole)


@pytest.mark.parametrize("options", [{"class_weights": "balanced"}, {"focal": 2.0, "class_weights": "balanced"}])
def test_seeds_that_are_trained_as_one_take_the_same_steps(options: dict[str, Any]) -> None:
    made = parts(**options)
    seeds = [trial_seed(0, "b", at) for at in range(3)]

    block = Joint(made, seeds, units=800, device_kind="cpu", precision="fp32")
    block.run()

    assert block._batched._traced
    assert None not in block._batched._traced.values()  # traced, not computed by vmap alone
    for at, replicate in enumerate(block.replicates):
        alone = state(trained(made, at).net)
        together = state(replicate.net)
        assert all(torch.allclose(alone[name], together[name], atol=1e-4) for name in alone)


def test_a_compiled_or_averaged_network_keeps_the_weights_of_its_classes() -> None:
    averaged = trained(parts({"averaging": "ema", "early_stop": 19}, class_weights="balanced"))

    assert averaged.steps.scored.get_buffer(WEIGHTS).tolist() == pytest.approx([400 / 720, 5, 1], rel=0.1)


@pytest.fixture
def study(tmp_path: Path) -> Iterator[novum.Study]:
    with novum.Study(tmp_path, executor="inline", debug=True) as opened:
        yield opened


def test_a_regression_refuses_what_is_about_labels(study: novum.Study) -> None:
    from novum.testing.samples import Amounts

    for options in ({"focal": 1.0}, {"class_weights": "balanced"}, {"label_smoothing": 0.1}):
        with pytest.raises(ConfigError, match=f"{next(iter(options))}.* are numbers, which are no labels"):
            study.train(novum.arm(novum.task(Amounts), novum.model("mlp", **options)))


def test_losses_of_a_batch_are_one_loss_of_one_function() -> None:
    model = Mlp(Mlp.Config(class_weights="balanced", focal=2.0))
    net = counted(model.config, TARGETS)

    first, again = (next(model.losses(net, Batch(LOGITS, TARGETS, 64))) for _ in range(2))

    assert first.function == again.function
