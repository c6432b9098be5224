"""What a step costs beside its arithmetic: nothing waits for the device, and a divergence is found all the same."""

from __future__ import annotations

import importlib.util
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import novum
import pytest
import torch
from novum import Batch, Loss
from novum.recipe import units
from novum.runner import tally
from novum.runner.clipping import clip
from novum.runner.parts import Parts
from novum.runner.tally import LOOK_EVERY, Tally
from novum.runner.train import Trainer
from novum.seeds import trial_seed
from torch.utils._python_dispatch import TorchDispatchMode

Make = Callable[..., Trainer]
BATCH = 10


@pytest.fixture
def trainer(toy: Any) -> Make:
    """Makes a trainer of the toy for so many steps."""

    def make(steps: int, model: Any = None, options: dict[str, Any] | None = None, **recipe: Any) -> Trainer:
        chosen = novum.model(model or toy.Linear, **(options or {}))
        arm = novum.arm(novum.task(toy.Blobs), chosen, budget=f"{steps * BATCH} samples", batch_size=BATCH, **recipe)
        parts = Parts.of(arm.to_json())
        budget = units(parts.recipe.budget, 40)
        return Trainer(parts, trial_seed(0, "0", 0), units=budget, device_kind="cpu", precision="fp32")

    return make


# ---------------------------------------------------------------------------------------------- waiting for the device

WAITS = ("_local_scalar_dense", "is_nonzero", "nonzero", "equal", "masked_select", "_unique2")
"""What needs a number or a size from the device before Python can go on; item(), bool() and float() are the first."""


class Waits(TorchDispatchMode):
    """Counts operations that would wait for a device, also those that torch's own code asks for."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.__name__.partition(".")[0]
        if name in WAITS:
            self.seen[name] += 1
        return func(*args, **(kwargs or {}))


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Callable[[Trainer], int]:
    """Counts how often training to the budget waits; what copies a tensor to Python is no operation of its own."""

    def count(made: Trainer) -> int:
        mode = Waits()
        with monkeypatch.context() as patch, mode:
            for name in ("tolist", "numpy", "cpu"):
                patch.setattr(torch.Tensor, name, counted(getattr(torch.Tensor, name), name, mode.seen))
            made.stretch(0, made.units)
        return mode.seen.total()

    monkeypatch.setattr(tally, "LOOK_SECONDS", float("inf"))
    return count


def counted(method: Any, name: str, seen: Counter[str]) -> Any:
    def wrapper(self: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        seen[name] += 1
        return method(self, *args, **kwargs)

    return wrapper


@pytest.mark.parametrize(
    "recipe",
    [
        {"optimizer": "adamw", "clip": 1.0, "schedule": "cosine", "warmup": 0.1, "weight_decay": 0.01},
        {"optimizer": "adam", "schedule": "linear"},
        {"optimizer": "sgd", "clip": 0.1, "momentum": 0.9},
    ],
)
def test_a_step_of_training_does_not_wait_for_the_device(
    trainer: Make, waits: Callable[[Trainer], int], recipe: dict[str, Any]
) -> None:
    few = waits(trainer(2 * LOOK_EVERY, **recipe))
    many = waits(trainer(8 * LOOK_EVERY, **recipe))

    assert many - few == 6  # one for each look, and none for a step


def test_a_model_that_asks_for_a_number_is_seen_to_wait(
    toy: Any, trainer: Make, waits: Callable[[Trainer], int]
) -> None:
    class Curious(toy.Linear):  # type: ignore[misc]
        def losses(self, net: Any, batch: Batch) -> Iterator[Loss]:
            assert batch.targets.float().mean().item() <= 1 and len(batch.targets.tolist()) == BATCH
            yield from super().losses(net, batch)

    few, many = (waits(trainer(steps, Curious)) for steps in (20, 40))

    assert many - few == 2 * 20


# ------------------------------------------------------------------------------------------------- the same as by hand


@pytest.fixture(scope="module")
def ways() -> Any:
    """The ways that the benchmark of steps compares, loaded by path as a person's script is."""
    path = Path(__file__).parents[2] / "experiments" / "benchmarks" / "step_ways.py"
    spec = importlib.util.spec_from_file_location("novum_tests_step_ways", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["novum", "loader"])
def test_a_training_ends_at_the_very_weights_of_a_bare_loop_with_the_same_recipe(ways: Any, name: str) -> None:
    job = ways.job(300)  # more than two passes over the data

    (*_, bare), (*_, net) = (ways.WAYS[each][1](job) for each in ("raw", name))

    assert all(torch.equal(own, other) for own, other in zip(net.parameters(), bare.parameters(), strict=True))
    assert not torch.equal(net[0].weight, job.weights["0.weight"])


# ----------------------------------------------------------------------------------------------------------- divergence


