"""A ready source for environments that follow the Gymnasium API."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from novum.data import Batch
from novum.task import Source, Split

if TYPE_CHECKING:
    from novum.data import Act
    from novum.seeds import Seed

RANGES = {Split.TRAIN: 0, Split.DEV: 1 << 30, Split.TEST: 3 << 29}
"""Where each split's episode seeds start: train uses [0, 2^30), dev [2^30, 3·2^29), test [3·2^29, 2^31)."""


class Episodes(Source):
    """Episodes of an environment. It owns its environments, resets them itself and reseeds every episode.

    Training plays `count` environments side by side and gives one rollout per batch, of T steps each, where
    T = max(1, batch_size // count). Its arrays are time-major:

    inputs: observations, float32 (T, count, …). targets: None. units: T · count environment steps.
    extras: "actions" (T, count[, A]); "rewards", "terminated", "truncated", float32 (T, count); "next_inputs"
        (T, count, …), the observation after each step, also where the episode ended there, so that the value
        after a truncation can be estimated; "episode_returns" (K,), of the K episodes that ended in this
        rollout; and whatever `Prediction.extras` held, stacked to (T, count, …).

    Scoring plays the split's `episodes` fixed seeds, each once and without exploring, and gives one Batch: ids
    "episode-0"…, inputs None, extras "returns" and "lengths", float64 (episodes,).
    """

    acts = True

    def __init__(
        self,
        make: Callable[[], Any],
        split: Split,
        *,
        seed: Seed,
        batch_size: int,
        count: int = 8,
        episodes: int = 20,
    ) -> None:
        self._make = make
        self._split = split
        # A stream per environment: the k-th episode of each is the same in every arm, however long the others last.
        self._seeds = [seed.child("episodes", at).numpy() for at in range(count)]
        self._steps = max(1, batch_size // count)
        self._count = count
        self._episodes = episodes
        self._envs: list[Any] = []
        self._now: list[np.ndarray] = []
        self._returns = np.zeros(count)

    @property
    def size(self) -> None:
        return None

    def next(self, act: Act) -> Batch:
        if not self._envs:
            self._envs = [self._make() for _ in range(self._count)]
            self._now = [self._reset(at) for at in range(self._count)]
        rows: dict[str, list[Any]] = {"inputs": [], "actions": [], "next_inputs": []}
        rows |= {"rewards": [], "terminated": [], "truncated": []}
        ended: list[float] = []
        for _ in range(self._steps):
            before = np.stack(self._now)
            answer = act(before, explore=True)
            actions = answer.value.numpy()
            stepped = [env.step(action) for env, action in zip(self._envs, actions, strict=True)]
            after = np.stack([_observation(step[0]) for step in stepped])
            rewards = np.array([step[1] for step in stepped], dtype=np.float32)
            rows["inputs"].append(before)
            rows["actions"].append(actions)
            rows["next_inputs"].append(after)
            rows["rewards"].append(rewards)
            rows["terminated"].append(np.array([step[2] for step in stepped], dtype=np.float32))
            rows["truncated"].append(np.array([step[3] for step in stepped], dtype=np.float32))
            for name, tensor in answer.extras.items():
                rows.setdefault(name, []).append(tensor.numpy())
            self._returns += rewards
            self._now = list(after)
            for at, step in enumerate(stepped):
                if step[2] or step[3]:
                    ended.append(float(self._returns[at]))
                    self._returns[at] = 0.0
                    self._now[at] = self._reset(at)
        arrays = {name: np.stack(values) for name, values in rows.items()}
        inputs = arrays.pop("inputs")
        arrays["episode_returns"] = np.array(ended, dtype=np.float32)
        return Batch(inputs=inputs, targets=None, units=self._steps * self._count, extras=arrays)

    def each(self, act: Act) -> Iterator[Batch]:
        envs = [self._make() for _ in range(self._episodes)]
        base = RANGES[self._split]
        now = [_observation(env.reset(seed=base + at)[0]) for at, env in enumerate(envs)]
        for at, env in enumerate(envs):
            env.action_space.seed(base + at)
        returns = np.zeros(self._episodes)
        lengths = np.zeros(self._episodes)
        alive = list(range(self._episodes))
        while alive:  # in lockstep, so that one call of the network serves every unfinished episode
            actions = act(np.stack([now[at] for at in alive])).value.numpy()
            still = []
            for at, action in zip(alive, actions, strict=True):
                observation, reward, terminated, truncated, _ = envs[at].step(action)
                now[at] = _observation(observation)
                returns[at] += float(reward)
                lengths[at] += 1
                if terminated or truncated:
                    envs[at].close()
                else:
                    still.append(at)
            alive = still
        ids = tuple(f"episode-{at}" for at in range(self._episodes))
        extras = {"returns": returns, "lengths": lengths}
        yield Batch(inputs=None, targets=None, units=int(lengths.sum()), ids=ids, extras=extras)

    def _reset(self, at: int) -> np.ndarray:
        seed = RANGES[self._split] + int(self._seeds[at].integers(1 << 29))
        return _observation(self._envs[at].reset(seed=seed)[0])


def _observation(value: Any) -> np.ndarray:
    return np.asarray(value, dtype=np.float32)
