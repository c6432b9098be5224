"""One trial over several devices: here processes on the CPU that talk over gloo."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import novum
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from novum import pieces
from novum.errors import ConfigError, MismatchError, StudyError
from novum.lab import local_code
from novum.recipe import Recipe
from novum.runner import artifacts, device, jobs, ranks
from novum.runner.ranks import RankLost, Ranks
from novum.runner.resolve import resolve
from novum.runner.resume import share
from novum.seeds import Seed, installed

Payload = Callable[..., dict[str, Any]]


def payload(arm: novum.Arm, devices: int | None = None, **parts: Any) -> dict[str, Any]:
    plan = resolve(arm.to_json())
    if devices is not None:  # registration would ask for as many cores
        plan["arm"]["recipe"]["devices"] = devices
    seed = {"root": 0, "block": "0", "index": 0}
    told = {"key": "trial", "plan": plan, "seed": seed, "points": 2, "parent": None, "tracker": "jsonl"}
    return told | {"local": local_code(arm.to_json()), "checkpoint_every": None} | parts


@pytest.fixture
def net(ranked: Any, toy: Any) -> Callable[..., novum.Arm]:
    """Makes an arm of the network of tests/ranked.py, over two devices."""

    def make(model: dict[str, Any] | None = None, **recipe: Any) -> novum.Arm:
        return novum.arm(novum.task(toy.Blobs, noise=0.0), novum.model(ranked.Net, **(model or {})), **recipe)

    return make


@pytest.fixture
def train(tmp_path: Path) -> Callable[..., tuple[dict[str, Any], dict[str, torch.Tensor]]]:
    """Trains in a folder of its own: the job's value, and the weights."""

    def run(told: dict[str, Any], name: str = "one") -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
        folder = tmp_path / name
        value = jobs.perform("train", told, folder)
        assert not list((folder / "scratch").glob("*")), "what the ranks met in is still there"
        return value, dict(artifacts.load(folder, value["weights"]).tensors)

    return run


def assert_same(one: Any, other: Any) -> None:
    for name, tensor in one[1].items():
        torch.testing.assert_close(other[1][name], tensor, rtol=1e-4, atol=1e-5)
    for point, twin in zip(one[0]["curve"], other[0]["curve"], strict=True):
        assert twin["losses"] == pytest.approx(point["losses"], rel=1e-5)
        assert (twin["units"], twin["metrics"]) == (point["units"], pytest.approx(point["metrics"], abs=1e-4))


# ----------------------------------------------------------------------------------------------- the numbers of one


@pytest.mark.parametrize(
    ("devices", "recipe"),
    [
        (2, {}),  # a batch of seven: shares of three and four; clipping, a schedule, an average, decay
        (3, {"batch_size": 2, "budget": "40 samples"}),  # one rank has nothing of any batch
        (2, {"optimizer": "sgd", "momentum": 0.9, "clip": 0.0, "warmup": 0.2, "averaging": "none"}),
    ],
)
def test_several_devices_train_what_one_trains(net: Any, train: Any, devices: int, recipe: dict[str, Any]) -> None:
    alone = train(payload(net(devices=1, **recipe)), "alone")

    together = train(payload(net(**recipe), devices), "together")

    assert_same(alone, together)
    assert together[1]["idle"].tolist() == [1.0] * 3, "what no loss reaches has decayed"


def test_micro_batches_of_each_share_train_the_same(net: Any, train: Any) -> None:
    alone, together = (
        train(payload(net(devices=devices), micro=micro), str(devices)) for devices, micro in ((1, 1), (2, 3))
    )

    assert_same(alone, together)


