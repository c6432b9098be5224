from collections.abc import Callable

import pytest
from novum import Undefined
from novum_text.facts import NaiveBayes

from .conftest import ROWS, task

Write = Callable[..., str]


def test_facts_describe_train_alone(write: Write) -> None:
    train = [("aa", "x"), ("bbbb", "x"), ("bbbb", "x"), ("", "y")]
    files = {
        "train": write("a.csv", train),
        "dev": write("b.csv", [("z", "y")]),
        "test": write("c.csv", [("z", "x")]),
    }

    seen = task(data=files).observe()

    values = {fact.id: fact.value for fact in seen.facts}
    baseline = values.pop("baseline.accuracy")
    assert values == {
        "train.size": 4,
        "train.classes": 2,
        "train.majority": 0.75,
        "train.smallest": 1,
        "train.length.median": 3.0,
        "train.length.p95": 4.0,
        "train.length.max": 4,
        "train.length.words.p95": 1.0,
        "train.duplicates": 1,
        "train.empty": 1,
    }
    assert isinstance(baseline, Undefined)


def test_the_scale_goes_from_the_majority_share_to_one(write: Write) -> None:
    files = {split: write(f"{split}.csv", [*ROWS, *ROWS[:1]]) for split in ("train", "dev", "test")}

    scale = task(data=files).observe().scale

    assert scale is not None
    assert (scale.metric, scale.chance, scale.reference) == ("accuracy", 41 / 121, 1.0)


def test_what_cleaning_drops_is_counted(write: Write) -> None:
    train = [("a", "x"), ("a", "x"), (" ", "y"), ("b", "y"), ("c", "y"), ("d", "x"), ("d", "x"), ("g", "y")]
    files = {
        "train": write("train.csv", train),
        "dev": write("dev.csv", [("b", "y"), ("e", "x"), ("c", "y")]),
        "test": write("test.csv", [("c", "y"), ("f", "x"), ("", "x")]),
    }

    raw = task(data=files).observe()
    clean = task(data=files, clean={"drop_empty": True, "drop_duplicates": True, "drop_leaked": True})

    seen = {fact.id: fact.value for fact in clean.observe().facts}
    assert not [fact.id for fact in raw.facts if fact.id.startswith("clean.")]
    assert (seen["clean.empty"], seen["clean.duplicates"], seen["clean.leaked"]) == (2, 2, 3)
    assert (seen["train.size"], seen["train.duplicates"], seen["train.empty"]) == (3, 0, 0)


def test_with_few_labels_the_size_is_what_a_trial_sees(write: Write) -> None:
    seen = task(data=write("a.csv"), per_class=5).observe()

    assert seen["train.size"].value == 15
    assert seen["train.pool"].value == 84


def test_the_baseline_is_between_chance_and_one_on_real_text(reviews: dict[str, str]) -> None:
    seen = task(data=reviews).observe()

    assert 0.70 < float(seen["baseline.accuracy"].value) < 0.85  # type: ignore[arg-type]


def test_naive_bayes_equals_its_formula_worked_by_hand() -> None:
    # Grams of class 0: "a", "b", "a b"; of class 1: "b"; 3 distinct; one slot for the unseen.
    bayes = NaiveBayes(["a b", "b"], [0, 1], classes=2)

    floor = bayes._floor.tolist()

    assert floor == pytest.approx([-1.9459101, -1.6094379])  # -log(3 + 4), -log(1 + 4)
    assert bayes.predict("a") == 0  # 2/7 against 1/5
    assert bayes.predict("b") == 1  # 2/7 against 2/5
    assert bayes.predict("never seen") == 0  # the priors are equal: the first class
