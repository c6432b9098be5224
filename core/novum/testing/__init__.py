"""The contract kit for plugin authors: what Novum's laws promise of every plugin, as tests.

In a test file, subclass a contract and give it a fixture `plugin` (see `novum.testing.contracts`); without pytest, call
`check` or `novum plugins check NAME`. Every check is described in docs/contract.md.
"""

from __future__ import annotations

from novum.testing.contracts import (
    EvaluatorContract,
    ExecutorContract,
    ModelContract,
    OptimizerContract,
    ProposerContract,
    RuleContract,
    ScheduleContract,
    TaskContract,
    TechniqueContract,
)
from novum.testing.isolation import check
from novum.testing.outcome import Outcome

__all__ = [
    "EvaluatorContract",
    "ExecutorContract",
    "ModelContract",
    "OptimizerContract",
    "Outcome",
    "ProposerContract",
    "RuleContract",
    "ScheduleContract",
    "TaskContract",
    "TechniqueContract",
    "check",
]
