"""Techniques: hooks into the one training loop, which serve every domain and disturb nothing else."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import novum
import pytest
import torch
from novum import ConfigError, PluginError
from novum.data import Batch, Loss
from novum.runner import jobs
from novum.runner.hooks import Hooks
from novum.runner.parts import Parts
from novum.runner.resolve import changed, resolve
from novum.runner.step import Steps
from novum.runner.techniques import Flooding, GradientCentralization
from novum.runner.train import Trainer
from novum.seeds import Seed, trial_seed
from torch import nn

CPU = torch.device("cpu")
called: list[str] = []


class Noise(novum.Technique):
    """Draws for every parameter at every step; the scale decides what of it arrives."""

    class Config(novum.Config):
        scale: float = 0.0
        """Deviation of the noise on the gradients."""

    def before_step(self, params: list[nn.Parameter]) -> None:
        for param in params:
            assert param.grad is not None
            param.grad.add_(torch.randn_like(param.grad), alpha=self.config.scale)


class Counting(novum.Technique):
    """Shrinks gradients more and more, by the number of steps and a running mean that it keeps."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.steps = 0
        self.mean = torch.zeros(())

    def before_step(self, params: list[nn.Parameter]) -> None:
        self.steps += 1
        for param in params:
            assert param.grad is not None
            self.mean = 0.9 * self.mean + 0.1 * param.grad.abs().mean()
            param.grad.div_(1 + self.steps * self.mean).add_(0.01 * torch.randn_like(param.grad))


class Heavy(novum.Technique):
    """Makes gradients a thousand times as large."""

    def before_step(self, params: list[nn.Parameter]) -> None:
        for param in params:
            assert param.grad is not None
            param.grad.mul_(1000.0)


class Decay(novum.Technique):
    """Adds a fixed slope on every parameter to the loss."""

    def on_loss(self, loss: torch.Tensor, net: nn.Module, batch: Batch) -> torch.Tensor:
        called.append(f"{len(batch.inputs)} of {batch.units}")
        return loss + 3.0 * torch.stack([param.sum() for param in net.parameters()]).sum()


class Silent(novum.Technique):
    """Forgets to return the loss."""

    def on_loss(self, loss: torch.Tensor, net: nn.Module, batch: Batch) -> torch.Tensor:
        return None  # type: ignore[return-value]


class Doubled(novum.Technique):
    """Gives the network a parametrisation that doubles its weights: its tensors have other names."""

    def on_build(self, net: nn.Module) -> None:
        class Twice(nn.Module):
            def forward(self, weight: torch.Tensor) -> torch.Tensor:
                return 2 * weight

        for part in net.modules():
            if isinstance(part, nn.Linear):
                nn.utils.parametrize.register_parametrization(part, "weight", Twice())


@pytest.fixture(autouse=True)
def _offered() -> None:
    for cls in (Noise, Counting, Heavy, Decay, Silent, Doubled):
        novum.technique(cls)
    called.clear()


@pytest.fixture
def trainer(toy: Any) -> Callable[..., Trainer]:
    """Makes a trainer of one of the toy's models with techniques, by name with their options."""

    def make(techniques: dict[str, Any], model: str = "Linear", micro: int = 1, **recipe: Any) -> Trainer:
        arm = novum.arm(
            novum.task(toy.Blobs, size=40), novum.model(getattr(toy, model)), techniques=techniques, **recipe
        )
        parts = Parts.of(arm.to_json())
        how: dict[str, Any] = {"units": 80, "device_kind": "cpu", "precision": "fp32", "micro": micro}
        return Trainer(parts, trial_seed(0, "0", 0), **how)

    return make


def weights(trainer: Trainer) -> list[torch.Tensor]:
    return [param.detach().clone() for param in trainer.run().net.parameters()]


