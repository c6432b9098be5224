from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from novum.seeds import Seed, installed, trial_seed

ROOTS = st.integers(0, 2**63 - 1)
PATHS = st.lists(st.text(max_size=5), max_size=4).map(tuple)


def draws() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(()))


@given(ROOTS, PATHS)
def test_the_same_path_gives_the_same_draws(root: int, path: tuple[str, ...]) -> None:
    one, two = Seed(root).child(*path), Seed(root, path)

    assert one.integer() == two.integer()
    assert one.numpy().random(3).tolist() == two.numpy().random(3).tolist()
    assert torch.equal(torch.rand(3, generator=one.torch()), torch.rand(3, generator=two.torch()))


@given(ROOTS, PATHS, PATHS)
def test_paths_of_different_names_give_different_draws(root: int, one: tuple[str, ...], two: tuple[str, ...]) -> None:
    assume(one != two)

    assert Seed(root, one).integer() != Seed(root, two).integer()
    assert Seed(root, one).numpy().random() != Seed(root, two).numpy().random()


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (("data", 3), ("data3",)),
        (("a", "b"), ("a/b",)),
        (("a", "b"), ("a/1:b",)),
        (("1:a",), ("1", "a")),
        (("a", ""), ("a",)),
        (("", "a"), ("a", "")),
    ],
)
def test_names_that_look_alike_when_joined_never_collide(
    one: tuple[str | int, ...], two: tuple[str | int, ...]
) -> None:
    assert Seed(1).child(*one).integer() != Seed(1).child(*two).integer()


def test_a_root_is_not_mistaken_for_the_beginning_of_a_path() -> None:
    assert Seed(1, ("2",)).integer() != Seed(12).integer()
    assert Seed(1).integer() != Seed(2).integer()


@given(ROOTS, PATHS, st.integers(1, 256))
def test_an_integer_stays_below_its_number_of_bits(root: int, path: tuple[str, ...], bits: int) -> None:
    assert 0 <= Seed(root, path).integer(bits) < 2**bits


def test_trials_of_other_blocks_or_indices_never_share_a_stream() -> None:
    seeds = [trial_seed(root, block, at) for root in (0, 1) for block in ("0", "1", "explore") for at in range(20)]

    assert len({seed.integer() for seed in seeds}) == len(seeds)
    assert trial_seed(0, "0", 3) == trial_seed(0, "0", 3)


def test_installing_a_stream_fixes_what_every_ordinary_generator_draws() -> None:
    with installed(Seed(1, ("build",))):
        first = draws()
    draws()
    with installed(Seed(1, ("build",))):
        again = draws()
    with installed(Seed(1, ("train",))):
        other = draws()

    assert first == again
    assert all(one != two for one, two in zip(first, other, strict=True))


def test_leaving_a_block_puts_back_what_was_installed_outside() -> None:
    random.seed(7)
    np.random.seed(7)
    torch.manual_seed(7)
    expected = draws(), draws()
    random.seed(7)
    np.random.seed(7)
    torch.manual_seed(7)

    before = draws()
    with installed(Seed(1)):
        draws()
    after = draws()

    assert (before, after) == expected


def test_a_block_that_raises_also_puts_back_what_was_outside() -> None:
    torch.manual_seed(3)
    expected = draws()[2], draws()[2]
    torch.manual_seed(3)

    before = draws()[2]
    with pytest.raises(ZeroDivisionError), installed(Seed(1)):
        draws()
        raise ZeroDivisionError
    after = draws()[2]

    assert (before, after) == expected


def test_a_nested_block_changes_nothing_for_the_one_around_it() -> None:
    with installed(Seed(1)):
        expected = draws(), draws()

    with installed(Seed(1)):
        before = draws()
        with installed(Seed(2)):
            inside = draws()
        after = draws()

    assert (before, after) == expected
    assert inside not in expected


def test_a_state_goes_on_where_its_block_stopped() -> None:
    with installed(Seed(1)):
        expected = draws(), draws()

    with installed(Seed(1)) as state:
        first = draws()
    draws()
    with installed(Seed(1), state) as state:
        second = draws()

    assert (first, second) == expected


def test_an_empty_state_starts_at_the_beginning_and_is_filled() -> None:
    with installed(Seed(1)):
        expected = draws(), draws()
    state: dict[str, object] = {}

    with installed(Seed(1), state):
        first = draws()
    with installed(Seed(1), state):
        second = draws()

    assert (first, second) == expected
