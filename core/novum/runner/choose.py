"""How an arm's arithmetic is done best on this machine: short probes, asked once, at registration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def choose(line: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Answers for a plan and for those that it starts from, in that order.

    {"chain": for each, the values of its `how` that differ from the plain way; "together": what training several seeds
    at once costs, see `novum.runner.suits.probe`, or why it is not done}
    """
    from novum.runner import suits

    modes = [suits.mode(each) for each in line]
    return {
        "chain": [{"mode": mode} if mode == "joint" else {} for mode, _ in modes],
        "together": modes[0][1],
    }
