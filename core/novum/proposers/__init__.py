"""Proposers make the next hypothesis from what was seen. Entry points `novum.proposers`.

A proposer never judges, and nothing that it sees comes from `test`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from novum import config as _config

if TYPE_CHECKING:
    from novum.hypothesize import Hypothesis
    from novum.loop import Seen


class Proposer(ABC):
    """Proposes one hypothesis at a time."""

    class Config(_config.Config):
        """No options."""

    def __init__(self, config: Any) -> None:
        self.config = config

    @abstractmethod
    def propose(self, seen: Seen) -> Hypothesis | None:
        """The next hypothesis, citing what it rests on; None when nothing promising is left."""
