"""How a check ended."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """One check of one plugin.

    contract: what must hold. state: "passed", "failed" or "skipped". told: what was seen, or why it was skipped; ""
    where it passed.

    place: the page and heading that describe the check. seconds: wall time.
    """

    check: str
    contract: str
    state: str
    told: str
    place: str
    seconds: float
