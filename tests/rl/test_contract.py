"""The plugin keeps the contracts that every plugin keeps."""

from __future__ import annotations

from typing import Any

import pytest
from novum.testing import EvaluatorContract, ModelContract, TaskContract

CARTPOLE = {"plugin": "gym", "env": "CartPole-v1", "envs": 2, "episodes": 3, "max_steps": 30}
PENDULUM = {"plugin": "gym", "env": "Pendulum-v1", "envs": 2, "episodes": 3, "max_steps": 30}
SMALL = {"epochs": 2, "hidden": (16,)}


class TestCartPole(TaskContract):
    options = {name: value for name, value in CARTPOLE.items() if name != "plugin"}
    changed = {"physics": {"length": 1.0}}
    model = {"plugin": "ppo", **SMALL}

    @pytest.fixture
    def plugin(self) -> Any:
        return "gym"


class TestPendulum(TaskContract):
    options = {name: value for name, value in PENDULUM.items() if name != "plugin"}
    changed = {"test_physics": {"g": 5.0}}
    model = {"plugin": "ppo", **SMALL}

    @pytest.fixture
    def plugin(self) -> Any:
        return "gym"


class TestPPO(ModelContract):
    options = SMALL
    task = CARTPOLE

    @pytest.fixture
    def plugin(self) -> Any:
        return "ppo"


class TestPPOWithControls(ModelContract):
    options = SMALL
    task = PENDULUM

    @pytest.fixture
    def plugin(self) -> Any:
        return "ppo"


class TestReturns(EvaluatorContract):
    task = CARTPOLE

    @pytest.fixture
    def plugin(self) -> Any:
        return "returns"
