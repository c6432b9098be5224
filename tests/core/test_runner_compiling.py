"""Compiled losses: chosen where they repay themselves, and the same training up to rounding."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import novum
import pytest
import torch
from novum import Batch, ConfigError, Loss, StudyError
from novum.runner import choose, compiling, jobs
from novum.runner.choose import Timing, repaid
from novum.runner.compiling import Compiler
from novum.runner.resolve import resolve

compiler = pytest.mark.skipif(
    not any(shutil.which(name) for name in ("g++", "clang++", "c++")), reason="no C++ compiler is installed"
)


@pytest.fixture
def steady(toy: Any) -> type[Any]:
    """The toy with one function for all its losses, as a model should have it; it drops inputs, so that it draws."""

    class Steady(toy.Linear):  # type: ignore[misc]
        def losses(self, net: Any, batch: Batch) -> Iterator[Loss]:
            yield Loss(self.compute, (batch.inputs, batch.targets))

        def compute(self, net: Any, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            from torch.nn.functional import cross_entropy

            return cross_entropy(net(x), y)

    return Steady


@pytest.fixture
def train(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Trains an arm as a worker does."""

    def run(arm: novum.Arm, folder: str = "a", **more: Any) -> dict[str, Any]:
        payload = {"key": "trial", "plan": resolve(arm.to_json()), "points": 1, "parent": None, "tracker": "jsonl"}
        seed = {"root": 0, "block": "0", "index": 0}
        return jobs.perform("train", payload | {"seed": seed} | more, tmp_path / folder)

    return run


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Any]]:
    """Replaces torch.compile by what this makes of a function; returns the functions that were compiled."""

    def replace(make: Callable[[Any], Any] = lambda function: function) -> list[Any]:
        asked: list[Any] = []

        def fake(function: Any, **options: Any) -> Any:
            asked.append((function, options))
            return make(function)

        monkeypatch.setattr(torch, "compile", fake)
        return asked

    return replace


# ------------------------------------------------------------------------------------------------- the same training


@compiler
def test_compiled_losses_train_what_eager_ones_train_and_draw_the_same_dropout(
    toy: Any, steady: Any, train: Any, tmp_path: Path
) -> None:
    base = novum.arm(novum.task(toy.Blobs), novum.model(steady), budget="120 samples", batch_size=10)

    eager, compiled = train(base, "eager"), train(base.but(compile="on"), "compiled")

    from novum.runner import artifacts

    assert eager["deviations"] == compiled["deviations"] == []
    tensors = [
        artifacts.load(tmp_path / name, told["weights"]).tensors
        for name, told in (("eager", eager), ("compiled", compiled))
    ]
    for name, tensor in tensors[0].items():
        torch.testing.assert_close(tensors[1][name], tensor, rtol=1e-5, atol=1e-6)


