"""One trial over several devices: every rank computes the loss of its share of each batch, and all step alike.

A rank is a process with a device of its own. Each builds the same network, reads the same batches and draws from the
same stream, except while a loss is computed: then it draws from a stream of its own, so that no two ranks drop the
same. The sum of their gradients, each weighted by its share, is the gradient of the whole batch (synchronous
data-parallel training; Li et al., PyTorch Distributed, VLDB 2020).
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from novum.errors import ConfigError, MismatchError, StudyError
from novum.runner.packing import pack, unpack
from novum.runner.resume import of_device, of_machine, share, tensors_of
from novum.seeds import Seed, installed

if TYPE_CHECKING:
    import torch
    from torch import nn

    from novum.data import Loss
    from novum.runner.checkpoint import Shelf

FOREVER = timedelta(days=365)
"""How long a rank waits for the others: what ends it is their death, never a clock."""
LOOK_EVERY = 50
"""Batches between two looks at what the ranks agreed on, where a look waits for the device."""
LOOPBACK = "lo0" if sys.platform == "darwin" else "lo"


class RankLost(RuntimeError):  # noqa: N818 - what follows goes by this name, see novum.faults
    """Another rank died or could not be reached: nothing is known of the trial, and the same seed runs again."""


class Ranks:
    """The processes of one trial, as this one sees them.

    rank: from 0, the one that scores, draws curves and saves. seed: the trial's own. wish: whether this process wants a
    checkpoint now; only that of rank 0 counts, and all learn of it with the next step.
    """

    def __init__(
        self, rank: int, count: int, seed: Seed, device: torch.device, wish: Callable[[], bool] = lambda: False
    ) -> None:
        self.rank, self.count = rank, count
        self.streams: list[Any] = []
        """The generators of every rank, as `gather` found them last."""
        self._device = device
        self._seed = seed.child("train", "rank", rank)
        self._stream: dict[str, Any] = {}
        self._wish = wish
        self._wished: torch.Tensor | None = None
        self._looks = 0
        self._notes: dict[tuple[Any, ...], torch.Tensor] = {}

    def join(self, folder: Path, backend: str) -> None:
        """Find the others through a file in `folder`; returns when all are there. backend: "gloo" or "nccl".

        Raises StudyError where this process already belongs to a group of torch.distributed.
        """
        import torch.distributed as dist

        if dist.is_initialized():
            raise StudyError(
                "recipe.devices: this process already belongs to a group of torch.distributed, and a trial over "
                "several devices needs one of its own; use the executor 'local', where each trial has a process."
            )
        store = dist.FileStore(  # type: ignore[attr-defined]
            str(folder / "store"), self.count
        )
        before = os.environ.get("GLOO_SOCKET_IFNAME")
        os.environ["GLOO_SOCKET_IFNAME"] = before or LOOPBACK  # no other machine has a part in it
        try:
            with reaching():
                dist.init_process_group(backend, store=store, rank=self.rank, world_size=self.count, timeout=FOREVER)
        finally:
            if before is None:
                del os.environ["GLOO_SOCKET_IFNAME"]

    # ------------------------------------------------------------------------------------------------ within a step

    def share(self, arguments: tuple[Any, ...]) -> tuple[float, tuple[Any, ...]]:
        """What falls to this rank of a loss's arguments, with its share of them: contiguous, of equal length up to
        one, and 0.0 where the batch has fewer units than there are ranks.
        """
        return share(arguments, self.rank, self.count)

    def own(self) -> AbstractContextManager[Any]:
        """Draw from this rank's own stream: no two ranks drop the same."""
        return installed(self._seed, self._stream)

    def single(self, losses: Iterator[Loss], model: str) -> Iterator[Loss]:
        """The one loss of a batch. Raises MismatchError for a second one."""
        for at, loss in enumerate(losses):
            if at == 1:
                raise MismatchError(
                    f"recipe.devices is {self.count}, but {model} yields several losses for one batch; a batch is "
                    "divided among devices only for models that yield one. Say devices = 1."
                )
            yield loss

    def sum(self, params: Sequence[nn.Parameter], value: torch.Tensor) -> torch.Tensor:
        """Replace gradients by their sums over all ranks, and return that of the values, a 0-d tensor.

        A parameter without a gradient on every rank keeps none; one that has it on some counts as 0 on the others.
        Raises RankLost where another rank has died.
        """
        import torch

        wide = torch.float64 if any(param.dtype == torch.float64 for param in params) else torch.float32
        present = tuple(param.grad is not None for param in params)
        notes = self._told(present, wide)
        groups: dict[torch.dtype, list[nn.Parameter]] = {wide: []}
        for param in params:
            groups.setdefault(param.dtype, []).append(param)
        sums: dict[nn.Parameter, torch.Tensor] = {}
        for dtype, members in groups.items():
            parts = [(torch.zeros_like(each) if each.grad is None else each.grad).reshape(-1) for each in members]
            if dtype == wide:
                parts = [value.to(self._device, wide).reshape(1), notes, *parts]
            flat = torch.cat(parts)
            self._reduce(flat)
            if dtype == wide:
                head, flat = flat[: 2 + len(params)], flat[2 + len(params) :]
            sums |= zip(members, torch.split(flat, [each.numel() for each in members]), strict=True)
        self._wished = head[1].clone()  # a view would hold on to all gradients
        # Only who lacks a gradient must look whether others have it: a look waits for a GPU.
        known = present if all(present) else tuple(flag > 0 for flag in head[2:].tolist())
        for param, there in zip(params, known, strict=True):
            if there and param.grad is None:
                param.grad = torch.zeros_like(param)
        held = [param for param, there in zip(params, known, strict=True) if there]
        if held:
            grads: list[Any] = [param.grad for param in held]
            torch._foreach_copy_(grads, [sums[param].view(param.shape) for param in held])
        return head[0].clone()

    def _told(self, present: tuple[bool, ...], dtype: torch.dtype) -> torch.Tensor:
        """What travels beside the gradients: the wish for a checkpoint, and which gradients are there."""
        import torch

        wish = self.rank == 0 and self._wish()
        key = (wish, dtype, present)
        if key not in self._notes:
            if len(self._notes) > 100:  # a network whose gradients come and go
                self._notes.clear()
            self._notes[key] = torch.tensor([float(each) for each in (wish, *present)], dtype=dtype).to(self._device)
        return self._notes[key]

    def _reduce(self, tensor: torch.Tensor, largest: bool = False) -> None:
        import torch.distributed as dist

        with reaching():
            dist.all_reduce(tensor, dist.ReduceOp.MAX if largest else dist.ReduceOp.SUM)

    # --------------------------------------------------------------------------------------------- between batches

    def wished(self) -> bool:
        """Whether rank 0 asked for a checkpoint with the last step: the same answer on all ranks.

        To be asked after each batch. On a GPU it looks at every fiftieth.
        """
        self._looks += 1
        if self._wished is None or (self._device.type == "cuda" and self._looks % LOOK_EVERY):
            return False
        return bool(self._wished > 0)

    def gather(self) -> None:
        """Collect the generators of every rank, a few thousand bytes each, into `streams`."""
        import torch
        import torch.distributed as dist

        packed, tensors = pack(of_device(self._stream, self._device))
        kept = {name: [str(each.dtype).removeprefix("torch."), each.tolist()] for name, each in tensors.items()}
        data = torch.frombuffer(bytearray(json.dumps([packed, kept]).encode()), dtype=torch.uint8).to(self._device)
        sizes = torch.zeros(self.count, dtype=torch.int64, device=self._device)
        sizes[self.rank] = len(data)
        self._reduce(sizes)
        longest = torch.zeros(int(sizes.max()), dtype=torch.uint8, device=self._device)
        longest[: len(data)] = data
        found = [torch.zeros_like(longest) for _ in range(self.count)]
        with reaching():
            dist.all_gather(found, longest)
        self.streams = [
            json.loads(bytes(each[:size].cpu().tolist())) for each, size in zip(found, sizes.tolist(), strict=True)
        ]

    def restore(self, streams: Sequence[Any]) -> None:
        """Go on with the generators of this rank that `gather` found. Raises ValueError for another number of ranks."""
        import torch

        if len(streams) != self.count:
            raise ValueError(f"it was saved by {len(streams)} ranks, and there are {self.count}")
        packed, kept = streams[self.rank]

        def read(name: str) -> torch.Tensor:
            return torch.tensor(kept[name][1], dtype=getattr(torch, kept[name][0]))

        self._stream = of_machine(unpack(packed, read, self._device))

    def check(self, net: nn.Module) -> None:
        """Raises StudyError where the ranks do not hold the same network, to the bit (by a sum over each tensor)."""
        import torch

        with torch.no_grad():
            sums = torch.stack([_sum(tensor).to(self._device) for tensor in tensors_of(net).values()]).nan_to_num()
        both = torch.cat([sums, -sums])
        largest = both.clone()
        self._reduce(largest, largest=True)
        if not torch.equal(both, largest):
            raise StudyError(
                f"recipe.devices is {self.count}, but the networks of the devices differ: what the model builds or "
                "changes outside of its loss is not the same in every process. Draw only from the given seed and the "
                "ordinary generators, keep no statistics of a batch, or say devices = 1."
            )


