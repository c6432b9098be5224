"""The training batches of many replicates that read the same data, each in its own order, as one look-up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from novum.data import Batch
from novum.model import Preparation
from novum.runner.parts import place
from novum.sources import SCORING_BATCH, Examples

if TYPE_CHECKING:
    from novum.runner.parts import Encoder
    from novum.task import Source

MOST = 2**30
"""Bytes of encoded units that are kept as one tensor."""


class Table:
    """Every unit, encoded, in one tensor on the device. Make one with `of`."""

    def __init__(self, sources: Sequence[Examples], inputs: torch.Tensor, targets: torch.Tensor | None) -> None:
        self._sources = sources
        self._inputs = inputs
        self._targets = targets

    @classmethod
    def of(cls, sources: Sequence[Source], encoder: Encoder, preparation: Preparation) -> Table | None:
        """None where the sources do not read the same units, or where a batch is more than its units side by side.

        It encodes every unit, and so is for preparations that draw nothing.
        """
        plain = [each for each in sources if isinstance(each, Examples) and _plain(type(each))]
        if len(plain) < len(sources) or type(preparation).collate is not Preparation.collate:
            return None
        first = plain[0]
        if not all(_same(first, each) for each in plain[1:]):
            return None
        parts: list[torch.Tensor] = []
        size = 0
        for start in range(0, first.size, SCORING_BATCH):
            rows = np.arange(start, min(start + SCORING_BATCH, first.size))
            batch = first.at(rows)
            part = encoder(batch.inputs, batch.ids)
            size += part.nbytes if isinstance(part, torch.Tensor) else MOST + 1
            if size > MOST or (parts and part.shape[1:] != parts[0].shape[1:]):
                return None
            parts.append(part)
        inputs = torch.cat(parts)
        targets = None if first.targets is None else place(first.targets, inputs.device)
        return cls(plain, inputs, targets) if targets is None or isinstance(targets, torch.Tensor) else None

    def next(self) -> list[Batch]:
        """The next batch of each replicate, as `Encoder.batch` would give it."""
        rows = [each.rows() for each in self._sources]
        at = torch.from_numpy(np.concatenate(rows)).to(self._inputs.device)
        inputs = _each(self._inputs, at, len(rows))
        targets: Sequence[Any] = [None] * len(rows)
        if self._targets is not None:
            targets = _each(self._targets, at, len(rows))
        return [
            Batch(own, target, len(each), source.named(each))
            for own, target, each, source in zip(inputs, targets, rows, self._sources, strict=True)
        ]


def _each(whole: torch.Tensor, at: torch.Tensor, replicates: int) -> Sequence[torch.Tensor]:
    """The rows of each replicate, of all rows one after the other."""
    chosen = whole.index_select(0, at)
    return chosen.view(replicates, -1, *chosen.shape[1:]).unbind()


def _plain(kind: type[Examples]) -> bool:
    """Whether a class leaves alone how batches come about."""
    return kind.next is Examples.next and kind.at is Examples.at and kind.rows is Examples.rows


def _same(one: Examples, other: Examples) -> bool:
    """Whether two sources hold the same examples."""
    targets = (one.targets is None) == (other.targets is None) and (
        one.targets is None or other.targets is None or np.array_equal(one.targets, other.targets)
    )
    if one.ids != other.ids or not targets:
        return False
    if one.inputs is other.inputs:
        return True
    if isinstance(one.inputs, np.ndarray) and isinstance(other.inputs, np.ndarray):
        return np.array_equal(one.inputs, other.inputs)
    both = one.inputs, other.inputs
    texts = all(isinstance(each, list) and all(isinstance(unit, str) for unit in each) for each in both)
    return texts and bool(one.inputs == other.inputs)
