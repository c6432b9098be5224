"""The task `gym`: any Gymnasium environment with Discrete or Box spaces."""

from __future__ import annotations

import hashlib
import json
import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any

import novum
from novum import ConfigError, Episodes, Fact, Observation, Recipe, Scale, Seed, Signature, Source, Split, Undefined
from pydantic import AfterValidator, Field, JsonValue, PlainSerializer

from novum_rl import environment

RANDOM_EPISODES = 20
"""Episodes that the random policy plays to find the chance score."""
TRAIN_SEED_BITS = 29
"""Training episodes of `novum.Episodes` have seeds below 2 to this power; what is observed comes from there too."""

Options = Annotated[
    Mapping[str, JsonValue], AfterValidator(MappingProxyType), PlainSerializer(dict, return_type=dict[str, Any])
]
Numbers = Annotated[
    Mapping[str, float], AfterValidator(MappingProxyType), PlainSerializer(dict, return_type=dict[str, float])
]


class Gym(novum.Task):
    """An environment of Gymnasium (Towers et al. 2024): observations in, actions out, rewards as the score.

    Splits are disjoint ranges of episode seeds (see `novum.Episodes`); `test_physics` changes the conditions of
    `test` alone.
    """

    class Config(novum.Config):
        """Options of the task `gym`."""

        env: str = "CartPole-v1"
        """Registered id with its version."""
        kwargs: Options = Field(default_factory=dict)
        """Options of the environment's constructor, such as {is_slippery = false} for FrozenLake-v1."""
        physics: Numbers = Field(default_factory=dict)
        """Numbers set on the environment after it is made, such as {length = 1.0} for CartPole's half pole length;
        spaces stay as they were made."""
        test_physics: Numbers = Field(default_factory=dict)
        """Numbers set on top of `physics` for the split `test` alone: changed conditions for new data."""
        envs: Annotated[int, Field(ge=1)] = 8
        """Environments played side by side in training; a rollout has max(1, batch_size // envs) steps of each."""
        episodes: Annotated[int, Field(ge=1)] = 20
        """Episodes of one evaluation."""
        max_steps: Annotated[int, Field(ge=1)] | None = None
        """Time limit of an episode in steps; null keeps the registered one."""
        chance: float | None = None
        """Return that counts as 0 on the scale; null: the random policy's mean return."""
        reference: float | None = None
        """Return that counts as 1 on the scale; null: the registered threshold where `kwargs` and `max_steps` are
        not given, else the horizon where every reward is 1, else there is no scale."""

    config: Config
    evaluator = "returns"
    imports = ("gymnasium",)

    def signature(self) -> Signature:
        """Vector of the observation's own shape (one-hot for Discrete) → Actions or Controls.

        Raises ConfigError or DataError when the environment cannot be made (see `novum_rl.environment.make`).
        """
        return environment.signature(self._make(Split.TRAIN))

    def source(self, split: Split, seed: Seed, recipe: Recipe) -> Source:
        """Episodes of this environment; `test` with `test_physics`."""
        return Episodes(
            lambda: self._make(split),
            split,
            seed=seed,
            batch_size=recipe.batch_size,
            count=self.config.envs,
            episodes=self.config.episodes,
        )

    def observe(self) -> Observation:
        """Spaces, horizon, and what the random policy meets in 20 episodes on training seeds.

        The scale is None where no reference is known, or where it is not above chance.

        Raises ConfigError when `reference` is given and is not above chance.
        """
        env = self._make(Split.TRAIN)
        played = _play_randomly(env)
        spec = env.spec
        threshold = None if spec is None else spec.reward_threshold
        unstated = Undefined(f"Gymnasium registers no reward threshold for {self.config.env!r}")
        chance = self.config.chance
        if chance is None:
            chance = float(f"{math.fsum(played.returns) / len(played.returns):.6g}")
        reference = self._reference(chance, threshold, played, environment.horizon(env))
        who = f"of the random policy over {RANDOM_EPISODES} episodes"
        facts = (
            Fact("env.id", self.config.env, "", "Registered id of the environment."),
            Fact("env.horizon", environment.horizon(env) or 0, "steps", "Most steps that an episode can take."),
            Fact("observations.space", str(env.observation_space), "", "Space of the observations."),
            Fact("actions.space", str(env.action_space), "", "Space of the actions."),
            Fact("rewards.low", min(played.rewards), "reward", f"Lowest reward of one step {who}."),
            Fact("rewards.high", max(played.rewards), "reward", f"Highest reward of one step {who}."),
            Fact("rewards.share", played.rewarded, "share", f"Steps with a reward other than 0 {who}."),
            Fact("random.return", math.fsum(played.returns) / RANDOM_EPISODES, "reward", f"Mean return {who}."),
            Fact("random.return.sd", statistics.stdev(played.returns), "reward", f"Its sd {who}."),
            Fact(
                "random.return.low",
                min(played.returns),
                "reward",
                f"Lowest return {who}; the evaluator's `worst` belongs below it.",
            ),
            Fact("random.length", math.fsum(played.lengths) / RANDOM_EPISODES, "steps", f"Mean length {who}."),
            Fact(
                "reward.threshold",
                unstated if threshold is None else float(threshold),
                "reward",
                "Return from which Gymnasium calls the environment solved.",
            ),
            Fact("reference.return", reference, "reward", "Return that counts as 1 on the scale."),
        )
        scale = None if isinstance(reference, Undefined) else Scale("return", chance, reference)
        return Observation(facts, scale)

    def fingerprint(self) -> str:
        """SHA-256 over the id, Gymnasium's version, every option that changes the dynamics, the spaces, and a
        short random rollout. Its numbers enter with five digits, so that machines agree on it.
        """
        import gymnasium

        self._make(Split.TEST)  # so that a fault in `test_physics` shows before any training
        env = self._make(Split.TRAIN)
        content = {
            "env": self.config.env,
            "gymnasium": gymnasium.__version__,
            "kwargs": dict(self.config.kwargs),
            "physics": dict(self.config.physics),
            "test_physics": dict(self.config.test_physics),
            "horizon": environment.horizon(env),
            "spaces": [str(env.observation_space), str(env.action_space)],
            "rollout": _rollout(env),
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def _make(self, split: Split) -> Any:
        config = self.config
        physics = dict(config.physics) | (dict(config.test_physics) if split is Split.TEST else {})
        return environment.make(config.env, config.kwargs, physics, config.max_steps)

    def _reference(self, chance: float, threshold: float | None, played: Played, horizon: int | None) -> Any:
        given = self.config.reference
        if given is not None:
            if given <= chance:
                raise ConfigError(
                    f"task 'gym': reference = {given!r} is not above chance = {chance!r}; the scale's 1 must be the "
                    "better return: raise reference, or state chance."
                )
            return given
        # A threshold was registered for the environment as it is: other rewards or another horizon void it.
        if threshold is not None and not self.config.kwargs and self.config.max_steps is None:
            found = float(threshold)
        elif set(played.rewards) == {1.0} and horizon is not None:
            found = float(horizon)
        else:
            return Undefined("no threshold is registered for these options and rewards are not all 1: set `reference`")
        return found if found > chance else Undefined(f"{found!r} is not above chance, {chance!r}: set `reference`")


@dataclass(frozen=True)
class Played:
    """What some episodes gave: one return and length per episode, every reward value that occurred, and the share of
    steps whose reward was not 0.
    """

    returns: tuple[float, ...]
    lengths: tuple[int, ...]
    rewards: frozenset[float]
    rewarded: float


def _play_randomly(env: Any) -> Played:
    stream = Seed(0, ("gym", "observe"))
    env.action_space.seed(stream.child("actions").integer(31))
    returns, lengths, seen, rewarded = [], [], set(), 0
    for episode in range(RANDOM_EPISODES):
        env.reset(seed=stream.child("episode", episode).integer(TRAIN_SEED_BITS))
        rewards: list[float] = []
        ended = False
        while not ended:
            _, reward, terminated, truncated, _ = env.step(env.action_space.sample())
            rewards.append(float(reward))
            ended = terminated or truncated
        returns.append(math.fsum(rewards))
        lengths.append(len(rewards))
        seen.update(rewards)
        rewarded += sum(reward != 0 for reward in rewards)
    return Played(tuple(returns), tuple(lengths), frozenset(seen), rewarded / sum(lengths))


def _rollout(env: Any, episodes: int = 3, steps: int = 16) -> list[str]:
    import numpy as np

    stream = Seed(0, ("gym", "fingerprint"))
    env.action_space.seed(stream.child("actions").integer(31))
    found = []
    for episode in range(episodes):
        observation, _ = env.reset(seed=stream.child("episode", episode).integer(TRAIN_SEED_BITS))
        for _ in range(steps):
            observation, reward, terminated, truncated, _ = env.step(env.action_space.sample())
            numbers = [*np.ravel(observation), reward]
            found.append(",".join(f"{float(number) + 0.0:.4e}" for number in numbers))
            if terminated or truncated:
                found.append("terminated" if terminated else "truncated")
                break
    return found
