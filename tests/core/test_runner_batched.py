"""The loss of many seeds as one computation: how its arguments are stacked, what it leaves alone, what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from novum.runner import batched
from novum.runner.batched import Batched, UnsuitedError, rebuilt, stacked
from torch import nn


def computation(net: nn.Module, replicates: int = 3) -> tuple[Batched, dict[str, torch.Tensor]]:
    stack = {name: torch.stack([own.detach()] * replicates) for name, own in net.named_parameters()}
    return Batched(net, stack, {}, device_kind="cpu", precision="fp32"), stack


def test_arguments_are_stacked_and_put_together_again() -> None:
    one = lambda at: ({"ids": torch.full((2,), at), "more": (torch.ones(1), "text")}, 3)  # noqa: E731

    leaves, structure = stacked([one(0), one(1)])

    assert [tuple(leaf.shape) for leaf in leaves] == [(2, 2), (2, 1)]
    again = rebuilt(structure, [leaf[1] for leaf in leaves])
    assert torch.equal(again[0]["ids"], torch.tensor([1, 1]))
    assert (again[0]["more"][1], again[1]) == ("text", 3)


@pytest.mark.parametrize("other", [(torch.ones(3),), (torch.ones(2).double(),), (torch.ones(2), 1)])
def test_arguments_that_are_built_otherwise_cannot_be_stacked(other: Any) -> None:
    with pytest.raises(UnsuitedError, match="differs from seed to seed"):
        stacked([(torch.ones(2),), other])


def test_a_loss_that_data_steer_is_computed_by_vmap_alone() -> None:
    def steered(net: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
        kept = torch.where(inputs > 0, inputs, 2 * inputs)
        return net(kept).square().mean()

    net = nn.Linear(3, 2)
    made, stack = computation(net)
    inputs = torch.randn(3, 4, 3, generator=torch.Generator().manual_seed(1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batched, "simplify", lambda graph: (_ for _ in ()).throw(ValueError("no graph")))
        values, grads = made.gradients(steered, [(each,) for each in inputs], list(stack))

    assert list(made._traced.values()) == [None]
    again, other = computation(net)[0].gradients(steered, [(each,) for each in inputs], list(stack))
    torch.testing.assert_close(values, again)
    for mine, theirs in zip(grads, other, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_a_loss_that_draws_from_numpys_generator_is_unsuited() -> None:
    def drawing(net: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
        return net(inputs).mean() * float(np.random.uniform())

    made, stack = computation(nn.Linear(3, 2))

    with pytest.raises(UnsuitedError, match="Python's or numpy's generator"):
        made.gradients(drawing, [(torch.ones(4, 3),)] * 3, list(stack))


def test_a_loss_that_asks_a_tensor_for_its_value_is_unsuited() -> None:
    def asking(net: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
        out = net(inputs).mean()
        return out if float(out) > 0 else -out

    made, stack = computation(nn.Linear(3, 2))

    with pytest.raises(UnsuitedError, match="cannot be computed for many seeds at once"):
        made.gradients(asking, [(torch.ones(4, 3),)] * 3, list(stack))


def test_tracing_moves_no_generator_and_no_buffer(replicas: Any) -> None:
    made = replicas.parts(replicas.cnn)
    block = replicas.joint(made, 320)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    images, targets = torch.rand(4, 16, 1, replicas.SIDE, replicas.SIDE), torch.zeros(4, 16, dtype=torch.int64)
    torch.set_rng_state(before)
    kept = {name: each.clone() for name, each in block.buffers.items()}
    structure = stacked([(images[0], targets[0])] * 4)[1]
    compute = block._batched._function(made.model.loss, structure, list(block.parameters))

    block._batched._trace(compute, (list(block.parameters.values()), list(block.buffers.values()), [images, targets]))

    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(each, kept[name]) for name, each in block.buffers.items())


def test_gradients_lie_in_memory_as_their_parameters_do() -> None:
    made, stack = computation(nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2)))

    _, grads = made.gradients(
        lambda net, inputs: net(inputs).square().mean(), [(torch.randn(4, 3),) for _ in range(3)], list(stack)
    )

    assert [grad.stride() for grad in grads if grad is not None] == [own.stride() for own in stack.values()]
