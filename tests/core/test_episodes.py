"""The ready source `Episodes`, over an environment so small that every number is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from novum import Batch, Episodes, Prediction, Seed, Split
from novum.episodes import RANGES


class Space:
    def seed(self, seed: int) -> None:
        self.drawn_from = seed


@dataclass
class Count:
    """Observes (the reset's seed modulo 1000, steps since); a step's reward is its action. Terminates after
    `length` steps, or is truncated there.
    """

    length: int = 3
    truncates: bool = False
    seeds: list[int] = field(default_factory=list)
    closed: bool = False
    steps: int = 0

    def __post_init__(self) -> None:
        self.action_space = Space()

    def reset(self, seed: int) -> tuple[np.ndarray, dict[str, Any]]:
        self.seeds.append(seed)
        self.steps = 0
        return self._observe(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        ended = self.steps == self.length
        return self._observe(), float(action), ended and not self.truncates, ended and self.truncates, {}

    def close(self) -> None:
        self.closed = True

    def _observe(self) -> np.ndarray:
        return np.array([self.seeds[-1] % 1000, self.steps], dtype=np.float64)


@dataclass
class Player:
    """Answers every environment with the step that it sees, plus one; hands back that it was asked."""

    explored: list[bool] = field(default_factory=list)

    def __call__(self, inputs: Any, ids: Sequence[str] = (), explore: bool = False) -> Prediction:
        self.explored.append(explore)
        seen = torch.as_tensor(inputs)
        return Prediction(seen[:, 1].long() + 1, extras={"value": seen[:, 1] * 10})


def episodes(
    split: Split = Split.TRAIN,
    root: int = 0,
    batch_size: int = 8,
    made: list[Count] | None = None,
    **kwargs: Any,
) -> Episodes:
    kept = [] if made is None else made
    truncates = kwargs.pop("truncates", False)

    def make() -> Count:
        kept.append(Count(truncates=truncates))
        return kept[-1]

    return Episodes(make, split, seed=Seed(root), batch_size=batch_size, **{"count": 2, "episodes": 4, **kwargs})


def content(batch: Batch) -> dict[str, bytes]:
    return {name: np.asarray(array).tobytes() for name, array in {"inputs": batch.inputs, **batch.extras}.items()}


def test_a_rollout_is_time_major_and_counts_steps_times_environments() -> None:
    source = episodes(batch_size=8, count=2)

    batch = source.next(Player())

    assert batch.units == 8
    assert batch.targets is None and batch.ids == ()
    assert batch.inputs.shape == (4, 2, 2) and batch.inputs.dtype == np.float32
    assert batch.extras["next_inputs"].shape == (4, 2, 2)
    for name in ("actions", "rewards", "terminated", "truncated", "value"):
        assert batch.extras[name].shape == (4, 2), name
    assert batch.extras["rewards"].dtype == np.float32


def test_a_batch_smaller_than_the_number_of_environments_still_steps_each_once() -> None:
    batch = episodes(batch_size=3, count=5).next(Player())

    assert batch.units == 5


def test_what_the_policy_adds_to_its_answer_comes_back_stacked() -> None:
    batch = episodes().next(Player())

    np.testing.assert_array_equal(batch.extras["value"], batch.inputs[..., 1] * 10)


def test_the_observation_after_the_last_step_is_kept_where_the_episode_was_reset() -> None:
    batch = episodes().next(Player())

    np.testing.assert_array_equal(batch.extras["next_inputs"][:, 0, 1], [1, 2, 3, 1])
    np.testing.assert_array_equal(batch.inputs[:, 0, 1], [0, 1, 2, 0])
    np.testing.assert_array_equal(batch.extras["terminated"][:, 0], [0, 0, 1, 0])
    np.testing.assert_array_equal(batch.extras["truncated"], np.zeros((4, 2)))


def test_a_time_limit_is_told_apart_from_an_end() -> None:
    batch = episodes(truncates=True).next(Player())

    np.testing.assert_array_equal(batch.extras["truncated"][:, 0], [0, 0, 1, 0])
    np.testing.assert_array_equal(batch.extras["terminated"], np.zeros((4, 2)))


def test_a_rollout_goes_on_where_the_one_before_stopped() -> None:
    source = episodes()

    first, second = source.next(Player()), source.next(Player())

    np.testing.assert_array_equal(second.inputs[0], first.extras["next_inputs"][-1])
    np.testing.assert_array_equal(second.inputs[:, 0, 1], [1, 2, 0, 1])


def test_the_returns_of_the_episodes_that_ended_are_given_once() -> None:
    source = episodes()

    first, second = source.next(Player()), source.next(Player())

    np.testing.assert_array_equal(first.extras["episode_returns"], [6, 6])
    np.testing.assert_array_equal(second.extras["episode_returns"], [6, 6])


def test_the_same_seed_gives_the_same_bytes_and_another_seed_gives_others() -> None:
    one, same, other = (episodes(root=root) for root in (5, 5, 6))

    for _ in range(3):
        expected, equal, different = (content(source.next(Player())) for source in (one, same, other))

        assert equal == expected
        assert different["inputs"] != expected["inputs"]


def test_every_environment_draws_its_own_episodes_however_long_the_others_last() -> None:
    short: list[Count] = []
    uneven: list[Count] = []
    source, slower = episodes(made=short, batch_size=24), episodes(made=uneven, batch_size=24)
    source.next(Player())
    slower.next(Player())
    uneven[1].length = 5

    source.next(Player())
    slower.next(Player())

    assert short[0].seeds == uneven[0].seeds
    shared = min(len(short[1].seeds), len(uneven[1].seeds))
    assert len(short[1].seeds) > len(uneven[1].seeds)
    assert short[1].seeds[:shared] == uneven[1].seeds[:shared]


def test_environments_side_by_side_play_different_episodes() -> None:
    made: list[Count] = []

    episodes(made=made, count=4, batch_size=48).next(Player())

    seeds = [seed for env in made for seed in env.seeds]
    assert len(seeds) == len(set(seeds)) == 20


@pytest.mark.parametrize("root", range(3))
def test_the_seeds_of_the_three_splits_never_meet(root: int) -> None:
    played: dict[Split, set[int]] = {}
    for split in Split:
        made: list[Count] = []
        source = episodes(split, root, made=made, batch_size=120)
        source.next(Player()) if split is Split.TRAIN else list(source.each(Player()))
        played[split] = {seed for env in made for seed in env.seeds}

    assert all(0 <= seed < RANGES[Split.DEV] for seed in played[Split.TRAIN])
    assert all(RANGES[Split.DEV] <= seed < RANGES[Split.TEST] for seed in played[Split.DEV])
    assert all(RANGES[Split.TEST] <= seed < 2**31 for seed in played[Split.TEST])


def test_scoring_plays_the_same_episodes_for_every_seed_and_every_pass() -> None:
    made: list[Count] = []
    source, other = episodes(Split.DEV, 0, made=made), episodes(Split.DEV, 1, made=made)

    passes = [next(iter(each.each(Player()))) for each in (source, source, other)]

    seeds = [seed for env in made for seed in env.seeds]
    assert seeds == seeds[:4] * 3 and len(set(seeds)) == 4
    assert [one.ids for one in passes] == [("episode-0", "episode-1", "episode-2", "episode-3")] * 3
    assert [content(one)["returns"] for one in passes] == [content(passes[0])["returns"]] * 3


def test_scoring_sums_rewards_and_counts_steps_of_episodes_of_unequal_length() -> None:
    lengths = iter((2, 5, 1, 3))
    source = Episodes(lambda: Count(length=next(lengths)), Split.DEV, seed=Seed(0), batch_size=8, count=2, episodes=4)

    (batch,) = source.each(Player())

    np.testing.assert_array_equal(batch.extras["lengths"], [2, 5, 1, 3])
    np.testing.assert_array_equal(batch.extras["returns"], [3, 15, 1, 6])
    assert batch.units == 11


def test_environments_are_closed_once_they_are_scored() -> None:
    made: list[Count] = []

    list(episodes(Split.DEV, made=made).each(Player()))

    assert [env.closed for env in made] == [True] * 4


def test_the_policy_explores_in_training_and_only_there() -> None:
    player = Player()

    episodes().next(player)
    trained = list(player.explored)
    list(episodes(Split.DEV).each(player))

    assert set(trained) == {True}
    assert set(player.explored[len(trained) :]) == {False}


def test_an_environment_has_no_size_and_no_hashes() -> None:
    source = episodes()

    assert source.size is None and source.hashes() is None
    assert source.acts
