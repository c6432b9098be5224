"""Planted families: levers whose true effect is known, and trials that show it through noise.

A trial scores, in standard deviations of the paired difference,

    what is adopted + its seed + its own network + the items it is scored on.

What comes from the seed is common to both arms and cancels in a pair. The other two have variance 1/2 together, so that
the difference of a pair has variance 1; `shared` is the network's part of it, which stands on `test` as it stood on
`dev`, while the items' part is drawn anew there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LEVERS = 100
"""Changes that a family offers."""
SHARED = 0.5
"""Share of the noise that is the network's: what dev and test have in common."""


@dataclass(frozen=True)
class Family:
    """helps, hurts: shares of the levers; the rest is inert. effect: of a lever that helps, its negative of one that
    hurts, in paired standard deviations. levers: how many there are. shared: the network's part of the noise.
    """

    helps: float
    hurts: float
    effect: float
    levers: int = LEVERS
    shared: float = SHARED

    @property
    def name(self) -> str:
        """As "10/60/30 at 1": help, inert, hurt in percent."""
        inert = 1 - self.helps - self.hurts
        return f"{100 * self.helps:.0f}/{100 * inert:.0f}/{100 * self.hurts:.0f} at {self.effect:g}"


FAMILIES = (
    Family(0.10, 0.30, 1.0),
    Family(0.10, 0.30, 1.5),
    Family(0.10, 0.60, 1.0),
    Family(0.10, 0.60, 1.5),
    Family(0.30, 0.00, 1.0),
)
"""The five that the bars are about."""


class World:
    """One member of a family: its levers in the order in which somebody comes across them, and its noise.

    Each has a seed of its own, from that of the family's cell and its number, so that methods that are compared meet
    the same levers, and that no result hangs on how loops are spread over processes.
    """

    def __init__(self, family: Family, seed: int, number: int) -> None:
        order, noise = np.random.SeedSequence((seed, number)).spawn(2)
        self.family = family
        self.effects = self._planted(np.random.Generator(np.random.PCG64(order)))
        self.generator = np.random.Generator(np.random.PCG64(noise))
        self._normals: list[float] = []
        self._network = math.sqrt(family.shared / 2)
        self._items = math.sqrt((1 - family.shared) / 2)

    def _planted(self, generator: np.random.Generator) -> list[float]:
        family = self.family
        helps, hurts = round(family.helps * family.levers), round(family.hurts * family.levers)
        planted = [family.effect] * helps + [-family.effect] * hurts
        planted += [0.0] * (family.levers - len(planted))
        return [float(each) for each in generator.permutation(planted)]

    def normal(self) -> float:
        """The next standard normal number."""
        if not self._normals:
            self._normals = self.generator.standard_normal(1024).tolist()
        return self._normals.pop()

    def trial(self) -> tuple[float, float]:
        """The noise of a trial on dev and on new data; the seed's is left out."""
        network = self._network * self.normal()
        return network + self._items * self.normal(), network + self._items * self.normal()

    def total(self, levers: Sequence[int]) -> float:
        """True gain over the first baseline where these levers are on."""
        return math.fsum(self.effects[each] for each in levers)
