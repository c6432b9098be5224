"""The optimisers: what each step is, by formulas of our own, and what is told where one cannot be had."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import pytest
import torch
from novum import PluginError, plugins, readiness
from novum.runner.optimizers import elementwise
from novum.runner.resolve import resolve
from novum.runner.schedules import one_cycle
from torch import nn

RATE, DECAY = 0.1, 0.5


def matrices(count: int, *shape: int, seed: int = 0) -> list[torch.Tensor]:
    """Gradients, or a start (seed 1), of one parameter."""
    draw = torch.Generator().manual_seed(seed)
    return [torch.randn(*shape, generator=draw) for _ in range(count)]


def stepped(name: str, start: torch.Tensor, grads: list[torch.Tensor], net: Any = None, **recipe: Any) -> torch.Tensor:
    """Where a parameter stands after a step along each gradient."""
    param = nn.Parameter(start.clone()) if net is None else net.weight
    given = {"net": net} if net is not None else {}
    optimizer = plugins.load("optimizer", name)([param], RATE, DECAY, **recipe, **given)
    for grad in grads:
        param.grad = grad.clone()
        optimizer.step()
    return param.detach()


def test_sgd_is_nesterovs_with_l2_regularisation() -> None:
    (start,), grads = matrices(1, 2, 3, seed=1), matrices(3, 2, 3)
    where, speed = start, torch.zeros(2, 3)
    for grad in grads:
        slope = grad + DECAY * where
        speed = 0.9 * speed + slope
        where = where - RATE * (slope + 0.9 * speed)

    assert torch.allclose(stepped("sgd", start, grads, momentum=0.9), where, atol=1e-6)


def test_lion_steps_by_the_sign_of_its_momentum_and_decays_apart_from_it() -> None:
    (start,), grads = matrices(1, 3, 4, seed=1), matrices(5, 3, 4)
    where, memory = start, torch.zeros(3, 4)
    for grad in grads:
        where = (1 - RATE * DECAY) * where - RATE * torch.sign(0.9 * memory + 0.1 * grad)
        memory = 0.99 * memory + 0.01 * grad

    assert torch.allclose(stepped("lion", start, grads), where, atol=1e-6)


def test_adafactor_keeps_a_row_and_a_column_for_a_matrix_and_every_element_of_a_vector() -> None:
    shapes = {(6, 4): {"row_var": (6, 1), "col_var": (1, 4)}, (6,): {"variance": (6,)}}
    for shape, expected in shapes.items():
        param = nn.Parameter(matrices(1, *shape, seed=1)[0])
        optimizer = plugins.load("optimizer", "adafactor")([param], RATE, 0.0)
        param.grad = matrices(1, *shape)[0]

        optimizer.step()

        (state,) = optimizer.state.values()
        assert {name: tuple(state[name].shape) for name in state if name != "step"} == expected


# ------------------------------------------------------------------------------------------------------------- Muon


def orthogonal(matrix: torch.Tensor) -> torch.Tensor:
    """The nearest matrix whose singular values are 1: what Muon's iteration comes near to."""
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    return left @ right


def alike(one: torch.Tensor, two: torch.Tensor) -> float:
    return float(torch.nn.functional.cosine_similarity(one.flatten(), two.flatten(), dim=0))


def test_muon_turns_the_gradient_of_a_matrix_into_an_orthogonal_one_of_adamws_size() -> None:
    (start,), (grad,) = matrices(1, 24, 12, seed=1), matrices(1, 24, 12)

    moved = stepped("muon", start, [grad], momentum=0.9) - (1 - RATE * DECAY) * start

    assert alike(moved, -orthogonal(grad)) > 0.98
    size = torch.linalg.svdvals(moved) / (RATE * 0.2 * 24**0.5)  # the iteration ends with values from 0.7 to 1.2
    assert 0.6 < float(size.min()) <= float(size.max()) < 1.3


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_muon_takes_a_kernel_as_a_matrix_in_any_layout(layout: torch.memory_format) -> None:
    net = nn.Conv2d(4, 8, 3, bias=False).to(memory_format=layout)
    start = net.weight.detach().clone()
    (grad,) = matrices(1, 8, 4, 3, 3)

    moved = stepped("muon", start, [grad.to(memory_format=layout)], net, momentum=0.9) - (1 - RATE * DECAY) * start

    assert alike(moved.flatten(1), -orthogonal(grad.flatten(1))) > 0.98


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(7, 4)
        self.kernel = nn.Conv1d(4, 6, 3)
        self.depthwise = nn.Conv1d(6, 6, 3, groups=6)
        self.norm = nn.LayerNorm(6)
        self.place = nn.Parameter(torch.zeros(1, 5))
        self.head = nn.Linear(6, 3)


