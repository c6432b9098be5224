"""The plugins learn with their default options and recipes, through the command line and its workers."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

ARMS = {
    "digits": ("task=image-classification", "model=timm"),
    "stdlib-docs": ("task=text-classification", "model=bag"),
    "CartPole": ("task=gym", "model=ppo"),
}


@pytest.fixture(scope="module")
def trained(there: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What `novum train --test` says of each arm; two at a time."""
    folders = {name: tmp_path_factory.mktemp("defaults") for name in ARMS}

    def train(name: str) -> Any:
        return there("train", *ARMS[name], "--test", "--json", cwd=folders[name], NOVUM_STUDY=str(folders[name]))

    with ThreadPoolExecutor(2) as pool:
        order = ("CartPole", "digits", "stdlib-docs")  # the longest first
        said = dict(zip(order, pool.map(train, order), strict=True))
    return {name: json.loads(said[name].out)[0] for name in ARMS}


@pytest.mark.parametrize(
    ("name", "metric", "least"),
    [("digits", "accuracy", 0.95), ("stdlib-docs", "accuracy", 0.80), ("CartPole", "return", 450.0)],
)
def test_an_arm_of_defaults_learns(trained: Any, name: str, metric: str, least: float) -> None:
    run = trained[name]

    assert run["diverged"] is None
    assert run["metrics"][metric] >= least
    assert run["test"]["metrics"][metric] >= least
