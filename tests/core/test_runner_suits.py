"""Whether seeds are trained together: only where the model is suited and where it pays, and else it says why."""

from __future__ import annotations

import warnings
from typing import Any

import novum
import pytest
from novum.runner import suits
from torch import nn


def test_training_together_is_chosen_only_where_it_pays() -> None:
    fast = {"apart": 1.0, "block": 4.0, "seed": 0.1}
    slow = {"apart": 1.0, "block": 4.0, "seed": 0.6}

    assert suits.decide(fast) == ("joint", fast)
    mode, told = suits.decide(slow)
    assert (mode, told) == ("separate", {"undefined": "a seed would take 0.85 times as long with others"})
    assert suits.decide(slow, "joint") == ("joint", slow)


@pytest.mark.parametrize(
    ("recipe", "why"),
    [
        ({"replicates": "separate"}, "the recipe says so"),
        ({"averaging": "ema"}, "its weights are averaged"),
        ({"time_limit": 5.0}, "its trials have a time limit"),
    ],
)
def test_what_cannot_be_trained_together_says_why(recipe: dict[str, Any], why: str) -> None:
    assert suits.refusal(novum.Recipe(**recipe)) == why


def test_a_probe_measures_a_block_and_a_seed_alone(replicas: Any) -> None:
    told = suits.probe(replicas.PROBED, replicas.parts(replicas.mlp))

    assert set(told) == {"apart", "block", "seed"}
    assert told["apart"] > 0 and told["block"] >= 0 and told["seed"] >= 0


def test_a_large_network_is_told_apart_without_a_measurement(replicas: Any) -> None:
    def large() -> nn.Module:
        wide = nn.Linear(replicas.SIDE**2, 20_000)
        return nn.Sequential(nn.Flatten(), wide, nn.Linear(20_000, replicas.CLASSES))

    told = suits.probe(replicas.PROBED, replicas.parts(large))

    assert told == {"undefined": "its network has more than 1,000,000 parameters"}


@pytest.mark.parametrize(
    ("model", "why"),
    [
        ("Twice", "its model yields 2 losses for a batch"),
        ("Anew", "its model makes a new loss function for each batch"),
    ],
)
def test_models_whose_losses_are_not_one_function_are_told_apart(replicas: Any, model: str, why: str) -> None:
    made = replicas.parts(replicas.mlp, getattr(replicas, model))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        told = suits.probe(replicas.PROBED, made)

    assert told == {"undefined": why}


@pytest.mark.parametrize("make", ["Replaced", "Counting"])
def test_networks_that_keep_what_a_trace_would_freeze_are_told_apart(replicas: Any, make: str) -> None:
    told = suits.probe(replicas.PROBED, replicas.parts(getattr(replicas, make)))

    assert "its loss" in told["undefined"]


def test_units_that_are_encoded_at_random_are_trained_apart(replicas: Any) -> None:
    made = replicas.parts(replicas.mlp, replicas.Encoding)

    assert suits.probe(replicas.PROBED, made) == {"undefined": "its units are drawn or encoded at random"}
