"""Hypotheses that a person wrote, in order, each once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from novum import config as _config
from novum.proposers import Proposer

if TYPE_CHECKING:
    from novum.hypothesize import Hypothesis
    from novum.loop import Seen


class Declared(Proposer):
    """Proposes the treatments of a claim file, skipping those that were registered before."""

    class Config(_config.Config):
        """Which claims."""

        claim: str
        """Path of a claim file."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self._left: list[Hypothesis] | None = None

    def propose(self, seen: Seen) -> Hypothesis | None:
        from novum.claimfile import load_all

        if self._left is None:
            self._left = list(load_all(self.config.claim))
        known = {record["fingerprint"] for record, _ in seen.history}
        while self._left:
            hypothesis = self._left.pop(0)
            if hypothesis.fingerprint not in known:
                return hypothesis
        return None
