"""Micro-batches: a step that needs less memory and follows the same gradient."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import novum
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from novum import Batch
from novum.recipe import units
from novum.runner import jobs
from novum.runner.parts import Parts
from novum.runner.resolve import resolve
from novum.runner.resume import pieces
from novum.runner.train import Trainer
from novum.seeds import trial_seed

Make = Callable[..., Trainer]


def trainer_of(arm: novum.Arm, size: int | None, micro: int) -> Trainer:
    parts = Parts.of(arm.to_json())
    budget = units(parts.recipe.budget, size)
    return Trainer(parts, trial_seed(0, "0", 0), units=budget, device_kind="cpu", precision="fp32", micro=micro)


@pytest.fixture
def trainer(arm: Any) -> Make:
    """Makes a trainer of the toy without dropout, which would draw other numbers for each piece."""

    def make(micro: int, **recipe: Any) -> Trainer:
        return trainer_of(arm(model={"dropout": 0.0}, **recipe), 40, micro)

    return make


def weights(made: Trainer) -> dict[str, torch.Tensor]:
    made.run()
    return {name: tensor.clone() for name, tensor in made.scored.state_dict().items()}


# ------------------------------------------------------------------------------------------- the same, piece by piece


@pytest.mark.parametrize("micro", [2, 3, 4, 10, 64])
@pytest.mark.parametrize("recipe", [{"clip": 0.1}, {"averaging": "ema", "optimizer": "adamw", "learning_rate": 0.01}])
def test_pieces_of_a_batch_train_what_the_whole_batch_trains(trainer: Make, micro: int, recipe: dict[str, Any]) -> None:
    whole, parts = (weights(trainer(count, batch_size=10, **recipe)) for count in (1, micro))

    for name, tensor in whole.items():
        torch.testing.assert_close(parts[name], tensor, rtol=1e-6, atol=1e-6)


def test_pieces_are_really_computed_one_after_the_other(
    toy: Any, trainer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    original = toy.Linear._see
    monkeypatch.setattr(toy.Linear, "_see", lambda self, x: seen.append(len(x)) or original(self, x))
    made = trainer(3, batch_size=10, budget="20 samples")

    made.stretch(0, 20)

    assert seen == [3, 3, 4] * 2


def test_a_curve_tells_the_loss_of_the_whole_batch(trainer: Make) -> None:
    whole, parts = (trainer(count, batch_size=10) for count in (1, 3))

    losses = [made.run().curve[0].losses["loss"] for made in (whole, parts)]

    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_ppo_learns_the_same_from_pieces_of_its_minibatches() -> None:
    task = novum.task("gym", env="CartPole-v1", envs=2, episodes=2, max_steps=30)
    model = novum.model("ppo", hidden=[8], epochs=2, minibatch=32, entropy=0.01)
    arm = novum.arm(task, model, budget="192 steps", batch_size=64)

    whole, parts = (weights(trainer_of(arm, None, micro)) for micro in (1, 5))

    for name, tensor in whole.items():
        torch.testing.assert_close(parts[name], tensor, rtol=1e-5, atol=1e-6)


def test_a_text_in_tensors_by_name_is_divided_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes: list[set[int]] = []
    task = novum.task("text-classification", data="stdlib-docs", classes=["typing", "http", "xml"])
    tiny = novum.model("transformer", layers=1, width=16, heads=2, max_length=16, vocabulary=300, dropout=0.0)
    arm = novum.arm(task, tiny, budget="24 samples", batch_size=12)
    whole = weights(trainer_of(arm, 100, 1))
    made = trainer_of(arm, 100, 4)
    forward = made.net.forward

    def watched(*given: Any, **named: Any) -> Any:
        if made.net.training:
            shapes.append({len(each) for each in named.values() if isinstance(each, torch.Tensor)})
        return forward(*given, **named)

    monkeypatch.setattr(made.net, "forward", watched)
    parts = weights(made)

    assert shapes == [{3}] * 8
    for name, tensor in whole.items():
        torch.testing.assert_close(parts[name], tensor, rtol=1e-4, atol=1e-5)


# -------------------------------------------------------------------------------------------------- what is divided


@given(st.integers(1, 30), st.integers(1, 40))
def test_the_shares_add_up_to_one_and_the_pieces_to_the_batch(size: int, count: int) -> None:
    rows = torch.arange(size)

    found = list(pieces(({"a": (rows, "text")}, rows * 2), count))

    assert len(found) == min(size, count)
    assert sum(share for share, _ in found) == pytest.approx(1.0)
    assert torch.cat([arguments[0]["a"][0] for _, arguments in found]).equal(rows)
    assert torch.cat([arguments[1] for _, arguments in found]).equal(rows * 2)
    lengths = [len(arguments[1]) for _, arguments in found]
    assert [share * size for share, _ in found] == pytest.approx(lengths)
    assert max(lengths) - min(lengths) <= 1


def test_what_is_not_of_the_batch_goes_whole_into_every_piece() -> None:
    scale, classes, note = torch.tensor(2.0), torch.ones(3), object()

    found = [arguments for _, arguments in pieces((scale, torch.arange(4), [torch.arange(4), classes], note), 2)]

    assert [each[1].tolist() for each in found] == [[0, 1], [2, 3]]
    assert [each[2][0].tolist() for each in found] == [[0, 1], [2, 3]]
    assert all((each[0] is scale, each[2][1] is classes, each[3] is note) == (True, True, True) for each in found)


@pytest.mark.parametrize("arguments", [(), (torch.tensor(1.0), "x"), (torch.ones(1, 5),), (torch.ones(0, 5),)])
def test_what_cannot_be_divided_stays_whole(arguments: tuple[Any, ...]) -> None:
    ((share, found),) = pieces(arguments, 4)

    assert share == 1.0
    assert found is arguments


# ------------------------------------------------------------------------------------------------------ on the record


def payload(arm: novum.Arm, **parts: Any) -> dict[str, Any]:
    seed = {"root": 0, "block": "0", "index": 0}
    given = {"key": "trial", "plan": resolve(arm.to_json()), "seed": seed, "points": 1, "parent": None}
    return given | {"tracker": "jsonl"} | parts


def test_a_trial_in_micro_batches_says_so(arm: Any, tmp_path: Path) -> None:
    told = [jobs.perform("train", payload(arm(), micro=micro), tmp_path)["deviations"] for micro in (1, 4)]

    assert told == [[], ["micro-batches of 1/4 after running out of memory"]]


def test_a_trial_without_the_option_is_not_divided(arm: Any, tmp_path: Path) -> None:
    plain, one = (jobs.perform("train", payload(arm(), **parts), tmp_path) for parts in ({}, {"micro": 1}))

    assert plain["weights"] == one["weights"]


@pytest.mark.parametrize("micro", [0, -1, 1.5, True, "2", None])
def test_what_is_no_number_of_pieces_is_refused(arm: Any, tmp_path: Path, micro: Any) -> None:
    with pytest.raises(ValueError, match="whole number of pieces, at least 1"):
        jobs.perform("train", payload(arm(), micro=micro), tmp_path)


def test_row_15_want_of_memory_in_a_forward_reaches_the_caller_as_it_is_and_leaves_nothing_behind(
    toy: Any, arm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nets: list[weakref.ref[Any]] = []
    original = Trainer._build

    def build(self: Trainer, start: Any) -> None:
        original(self, start)
        nets.append(weakref.ref(self.net))

    def greedy(self: Any, net: Any, batch: Batch) -> Any:
        def forward(net: Any, x: Any) -> Any:
            if len(x) > 5:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return net(x).mean()

        yield novum.Loss(forward, (batch.inputs,))

    monkeypatch.setattr(Trainer, "_build", build)
    monkeypatch.setattr(toy.Linear, "losses", greedy)
    given = payload(arm(batch_size=10), checkpoint_every=0.0)
    before = torch.get_rng_state()

    with pytest.raises(torch.OutOfMemoryError, match=r"^CUDA out of memory\.$"):
        jobs.perform("train", given, tmp_path)

    gc.collect()
    assert [net() for net in nets] == [None]
    assert torch.equal(torch.get_rng_state(), before)
    assert not (tmp_path / "weights").exists()
    assert jobs.perform("train", given | {"micro": 2}, tmp_path)["diverged"] is None
