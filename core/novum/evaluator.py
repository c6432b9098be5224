"""An evaluator: what counts as good."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from novum import config as _config

if TYPE_CHECKING:
    from novum.data import Act, Metric, Scores, Signature
    from novum.task import Source


class Evaluator(ABC):
    """Turns predictions or episodes into per-unit scores and metrics. The first metric is the primary one."""

    class Config(_config.Config):
        """No options."""

    metrics: ClassVar[tuple[Metric, ...]]
    outputs: ClassVar[tuple[str, ...]] = ()
    """The kinds of outputs that it can judge (see `novum.data`)."""

    def __init__(self, config: Any) -> None:  # one that the nested `Config` validated
        self.config = config

    @abstractmethod
    def score(self, act: Act, source: Source, signature: Signature) -> Scores:
        """Score one pass over `source.each(act)`: per-unit values first, aggregates from them.

        A metric that cannot be computed is `Undefined` with its reason.
        """