@compiler
def test_a_compiled_trial_that_was_killed_goes_on_to_the_very_numbers_of_one_that_was_not(
    toy: Any, steady: Any, train: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from novum.runner.step import Steps

    class Killed(BaseException):
        pass

    base = novum.arm(novum.task(toy.Blobs), novum.model(steady), budget="100 samples", batch_size=10, compile="on")
    whole = train(base, "whole")
    take, count = Steps.take, 0

    def dying(self: Steps, *arguments: Any) -> Any:
        nonlocal count
        count += 1
        if count == 6:
            raise Killed
        return take(self, *arguments)

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(Steps, "take", dying)
        train(base, "killed", checkpoint_every=0.0)

    resumed = train(base, "killed", checkpoint_every=0.0)

    assert resumed["resumed"] == [50]
    assert resumed["deviations"] == []
    assert (resumed["weights"], resumed["scores"]) == (whole["weights"], whole["scores"])


def test_a_plan_says_that_losses_are_compiled(arm: Any) -> None:
    plans = {asked: resolve(arm(compile=asked).to_json()) for asked in ("auto", "off", "on")}

    assert {asked: plan["how"]["compile"] for asked, plan in plans.items()} == {
        "auto": "none",
        "off": "none",
        "on": "default",
    }


def test_a_function_is_compiled_once_and_whole_and_for_the_shapes_that_it_gets(
    toy: Any, steady: Any, train: Any, pretend: Any
) -> None:
    asked = pretend()

    told = train(novum.arm(novum.task(toy.Blobs), novum.model(steady), budget="120 samples", compile="on"))

    assert told["deviations"] == []
    ((_, options),) = asked
    assert options["fullgraph"] is True
    assert options["dynamic"] is False


# --------------------------------------------------------------------------------------------------- where it fails


def failing(function: Any) -> Any:
    def compiled(*arguments: Any) -> Any:
        from torch._dynamo.exc import Unsupported

        raise Unsupported("a graph break", case_name="test")

    return compiled


def test_losses_that_do_not_compile_are_computed_eagerly_which_is_a_deviation(
    toy: Any, steady: Any, train: Any, pretend: Any
) -> None:
    base = novum.arm(novum.task(toy.Blobs), novum.model(steady), budget="120 samples", batch_size=10)
    eager = train(base, "eager")
    asked = pretend(failing)

    told = train(base.but(compile="on"), "failed", checkpoint_every=0.0)

    assert len(asked) == 1
    assert told["weights"] == eager["weights"]
    (sentence,) = told["deviations"]
    assert sentence.startswith("its losses could not be compiled (Unsupported: a graph break")


def test_after_it_failed_no_checkpoint_is_taken_that_could_not_be_continued(
    toy: Any, steady: Any, train: Any, pretend: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from novum.runner.checkpoint import Shelf

    saved = []
    monkeypatch.setattr(Shelf, "save", lambda self, collect: saved.append(1) or True)
    base = novum.arm(novum.task(toy.Blobs), novum.model(steady), budget="120 samples", batch_size=10)
    train(base, "eager", checkpoint_every=0.0)
    eager = len(saved)
    pretend(failing)

    train(base.but(compile="on"), "failed", checkpoint_every=0.0)

    assert eager > 0
    assert len(saved) == eager


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("no memory"), ValueError("the loss's own")])
def test_an_error_that_is_not_of_compiling_is_raised_as_it_is(
    toy: Any, steady: Any, train: Any, pretend: Any, error: Exception
) -> None:
    def broken(function: Any) -> Any:
        def compiled(*arguments: Any) -> Any:
            raise error

        return compiled

    pretend(broken)

    with pytest.raises(type(error), match=str(error)):
        train(novum.arm(novum.task(toy.Blobs), novum.model(steady), budget="20 samples", compile="on"))


def test_a_rehearsal_refuses_losses_that_shall_be_compiled_and_cannot_be(
    toy: Any, steady: Any, pretend: Any, study: Any
) -> None:
    pretend(failing)
    base = novum.arm(novum.task(toy.Blobs), novum.model(steady), budget="20 samples", compile="on")
    claimed = novum.Hypothesis(
        "faster is better", control=base, treatment=base.but(learning_rate=0.5), minimum_effect=0.1, max_seeds=3
    )

    with pytest.raises(StudyError, match=r"with recipe\.compile = 'on': its losses could not be compiled .*say 'auto'"):
        study.run(claimed)

    assert len(study.trials()) == 0


