"""Early stop: what is held back, when training ends, what is kept, and that `dev` has no part in it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import novum
import numpy as np
import pytest
import torch
from novum import Batch, ConfigError, Examples, Loss, Seed, Source
from novum.recipe import units
from novum.runner import jobs
from novum.runner.checkpoint import Shelf
from novum.runner.early import CHECKS, EarlyStop, check
from novum.runner.parts import Parts
from novum.runner.resolve import resolve
from novum.runner.step import Steps
from novum.runner.train import Trainer
from novum.seeds import trial_seed

Make = Callable[..., Trainer]
SIZE = 40


@pytest.fixture
def trainer(toy: Any) -> Make:
    def make(
        model: Any = None, task: Any = None, seed: int = 0, points: int = 5, noise: float = 2.0, **recipe: Any
    ) -> Trainer:
        given = {"early_stop": 3, "budget": "40 epochs", "batch_size": 10, "learning_rate": 0.5} | recipe
        arm = novum.arm(
            novum.task(task or toy.Blobs, size=SIZE, noise=noise), novum.model(model or toy.Linear), **given
        )
        parts = Parts.of(arm.to_json())
        budget = units(parts.recipe.budget, SIZE)
        return Trainer(
            parts, trial_seed(0, "0", seed), units=budget, device_kind="cpu", precision="fp32", points=points
        )

    return make


def ids(source: Any) -> list[str]:
    return [unit for batch in source.each(None) for unit in batch.ids]


def weights(net: torch.nn.Module) -> list[list[float]]:
    return [param.detach().flatten().tolist() for param in net.parameters()]


# ------------------------------------------------------------------------------------------------- what is held back


def test_the_slice_is_neither_trained_on_nor_seen_by_the_preparation(trainer: Make, toy: Any) -> None:
    prepared: list[list[str]] = []

    class Noting(toy.Linear):  # type: ignore[misc]
        def prepare(self, signature: Any, train: Any) -> Any:
            prepared.append(ids(train))
            return super().prepare(signature, train)

        def losses(self, net: Any, batch: Batch) -> Iterator[Loss]:
            if not net.training:
                toy.SEEN.clear()
            yield from super().losses(net, batch)

    learned: set[str] = set()
    made = trainer(Noting, early_stop=19)
    held = set(ids(made._held))
    take = made.steps.take
    made.steps.take = lambda *given: (learned.update(toy.SEEN[-1]), take(*given))[1]  # type: ignore[method-assign]

    made.run()

    assert len(held) == SIZE // 10
    assert learned == {f"train-{row}" for row in range(SIZE)} - held == set(prepared[0])


def test_each_seed_holds_back_a_slice_of_its_own_and_every_arm_of_a_seed_the_same(trainer: Make) -> None:
    first, again, other = trainer(), trainer(learning_rate=0.1, early_stop=1), trainer(seed=1)

    assert ids(first._held) == ids(again._held) != ids(other._held)


def test_a_larger_share_holds_back_more_and_the_budget_stays(trainer: Make) -> None:
    made = trainer(early_stop_share=0.25)

    assert (len(ids(made._held)), made.source.size, made.units) == (10, 30, 40 * SIZE)


def test_without_early_stop_nothing_is_held_back_and_its_share_means_nothing(trainer: Make) -> None:
    plain, inert = trainer(early_stop=None), trainer(early_stop=None, early_stop_share=0.5)

    assert plain.run().curve[-1].metrics == inert.run().curve[-1].metrics
    assert weights(plain.net) == weights(inert.net)
    assert plain.source.size == SIZE and plain._held is None


@pytest.mark.parametrize(
    "inputs", [np.arange(12.0).reshape(6, 2), list("abcdef"), range(6)], ids=["array", "list", "any"]
)
def test_some_of_the_examples_are_a_source_like_one_that_was_made_of_them(inputs: Any) -> None:
    names, rows = [f"u{row}" for row in range(6)], [1, 2, 5]
    whole = Examples(inputs, np.arange(6), names, seed=Seed(1), batch_size=2)
    few = [inputs[row] for row in rows]
    chosen = np.stack(few) if isinstance(inputs, np.ndarray) else few
    expected = Examples(chosen, np.array(rows), ["u1", "u2", "u5"], seed=Seed(1), batch_size=2)

    found = whole.select(rows)

    for one, two in [(found.next(None), expected.next(None)) for _ in range(5)]:  # type: ignore[arg-type]
        assert (one.ids, list(one.targets), np.asarray(one.inputs).tolist()) == (
            two.ids,
            list(two.targets),
            np.asarray(two.inputs).tolist(),
        )
    assert (found.size, ids(found), found.state_dict()) == (3, ["u1", "u2", "u5"], expected.state_dict())
    assert ids(whole) == names
    if not isinstance(inputs, range):
        assert found.hashes() == expected.hashes()


# ------------------------------------------------------------------------------------------------ when training ends


def walk(losses: list[float], patience: int) -> tuple[int, float | None]:
    """After how many looks it ended, 0 if it did not, and the best loss."""
    watch, net = EarlyStop(patience), torch.nn.Linear(1, 1)
    for at, loss in enumerate(losses, 1):
        if watch.look(at, net, lambda loss=loss: loss):  # type: ignore[misc]
            return at, watch.best
    return 0, watch.best


@pytest.mark.parametrize(
    ("losses", "patience", "ended", "best"),
    [
        ([5, 4, 3, 2, 1], 1, 0, 1),
        ([5, 6], 1, 2, 5),
        ([5, 5], 1, 2, 5),
        ([5, 6, 7, 4, 5, 6, 3], 3, 0, 3),
        ([5, 6, 7, 8, 1], 3, 4, 5),
        ([math.nan, math.inf, 5, 6], 3, 0, 5),
        ([math.nan, math.nan], 2, 2, None),
    ],
)
def test_it_ends_after_so_many_looks_in_a_row_without_a_lower_loss(
    losses: list[float], patience: int, ended: int, best: float | None
) -> None:
    assert walk(losses, patience) == (ended, best)


def test_a_look_before_which_nothing_was_trained_does_not_count() -> None:
    watch, net = EarlyStop(2), torch.nn.Linear(1, 1)

    ended = [watch.look(used, net, lambda: 1.0) for used in (10, 10, 10, 20, 20, 30)]

    assert ended == [False, False, False, False, False, True]


def test_the_looks_are_spread_evenly_over_the_budget() -> None:
    watch, net = EarlyStop(19), torch.nn.Linear(1, 1)
    found = []
    for _ in range(CHECKS):
        found.append(watch.due(1000))
        watch.look(found[-1], net, lambda: 1.0)

    assert found == list(range(50, 1001, 50))


def test_the_loss_is_the_models_own_over_the_slice_without_dropout(trainer: Make, toy: Any) -> None:
    made = trainer()
    x, y = made.parts.task.data("train")  # type: ignore[attr-defined]
    rows = [int(name.split("-")[1]) for name in ids(made._held)]
    layer: Any = made.net[1]  # type: ignore[index]
    inputs = torch.as_tensor(np.stack(made.preparation.encode(list(x[rows]))))
    shares = (inputs @ layer.weight.T + layer.bias).log_softmax(-1)
    expected = -float(shares[torch.arange(len(rows)), torch.as_tensor(y[rows])].mean().detach())

    assert made._loss_of_held() == pytest.approx(expected, rel=1e-5)


def test_a_plateau_ends_training_and_the_best_weights_by_the_slice_are_scored(trainer: Make) -> None:
    made = trainer(points=20)
    looked: list[tuple[float, list[list[float]]]] = []
    measure = made._loss_of_held

    def noting() -> float:
        looked.append((measure(), weights(made.net)))
        return looked[-1][0]

    made._loss_of_held = noting  # type: ignore[method-assign]
    trained = made.run()

    best = min(range(len(looked)), key=lambda at: looked[at][0])
    assert len(looked) == best + 4 < CHECKS  # three looks in vain
    assert trained.units == 80 * len(looked) < made.units
    assert trained.stopped == f"stopped early at {trained.units} of 1,600 units"
    assert weights(made.scored) == looked[best][1] != weights(made.net)
    assert trained.scores is not None and trained.scores.metrics == made.score(novum.Split.DEV).metrics
    assert trained.curve[-1].units == trained.units
    assert [point.units for point in trained.curve] == [80 * at for at in range(1, len(looked) + 1)]


def test_a_training_that_goes_on_improving_uses_its_budget_and_does_not_say_that_it_stopped(trainer: Make) -> None:
    made = trainer(noise=0.0, learning_rate=1e-3, early_stop=1, early_stop_share=0.5, points=3)

    trained = made.run()

    assert (trained.units, trained.stopped) == (made.units, None)
    assert [point.units for point in trained.curve] == [540, 1070, 1600]
    assert weights(made.scored) == weights(made.net)


def test_until_it_stops_training_is_that_of_the_rest_of_train_alone(trainer: Make, toy: Any) -> None:
    made = trainer(points=1)
    left = ids(made.source)

    class Rest(toy.Blobs):  # type: ignore[misc]
        def source(self, split: Any, seed: Any, recipe: Any) -> Source:
            whole: Any = super().source(split, seed, recipe)
            return (
                whole if split != "train" else whole.select([at for at, unit in enumerate(whole.ids) if unit in left])
            )

    plain = trainer(task=Rest, early_stop=None, points=1)
    trained = made.run()
    plain.stretch(0, trained.units)

    assert trained.units < made.units
    assert weights(plain.net) == weights(made.net)


def test_dev_reaches_neither_the_weights_nor_the_end(trainer: Make, toy: Any) -> None:
    class Poisoned(toy.Blobs):  # type: ignore[misc]
        def data(self, split: str) -> Any:
            x, y = super().data(split)
            return (100 * x, 1 - y) if split == "dev" else (x, y)

    found = []
    for task, points in ((toy.Blobs, 5), (Poisoned, 5), (Poisoned, 1)):
        made = trainer(task=task, points=points)
        trained = made.run()
        found.append((trained.units, trained.stopped, weights(made.net), weights(made.scored)))

    assert found[0] == found[1] == found[2]
    assert found[0][1] is not None


def test_with_a_moving_average_the_slice_judges_the_average(trainer: Make) -> None:
    made = trainer(averaging="ema")
    judged: list[torch.nn.Module] = []
    forward = made.steps.forward
    made.steps.forward = lambda net, batch: (judged.append(net), forward(net, batch))[1]  # type: ignore[method-assign]

    made.run()

    assert judged and all(each is made.steps.scored for each in judged)
    assert made.scored is made.early.net  # type: ignore[union-attr]


# ------------------------------------------------------------------------------------------------------ exact resume


class Killed(BaseException):
    pass


@pytest.mark.parametrize("averaging", ["none", "ema"])
def test_a_trial_killed_at_any_batch_stops_where_it_would_have_with_the_same_weights(
    toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, averaging: str
) -> None:
    recipe = {"budget": "10 epochs", "batch_size": 10, "early_stop": 2, "learning_rate": 0.5, "averaging": averaging}
    arm = novum.arm(novum.task(toy.Blobs, noise=2.0), novum.model(toy.Linear), **recipe)
    payload = {"key": "trial", "plan": resolve(arm.to_json()), "seed": {"root": 0, "block": "0", "index": 0}}
    payload |= {"points": 5, "parent": None, "tracker": "jsonl", "checkpoint_every": 0.0}
    take = Steps.take

    def train(folder: Path, kill_at: int = 0) -> dict[str, Any]:
        steps = 0

        def stepping(self: Steps, *given: Any) -> None:
            nonlocal steps
            steps += 1
            if steps == kill_at:
                raise Killed
            take(self, *given)

        with monkeypatch.context() as patched:
            patched.setattr(Steps, "take", stepping)
            found = jobs.perform("train", payload, folder)
        return {name: found[name] for name in ("units", "stopped", "weights", "scores")} | {
            "curve": [point | {"seconds": 0.0} for point in found["curve"]]
        }

    whole = train(tmp_path / "whole")
    assert whole["stopped"] == f"stopped early at {whole['units']} of 400 units"
    for at in range(2, whole["units"] // 10 + 1, 3):
        with pytest.raises(Killed):
            train(tmp_path / str(at), at)

        assert train(tmp_path / str(at)) == whole
        assert Shelf(tmp_path / str(at), "trial", {})._numbers()


# ------------------------------------------------------------------------------------- what is refused when registered


def test_an_environment_is_refused_with_the_reason() -> None:
    task = novum.task("gym", env="CartPole-v1")
    arm = novum.arm(task, novum.model("ppo"), budget="1_000 steps", early_stop=3)

    with pytest.raises(ConfigError, match=r"recipe.early_stop: an environment has no units to hold back"):
        resolve(arm.to_json())


def test_a_source_that_cannot_be_divided_is_refused_and_says_what_it_needs(toy: Any) -> None:
    class Opaque(Source):
        size = 40

        def next(self, act: Any) -> Batch:
            raise AssertionError

        def each(self, act: Any) -> Iterator[Batch]:
            raise AssertionError

    class Keeping(Examples):
        def __init__(self, *given: Any, **named: Any) -> None:
            super().__init__(*given, **named)
            self.masks = np.zeros(self.size)

    class Hidden(toy.Blobs):  # type: ignore[misc]
        def source(self, split: Any, seed: Any, recipe: Any) -> Source:
            return Opaque()

    class Masked(toy.Blobs):  # type: ignore[misc]
        def source(self, split: Any, seed: Any, recipe: Any) -> Source:
            return Keeping(*self.data(split), [str(at) for at in range(40)], seed=seed, batch_size=10)

    for task, told in (
        (Hidden, r"Opaque cannot hold units back, for it has no `select` of its own"),
        (Masked, r"Keeping keeps masks beside its examples.*give it a `select` of its own"),
    ):
        with pytest.raises(ConfigError, match=told):
            resolve(novum.arm(novum.task(task), novum.model(toy.Linear), early_stop=3).to_json())


@pytest.mark.parametrize(
    ("recipe", "told"),
    [
        ({"averaging": "swa"}, "'swa' averages the last quarter of the budget, which an early stop may never reach"),
        (
            {"early_stop_share": 0.01},
            r"early_stop_share: 0.01 of 40 training units are 0, and at least one must be held",
        ),
        ({"early_stop": 0}, r"'early_stop' received 0: input should be greater than or equal to 1"),
        ({"early_stop": 20}, r"'early_stop' received 20: input should be less than or equal to 19"),
        ({"early_stop_share": 0.6}, r"'early_stop_share' received 0.6: input should be less than or equal to 0.5"),
        ({"early_stop_share": 0}, r"'early_stop_share' received 0: input should be greater than 0"),
    ],
)
def test_what_cannot_be_done_is_refused_with_what_is_allowed(
    arm: Callable[..., Any], recipe: dict[str, Any], told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        resolve(arm(**({"early_stop": 3} | recipe)).to_json())


def test_several_devices_are_refused_for_they_might_not_agree_on_an_end(toy: Any) -> None:
    recipe = novum.Recipe(early_stop=3, devices=2)
    source = toy.Blobs(toy.Blobs.Config()).source(novum.Split.TRAIN, Seed(0), recipe)

    with pytest.raises(ConfigError, match=r"recipe.devices is 2, .*; leave early_stop out, or say devices = 1"):
        check(recipe, source, Seed(0))