@pytest.mark.parametrize(
    "model",
    [
        novum.model("bag", buckets=64, dimension=8, dropout=0.0),
        novum.model("transformer", layers=1, width=16, heads=2, max_length=16, vocabulary=300, dropout=0.0),
    ],
    ids=["bag", "transformer"],
)
def test_models_of_texts_train_the_same_over_two_devices(train: Any, model: Any) -> None:
    task = novum.task("text-classification", data="stdlib-docs", classes=["typing", "http", "xml"])
    recipe = {"budget": "55 samples", "batch_size": 11}

    alone, together = (
        train(payload(novum.arm(task, model, devices=devices, **recipe)), str(devices)) for devices in (1, 2)
    )

    assert_same(alone, together)


def test_the_same_seed_gives_the_same_bytes_and_another_one_others(net: Any, train: Any) -> None:
    told = payload(net({"dropout": 0.3}))

    first, again, other = (
        train(told | {"seed": told["seed"] | {"index": index}}, name)[0]["weights"]
        for name, index in (("first", 0), ("again", 0), ("other", 1))
    )

    assert first == again != other


def test_each_rank_draws_its_own_within_a_loss_and_disturbs_nothing_outside_of_it() -> None:
    drawn = []
    for rank in (0, 1):
        group = Ranks(rank, 2, Seed(1), torch.device("cpu"))
        with installed(Seed(2)):
            before = torch.rand(3)
            with group.own():
                first = torch.rand(3)
            between = torch.rand(3)
            with group.own():
                second = torch.rand(3)
        drawn.append((before, first, between, second))

    (before, first, between, second), twin = drawn
    assert before.equal(twin[0]) and between.equal(twin[2])
    assert not first.equal(twin[1]) and not second.equal(twin[3])
    assert not first.equal(second)


@given(st.integers(1, 30), st.integers(1, 8))
def test_the_shares_of_the_ranks_are_the_batch_in_its_order(size: int, count: int) -> None:
    rows = torch.arange(size)

    found = [share((rows, "text"), at, count) for at in range(count)]

    assert torch.cat([arguments[0] for _, arguments in found]).equal(rows)
    lengths = [len(arguments[0]) for _, arguments in found]
    assert [part * size for part, _ in found] == pytest.approx(lengths)
    assert max(lengths) - min(lengths) <= 1


def test_what_has_no_batch_is_computed_whole_by_every_rank_with_equal_weight() -> None:
    scale = torch.tensor(2.0)

    assert [share((scale,), at, 2) for at in (0, 1)] == [(0.5, (scale,))] * 2


# ------------------------------------------------------------------------------------------------------ registration


def test_a_rehearsal_trains_over_as_many_devices(net: Any, tmp_path: Path) -> None:
    arm = net({"file": str(tmp_path / "kills")})
    told = {"plan": resolve(arm.to_json()), "local": local_code(arm.to_json()), "asked": [False]}

    found = jobs.perform("preflight", told, tmp_path)

    assert found["seconds_per_unit"] > 0
    pids = {int(line) for line in (tmp_path / "kills.pids").read_text().split()}
    assert len(pids) == 2 and os.getpid() in pids


@pytest.mark.parametrize(
    ("model", "error", "why"),
    [
        ({"norm": True}, MismatchError, r"batch norm \(1\), and its synchronised form needs a GPU. Say devices = 1"),
        ({"mode": "two"}, MismatchError, "devices is 2, but Net yields several losses for one batch"),
        ({"mode": "drift"}, StudyError, "the networks of the devices differ: what the model builds or changes"),
    ],
)
def test_what_cannot_be_divided_is_refused_before_registration(
    net: Any, tmp_path: Path, model: dict[str, Any], error: type[Exception], why: str
) -> None:
    arm = net(model)
    told = {"plan": resolve(arm.to_json()), "local": local_code(arm.to_json()), "asked": [False]}

    with pytest.raises(error, match=why):
        jobs.perform("preflight", told, tmp_path)


def test_an_environment_is_not_divided() -> None:
    arm = novum.arm(novum.task("gym", env="CartPole-v1"), "ppo", budget="64 steps", devices=2)

    with pytest.raises(ConfigError, match=r"recipe.devices: 2 was received, but this task is an environment"):
        resolve(arm.to_json())


