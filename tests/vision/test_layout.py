"""Channels-last: chosen by a probe, applied wherever the network computes, and exact to resume and to score."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import novum
import numpy as np
import pytest
import torch
from novum.runner import artifacts, choose, device, jobs
from novum.runner.choose import Choice, layout_of
from novum.runner.parts import Encoder
from novum.runner.probe import interleaved
from novum.runner.resolve import resolve
from novum.runner.step import Steps

SEED = {"root": 0, "block": "0", "index": 0}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of images in colour, of two classes that differ in their tint."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("pictures")
    draw = np.random.default_rng(0)
    for label, tint in (("warm", (60, 0, 0)), ("cold", (0, 0, 60))):
        (folder / label).mkdir()
        for number in range(48):
            pixels = draw.integers(0, 190, (16, 16, 3)) + np.array(tint)
            Image.fromarray(pixels.astype("uint8")).save(folder / label / f"{number}.png")
    return folder


@pytest.fixture
def arm(pictures: Path) -> Callable[..., novum.Arm]:
    """Makes an arm of a small residual network on images in colour, five batches of 16."""

    def make(**recipe: Any) -> novum.Arm:
        return novum.arm(
            novum.task("image-classification", data=str(pictures), size=16),
            novum.model("timm", name="test_resnet"),
            **{"budget": "80 samples", "batch_size": 16, "learning_rate": 1e-3} | recipe,
        )

    return make


@pytest.fixture
def train(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Trains an arm as a worker does."""

    def run(arm: novum.Arm, folder: str = "a", **more: Any) -> dict[str, Any]:
        payload = {"key": "trial", "plan": resolve(arm.to_json()), "points": 1, "parent": None, "tracker": "jsonl"}
        return jobs.perform("train", payload | {"seed": SEED} | more, tmp_path / folder)

    return run


# --------------------------------------------------------------------------------------------------------- in a trial


def test_both_layouts_train_the_same_up_to_rounding(arm: Any, train: Any, tmp_path: Path) -> None:
    told = {layout: train(arm(layout=layout), layout) for layout in ("contiguous", "channels-last")}

    tensors = [artifacts.load(tmp_path / layout, each["weights"]).tensors for layout, each in told.items()]
    for name, tensor in tensors[0].items():
        torch.testing.assert_close(tensors[1][name], tensor, rtol=1e-2, atol=2e-3)


def test_weights_inputs_and_the_optimisers_state_are_channels_last(
    arm: Any, train: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[bool, ...]] = []
    take = Steps.take

    def looking(self: Steps, loss: Any, *more: Any) -> None:
        take(self, loss, *more)
        ((optimizer, params),) = self._optimizers.values()
        kernel = next(each for each in params if each.ndim == 4 and each.shape[1] > 1 and each.shape[2] > 1)
        of = (kernel, loss.arguments[0], optimizer.state[kernel]["exp_avg"])
        seen.append(tuple(each.is_contiguous(memory_format=torch.channels_last) for each in of))

    monkeypatch.setattr(Steps, "take", looking)

    train(arm(layout="channels-last"), "last")
    train(arm(layout="contiguous"), "plain")

    assert seen == [(True, True, True)] * 5 + [(False, False, False)] * 5


