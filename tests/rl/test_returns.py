"""The evaluator `returns`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from novum import Act, Actions, Batch, ConfigError, DataError, Prediction, Signature, Source, Vector
from novum_rl.returns import Returns

SIGNATURE = Signature(Vector((1,)), Actions(2))


def nobody(inputs: Any, ids: Any = (), explore: bool = False) -> Prediction:
    raise AssertionError("these episodes are already played")


class Played(Source):
    """Episodes that have been played, in as many batches as given."""

    def __init__(self, *batches: tuple[list[float], list[float]]) -> None:
        self.batches = batches

    @property
    def size(self) -> None:
        return None

    def next(self, act: Act) -> Batch:
        raise AssertionError("scoring does not train")

    def each(self, act: Act) -> Iterator[Batch]:
        at = 0
        for returns, lengths in self.batches:
            ids = tuple(f"episode-{at + row}" for row in range(len(returns)))
            at += len(returns)
            yield Batch(None, None, 1, ids, {"returns": np.array(returns), "lengths": np.array(lengths)})


def test_every_episode_is_a_row_and_the_metrics_come_from_the_rows(returns: Callable[..., Returns]) -> None:
    scores = returns().score(nobody, Played(([3.0, -1.0], [3.0, 7.0]), ([4.0], [5.0])), SIGNATURE)

    assert scores.units == {
        "id": ["episode-0", "episode-1", "episode-2"],
        "return": [3.0, -1.0, 4.0],
        "length": [3.0, 7.0, 5.0],
    }
    assert scores.metrics == {"return": 2.0, "length": 5.0, "return_min": -1.0}


def test_the_mean_is_exact_where_a_running_sum_is_not(returns: Callable[..., Returns]) -> None:
    values = [1e16, 1.0, -1e16, 1.0]

    scores = returns().score(nobody, Played((values, [1.0] * 4)), SIGNATURE)

    assert scores.metrics["return"] == 0.5 == math.fsum(values) / 4
    assert sum(values) / 4 != 0.5


def test_the_mean_return_is_primary_and_grows_towards_better(returns: Callable[..., Returns]) -> None:
    primary = returns().metrics[0]

    assert (primary.name, primary.direction, primary.unit) == ("return", "max", "reward")
    assert primary.low is None and primary.high is None and primary.best is None


def test_the_worst_return_is_an_option_of_each_evaluator(returns: Callable[..., Returns]) -> None:
    pendulum, plain = returns(worst=-2000.0), returns()

    assert {metric.name: metric.worst for metric in pendulum.metrics} == {
        "return": -2000.0,
        "length": 0.0,
        "return_min": -2000.0,
    }
    assert plain.metrics[0].worst == Returns.metrics[0].worst == 0.0


def test_every_metric_is_one_of_episodes_whatever_its_worst(returns: Callable[..., Returns]) -> None:
    kinds = [metric.kind for made in (returns(), returns(worst=-2000.0)) for metric in made.metrics]

    assert kinds == ["episodes"] * 6


def test_a_column_with_the_name_of_a_metric_has_it_as_its_mean(returns: Callable[..., Returns]) -> None:
    scores = returns().score(nobody, Played(([3.0, -1.0], [3.0, 7.0]), ([4.5], [5.0])), SIGNATURE)

    means = {name: math.fsum(scores.units[name]) / 3 for name in scores.metrics if name in scores.units}

    assert means == {name: scores.metrics[name] for name in ("return", "length")}


def test_an_infinite_worst_is_refused(returns: Callable[..., Returns]) -> None:
    with pytest.raises(ConfigError, match="worst"):
        returns(worst=-math.inf)


def test_every_declared_metric_is_given(returns: Callable[..., Returns]) -> None:
    scores = returns().score(nobody, Played(([1.0], [1.0])), SIGNATURE)

    assert set(scores.metrics) == {metric.name for metric in Returns.metrics}


def test_no_episodes_are_an_error_and_not_a_zero(returns: Callable[..., Returns]) -> None:
    with pytest.raises(DataError, match="no episodes"):
        returns().score(nobody, Played(), SIGNATURE)


def test_a_source_without_episodes_is_refused(returns: Callable[..., Returns]) -> None:
    class Rows(Played):
        def each(self, act: Act) -> Iterator[Batch]:
            yield Batch(np.zeros((2, 1)), None, 2)

    with pytest.raises(DataError, match="Rows gave a batch with no extras"):
        returns().score(nobody, Rows(), SIGNATURE)
