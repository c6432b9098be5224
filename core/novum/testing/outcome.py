"""How a check ended."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """One check of one plugin.

    contract: what must hold. state: "passed", "failed", "skipped" (it says nothing about such a plugin) or "untried"
    (the plugin does not load). told: what was seen, or why it was skipped or not tried; "" where it passed.

    cure: how to mend what the check finds. place: the page and heading that describe the check. seconds: wall time.
    """

    check: str
    contract: str
    state: str
    told: str
    cure: str
    place: str
    seconds: float
