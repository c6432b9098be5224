"""Exact resume: a trial that was killed anywhere and went on gives the numbers of one that was not."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import novum
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from novum import Batch, Examples, Prediction, Seed, Source, StudyError
from novum.runner import checkpoint, jobs
from novum.runner.checkpoint import Shelf
from novum.runner.resolve import resolve
from novum.runner.step import Steps

Make = Callable[..., dict[str, Any]]
KEY = "trial"


class Killed(BaseException):
    """What a kill looks like from within, as far as a process can go on after it."""


@pytest.fixture
def payload(toy: Any) -> Make:
    """Makes what a worker gets to train the toy: 12 batches, a checkpoint after each, five points."""

    def make(model: Any = None, task: Any = None, options: Any = None, **parts: Any) -> dict[str, Any]:
        recipe = {"budget": "3 epochs", "batch_size": 10} | parts.pop("recipe", {})
        arm = novum.arm(novum.task(task or toy.Blobs), novum.model(model or toy.Linear, **(options or {})), **recipe)
        return job(arm, **parts)

    return make


def job(arm: novum.Arm, **parts: Any) -> dict[str, Any]:
    seed = {"root": 0, "block": "0", "index": 0}
    given = {"key": KEY, "plan": resolve(arm.to_json()), "seed": seed, "points": 5, "parent": None}
    return given | {"tracker": "jsonl", "checkpoint_every": 0.0} | parts


def train(payload: dict[str, Any], folder: Path) -> dict[str, Any]:
    return jobs.perform("train", payload, folder)


def numbers(result: dict[str, Any]) -> dict[str, Any]:
    """A result without the times and the memory that it took and without how it came about."""
    left = {name: result[name] for name in ("units", "diverged", "start", "scores", "weights", "bytes")}
    return left | {"curve": [point | {"seconds": 0.0} for point in result["curve"]]}


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Trains until step `at`, counted from 1, in which it is killed; a checkpoint is due after each `every` batches."""

    def run(payload: dict[str, Any], folder: Path, at: int, every: int = 1) -> None:
        steps = batches = 0
        step, due = Steps.take, Shelf.due

        def stepping(self: Steps, *arguments: Any) -> Any:
            nonlocal steps
            steps += 1
            if steps == at:
                raise Killed
            return step(self, *arguments)

        def counting(self: Shelf) -> bool:
            nonlocal batches
            batches += 1
            return batches % every == 0 and due(self)

        with monkeypatch.context() as patched, pytest.raises(Killed):
            patched.setattr(Steps, "take", stepping)
            patched.setattr(Shelf, "due", counting)
            train(payload, folder)

    return run


def kept(folder: Path) -> list[str]:
    home = folder / "checkpoints" / KEY
    return sorted(path.name for path in home.iterdir()) if home.exists() else []


# ------------------------------------------------------------------------------------------------------- exact resume

