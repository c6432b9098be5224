"""Many seeds trained as one: the same numbers as apart up to rounding, each replicate for itself, exact resume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import novum
import pytest
import torch
from novum.runner.checkpoint import Shelf
from novum.runner.joint import clip
from torch import nn

STEPS = 300


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd", "rmsprop"])
def test_networks_of_linear_layers_predict_what_they_predict_when_trained_apart(replicas: Any, optimizer: str) -> None:
    made = replicas.parts(replicas.mlp, optimizer=optimizer, warmup=0.1, weight_decay=0.01)
    units = STEPS * 16

    ours, theirs = (replicas.probabilities(nets) for nets in replicas.both(made, units))

    assert torch.equal(ours.argmax(-1), theirs.argmax(-1))
    assert (ours - theirs).abs().max() < 1e-4


def test_small_convolutional_networks_agree_on_999_of_1000_predictions(replicas: Any) -> None:
    made, units = replicas.parts(replicas.cnn), STEPS * 16

    ours, theirs = (replicas.probabilities(nets) for nets in replicas.both(made, units))

    assert (ours.argmax(-1) == theirs.argmax(-1)).float().mean() >= 0.999


@pytest.mark.parametrize("make", ["mlp", "cnn"])
def test_in_double_precision_nothing_but_rounding_is_left(replicas: Any, make: str) -> None:
    made, units = replicas.parts(replicas.doubled(getattr(replicas, make)), learning_rate=1e-3), STEPS * 16

    ours, theirs = (replicas.probabilities(nets) for nets in replicas.both(made, units))

    assert (ours - theirs).abs().max() < 1e-8


def test_a_parameter_without_a_dimension_is_trained_and_clipped_as_apart(replicas: Any) -> None:
    made, units = replicas.parts(replicas.doubled(replicas.Scaled), clip=0.1), 2 * replicas.TRAIN

    ours, theirs = replicas.both(made, units)

    scales = [torch.stack([net.get_parameter("scale").detach() for net in nets]) for nets in (ours, theirs)]
    assert (scales[0] - 2).abs().min() > 1e-3, "it was not trained"
    assert (scales[0] - scales[1]).abs().max() < 1e-9


def test_each_replicate_begins_and_reads_as_its_seed_does_alone(replicas: Any) -> None:
    made = replicas.parts(replicas.mlp)

    block, apart = replicas.joint(made, 64), [replicas.alone(made, 64, seed) for seed in replicas.SEEDS]

    for ours, theirs in zip(block.replicates, apart, strict=True):
        for mine, other in zip(ours.net.parameters(), theirs.net.parameters(), strict=True):
            assert torch.equal(mine, other)
        assert ours.source.next(None).ids == theirs.source.next(None).ids


def test_dropout_differs_between_replicates_and_repeats_with_the_block(replicas: Any) -> None:
    made, same = replicas.parts(replicas.dropping), [replicas.SEEDS[0]] * 2

    first, second = replicas.joint(made, 160, seeds=same).run()
    again, _ = replicas.joint(made, 160, seeds=same).run()

    weights = [next(each.net.parameters()) for each in (first, second, again)]
    assert not torch.equal(weights[0], weights[1])
    assert torch.equal(weights[0], weights[2])


def test_a_replicate_that_diverges_is_named_and_touches_no_other(
    replicas: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, units = replicas.parts(replicas.mlp), 320
    whole = replicas.joint(made, units).run()
    block = replicas.joint(made, units)
    with torch.no_grad():
        next(iter(block.parameters.values()))[1, 0, 0] = torch.nan

    found = block.run()

    assert [each.diverged is None for each in found] == [True, False, True, True]
    assert found[1].diverged == "a loss or weight was not finite after 16 of 320 units"
    assert (found[1].units, found[1].scores, found[1].curve) == (16, None, [])
    for at in (0, 2, 3):
        for mine, other in zip(found[at].net.parameters(), whole[at].net.parameters(), strict=True):
            assert torch.equal(mine, other)


def test_training_ends_where_every_replicate_has_diverged(replicas: Any) -> None:
    block = replicas.joint(replicas.parts(replicas.mlp), 3200)
    with torch.no_grad():
        next(iter(block.parameters.values())).fill_(torch.nan)

    found = block.run()

    assert block.used < 3200
    assert [each.units for each in found] == [16] * 4


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


@pytest.mark.parametrize("make", ["dropping", "cnn"])
@pytest.mark.parametrize("at", [1, 3, 7])
def test_a_block_that_was_killed_at_any_batch_goes_on_to_the_same_bytes(
    replicas: Any, make: str, at: int, tmp_path: Path
) -> None:
    made, units = replicas.parts(getattr(replicas, make)), 160
    whole = replicas.joint(made, units, points=2).run()
    shelf = Shelf(tmp_path, "block", {"a": 1}, every=0.0)
    killed = replicas.joint(made, units, points=2, shelf=shelf)
    steps = iter(range(at))
    step = killed.step

    def stepping(*arguments: Any) -> None:
        if next(steps, None) is None:
            raise KeyboardInterrupt
        step(*arguments)

    killed.step = stepping
    with pytest.raises(KeyboardInterrupt):
        killed.run()

    again = Shelf(tmp_path, "block", {"a": 1}, every=None)
    resumed = again.resume(lambda: replicas.joint(made, units, points=2, shelf=again))
    found = resumed.run()

    assert again.resumed == [16 * at]
    for mine, other in zip(found, whole, strict=True):
        assert mine.scores is not None
        assert other.scores is not None
        assert mine.scores.metrics == other.scores.metrics
        assert [point.losses for point in mine.curve] == [point.losses for point in other.curve]
        for name, tensor in other.net.state_dict().items():
            assert torch.equal(mine.net.state_dict()[name], tensor), name


def test_a_curve_of_more_points_than_batches_has_points_without_losses(replicas: Any) -> None:
    found = replicas.joint(replicas.parts(replicas.mlp), 32, points=5).run()

    assert [len(point.losses) for point in found[0].curve] == [1, 0, 1, 0, 0]
    assert [point.units for point in found[0].curve] == [16, 16, 32, 32, 32]


def test_micro_batches_follow_the_same_gradient(replicas: Any) -> None:
    made = replicas.parts(replicas.doubled(replicas.mlp))

    whole = [each.net for each in replicas.joint(made, 320).run()]
    cut = [each.net for each in replicas.joint(made, 320, micro=3).run()]

    assert (replicas.probabilities(whole) - replicas.probabilities(cut)).abs().max() < 1e-10


def test_batches_of_unlike_shapes_are_computed_one_by_one_to_the_same_numbers(replicas: Any) -> None:
    made = replicas.parts(replicas.doubled(replicas.mlp), replicas.Rows)

    ours, theirs = (replicas.probabilities(nets) for nets in replicas.both(made, 320))

    assert (ours - theirs).abs().max() < 1e-10


@pytest.mark.parametrize("make", ["Sum", "Decaying"])
def test_gradients_in_one_place_and_buffers_that_change_beside_products_come_out_as_apart(
    replicas: Any, make: str
) -> None:
    made = replicas.parts(getattr(replicas, make), clip=0.05)

    ours, theirs = replicas.both(made, 160)

    for mine, other in zip(ours, theirs, strict=True):
        for name, tensor in other.state_dict().items():
            torch.testing.assert_close(mine.state_dict()[name], tensor, rtol=1e-4, atol=1e-5)


def test_a_parameter_that_changes_in_the_pass_changes_as_often_together_as_apart(replicas: Any) -> None:
    made = replicas.parts(replicas.Halving, learning_rate=1e-9)

    ours, theirs = replicas.both(made, 64)

    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.state_dict()["out.bias"], other.state_dict()["out.bias"])


@pytest.mark.parametrize("model", ["Choosing", "Silent"])
def test_other_losses_at_other_seeds_are_refused_while_training(replicas: Any, model: str) -> None:
    made = replicas.parts(replicas.mlp, getattr(replicas, model))

    with pytest.raises(novum.MismatchError, match=r"other losses at different seeds.*replicates = 'separate'"):
        replicas.joint(made, 640).run()


def test_a_seed_that_diverged_breaks_no_other_where_the_loss_refuses_its_numbers(replicas: Any) -> None:
    made = replicas.parts(replicas.mlp, replicas.Multinomial)
    block = replicas.joint(made, 320)
    differentiate, steps = block._differentiate, iter(range(100))

    def running_away(losses: Any) -> torch.Tensor:
        values = differentiate(losses)
        if next(steps) == 2:  # one seed's loss runs away
            with torch.no_grad():
                next(iter(block.parameters.values()))[1].fill_(torch.nan)
            values = values.clone()
            values[1] = torch.inf
        return values

    block._differentiate = running_away

    found = block.run()

    assert [each.diverged is None for each in found] == [True, False, True, True]
    assert found[1].units == 48
    assert found[0].units == 320
