"""What the smaller kinds promise: schedules, optimisers and techniques."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from novum.testing.laws import expect, law

if TYPE_CHECKING:
    from torch import nn

    from novum.testing.subject import Subject

SHARES = tuple(at / 64 for at in range(65))


@law("a schedule is a finite factor, at least 0 and somewhere above, of the share of the budget alone", "schedule")
def a_schedule_is_a_factor(subject: Subject) -> None:
    values = [subject.cls(share) for share in SHARES]
    bad = [(share, each) for share, each in zip(SHARES, values, strict=True) if not _factor(each)]
    expect(
        not bad, f"at the share {bad[0][0] if bad else 0} the factor is {bad[0][1] if bad else 0!r}; it is at least 0"
    )
    expect(max(values) > 0, "the factor is 0 over the whole budget; nothing would be learned")
    again = [subject.cls(share) for share in reversed(SHARES)]
    expect(again[::-1] == values, "the factor of a share depends on what was asked before; keep nothing")


def _factor(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value) and value >= 0


def _small() -> nn.Module:
    import torch
    from torch import nn

    net = nn.Linear(3, 2)
    with torch.no_grad():
        for at, param in enumerate(net.parameters()):
            param.copy_(torch.linspace(-1, 1, param.numel()).view_as(param) + at)
    return net


def _loss(net: nn.Module) -> Any:
    import torch

    inputs = torch.linspace(-1, 1, 12).view(4, 3)
    return (net(inputs) - 0.5).square().mean()


def _optimizer(subject: Subject, net: nn.Module, rate: float) -> Any:
    import inspect

    from novum.recipe import Recipe

    named = set(inspect.signature(subject.cls).parameters) - {"learning_rate", "weight_decay"}
    extra: dict[str, Any] = {name: value for name, value in Recipe().model_dump().items() if name in named}
    if "net" in named:
        extra["net"] = net
    return subject.cls(list(net.parameters()), rate, 0.0, **extra)


def _descend(subject: Subject, steps: int, rate: float = 1e-2) -> tuple[nn.Module, Any]:
    net = _small()
    optimizer = _optimizer(subject, net, rate)
    for _ in range(steps):
        _loss(net).backward()
        optimizer.step()
        optimizer.zero_grad()
    return net, optimizer


@law("an optimiser is one of torch's kind, goes down a bowl, and stands still at the rate 0", "optimizer")
def an_optimizer_descends(subject: Subject) -> None:
    import torch

    net, optimizer = _descend(subject, 200)
    expect(isinstance(optimizer, torch.optim.Optimizer), f"it gives {type(optimizer).__name__}; give a torch optimiser")
    before, after = float(_loss(_small()).detach()), float(_loss(net).detach())
    expect(after < before, f"after 200 steps down a bowl the loss is {after:.4g}, and was {before:.4g}")
    resting = _small()
    idle = _optimizer(subject, resting, 1e-2)
    for group in idle.param_groups:
        group["lr"] = 0.0
    _loss(resting).backward()
    idle.step()
    moved = [
        name
        for (name, one), other in zip(resting.named_parameters(), _small().parameters(), strict=True)
        if not torch.equal(one, other)
    ]
    expect(not moved, f"with a rate of 0 in its groups it moves {', '.join(moved)}; schedules set group['lr']")


@law("an optimiser goes on from its state as if it had never stopped", "optimizer")
def an_optimizer_resumes_exactly(subject: Subject) -> None:
    import torch

    straight, _ = _descend(subject, 6)
    stopped, optimizer = _descend(subject, 3)
    fresh = _optimizer(subject, stopped, 1e-2)
    fresh.load_state_dict(optimizer.state_dict())
    for _ in range(3):
        _loss(stopped).backward()
        fresh.step()
        fresh.zero_grad()
    same = all(torch.equal(one, other) for one, other in zip(straight.parameters(), stopped.parameters(), strict=True))
    expect(same, "the parameters after resuming are others; keep in the state all that the next step depends on")


@law("a technique keeps losses scalar and finite, and tensors of the same names and shapes", "technique")
def a_technique_keeps_shapes(subject: Subject) -> None:
    import torch

    from novum.data import Batch

    net, technique = _small(), subject.make()
    shapes = {name: each.shape for name, each in net.state_dict().items()}
    technique.on_build(net)
    again = _small()
    subject.make().on_build(again)
    built = {name: each.shape for name, each in net.state_dict().items()}
    expect(
        built == {name: each.shape for name, each in again.state_dict().items()},
        "two networks of one technique have other tensors; names and shapes must follow from the options alone",
    )
    del shapes
    batch = Batch(torch.zeros(4, 3), None, 4)
    value = technique.on_loss(_loss(net), net, batch)
    right = isinstance(value, torch.Tensor) and value.ndim == 0 and bool(value.isfinite())
    expect(right, f"`on_loss` gives {value!r}; give the loss: a finite tensor without dimensions")
    value.backward()
    with torch.no_grad():
        technique.before_step(list(net.parameters()))
    bad = [
        name for name, each in net.named_parameters() if each.grad is not None and not bool(each.grad.isfinite().all())
    ]
    expect(not bad, f"after `before_step` the gradient of {', '.join(bad[:2])} is not finite")


@law("a technique's state can be kept, and comes back", "technique")
def a_technique_keeps_its_state(subject: Subject) -> None:
    from novum.testing.tasks import stored

    technique, net = subject.make(), _small()
    technique.on_build(net)
    state = stored(technique.state_dict())
    fresh = subject.make()
    fresh.load_state_dict(state)
    expect(set(fresh.state_dict()) == set(state), "a technique that was read back has another state")
