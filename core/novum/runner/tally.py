"""The losses of a training as they come: their means for the curve, and whether each was finite."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

LOOK_EVERY = 50
"""Losses between two looks at whether they were finite: a look waits for the device."""
LOOK_SECONDS = 0.5
"""Seconds after which a look is due all the same, so that slow steps do not go on for long after a divergence."""

Sums = dict[str, tuple["torch.Tensor", int]]


class Tally:
    """Adds up losses on their device, and looks at them now and then: of one network, or of each of S replicates.

    A look tells at which units the first loss was not finite, however late it comes: what a diverged trial records
    does not depend on when somebody looked.
    """

    def __init__(self) -> None:
        self.sums: Sums = {}
        """By name: the sum of the losses since the last `means`, and how many they are."""
        self._fresh: list[torch.Tensor] = []  # sums since the last look: from a loss that is not finite on, no sum is
        self._units: list[int] = []
        self._looked = time.perf_counter()
        self._broken: dict[int, int] = {}

    def add(self, name: str, value: torch.Tensor, units: int) -> None:
        """Count one loss, () or (S,). units: of the budget, used once its batch is done."""
        total, times = self.sums.get(name, (None, 0))
        if total is None:
            import torch

            total = torch.zeros(value.shape, device=value.device)
        total = total + value  # never in place: a checkpoint or a look may still hold the sum before
        self.sums[name] = (total, times + 1)
        self._fresh.append(total)
        self._units.append(units)

    def due(self, timed: bool = True) -> bool:
        """Whether it is time to look again. timed: also by the clock, not by the number of losses alone."""
        return len(self._fresh) >= LOOK_EVERY or (timed and time.perf_counter() - self._looked >= LOOK_SECONDS)

    def look(self) -> int | None:
        """The units at the end of the first batch with a loss that was not finite; None where there is none.

        Waits for the device. A sum beyond the range of its type (3e38) counts as not finite, too.
        """
        return self.look_at_each().get(0)

    def look_at_each(self) -> dict[int, int]:
        """The same for replicates: by their place, of those that had such a loss."""
        import torch

        if self._fresh:
            finite = torch.stack([each.reshape(-1) for each in self._fresh]).isfinite()
            if not finite.all():
                for at, column in enumerate(finite.T.tolist()):
                    if not all(column):
                        self._broken.setdefault(at, self._units[column.index(False)])
        self._fresh.clear()
        self._units.clear()
        self._looked = time.perf_counter()
        return self._broken

    def means(self) -> dict[str, float]:
        """The mean of each loss since the last call, by name."""
        means = {name: float(total) / times for name, (total, times) in self.sums.items()}
        self.sums.clear()
        return means

    def means_of_each(self, count: int) -> list[dict[str, float]]:
        """The same for each of so many replicates, in their order."""
        columns = {name: (total.tolist(), times) for name, (total, times) in self.sums.items()}
        self.sums.clear()
        return [{name: column[at] / times for name, (column, times) in columns.items()} for at in range(count)]


def diverged(units: int, budget: int) -> str:
    """Why a training ended, for its record. units: used at the end of the batch where it began."""
    return f"a loss or weight was not finite after {units} of {budget} units"