def test_muon_leaves_embeddings_biases_norms_and_single_rows_to_adamw() -> None:
    net = Net()
    optimizer = plugins.load("optimizer", "muon")(list(net.parameters()), RATE, DECAY, momentum=0.9, net=net)
    before = {name: param.detach().clone() for name, param in net.named_parameters()}
    for param in net.parameters():
        param.grad = torch.full_like(param, 0.01) * torch.arange(1, param.numel() + 1).view(param.shape)

    optimizer.step()

    # AdamW's first step is the rate in every element, against the sign of its gradient.
    moved = {name: param.detach() - (1 - RATE * DECAY) * before[name] for name, param in net.named_parameters()}
    by_adamw = {name for name, step in moved.items() if torch.allclose(step, torch.full_like(step, -RATE), atol=1e-4)}
    assert set(moved) - by_adamw == {"kernel.weight", "head.weight"}


def test_the_schedule_reaches_both_parts_of_muon_also_after_its_state_was_loaded() -> None:
    net = Net()
    optimizer = plugins.load("optimizer", "muon")(list(net.parameters()), RATE, 0.0, momentum=0.9, net=net)
    optimizer.load_state_dict(optimizer.state_dict())
    before = {name: param.detach().clone() for name, param in net.named_parameters()}
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    for param in net.parameters():
        param.grad = torch.ones_like(param)

    optimizer.step()

    assert all(torch.equal(before[name], param) for name, param in net.named_parameters())


# ---------------------------------------------------------------------------------------------- what can be stacked


@pytest.mark.parametrize("name", plugins.names("optimizer"))
def test_an_optimiser_is_called_elementwise_where_parameters_stacked_step_as_they_do_alone(name: str) -> None:
    starts, grads = matrices(2, 3, 5, seed=1), [matrices(2, 3, 5, seed=2), matrices(2, 3, 5, seed=3)]
    starts[1], grads[0][1] = 9 * starts[1], 9 * grads[0][1]
    extra = {"momentum": 0.9} if name in ("sgd", "rmsprop", "muon") else {}

    apart = torch.stack([stepped(name, starts[at], [each[at] for each in grads], **extra) for at in (0, 1)])
    together = stepped(name, torch.stack(starts), [torch.stack(each) for each in grads], **extra)

    assert torch.allclose(apart, together, atol=1e-6) == elementwise(name)


# --------------------------------------------------------------------------------------------------------- one cycle


def test_one_cycle_is_that_of_torch() -> None:
    steps = 20_000
    param = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([param], lr=1.0)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.0, total_steps=steps + 1, cycle_momentum=False)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()

    assert found == pytest.approx([one_cycle(step / steps) for step in range(steps)], abs=5e-4)
    assert one_cycle(1.0) == pytest.approx(4e-6)


# ------------------------------------------------------------------------------------------ what is not installed


def test_lion_without_timm_is_refused_at_registration_with_the_command_that_installs_it(
    arm: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "timm" else find(name, *rest))

    with pytest.raises(PluginError, match=r"'lion' needs timm, which is not installed: `pip install timm`, or choose"):
        resolve(arm(optimizer="lion").to_json())


def test_a_missing_library_is_told_before_any_worker_starts_and_one_that_is_there_is_loaded_once(
    arm: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = arm(optimizer="lion", start_from=arm(optimizer="sgd"))

    readiness.check_names([trained], "jsonl")
    loaded = readiness.preload([trained])

    assert "timm.optim" in loaded
    assert "timm.optim" not in readiness.preload([arm(optimizer="muon")])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None)
    with pytest.raises(PluginError, match="`pip install timm`"):
        readiness.check_names([arm(start_from=trained)], "jsonl")