def test_without_a_compiler_compiling_is_refused_with_what_to_do(arm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")

    with pytest.raises(ConfigError, match=r"'on' is not possible here: CXX names 'no-such-compiler'.*install one"):
        resolve(arm(compile="on").to_json())


def test_a_model_that_makes_a_function_for_every_batch_is_not_compiled_without_end(pretend: Any) -> None:
    asked, said = pretend(), []
    made = Compiler("default", said.append)

    functions: list[Any] = [lambda net, at=at: net * at for at in range(20)]
    used = [made.of(function, ()) for function in functions]

    assert len(asked) == compiling.FUNCTIONS
    assert used == functions  # compiled or not, they are called in their own place
    assert len(said) == 1
    assert "new functions" in said[0]


def test_batches_of_many_shapes_are_not_compiled_without_end(pretend: Any) -> None:
    pretend(lambda function: "compiled")
    said: list[str] = []
    made = Compiler("default", said.append)

    def function(net: Any, x: Any) -> Any:
        return x

    used = [made.of(function, ([torch.zeros(2, length)],)) for length in range(1, 8)]

    assert used == ["compiled"] * compiling.SHAPES + [function] * (7 - compiling.SHAPES)
    assert "more than 4 shapes" in said[0]


# ---------------------------------------------------------------------------------------------------- what is chosen


@pytest.mark.parametrize(
    ("eager", "timings", "chosen"),
    [
        (0.010, [Timing("default", 0.005, 20.0)], "default"),  # saves 50 s of 10,000 steps, twice 20 s and more
        (0.010, [Timing("default", 0.005, 25.0)], None),  # saves 50 s, which is not more than twice 25 s
        (0.010, [Timing("default", 0.011, 0.1)], None),
        (0.010, [Timing("default", 0.0096, 1.0)], None),  # would repay itself, were 4 % no noise
        (0.010, [Timing("default", 0.006, 5.0), Timing("reduce-overhead", 0.004, 8.0)], "reduce-overhead"),
        (0.010, [Timing("default", 0.005, 5.0), Timing("reduce-overhead", 0.004, 29.0)], "default"),
        (0.010, [], None),
    ],
)
def test_compiling_is_chosen_where_it_saves_more_than_twice_what_it_takes(
    eager: float, timings: list[Timing], chosen: str | None
) -> None:
    assert repaid(eager, timings, 10_000).get("compile") == chosen


def test_a_short_trial_is_not_compiled_to_find_out(arm: Any, pretend: Any) -> None:
    asked = pretend()
    plan = resolve(arm(budget="1_000 samples").to_json())

    found = choose.choose(plan, {"seconds_per_unit": 0.5, "convolves": False})

    assert asked == []
    assert found.answers == {}
    assert found.measured["compile"] == {"because": "a trial is too short to repay it"}


def test_a_long_trial_is_probed_and_the_answer_told_with_what_it_rests_on(
    arm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = resolve(arm(budget="1_000 samples").to_json())
    monkeypatch.setattr(choose, "_timed", lambda plan, ways: (0.9, [Timing(way, 0.1, 2.0) for way in ways], 1000))

    found = choose.choose(plan, {"seconds_per_unit": 0.9, "convolves": False})

    assert found.answers == {"compile": "default"}
    assert found.measured["compile"] == {"eager": 0.9, "steps": 1000, "default": [0.1, 2.0]}


def test_compiling_that_is_off_is_not_probed_however_long_a_trial_is(arm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = resolve(arm(budget="1_000 samples", compile="off").to_json())
    monkeypatch.setattr(choose, "_timed", lambda plan, ways: pytest.fail("it was probed"))

    found = choose.choose(plan, {"seconds_per_unit": 1e6, "convolves": False})

    assert found.answers == {}


def test_losses_that_do_not_compile_are_left_alone_by_the_probe(toy: Any, steady: Any, pretend: Any) -> None:
    pretend(failing)
    plan = resolve(
        novum.arm(novum.task(toy.Blobs), novum.model(steady), budget="10_000 samples", replicates="separate").to_json()
    )

    found = choose.choose(plan, {"seconds_per_unit": 1.0, "convolves": False})

    assert found.answers == {}
    assert "a graph break" in found.measured["compile"]["because"]


def test_the_probe_takes_real_steps_of_both_ways(toy: Any, steady: Any, pretend: Any) -> None:
    calls = []

    def counted(function: Any) -> Any:
        def compiled(*arguments: Any) -> Any:
            calls.append(1)
            return function(*arguments)

        return compiled

    pretend(counted)
    plan = resolve(
        novum.arm(novum.task(toy.Blobs), novum.model(steady), budget="10_000 samples", replicates="separate").to_json()
    )

    eager, timings, steps = choose._timed(plan, ("default",))

    assert len(calls) > 3
    assert eager > 0
    assert [each.way for each in timings] == ["default"]
    assert timings[0].step > 0
    assert steps == 1000  # batches of 10
