"""Rules on in-tree models and on data with the defect: measured facts, and where it is quick, what a remedy brings."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import novum
import pytest
from novum import plugins
from novum.goal import Goal
from novum.loop import Seen
from novum.proposers import Proposer
from novum.standing import Change, Standing


class Watch(Proposer):
    """Proposes nothing, and keeps where the loop stands."""

    stood: Standing | None = None

    def propose(self, seen: Seen) -> None:
        Watch.stood = seen.standing


@pytest.fixture
def study(tmp_path: Path) -> Iterator[novum.Study]:
    with novum.Study(tmp_path / "study", executor="inline", debug=True) as opened:
        yield opened


def stands(study: novum.Study, arm: novum.Arm, space: Mapping[str, Any] | None = None, **more: Any) -> Standing:
    """Where a loop on one task stands once it has looked at its baseline."""
    watch = plugins.adopt("proposer", Watch)
    Watch.stood = None
    name = more.pop("name", "g")
    study.loop(Goal(name, {"t": arm}, 100, proposers=(watch,), space=space or {}, seeds=2, **more))
    assert Watch.stood is not None
    return Watch.stood


def proposed(standing: Standing, rule: str) -> Change | None:
    found: list[Change] = plugins.create("proposer", "rules", {"only": [rule]}).changes(standing)
    return found[0] if found else None


def claims(standing: Standing) -> dict[tuple[str, ...], Change]:
    """Everything that the rules propose, by the paths of the options."""
    found: list[Change] = plugins.create("proposer", "rules", {}).changes(standing)
    return {tuple(each.options): each for each in found}


def mean(study: novum.Study, arm: novum.Arm, metric: str, seeds: int = 2) -> float:
    values = [float(run.metrics[metric]) for run in study.train_seeds(arm, seeds=range(seeds))]
    return sum(values) / len(values)


def after(standing: Standing, change: Change) -> novum.Arm:
    return standing.arms(change)["t"]


def digits(per_class: int = 0) -> Any:
    return novum.task("image-classification", data="digits", per_class=per_class)


DOCS = novum.task("text-classification", data="stdlib-docs", classes=["email", "asyncio"])


@pytest.fixture
def uneven(tmp_path: Path) -> Any:
    """Paragraphs of the documentation of two modules: in train twelve times as many of one, in dev as many of each."""
    task = plugins.create("task", "text-classification", {"data": "stdlib-docs", "classes": ["asyncio", "email"]})
    examples = task.source(novum.Split("train"), novum.Seed(0), novum.Recipe())
    pools = [
        [text for text, target in zip(examples.inputs, examples.targets, strict=True) if target == label]
        for label in (0, 1)
    ]
    paths = {}
    for split, places in {
        "train": (slice(0, 240), slice(0, 20)),
        "dev": (slice(240, 290), slice(20, 70)),
        "test": (slice(290, 310), slice(70, 90)),
    }.items():
        rows = [(text, "ab"[label]) for label, place in enumerate(places) for text in pools[label][place]]
        paths[split] = str(tmp_path / f"{split}.csv")
        with open(paths[split], "w", newline="") as file:  # noqa: PTH123
            csv.writer(file).writerows([("text", "label"), *rows])
    return novum.task("text-classification", data=paths)


def test_uneven_classes_are_weighted_or_focused_on_and_weights_find_the_seldom_one(
    study: novum.Study, uneven: Any
) -> None:
    standing = stands(study, novum.arm(uneven, novum.model("bag"), budget="3 epochs"))

    weights, focus = proposed(standing, "balanced-classes"), proposed(standing, "focal-loss")

    assert standing.number("t", "train.imbalance") == 12
    assert weights is not None
    assert focus is not None
    assert dict(weights.options) == {"model.class_weights": "balanced"}
    assert dict(focus.options) == {"model.focal": 2.0}
    assert weights.because.startswith("The largest class has 12 times the units of the smallest")
    before, after_it = (mean(study, arm, "recall_macro") for arm in (standing.baseline["t"], after(standing, weights)))
    assert after_it > before + 0.05


def test_even_classes_are_left_alone(study: novum.Study) -> None:
    standing = stands(study, novum.arm(DOCS, novum.model("bag"), budget="1 epochs"))

    assert proposed(standing, "balanced-classes") is None
    assert proposed(standing, "focal-loss") is None


def test_a_gap_between_train_and_dev_asks_for_regularisation(study: novum.Study) -> None:
    arm = novum.arm(digits(per_class=5), novum.model("mlp", width=128), budget="60 epochs")

    standing = stands(study, arm)

    assert (standing.number("t", "run.gap") or 0) > 0.1
    assert {path for paths in claims(standing) for path in paths} >= {
        *("model.dropout", "recipe.weight_decay", "model.label_smoothing", "model.width"),
    }
    assert claims(standing)[("model.width",)].options == {"model.width": 64}


def test_a_gap_on_images_asks_for_moved_and_mirrored_ones(study: novum.Study) -> None:
    arm = novum.arm(digits(per_class=5), novum.model("timm"), budget="60 epochs", replicates="separate")

    standing = stands(study, arm)
    moved, mirrored = proposed(standing, "shifted-images"), proposed(standing, "mirrored-images")

    assert moved is not None
    assert mirrored is not None
    assert dict(moved.options) == {"model.shift": 0.125}
    assert dict(mirrored.options) == {"model.flip": True}


def test_a_curve_that_still_rises_asks_for_more_budget_or_a_higher_rate_and_both_help(study: novum.Study) -> None:
    arm = novum.arm(digits(), novum.model("mlp"), budget="1 epochs", learning_rate=4e-4, schedule="constant")
    space = {"recipe.learning_rate": True, "recipe.budget": True}

    standing = stands(study, arm, space)
    faster, longer = proposed(standing, "higher-rate"), proposed(standing, "more-budget")

    assert faster is not None
    assert longer is not None
    assert (faster.options["recipe.learning_rate"], longer.options["recipe.budget"]) == (0.0012, "2 epochs")
    base = mean(study, arm, "accuracy")
    assert mean(study, after(standing, faster), "accuracy") > base + 0.1
    assert mean(study, after(standing, longer), "accuracy") > base + 0.1


def test_what_is_not_even_learned_on_train_asks_for_a_higher_rate_though_its_curve_is_flat(study: novum.Study) -> None:
    arm = novum.arm(digits(), novum.model("mlp"), budget="1 epochs", learning_rate=2e-4)  # a cosine ends at 0

    standing = stands(study, arm, {"recipe.learning_rate": True, "model.width": True})
    faster, larger = proposed(standing, "faster-fit"), proposed(standing, "larger-network")

    assert proposed(standing, "higher-rate") is None
    assert faster is not None
    assert larger is not None
    assert dict(larger.options) == {"model.width": 128}
    assert mean(study, after(standing, faster), "accuracy") > mean(study, arm, "accuracy") + 0.1


def test_training_that_diverges_asks_for_a_lower_rate_or_clipping(study: novum.Study) -> None:
    arm = novum.arm(digits(), novum.model("mlp"), budget="1 epochs", optimizer="sgd", learning_rate=30.0)
    space = {"recipe.learning_rate": {"low": 0.001, "high": 100.0}, "recipe.clip": True, "recipe.schedule": True}

    standing = stands(study, arm, space)

    assert standing.number("t", "run.diverged") == 1
    assert [dict(each.options) for each in claims(standing).values()] == [
        {"recipe.learning_rate": 9.0},
        {"recipe.clip": 1.0},
    ]


def test_seeds_that_differ_ask_for_warm_up_clipping_averaging_and_longer_rollouts(study: novum.Study) -> None:
    task = novum.task("gym", env="CartPole-v1", episodes=4)

    standing = stands(study, novum.arm(task, novum.model("ppo", epochs=4), budget="2_048 steps"))
    found = claims(standing)

    assert (standing.number("t", "run.spread") or 0) > 0.05
    assert dict(found[("recipe.averaging",)].options) == {"recipe.averaging": "ema"}
    assert dict(found[("recipe.warmup",)].options) == {"recipe.warmup": 0.1}
    assert dict(found[("recipe.batch_size", "model.gae_lambda")].options) == {
        "recipe.batch_size": 512,
        "model.gae_lambda": 0.9,
    }


def test_a_plateau_at_a_constant_rate_asks_for_a_falling_one(study: novum.Study) -> None:
    arm = novum.arm(digits(), novum.model("linear"), budget="6 epochs", learning_rate=0.1, schedule="constant")

    standing = stands(study, arm)

    assert [
        dict(each.options) for name in ("falling-rate", "one-cycle") if (each := proposed(standing, name)) is not None
    ] == [{"recipe.schedule": "cosine"}, {"recipe.schedule": "one-cycle"}]


def test_few_labels_ask_for_another_start_and_with_one_for_less_that_is_trained(study: novum.Study) -> None:
    arm = novum.arm(digits(per_class=5), novum.model("timm"), budget="2 epochs")
    parent = {"task": {"per_class": 0}, "recipe": {"budget": "1_000 samples"}}
    space = {"start_from": [parent], "model.trained": True, "model.pretrained": True}

    standing = stands(study, arm, space)
    start = proposed(standing, "start-from-another")

    assert standing.number("t", "train.per_class") == 5
    assert start is not None
    assert proposed(standing, "pretrained-weights") is not None
    assert proposed(standing, "train-the-head") is None  # nothing comes from elsewhere
    later = stands(study, after(standing, start), space, name="later")
    assert [
        dict(each.options) for name in ("train-the-head", "train-biases") if (each := proposed(later, name)) is not None
    ] == [{"model.trained": "head"}, {"model.trained": "biases"}]


def test_many_labels_ask_for_no_other_start(study: novum.Study) -> None:
    space = {"start_from": [{"recipe": {"budget": "2 epochs"}}]}

    standing = stands(study, novum.arm(DOCS, novum.model("bag"), budget="1 epochs"), space)

    assert proposed(standing, "start-from-another") is None


def test_texts_that_are_cut_ask_for_more_of_them(study: novum.Study) -> None:
    size = {"layers": 1, "width": 32, "heads": 2, "vocabulary": 500}
    short, long = (novum.model("transformer", max_length=length, **size) for length in (16, 200))

    cut, whole = (
        proposed(stands(study, novum.arm(DOCS, each, budget="64 samples"), name=name), "longer-texts")
        for name, each in (("short", short), ("long", long))
    )

    assert cut is not None
    assert dict(cut.options) == {"model.max_length": 32}
    assert "more than 67 words and marks, and only 16 tokens are read" in cut.because
    assert whole is None


def test_rewards_that_come_seldom_ask_for_longer_credit_more_environments_and_exploration(study: novum.Study) -> None:
    lake = novum.task("gym", env="FrozenLake-v1", episodes=4, reference=1.0)
    space = {"task.envs": [8, 16, 32], "model.gae_lambda": True, "model.gamma": True, "model.entropy": True}

    standing = stands(study, novum.arm(lake, novum.model("ppo", epochs=1), budget="512 steps"), space)

    assert (standing.number("t", "rewards.share") or 0) < 0.05
    assert [dict(each.options) for each in claims(standing).values()] == [
        {"model.gae_lambda": 0.95, "model.gamma": 0.995},
        {"model.entropy": 0.01},
        {"task.envs": 16},
    ]


def test_what_is_too_sure_is_smoothed(study: novum.Study) -> None:
    arm = novum.arm(digits(per_class=5), novum.model("mlp", width=128), budget="60 epochs")

    standing = stands(study, arm)
    found = proposed(standing, "calibrated")

    assert (standing.number("t", "run.ece") or 0) > 0.05
    assert found is not None
    assert dict(found.options) == {"model.label_smoothing": 0.1}


def test_train_is_scored_on_the_units_that_a_trial_drew_of_it(study: novum.Study) -> None:
    arm = novum.arm(digits(per_class=5), novum.model("linear"), budget="60 epochs", learning_rate=0.1)

    standing = stands(study, arm)

    assert standing.number("t", "run.train") == 1  # 50 images in 64 dimensions: all are known
    assert (standing.number("t", "run.scaled") or 0) < 0.95