class Together:
    """A shelf as all ranks have it: rank 0 says when a checkpoint is due, each adds its generators, rank 0 writes."""

    def __init__(self, ranks: Ranks, shelf: Shelf | None) -> None:
        self._ranks = ranks
        self._shelf = shelf

    def due(self) -> bool:
        """Whether it is time for another checkpoint: the same answer on all ranks."""
        return self._ranks.wished()

    def tell(self, sentence: str) -> None:
        """Put a sentence on the trial's record; rank 0 has it."""
        if self._shelf is not None:
            self._shelf.tell(sentence)

    def stop(self) -> None:
        """Write none from here on."""
        if self._shelf is not None:
            self._shelf.stop()

    def save(self, collect: Callable[[], Any]) -> bool:
        """Write what `collect` gives; returns whether it is on the disk."""
        self._ranks.gather()
        return self._shelf is not None and self._shelf.save(collect)


@contextmanager
def reaching() -> Iterator[None]:
    """What torch raises where another rank cannot be reached becomes RankLost."""
    try:
        yield
    except RuntimeError as error:
        raise RankLost(f"the ranks of this trial lost one another: {error}") from error


def check(devices: int, *, acts: bool, kind: str) -> None:
    """Raises ConfigError where a trial cannot use so many devices here.

    acts: whether its source asks the model, as an environment does. kind: "cuda" or "cpu", where a device is a core.
    """
    if devices == 1:
        return
    if acts:
        raise ConfigError(
            f"recipe.devices: {devices} was received, but this task is an environment, which the model acts in: only "
            "batches of a data set are divided among devices. Say devices = 1."
        )
    have = _devices(kind)
    if devices > have:
        raise ConfigError(
            f"recipe.devices: {devices} was received, but this machine has {have} "
            f"{'GPU' if kind == 'cuda' else 'core'}{'' if have == 1 else 's'} for it; say at most {have}."
        )