def test_a_trial_that_was_killed_goes_on_to_the_very_numbers_of_one_that_was_not(
    arm: Any, train: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    asked = arm(layout="channels-last", averaging="ema")
    whole = train(asked, "whole")
    take, count = Steps.take, 0

    def dying(self: Steps, *arguments: Any) -> Any:
        nonlocal count
        count += 1
        if count == 4:
            raise Killed
        return take(self, *arguments)

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(Steps, "take", dying)
        train(asked, "killed", checkpoint_every=0.0)

    resumed = train(asked, "killed", checkpoint_every=0.0)

    assert resumed["resumed"] == [48]
    assert (resumed["weights"], resumed["scores"]) == (whole["weights"], whole["scores"])


def test_stored_weights_score_to_the_bit_what_the_trial_scored(arm: Any, train: Any, tmp_path: Path) -> None:
    asked = arm(layout="channels-last")
    told = train(asked)
    payload = {"plan": resolve(asked.to_json()), "weights": told["weights"], "split": "dev", "seed": SEED}

    again = jobs.perform("score", payload, tmp_path / "a")

    assert again["scores"]["dev"] == told["scores"]["dev"]


def test_only_batches_of_images_are_laid_out_anew() -> None:
    class Both(novum.Preparation):
        def collate(self, encoded: Any) -> Any:
            return encoded

    images, words = torch.zeros(2, 3, 4, 5), torch.zeros(2, 3, 4)

    laid = Encoder(Both(), torch.device("cpu"), "channels-last")({"images": images, "words": (words,)}, ())

    assert laid["images"].stride() == (60, 1, 15, 3)
    assert laid["words"][0].stride() == words.stride()


def test_a_network_with_weights_of_five_dimensions_is_arranged_all_the_same() -> None:
    net = torch.nn.ModuleList([torch.nn.Conv2d(3, 4, 3), torch.nn.Conv3d(3, 4, 3)])

    device.arrange(net, "channels-last")

    flat, solid = (module.weight for module in net)
    assert flat.is_contiguous(memory_format=torch.channels_last)
    assert solid.is_contiguous()


# -------------------------------------------------------------------------------------------------------- the choice


@pytest.mark.parametrize(("plain", "last", "chosen"), [(1.05, 1.0, True), (1.04, 1.0, False), (1.0, 1.2, False)])
def test_channels_last_is_chosen_from_a_gain_of_a_twentieth(plain: float, last: float, chosen: bool) -> None:
    assert layout_of(plain, last) == ({"layout": "channels-last"} if chosen else {})


def test_ways_are_timed_in_turn_so_that_a_slow_moment_hits_all() -> None:
    now, order = 0.0, []

    def way(name: str, seconds: float) -> Callable[[], None]:
        def step() -> None:
            nonlocal now
            order.append(name)
            now += seconds

        return step

    found = interleaved((way("a", 0.25), way("b", 0.125)), lambda: now, seconds=2.0)

    assert found == [0.25, 0.125]
    assert order == ["a", "b"] * 6


def test_a_convolution_is_probed_in_both_layouts_and_the_faster_is_chosen(
    arm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choose, "interleaved", lambda ways, clock: [2.0, 1.0] if len({*ways}) == 2 else [])
    plan = resolve(arm().to_json())

    found = choose.choose(plan, {"seconds_per_unit": 0.001, "convolves": True})

    assert found.answers == {"layout": "channels-last"}
    assert found.measured["layout"] == {"contiguous": 2.0, "channels-last": 1.0}


def test_a_layout_that_was_asked_for_is_not_probed(arm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose, "Stepper", lambda *_: pytest.fail("it was probed"))

    for layout in ("contiguous", "channels-last"):
        plan = resolve(arm(layout=layout).to_json())

        assert plan["how"]["layout"] == layout
        assert choose.choose(plan, {"seconds_per_unit": 0.001, "convolves": True}).answers == {}


def test_a_network_that_refuses_the_strides_stays_as_it_is_and_the_record_says_why(
    arm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from novum_vision.network import Network

    forward = Network.forward

    def viewing(self: Network, images: torch.Tensor) -> torch.Tensor:
        return forward(self, images.view(-1).view(images.shape))

    plan = resolve(arm().to_json())
    monkeypatch.setattr(Network, "forward", viewing)

    found = choose.choose(plan, {"seconds_per_unit": 0.001, "convolves": True})

    assert found.answers == {}
    assert "view size is not compatible" in found.measured["layout"]["because"]


def test_arms_that_no_probe_tells_apart_are_computed_alike_and_it_is_kept(
    arm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter(["channels-last", "contiguous"])
    monkeypatch.setattr(jobs, "choose", lambda plan, speed: Choice({"layout": next(answers)}))
    base = arm(budget="16 samples")

    def claim(**changes: Any) -> novum.Hypothesis:
        return novum.Hypothesis(
            "it helps", control=base, treatment=base.but(**changes), minimum_effect=0.5, max_seeds=3
        )

    with novum.Study(tmp_path / "study", executor="inline") as study:
        study.run(claim(learning_rate=0.01))
        study.run(claim(clip=0.5))

        with study.reading() as ledger:
            plans = [row["plan"]["plan"] for row in ledger.trials() if row["kind"] == "train"]

    told = [(plan["arm"]["recipe"], plan["how"]["layout"]) for plan in plans]
    assert {(recipe["learning_rate"], recipe["clip"], layout) for recipe, layout in told} == {
        (0.001, 0.0, "channels-last"),
        (0.01, 0.0, "channels-last"),
        (0.001, 0.0, "contiguous"),  # only the noise of their probes parted it from its treatment
        (0.001, 0.5, "contiguous"),
    }


def test_an_exploratory_run_on_images_is_rehearsed_once_and_computed_as_the_probe_says(
    arm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter(["channels-last"])
    monkeypatch.setattr(jobs, "choose", lambda plan, speed: Choice({"layout": next(answers)}))

    with novum.Study(tmp_path / "study", executor="inline") as study:
        runs = [study.train(arm(budget="16 samples"), seed=seed) for seed in (0, 1)]

    assert [run.plan["how"]["layout"] for run in runs] == ["channels-last"] * 2


def test_an_exploratory_run_whose_rehearsal_fails_tells_of_its_own_failure(
    arm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from novum_vision.timm import Timm

    def infinite(self: Any, net: Any, images: Any, targets: Any) -> Any:
        return net(images).mean() * float("inf")

    monkeypatch.setattr(Timm, "_cross_entropy", infinite)

    with novum.Study(tmp_path / "study", executor="inline") as study:
        run = study.train(arm(budget="16 samples"))

    assert "not finite" in str(run.diverged)
