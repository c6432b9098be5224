from __future__ import annotations

import random
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, reject
from hypothesis import strategies as st
from novum import ConfigError, DataError, Examples, Prediction, Seed, content_hash, split

SIZES = st.integers(1, 30)
BATCHES = st.integers(1, 12)


def nobody(inputs: Any, ids: Any = (), explore: bool = False) -> Prediction:
    raise AssertionError("a data set never asks the model")


def examples(size: int, batch_size: int = 4, root: int = 0) -> Examples:
    inputs = np.arange(size)
    return Examples(inputs, inputs * 10, [f"u{row}" for row in inputs], seed=Seed(root), batch_size=batch_size)


def order(source: Examples, count: int) -> list[int]:
    found: list[int] = []
    while len(found) < count:
        found += source.next(nobody).inputs.tolist()
    return found[:count]


@given(SIZES, BATCHES, st.integers(0, 1000))
def test_every_pass_gives_each_example_exactly_once(size: int, batch_size: int, root: int) -> None:
    found = order(examples(size, batch_size, root), 3 * size)

    for start in range(0, 3 * size, size):
        assert sorted(found[start : start + size]) == list(range(size))


@given(SIZES, BATCHES)
def test_every_batch_is_of_the_exact_size_with_its_own_targets_and_ids(size: int, batch_size: int) -> None:
    source = examples(size, batch_size)

    for batch in (source.next(nobody) for _ in range(5)):
        assert batch.units == len(batch.inputs) == len(batch.ids) == batch_size
        assert batch.targets is not None
        assert batch.targets.tolist() == [10 * row for row in batch.inputs]
        assert list(batch.ids) == [f"u{row}" for row in batch.inputs]


@given(st.integers(8, 30), BATCHES, st.integers(0, 1000))
def test_the_order_is_fixed_by_the_seed_and_changes_with_it(size: int, batch_size: int, root: int) -> None:
    first, again, other = (order(examples(size, batch_size, seed), 3 * size) for seed in (root, root, root + 1))

    assert first == again
    assert first != other


def test_passes_are_shuffled_differently() -> None:
    found = order(examples(20), 40)

    assert found[:20] != found[20:]


def test_the_order_neither_reads_nor_moves_the_ordinary_generators() -> None:
    random.seed(1)
    np.random.seed(1)
    first = order(examples(20), 60)
    left = random.random(), np.random.rand()
    random.seed(1)
    np.random.seed(1)
    untouched = random.random(), np.random.rand()
    second = order(examples(20), 60)

    assert first == second
    assert left == untouched


@given(st.integers(1, 600))
def test_scoring_gives_every_example_once_in_stored_order(size: int) -> None:
    source = examples(size)

    twice = [[unit for batch in source.each(nobody) for unit in batch.ids] for _ in range(2)]

    assert twice == [[f"u{row}" for row in range(size)]] * 2


def test_inputs_may_be_texts() -> None:
    source = Examples(["a", "b", "c"], None, ["1", "2", "3"], seed=Seed(0), batch_size=2)

    batch = next(iter(source.each(nobody)))

    assert batch.inputs == ["a", "b", "c"]
    assert batch.targets is None


def test_equal_contents_have_equal_hashes_and_others_have_not() -> None:
    source = Examples(["a", "b", "a"], None, ["1", "2", "3"], seed=Seed(0), batch_size=2)

    assert source.hashes()[0] == source.hashes()[2] != source.hashes()[1]
    assert content_hash(np.zeros(4)) != content_hash(np.zeros((2, 2)))
    assert content_hash(np.zeros(2, "float32")) != content_hash(np.zeros(1, "float64"))
    assert content_hash("a") == content_hash(b"a")


@pytest.mark.parametrize(
    ("inputs", "targets", "ids", "told"),
    [
        ([], None, [], "0 examples"),
        (["a"], None, ["1", "2"], "1 inputs, no targets and 2 ids"),
        (["a", "b"], [1], ["1", "2"], "2 inputs, 1 targets and 2 ids"),
        (["a", "b", "c"], None, ["1", "1", "1"], "2 unit ids occur twice"),
    ],
)
def test_examples_that_are_empty_or_inconsistent_are_refused(inputs: Any, targets: Any, ids: Any, told: str) -> None:
    with pytest.raises(DataError, match=told):
        Examples(inputs, targets, ids, seed=Seed(0), batch_size=2)


# ------------------------------------------------------------------------------------------------------------ split


@given(st.integers(20, 200), st.floats(0.05, 0.4), st.floats(0.05, 0.4))
def test_splits_are_disjoint_complete_ascending_and_of_their_shares(size: int, dev: float, test: float) -> None:
    parts = split([f"id-{row}" for row in range(size)], dev=dev, test=test)

    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(size))
    assert all(np.all(np.diff(rows) > 0) for rows in parts.values())
    assert (len(parts["dev"]), len(parts["test"])) == (round(dev * size), round(test * size))


@given(st.permutations([f"id-{row}" for row in range(40)]))
def test_a_unit_stays_in_its_split_however_the_file_is_ordered(ids: list[str]) -> None:
    sorted_ids = sorted(ids)

    found, expected = split(ids), split(sorted_ids)

    for part, rows in found.items():
        assert {ids[row] for row in rows} == {sorted_ids[row] for row in expected[part]}