def _devices(kind: str) -> int:
    if kind == "cuda":
        import torch

        return torch.cuda.device_count()
    from novum.executors.base import cores

    return cores() if kind == "cpu" else 1


def synchronised(net: nn.Module, kind: str, devices: int) -> nn.Module:
    """The network with batch norm over the whole batch rather than over each rank's share.

    Raises MismatchError where that does not exist: off the GPU, and for layers that refine torch's own ones.
    """
    from torch import nn
    from torch.nn.modules.batchnorm import _BatchNorm

    found: Mapping[str, nn.Module] = {name: each for name, each in net.named_modules() if isinstance(each, _BatchNorm)}
    if not found:
        return net
    plain = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
    strange = [name for name, each in found.items() if type(each) not in plain]
    if kind != "cuda" or strange:
        layer = (strange or list(found))[0]
        why = (
            "its synchronised form needs a GPU"
            if kind != "cuda"
            else f"{type(found[layer]).__name__} has no synchronised form"
        )
        raise MismatchError(
            f"recipe.devices is {devices}, but the network has batch norm ({layer or 'itself'}), and {why}. "
            "Say devices = 1, or take a model without batch norm."
        )
    return nn.SyncBatchNorm.convert_sync_batchnorm(net)  # type: ignore[no-any-return, no-untyped-call]


def _sum(tensor: torch.Tensor) -> torch.Tensor:
    import torch

    return (torch.view_as_real(tensor) if tensor.is_complex() else tensor).sum(dtype=torch.float64)
