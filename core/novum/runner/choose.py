"""How an arm's arithmetic is done best on this machine: short probes, asked once, at registration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def choose(plan: Mapping[str, Any]) -> dict[str, Any]:
    """Answers for one plan, to be put into its `how`: those that differ from the plain way, as a probe found them."""
    return {}
