"""What comes with Novum keeps the contracts that every plugin keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from novum.testing import (
    EvaluatorContract,
    ExecutorContract,
    ModelContract,
    OptimizerContract,
    ProposerContract,
    ScheduleContract,
    TaskContract,
    TechniqueContract,
)
from novum.testing.samples import Sample, Walk


class TestSample(TaskContract):
    """The task of the kit's own."""

    changed = {"inputs": "image"}

    @pytest.fixture
    def plugin(self) -> Any:
        return Sample


class TestWalk(TaskContract):
    """The environment of the kit's own."""

    changed = {"outputs": "controls"}
    model = {"plugin": "ppo", "epochs": 1, "hidden": (8,)}

    @pytest.fixture
    def plugin(self) -> Any:
        return Walk


class TestLinear(ModelContract):
    @pytest.fixture
    def plugin(self) -> Any:
        return "linear"


class TestMlp(ModelContract):
    options = {"dropout": 0.2}
    task = {"plugin": Sample, "inputs": "image"}

    @pytest.fixture
    def plugin(self) -> Any:
        return "mlp"


class TestClassification(EvaluatorContract):
    @pytest.fixture
    def plugin(self) -> Any:
        return "classification"


class TestSchedules(ScheduleContract):
    @pytest.fixture(params=["constant", "cosine", "linear", "one-cycle"])
    def plugin(self, request: Any) -> Any:
        return request.param


class TestOptimizers(OptimizerContract):
    @pytest.fixture(params=["adafactor", "adam", "adamw", "lion", "muon", "rmsprop", "sgd"])
    def plugin(self, request: Any) -> Any:
        return request.param


class TestTechniques(TechniqueContract):
    @pytest.fixture(params=["flooding", "gradient-centralization"])
    def plugin(self, request: Any) -> Any:
        return request.param


class TestFollowUp(ProposerContract):
    @pytest.fixture
    def plugin(self) -> Any:
        return "follow-up"


class TestDeclared(ProposerContract):
    options = {"claim": str(Path(__file__).parents[2] / "experiments" / "quickstart" / "claim.toml")}

    @pytest.fixture
    def plugin(self) -> Any:
        return "declared"


class TestSearch(ProposerContract):
    @pytest.fixture(params=["tpe", "random"])
    def plugin(self, request: Any) -> Any:
        self.options = {"sampler": request.param}
        return "search"


class TestExecutors(ExecutorContract):
    @pytest.fixture(params=["inline", "local"])
    def plugin(self, request: Any) -> Any:
        return request.param