def equal(one: list[torch.Tensor], two: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


# ---------------------------------------------------------------------------------------------------- those in the tree


def test_centralised_gradients_of_weights_have_mean_zero_per_output_and_others_stay() -> None:
    weight, kernel, bias = (nn.Parameter(torch.zeros(shape)) for shape in ((3, 5), (2, 3, 4, 4), (6,)))
    drawn = [
        torch.randn(each.shape, generator=torch.Generator().manual_seed(at))
        for at, each in enumerate([weight, kernel, bias])
    ]
    for param, gradient in zip((weight, kernel, bias), drawn, strict=True):
        param.grad = gradient.clone()

    GradientCentralization(GradientCentralization.Config()).before_step(
        [weight, kernel, bias, nn.Parameter(torch.zeros(2))]
    )

    assert weight.grad is not None and kernel.grad is not None and bias.grad is not None
    assert torch.allclose(weight.grad, drawn[0] - drawn[0].mean(1, keepdim=True))
    assert torch.allclose(kernel.grad.mean((1, 2, 3)), torch.zeros(2), atol=1e-6)
    assert torch.equal(bias.grad, drawn[2])


@pytest.mark.parametrize(
    ("loss", "level", "value", "slope"), [(0.5, 0.2, 0.5, 1.0), (0.1, 0.2, 0.3, -1.0), (0.1, 0.0, 0.1, 1.0)]
)
def test_below_its_level_flooding_turns_the_gradient_round(
    loss: float, level: float, value: float, slope: float
) -> None:
    given = torch.tensor(loss, requires_grad=True)

    flooded = Flooding(Flooding.Config(level=level)).on_loss(given, nn.Module(), Batch(None, None, 1))
    flooded.backward()

    assert float(flooded.detach()) == pytest.approx(value)
    assert given.grad is not None and float(given.grad) == slope


# ------------------------------------------------------------------------------------------------ what hooks may do


def test_a_technique_that_draws_and_changes_nothing_leaves_every_number_as_it_was(trainer: Any) -> None:
    plain, drawing = weights(trainer({})), weights(trainer({"noise": {"scale": 0.0}}))

    assert equal(plain, drawing)  # dropout drew as without it


def test_the_same_seed_draws_the_same_noise_and_each_technique_another(trainer: Any) -> None:
    novum.technique("other-noise")(Noise)

    one, again, other = (weights(trainer({name: {"scale": 0.1}})) for name in ("noise", "noise", "other-noise"))

    assert equal(one, again)
    assert not equal(one, other)
    assert not equal(one, weights(trainer({})))


def test_clipping_bounds_what_a_technique_made_of_the_gradients(trainer: Any) -> None:
    slow: dict[str, Any] = {"optimizer": "sgd", "momentum": 0.0, "learning_rate": 1.0, "clip": 0.5, "model": "Slope"}

    moved = weights(trainer({"heavy": {}}, **slow, batch_size=40))

    steps = 80 / 40
    assert float(torch.stack(moved).norm()) == pytest.approx(0.5 * steps)


@pytest.mark.parametrize("micro", [1, 2, 4])
def test_a_term_added_to_the_loss_counts_once_however_the_batch_is_cut(trainer: Any, micro: int) -> None:
    plain: dict[str, Any] = {
        "optimizer": "sgd",
        "momentum": 0.0,
        "learning_rate": 1.0,
        "model": "Slope",
        "batch_size": 40,
    }

    moved = weights(trainer({"decay": True}, micro=micro, **plain))

    assert [float(each) for each in moved] == pytest.approx([-2 * 4.0] * 2)  # two steps; the loss's slope is 1
    assert called == ["40 of 40"] * 2 * micro


def test_techniques_apply_in_the_alphabetical_order_of_their_names() -> None:
    class Appending(novum.Technique):
        class Config(novum.Config):
            word: str

        def on_loss(self, loss: torch.Tensor, net: nn.Module, batch: Batch) -> torch.Tensor:
            called.append(self.config.word)
            return loss

    for name in ("zebra", "ant", "mole"):
        novum.technique(name)(Appending)
    hooks = Hooks({name: {"word": name} for name in ("zebra", "ant", "mole")}, Seed(0), CPU)

    loss = hooks.on_loss(Loss(lambda net: torch.tensor(1.0), ()), Batch(None, None, 1))
    loss.function(nn.Module())

    assert called == ["ant", "mole", "zebra"]


def test_a_hook_that_returns_no_loss_is_named(trainer: Any) -> None:
    with pytest.raises(TypeError, match="on_loss of the technique 'silent' returned NoneType; return the loss"):
        trainer({"silent": {}}).run()


class Killed(BaseException):
    """What a kill looks like from within."""


@pytest.mark.parametrize("at", [2, 5, 8])
def test_a_trial_killed_with_a_technique_that_counts_and_draws_goes_on_to_the_very_numbers(
    toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    arm = novum.arm(novum.task(toy.Blobs), novum.model(toy.Linear), techniques={"counting": {}, "noise": {"scale": 1}})
    given = {"key": "t", "plan": resolve(arm.to_json()), "seed": {"root": 0, "block": "0", "index": 0}, "points": 1}
    given |= {"parent": None, "tracker": "jsonl", "checkpoint_every": None}
    whole, steps, take = jobs.perform("train", given, tmp_path / "whole"), iter(range(1, at)), Steps.take

    def stepping(self: Steps, *arguments: Any) -> Any:
        if next(steps, None) is None:
            raise Killed
        return take(self, *arguments)

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(Steps, "take", stepping)
        jobs.perform("train", given | {"checkpoint_every": 0.0}, tmp_path / "killed")
    again = jobs.perform("train", given | {"checkpoint_every": 0.0}, tmp_path / "killed")

    assert (again["resumed"], again["deviations"]) == ([10 * (at - 1)], [])
    assert again["weights"] == whole["weights"]


def test_a_changed_network_is_trained_scored_and_read_back_as_such(toy: Any, tmp_path: Path) -> None:
    arm = novum.arm(novum.task(toy.Blobs), novum.model(toy.Linear), techniques={"doubled": {}}, averaging="ema")
    plan, seed = resolve(arm.to_json()), {"root": 0, "block": "0", "index": 0}

    trained = jobs.perform(
        "train", {"key": "t", "plan": plan, "seed": seed, "points": 1, "parent": None, "tracker": "jsonl"}, tmp_path
    )
    scored = jobs.perform(
        "score", {"plan": plan, "seed": seed, "weights": trained["weights"], "split": "dev"}, tmp_path
    )

    kept = jobs.stored(Parts.of(plan["arm"]), tmp_path, trained["weights"])[0].tensors
    assert "1.parametrizations.weight.original" in kept
    assert scored["scores"]["dev"]["metrics"] == trained["scores"]["dev"]["metrics"]


# -------------------------------------------------------------------------------------------------------- the plan


def test_a_plan_holds_every_option_and_the_code_of_a_technique(arm: Any) -> None:
    plan = resolve(arm(techniques={"flooding": True, "noise": {"scale": 1}, "heavy": False}).to_json())

    assert plan["arm"]["recipe"]["techniques"] == {"flooding": {"level": 0.02}, "noise": {"scale": 1.0}}
    assert set(plan["code"]["techniques"]) == {"flooding", "noise"}
    assert plan["code"]["techniques"]["flooding"]["distribution"] == "novum"
    own = plan["code"]["techniques"]["noise"]
    assert (own["distribution"], own["version"]) == (Path(__file__).name, "not installed")
    assert resolve(plan["arm"])["arm"] == plan["arm"]


def test_a_changed_technique_is_named_with_its_file(arm: Any) -> None:
    plan = resolve(arm(techniques={"noise": {}}).to_json())
    assert changed(plan) == []

    plan["code"]["techniques"]["noise"]["sources"] = "0" * 64

    (told,) = changed(plan)
    assert told.startswith(f"the technique noise's sources ({Path(__file__).name} not installed 00000000 → ")


@pytest.mark.parametrize(
    ("techniques", "kind", "told"),
    [
        ("./x.py", ConfigError, r"received './x.py': .* a file names no code: a person loads it, novum --load FILE"),
        ({"noise": 3}, ConfigError, "'noise' received 3; give a table of its options, true for its defaults, or false"),
        ({"noise": {"scael": 1}}, ConfigError, "technique 'noise': unknown option 'scael' .*did you mean 'scale'"),
        ({"./x.py": {}}, PluginError, "no technique is called './x.py'; .*novum --load FILE"),
        ({"gradient-centralisation": {}}, PluginError, "did you mean 'gradient-centralization'"),
    ],
)
def test_a_technique_that_cannot_be_used_is_refused_before_any_worker_starts(
    arm: Any, study: Any, techniques: Any, kind: type[Exception], told: str
) -> None:
    with pytest.raises(kind, match=told):
        study.train(arm(techniques=techniques))

    assert not study.folder.exists()


def test_importing_the_contract_imports_no_torch() -> None:
    import subprocess

    code = "import novum, sys; novum.Technique; novum.technique; print('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