def test_what_a_diverged_training_records_does_not_depend_on_when_somebody_looked(
    trainer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = trainer(30, options={"mode": "nan"}).run()
    monkeypatch.setattr(tally, "LOOK_EVERY", 1)
    soon = trainer(30, options={"mode": "nan"}).run()

    assert (late.units, late.diverged) == (soon.units, soon.diverged)
    assert late.units == 3 * BATCH


@pytest.mark.parametrize(("name", "value", "batches"), [("LOOK_EVERY", 7, 7), ("LOOK_SECONDS", 0.0, 3)])
def test_a_divergence_ends_training_at_the_next_look_whether_steps_or_time_make_it_due(
    toy: Any, trainer: Make, monkeypatch: pytest.MonkeyPatch, name: str, value: float, batches: int
) -> None:
    monkeypatch.setattr(tally, "LOOK_SECONDS", float("inf"))
    monkeypatch.setattr(tally, name, value)
    toy.SEEN.clear()

    trained = trainer(100, options={"mode": "nan"}).run()

    assert (len(toy.SEEN), trained.units) == (batches, 3 * BATCH)


def breaking(toy: Any, batch: int) -> Any:
    """A model that raises at a batch; its third loss is no number, as a model breaks that samples from its weights."""

    class Breaking(toy.Linear):  # type: ignore[misc]
        def losses(self, net: Any, given: Batch) -> Iterator[Loss]:
            yield from super().losses(net, given)
            if self._batches == batch:
                raise ValueError("expected probabilities")

    return Breaking


def test_what_breaks_after_a_loss_that_is_no_number_is_a_divergence(toy: Any, trainer: Make) -> None:
    trained = trainer(30, breaking(toy, 5), {"mode": "nan"}).run()

    assert trained.diverged is not None
    assert trained.units == 3 * BATCH


def test_what_breaks_while_every_loss_was_finite_is_raised(toy: Any, trainer: Make) -> None:
    made = trainer(30, breaking(toy, 2), {"mode": "nan"})

    with pytest.raises(ValueError, match="expected probabilities"):
        made.run()


def test_no_checkpoint_is_written_once_a_loss_was_no_number(trainer: Make) -> None:
    class Shelf:
        """Always due."""

        def __init__(self) -> None:
            self.saved: list[int] = []

        def due(self) -> bool:
            return True

        def stop(self) -> None:
            raise AssertionError

        def save(self, state: Callable[[], dict[str, Any] | None]) -> None:
            given = state()
            assert given is not None
            self.saved.append(given["used"])

    made, shelf = trainer(30, options={"mode": "nan"}), Shelf()
    made.shelf = shelf  # type: ignore[assignment]

    trained = made.run()

    assert shelf.saved == [BATCH, 2 * BATCH]
    assert trained.units == 3 * BATCH


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_the_first_loss_that_is_not_finite_is_told_among_several_names(bad: float) -> None:
    losses = Tally()
    for at in range(10):
        losses.add("actor", torch.tensor(bad if at >= 6 else 1.0), units=at)
        losses.add("critic", torch.tensor(bad if at == 4 else 1.0), units=at)

    assert losses.look() == 4
    assert losses.look() == 4


def test_means_hold_the_losses_since_the_last_ones_in_full_precision() -> None:
    losses = Tally()
    for _ in range(1000):
        losses.add("half", torch.tensor(1.0, dtype=torch.bfloat16), units=1)
    losses.add("other", torch.tensor(3.0), units=1)

    assert losses.means() == {"half": 1.0, "other": 3.0}
    assert losses.means() == {}


# ------------------------------------------------------------------------------------------------------------- clipping


def parameters(seed: int, scale: float) -> list[torch.nn.Parameter]:
    draw = torch.Generator().manual_seed(seed)
    params = [torch.nn.Parameter(torch.zeros(shape)) for shape in ((64, 32), (64,), (2, 64), ())]
    for param in params:
        param.grad = scale * torch.randn(param.shape, generator=draw)
    return [*params, torch.nn.Parameter(torch.zeros(3))]  # the last one has no gradient


def mixed(seed: int, scale: float) -> list[torch.nn.Parameter]:
    extra = torch.nn.Parameter(torch.zeros(5, dtype=torch.float64))
    extra.grad = torch.full((5,), scale, dtype=torch.float64)
    return [*parameters(seed, scale), extra]


@pytest.mark.parametrize("make", [parameters, mixed])
@pytest.mark.parametrize("scale", [1e-6, 0.01, 1.0, 1e4, float("nan"), float("inf")])
@pytest.mark.parametrize("bound", [0.1, 1.0, 30.0])
def test_clipping_gives_the_bits_of_torchs_own(make: Any, scale: float, bound: float) -> None:
    ours, theirs = make(7, scale), make(7, scale)

    clip(ours, bound)
    torch.nn.utils.clip_grad_norm_(theirs, bound)

    for mine, other in zip(ours, theirs, strict=True):
        assert (mine.grad is None) == (other.grad is None)
        if mine.grad is not None and other.grad is not None:
            assert mine.grad.numpy().tobytes() == other.grad.numpy().tobytes()


def test_clipping_without_any_gradient_does_nothing() -> None:
    param = torch.nn.Parameter(torch.ones(3))

    clip([param], 1.0)

    assert param.grad is None