def parts_met(parts: dict[str, np.ndarray], names: list[Any]) -> int:
    """Over all names, in how many splits each is met: as many as there are names where none is parted."""
    return sum(len({names[row] for row in rows}) for rows in parts.values())


@given(st.lists(st.integers(0, 12), min_size=60, max_size=90))
def test_groups_never_part(groups: list[int]) -> None:
    try:
        parts = split([f"id-{row}" for row in range(len(groups))], dev=0.2, test=0.2, group=groups)
    except DataError:  # too few groups to fill three splits
        reject()

    assert parts_met(parts, groups) == len(set(groups))
    assert sum(len(rows) for rows in parts.values()) == len(groups)


@given(st.lists(st.integers(0, 30), min_size=60, max_size=90))
def test_units_that_share_an_id_stay_together(names: list[int]) -> None:
    ids = [f"id-{name}" for name in names]

    try:
        parts = split(ids, dev=0.2, test=0.2)
    except DataError:
        reject()

    assert parts_met(parts, ids) == len(set(ids))


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99)), min_size=30, max_size=60))
def test_units_that_share_an_id_stay_together_also_when_their_groups_differ(units: list[tuple[int, int]]) -> None:
    ids, groups = [f"id-{one}" for one, _ in units], [two for _, two in units]

    try:
        parts = split(ids, dev=0.2, test=0.2, group=groups)
    except DataError:  # nearly all of them hang together
        reject()

    assert parts_met(parts, ids) == len(set(ids))
    assert parts_met(parts, groups) == len(set(groups))


@given(st.lists(st.integers(0, 30), min_size=60, max_size=90))
def test_exact_duplicates_under_different_ids_stay_together(contents: list[int]) -> None:
    ids = [f"id-{row}" for row in range(len(contents))]
    units = [np.array([each, 1.5]) for each in contents]

    try:
        parts = split(ids, dev=0.2, test=0.2, content=units)
    except DataError:
        reject()

    assert parts_met(parts, contents) == len(set(contents))
    assert sum(len(rows) for rows in parts.values()) == len(ids)


def test_units_that_are_all_different_are_divided_as_without_their_content() -> None:
    ids = [f"id-{row}" for row in range(50)]

    with_content = split(ids, content=[f"text {row}" for row in range(50)])

    assert {part: rows.tolist() for part, rows in with_content.items()} == {
        part: rows.tolist() for part, rows in split(ids).items()
    }


def test_one_class_or_group_per_unit_is_asked_for() -> None:
    with pytest.raises(DataError, match="3 ids and 1 values of content"):
        split(["a", "b", "c"], content=["x"])
    with pytest.raises(DataError, match="3 ids and 2 values of group"):
        split(["a", "b", "c"], group=[1, 2])
    with pytest.raises(DataError, match="3 ids and 4 values of stratify"):
        split(["a", "b", "c"], stratify=[1, 2, 3, 4])


@given(st.lists(st.sampled_from("abc"), min_size=60, max_size=150))
def test_every_class_is_divided_by_the_same_shares(labels: list[str]) -> None:
    parts = split([f"id-{row}" for row in range(len(labels))], dev=0.1, test=0.3, stratify=labels)

    for label, count in Counter(labels).items():
        assert sum(labels[row] == label for row in parts["dev"]) == round(0.1 * count)
        assert sum(labels[row] == label for row in parts["test"]) == round(0.3 * count)


def test_a_group_counts_for_the_class_that_most_of_its_units_have() -> None:
    groups = [row // 4 for row in range(400)]
    labels = ["odd" if group % 2 else "even" for group in groups]
    labels[::4] = ["odd"] * 100  # one of four in each group

    parts = split([str(row) for row in range(400)], dev=0.1, test=0.2, stratify=labels, group=groups)

    odd = [sum(groups[row] % 2 for row in rows) / len(rows) for rows in parts.values()]
    assert odd == pytest.approx([0.5, 0.5, 0.5])


def test_classes_too_small_to_be_split_go_to_train() -> None:
    labels = ["common"] * 50 + ["rare", "scarce", "scarce"]

    parts = split([str(row) for row in range(53)], stratify=labels)

    assert set(parts["train"].tolist()) >= {50, 51, 52}


@pytest.mark.parametrize(("dev", "test"), [(-0.1, 0.2), (0.1, -0.2), (0.5, 0.5), (float("nan"), 0.1), (0.9, 0.9)])
def test_shares_out_of_range_are_refused(dev: float, test: float) -> None:
    with pytest.raises(ConfigError, match="together below 1"):
        split(["a", "b", "c"], dev=dev, test=test)


def test_a_split_that_stays_empty_is_refused_by_name() -> None:
    with pytest.raises(DataError, match="'dev' stays empty"):
        split(["a", "b", "c"], dev=0.01, test=0.4)


def test_a_share_of_zero_leaves_its_split_empty() -> None:
    parts = split([str(row) for row in range(10)], dev=0.0, test=0.2)

    assert (len(parts["train"]), len(parts["dev"]), len(parts["test"])) == (8, 0, 2)