def test_more_devices_than_the_machine_has_are_refused_with_their_number(net: Any) -> None:
    with pytest.raises(ConfigError, match=r"recipe.devices: 4096 was received, but this machine has \d+ cores? for it"):
        resolve(net(devices=4096).to_json())


@pytest.mark.parametrize("devices", [0, -1, 1.5, "two", None])
def test_what_is_no_number_of_devices_is_refused(devices: Any) -> None:
    with pytest.raises(ConfigError, match="option 'devices' received"):
        novum.config.parse(Recipe, {"devices": devices}, "recipe")


def test_batch_norm_of_a_class_of_its_own_has_no_synchronised_form_on_a_gpu_either() -> None:
    class Own(torch.nn.BatchNorm1d):
        pass

    with pytest.raises(MismatchError, match=r"batch norm \(0\), and Own has no synchronised form"):
        ranks.synchronised(torch.nn.Sequential(Own(3)), "cuda", 2)


def test_batch_norm_is_synchronised_on_a_gpu_and_keeps_its_parameters_and_names() -> None:
    net = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.BatchNorm1d(3))
    before = dict(net.named_parameters())

    made = ranks.synchronised(net, "cuda", 2)

    assert isinstance(made[1], torch.nn.SyncBatchNorm)  # type: ignore[index]
    assert {name: id(param) for name, param in made.named_parameters()} == {
        name: id(param) for name, param in before.items()
    }


# ------------------------------------------------------------------------------------------------------ what they hold


def test_a_trial_reserves_its_devices_and_scoring_it_again_one(net: Any) -> None:
    recipe = net().recipe | {"devices": 3}

    assert pieces.resources(recipe) == {"cpus": 3, "devices": 3}
    assert pieces.resources(recipe, alone=True) == pieces.resources({}) == {"cpus": 1}


@pytest.mark.parametrize(
    ("gpus", "slot", "count", "expected"),
    [("2,0", "1", 2, [2, 0]), ("3", "0", 1, [3]), ("", "1", 2, [2, 3]), ("5", "1", 2, [2, 3]), ("", "5", 1, [1])],
)
def test_ranks_use_the_gpus_that_are_named_else_those_of_their_slot(
    monkeypatch: pytest.MonkeyPatch, gpus: str, slot: str, count: int, expected: list[int]
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setenv("NOVUM_GPUS", gpus)
    monkeypatch.setenv("NOVUM_SLOT", slot)

    assert device.gpus(count) == expected


# ------------------------------------------------------------------------------------------------------------ failures


@pytest.mark.parametrize(
    ("mode", "error", "why"),
    [
        ("memory", torch.OutOfMemoryError, r"out of memory. \(in rank 1 of the trial\)"),
        ("raise", RuntimeError, "ValueError: this model is broken"),
    ],
)
def test_what_another_rank_raised_is_what_the_trial_raises(
    net: Any, tmp_path: Path, mode: str, error: type[Exception], why: str
) -> None:
    with pytest.raises(error, match=why):
        jobs.perform("train", payload(net({"mode": mode})), tmp_path)

    assert not torch.distributed.is_initialized()
    assert not list((tmp_path / "scratch").glob("*"))


def test_a_rank_that_is_killed_loses_the_trial_which_says_by_what(net: Any, tmp_path: Path) -> None:
    arm = net({"file": str(tmp_path / "kills"), "kills": [[1, 4]]})

    with pytest.raises(RankLost, match=r"rank 1 was ended by SIGKILL \(9\)"):
        jobs.perform("train", payload(arm), tmp_path)


def test_a_loss_that_is_not_finite_in_one_share_ends_the_trial_everywhere_as_an_outcome(
    net: Any, tmp_path: Path
) -> None:
    value = jobs.perform("train", payload(net({"mode": "nan"})), tmp_path)

    assert "not finite after 21 of 120 units" in value["diverged"]
