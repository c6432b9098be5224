"""The statistics of a verdict: numpy and scipy only, each function citing its source. No torch here.

Nothing is loaded before it is used. `SequentialTest` compares two streams of scores by ask and tell; the modules:

::

    design, sequential, ask          a registered sequential test, its decisions, ask-and-tell
    boundaries, signflip, sign, eprocess   the four tests
    power                            what a design can see
    stream, holdout                  error control over many hypotheses; reused evaluation data
    across                           several tasks: partial conjunction, random effects, ranks
    tables                           score tables: aggregates with bootstrap intervals
    classical, paired                the fixed-n tests
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_HOMES = {
    "novum.stats.ask": ("SequentialTest",),
    "novum.stats.design": ("Design",),
    "novum.stats.sequential": ("Decision", "Look", "judge"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = ["Decision", "Design", "Look", "SequentialTest", "judge"]

if TYPE_CHECKING:
    from novum.stats.ask import SequentialTest as SequentialTest
    from novum.stats.design import Design as Design
    from novum.stats.sequential import Decision as Decision
    from novum.stats.sequential import Look as Look
    from novum.stats.sequential import judge as judge


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'novum.stats' has no attribute {name!r}")
    return getattr(importlib.import_module(home), name)