RECIPES: list[dict[str, Any]] = [
    {"optimizer": "sgd", "learning_rate": 0.1, "averaging": "ema", "schedule": "cosine"},
    {"optimizer": "adamw", "learning_rate": 0.01, "averaging": "ema", "clip": 0.1, "weight_decay": 0.1},
    {"optimizer": "rmsprop", "learning_rate": 0.01, "schedule": "cosine", "warmup": 0.3},
    {"optimizer": "adam", "learning_rate": 0.01, "clip": 0.1, "batch_size": 7, "budget": "2 epochs"},
    {"optimizer": "adafactor", "learning_rate": 0.01, "schedule": "one-cycle"},
    {"optimizer": "lion", "learning_rate": 0.01, "weight_decay": 0.1, "averaging": "swa"},
    {"optimizer": "muon", "learning_rate": 0.01, "weight_decay": 0.1, "averaging": "ema"},
]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: str(recipe["optimizer"]))
def test_a_trial_killed_at_any_batch_goes_on_to_the_very_numbers_of_one_that_was_not(
    payload: Make, killed: Any, tmp_path: Path, recipe: dict[str, Any]
) -> None:
    given = payload(recipe=recipe)
    size = given["plan"]["arm"]["recipe"]["batch_size"]
    whole = train(given | {"checkpoint_every": None}, tmp_path / "whole")
    batches = -(-whole["units"] // size)

    for at in range(1, batches + 1):
        folder = tmp_path / str(at)
        killed(given, folder, at, every=2)
        again = train(given, folder)

        assert numbers(again) == numbers(whole), at
        assert again["resumed"] == ([] if at <= 2 else [(at - 1) // 2 * 2 * size])
        assert again["deviations"] == []


def test_a_trial_killed_again_and_again_at_each_batch_goes_on_each_time(
    payload: Make, killed: Any, tmp_path: Path
) -> None:
    given = payload()
    whole = train(given | {"checkpoint_every": None}, tmp_path / "whole")

    for _ in range(11):
        killed(given, tmp_path, at=2)
    again = train(given, tmp_path)

    assert numbers(again) == numbers(whole)
    assert again["resumed"] == [10 * batch for batch in range(1, 12)]


def test_writing_checkpoints_changes_no_number(payload: Make, tmp_path: Path) -> None:
    with_none, with_all = (train(payload(checkpoint_every=every), tmp_path / str(every)) for every in (None, 0.0))

    assert numbers(with_none) == numbers(with_all)
    assert (kept(tmp_path / "None"), kept(tmp_path / "0.0")) == ([], ["11", "12"])
    assert (with_all["resumed"], with_all["deviations"]) == ([], [])


def test_a_source_that_draws_when_it_is_asked_for_its_state_changes_no_number(
    toy: Any, payload: Make, killed: Any, tmp_path: Path
) -> None:
    class Drawing(Examples):
        def state_dict(self) -> dict[str, Any] | None:
            random.random(), np.random.random(), torch.rand(3)
            return super().state_dict()

    class Task(toy.Blobs):  # type: ignore[misc]
        def source(self, split: Any, seed: Any, recipe: Any) -> Source:
            x, y = self.data(split)
            return Drawing(x, y, [f"{split}-{row}" for row in range(len(y))], seed=seed, batch_size=recipe.batch_size)

    given = payload(task=Task)
    whole = train(given | {"checkpoint_every": None}, tmp_path / "whole")
    killed(given, tmp_path, 7)

    again = train(given, tmp_path)

    assert again["resumed"] == [60]
    assert numbers(again) == numbers(whole)


def test_each_prefix_and_every_buffer_and_a_draw_from_each_generator_comes_back(
    toy: Any, payload: Make, killed: Any, tmp_path: Path
) -> None:
    class Busy(toy.Linear):  # type: ignore[misc]
        """Draws from every generator, trains by two optimisers, and keeps a buffer that weights leave out."""

        def build(self, signature: Any, preparation: Any, seed: Any, start: Any) -> torch.nn.Module:
            net = torch.nn.Module()
            net.one, net.two, net.norm = torch.nn.Linear(4, 4), torch.nn.Linear(4, 2), torch.nn.BatchNorm1d(4)
            net.register_buffer("seen", torch.zeros(()), persistent=False)
            return net

        def losses(self, net: Any, batch: Batch) -> Iterator[novum.Loss]:
            noise = random.random() + np.random.random() + torch.rand(())
            net.seen += 1
            for prefix in ("one.", "two."):
                yield novum.Loss(self._loss, (batch.inputs + 0.01 * noise * net.seen, batch.targets), prefix, prefix)

        def _loss(self, net: Any, x: Any, y: Any) -> Any:
            return torch.nn.functional.cross_entropy(net.two(net.norm(net.one(x)).relu()), y)

        def act(self, net: Any, inputs: Any, explore: bool) -> Prediction:
            return Prediction(net.two(net.norm(net.one(inputs)).relu()).argmax(-1))

    given = payload(Busy, recipe={"optimizer": "adam", "learning_rate": 0.01})
    whole = train(given | {"checkpoint_every": None}, tmp_path / "whole")

    for at in (2, 9, 24):
        killed(given, tmp_path / str(at), at)  # two steps a batch: also in the middle of one
        assert numbers(train(given, tmp_path / str(at))) == numbers(whole)


def test_an_optimisers_state_of_another_type_than_its_parameters_comes_back_as_it_was(
    payload: Make, killed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Exact(torch.optim.Optimizer):
        """Keeps its momentum in double precision, which torch would cast to that of the parameters."""

        @torch.no_grad()
        def step(self, closure: Any = None) -> None:
            for param in self.param_groups[0]["params"]:
                state = self.state[param]
                if not state:
                    state.update(momentum=torch.zeros_like(param, dtype=torch.float64), last=(0, "start"))
                state["momentum"].mul_(0.9).add_(param.grad)
                state["last"] = (state["last"][0] + 1, "step")
                param -= (self.param_groups[0]["lr"] * state["momentum"]).to(param)

    made: list[Exact] = []

    def make(parts: Any, params: Any, net: Any) -> Exact:
        made.append(Exact(params, {"lr": 0.1}))
        return made[-1]

    monkeypatch.setattr("novum.runner.step.make_optimizer", make)
    given = payload()
    whole = train(given | {"checkpoint_every": None}, tmp_path / "whole")
    killed(given, tmp_path, 6)

    again = train(given, tmp_path)

    assert numbers(again) == numbers(whole)
    (state, _) = made[-1].state.values()
    assert (state["momentum"].dtype, state["last"]) == (torch.float64, (12, "step"))


DOCS: dict[str, Any] = {"data": "stdlib-docs", "classes": ["typing", "http", "xml"]}
SMALL = {"layers": 1, "width": 16, "heads": 2, "max_length": 16}
SHIPPED: list[tuple[str, dict[str, Any], str, dict[str, Any], dict[str, Any]]] = [
    ("text-classification", DOCS, "bag", {}, {"early_stop": 3, "optimizer": "adafactor"}),
    ("text-classification", DOCS, "transformer", SMALL, {}),
    ("masked-language-modelling", DOCS, "masked-transformer", SMALL, {}),
    ("image-classification", {"data": "digits"}, "timm", {"name": "test_resnet"}, {"optimizer": "muon"}),
    ("image-classification", {"data": "digits"}, "timm", {"name": "test_resnet"}, {"averaging": "swa"}),
    ("image-classification", {"data": "digits"}, "linear", {}, {"averaging": "ema"}),
    ("image-classification", {"data": "digits"}, "mlp", {"dropout": 0.3, "label_smoothing": 0.1}, {"early_stop": 3}),
]


@pytest.mark.parametrize(
    ("task", "options", "model", "sizes", "recipe"), SHIPPED, ids=lambda each: each if isinstance(each, str) else ""
)
def test_the_models_that_come_with_novum_resume_exactly(
    killed: Any,
    tmp_path: Path,
    task: str,
    options: dict[str, Any],
    model: str,
    sizes: dict[str, Any],
    recipe: dict[str, Any],
) -> None:
    short = {"budget": "96 samples", "batch_size": 16} | recipe
    arm = novum.arm(novum.task(task, **options), novum.model(model, **sizes), **short)
    given = job(arm, points=2)
    whole = train(given | {"checkpoint_every": None}, tmp_path / "whole")

    for at in (2, 4, 6):
        killed(given, tmp_path / str(at), at)
        again = train(given, tmp_path / str(at))

        assert numbers(again) == numbers(whole)
        assert again["resumed"] == [16 * (at - 1)]


def test_curve_points_of_before_the_kill_stand_in_the_trackers_file_once(
    payload: Make, killed: Any, tmp_path: Path
) -> None:
    given = payload()
    killed(given, tmp_path, 8)

    result = train(given, tmp_path)

    lines = (tmp_path / "runs" / f"{KEY}.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == result["curve"]
    assert [point["units"] for point in result["curve"]] == [30, 50, 80, 100, 120]


def test_the_seconds_of_training_go_on_and_never_fall(payload: Make, killed: Any, tmp_path: Path) -> None:
    given = payload()
    killed(given, tmp_path, 8)
    (last,) = json.loads((tmp_path / "checkpoints" / KEY / "7" / "state.json").read_text())["state"]["dict"][0][1:]
    before = dict(last["dict"])["seconds"]

    result = train(given, tmp_path)

    seconds = [point["seconds"] for point in result["curve"]]
    assert 0 < before < seconds[2] <= seconds[3] <= seconds[4] == result["seconds"]


def test_a_loss_that_is_no_number_after_a_resume_ends_training_where_it_would_have(
    toy: Any, payload: Make, killed: Any, tmp_path: Path
) -> None:
    class Late(toy.Linear):  # type: ignore[misc]
        def losses(self, net: Any, batch: Batch) -> Iterator[novum.Loss]:
            for loss in super().losses(net, batch):
                bad = "train-7" in batch.ids
                yield novum.Loss(
                    lambda *given, f=loss.function, b=bad: f(*given) * (torch.nan if b else 1), loss.arguments
                )

    given = payload(Late, recipe={"batch_size": 1, "budget": "2 epochs"}, seed={"root": 3, "block": "0", "index": 0})
    whole = train(given | {"checkpoint_every": None}, tmp_path / "whole")
    batches = whole["units"]
    killed(given, tmp_path, batches)

    again = train(given, tmp_path)

    assert batches > 1 and whole["diverged"] is not None
    assert numbers(again) == numbers(whole)
    assert again["resumed"] == [batches - 1]


# ------------------------------------------------------------------------------------------- what cannot be resumed


class Endless(Source):
    """The same examples for ever, by a source that promises no state."""

    def __init__(self, inner: Source) -> None:
        self.inner = inner

    @property
    def size(self) -> int | None:
        return self.inner.size

    def next(self, act: Any) -> Batch:
        return self.inner.next(act)

    def each(self, act: Any) -> Iterator[Batch]:
        return self.inner.each(act)


def test_a_source_without_a_state_writes_no_checkpoint_and_starts_from_its_beginning(
    toy: Any, payload: Make, killed: Any, tmp_path: Path
) -> None:
    class Wrapped(toy.Blobs):  # type: ignore[misc]
        def source(self, split: Any, seed: Any, recipe: Any) -> Source:
            return Endless(super().source(split, seed, recipe))

    given = payload(task=Wrapped)
    whole = train(given, tmp_path / "whole")
    killed(given, tmp_path, 9)
    left = kept(tmp_path)

    again = train(given, tmp_path)

    assert left == []
    assert numbers(again) == numbers(whole)
    assert (again["resumed"], again["deviations"]) == ([], [])


def test_environments_write_no_checkpoint_and_start_from_their_beginning(killed: Any, tmp_path: Path) -> None:
    task = novum.task("gym", env="CartPole-v1", envs=2, episodes=2, max_steps=30)
    arm = novum.arm(task, novum.model("ppo", hidden=[8], epochs=1, minibatch=32), budget="192 steps", batch_size=32)
    given = job(arm, points=2)
    whole = train(given, tmp_path / "whole")
    killed(given, tmp_path, 4)
    left = kept(tmp_path)

    again = train(given, tmp_path)

    assert left == []
    assert numbers(again) == numbers(whole)
    assert (again["resumed"], again["deviations"]) == ([], [])


def test_units_that_are_encoded_at_random_write_no_checkpoint(
    toy: Any, payload: Make, killed: Any, tmp_path: Path
) -> None:
    class Noisy(toy.Centre):  # type: ignore[misc]
        def encode(self, inputs: Any) -> Any:
            return [each + np.float32(random.random()) for each in super().encode(inputs)]

    class Encoding(toy.Linear):  # type: ignore[misc]
        preparation = Noisy

        def prepare(self, signature: Any, train: Any) -> Any:
            return Noisy(super().prepare(signature, train).mean)

    given = payload(Encoding)
    whole = train(given, tmp_path / "whole")
    killed(given, tmp_path, 9)
    left = kept(tmp_path)

    assert left == []
    assert numbers(train(given, tmp_path)) == numbers(whole)


@pytest.mark.parametrize(
    "changed", [{"points": 4}, {"micro": 2}, {"seed": {"root": 1, "block": "0", "index": 0}}, {"parent": "other"}]
)
def test_a_checkpoint_of_another_job_is_not_gone_on_from(
    payload: Make, killed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any]
) -> None:
    killed(payload(), tmp_path, 6)
    monkeypatch.setattr(jobs, "stored", lambda *given: None)  # a parent by name alone
    given = payload(**changed)
    whole = train(given | {"checkpoint_every": None}, tmp_path / "whole")

    again = train(given, tmp_path)

    assert again["resumed"] == []
    assert numbers(again) == numbers(whole)
    assert [each for each in again["deviations"] if "micro" not in each] == []
    assert kept(tmp_path) == ["16", "17"]  # and it makes room


def test_a_preparation_that_came_out_otherwise_is_told_and_the_trial_starts_anew(
    toy: Any, payload: Make, killed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = payload()
    killed(given, tmp_path, 6)
    monkeypatch.setattr(toy.Centre, "dump", lambda self: {"mean.bin": b"12345678"})

    again = train(given, tmp_path)

    assert again["resumed"] == []
    assert "the model's preparation came out differently this time" in again["deviations"][0]
    assert again["deviations"][-1] == "no checkpoint could be used: the trial started from its beginning"


@pytest.mark.parametrize("how", ["strange", "broken"])
def test_a_state_that_cannot_be_saved_is_told_and_training_goes_on(
    toy: Any, payload: Make, tmp_path: Path, how: str
) -> None:
    class Odd(Examples):
        def state_dict(self) -> dict[str, Any]:
            return {"made": [object()]} if how == "strange" else {"place": 1 // 0}

    class Task(toy.Blobs):  # type: ignore[misc]
        def source(self, split: Any, seed: Any, recipe: Any) -> Source:
            x, y = self.data(split)
            return Odd(x, y, [f"{split}-{row}" for row in range(len(y))], seed=seed, batch_size=recipe.batch_size)

    result = train(payload(task=Task), tmp_path)

    why = {
        "strange": "TypeError: state.state.source.made[0] is a object, which has no place in a checkpoint",
        "broken": "ZeroDivisionError: integer division or modulo by zero",
    }[how]
    assert result["deviations"] == [f"a checkpoint could not be written ({why}); training went on"]
    assert result["units"] == 120
    assert kept(tmp_path) == []


# --------------------------------------------------------------------------------------------------------- the shelf


def test_the_two_newest_are_kept_and_discarding_leaves_none(payload: Make, tmp_path: Path) -> None:
    train(payload(), tmp_path)
    before = kept(tmp_path)

    checkpoint.discard(tmp_path, KEY)
    checkpoint.discard(tmp_path, KEY)

    assert before == ["11", "12"]
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_a_checkpoint_is_three_plain_files(payload: Make, tmp_path: Path) -> None:
    train(payload(), tmp_path)

    newest = tmp_path / "checkpoints" / KEY / "12"
    assert sorted(path.name for path in newest.iterdir()) == ["manifest.json", "state.json", "state.safetensors"]
    assert set(json.loads((newest / "state.json").read_text())) == {"identity", "state"}
    assert len(json.loads((newest / "manifest.json").read_text())["sha256"]) == 2


@pytest.mark.parametrize("key", ["", "..", ".hidden", "a/b", "../up", "a b", "x" * 101])
def test_what_is_no_key_names_no_folder(tmp_path: Path, key: str) -> None:
    for use in (lambda: checkpoint.discard(tmp_path, key), lambda: Shelf(tmp_path, key, {})):
        with pytest.raises(StudyError, match="is no trial's key"):
            use()


def test_a_checkpoint_is_due_when_its_time_has_passed_and_later_where_writing_takes_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("novum.runner.checkpoint.time.monotonic", lambda: now)
    shelf = Shelf(tmp_path, KEY, {}, 60.0)

    def slow() -> dict[str, Any]:
        nonlocal now
        now += 20.0
        return {}

    asked = []
    for wait in (59.0, 1.0):
        now += wait
        asked.append(shelf.due())
    assert shelf.save(slow)
    for wait in (60.0, 119.0, 1.0):
        now += wait
        asked.append(shelf.due())

    assert asked == [False, True, False, False, True]


def test_never_is_never(tmp_path: Path) -> None:
    assert not Shelf(tmp_path, KEY, {}, None).due()
    assert Shelf(tmp_path, KEY, {}, 0.0).due()


def test_two_attempts_that_write_beside_each_other_overwrite_nothing(tmp_path: Path) -> None:
    one, two = (Shelf(tmp_path, KEY, {}, 0.0) for _ in range(2))

    saved = [shelf.save(lambda: {"a": torch.ones(3)}) for shelf in (one, two, one, two)]

    assert saved == [True] * 4
    assert kept(tmp_path) == ["3", "4"]
    assert (one.deviations, two.deviations) == ([], [])


# ----------------------------------------------------------------------------------------------------------- sources


def nobody(inputs: Any, ids: Any = (), explore: bool = False) -> Prediction:
    raise AssertionError("a data set never asks the model")


@given(st.integers(1, 20), st.integers(1, 25), st.integers(0, 12))
def test_examples_go_on_where_they_stood(size: int, batch_size: int, taken: int) -> None:
    def opened() -> Examples:
        return Examples(np.arange(size), None, [str(row) for row in range(size)], seed=Seed(1), batch_size=batch_size)

    one, two = opened(), opened()
    for _ in range(taken):
        one.next(nobody)
    state = one.state_dict()
    assert state is not None

    two.load_state_dict(json.loads(json.dumps(state)))

    for _ in range(5):
        assert one.next(nobody).ids == two.next(nobody).ids
    assert one.state_dict() == two.state_dict()


def test_examples_refuse_the_state_of_others_and_of_no_source() -> None:
    source = Examples(np.arange(4), None, ["a", "b", "c", "d"], seed=Seed(1), batch_size=3)

    for wrong in ({"size": 5}, {"left": 5}, {"left": -1}, {"passes": 0}):
        with pytest.raises(novum.DataError, match="is not that of a source of 4 examples"):
            source.load_state_dict({"size": 4, "passes": 1, "left": 1} | wrong)


def test_a_subclass_with_an_order_of_its_own_promises_nothing() -> None:
    class Own(Examples):
        def next(self, act: Any) -> Batch:
            return super().next(act)

    source = Own(np.arange(4), None, ["a", "b", "c", "d"], seed=Seed(1), batch_size=3)

    assert source.state_dict() is None
    with pytest.raises(NotImplementedError, match="Endless gives a state_dict but has no load_state_dict"):
        Endless(source).load_state_dict({})
