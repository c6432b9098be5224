"""The task `gym`."""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from novum import (
    Actions,
    ConfigError,
    Controls,
    DataError,
    Prediction,
    Recipe,
    Scale,
    Seed,
    Signature,
    Split,
    Undefined,
    Vector,
)
from novum_rl import environment
from novum_rl.gym import Gym
from pydantic import ValidationError
from torch import int64, zeros

MakeGym = Callable[..., Gym]


class Toy(gymnasium.Env[Any, Any]):
    """One step per episode, with the spaces that it is given; `told` is what the last action arrived as."""

    told: Any = None

    def __init__(self, observations: Any = None, actions: Any = None, reward: float = 1.0) -> None:
        self.observation_space = observations or spaces.Box(-1, 1, (2,))
        self.action_space = actions or spaces.Discrete(2)
        self.reward = reward

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        Toy.told = action
        return self.observation_space.sample(), self.reward, True, False, {}


@pytest.fixture
def toy(gym: MakeGym, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Gym]:
    """A task over `Toy` with the given spaces, registered for this test only."""

    def make(max_steps: int | None = 5, threshold: float | None = None, **parts: Any) -> Gym:
        point: Any = functools.partial(Toy, **parts)
        spec = gymnasium.envs.registration.EnvSpec(
            "Toy-v0", point, max_episode_steps=max_steps, reward_threshold=threshold
        )
        monkeypatch.setitem(gymnasium.registry, "Toy-v0", spec)
        return gym(env="Toy-v0")

    return make


# ------------------------------------------------------------------------------------------------------- signature


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ("CartPole-v1", Signature(Vector((4,)), Actions(2))),
        ("Pendulum-v1", Signature(Vector((3,)), Controls((-2.0,), (2.0,)))),
        ("FrozenLake-v1", Signature(Vector((16,)), Actions(4))),
    ],
)
def test_the_signature_follows_from_the_spaces(gym: MakeGym, env: str, expected: Signature) -> None:
    assert gym(env=env).signature() == expected


def test_a_discrete_observation_becomes_a_one_hot_vector(gym: MakeGym) -> None:
    env = gym(env="FrozenLake-v1")._make(Split.TRAIN)

    observation, _ = env.reset(seed=0)

    np.testing.assert_array_equal(observation, np.eye(16)[0])


def test_an_observation_keeps_its_shape(toy: MakeGym) -> None:
    task = toy(observations=spaces.Box(0, 1, (3, 4, 2)))

    assert task.signature().inputs == Vector((3, 4, 2))


def test_actions_that_start_elsewhere_are_counted_from_zero(toy: MakeGym) -> None:
    task = toy(actions=spaces.Discrete(3, start=5))
    env = task._make(Split.TRAIN)

    env.reset(seed=0)
    env.step(np.int64(2))

    assert task.signature().outputs == Actions(3)
    assert Toy.told == 7


def test_real_actions_are_clipped_into_the_box_and_take_its_shape(toy: MakeGym) -> None:
    high = np.array([[1, 2], [3, 4]], dtype=np.float32)
    task = toy(actions=spaces.Box(-high, high))
    env = task._make(Split.TRAIN)

    env.reset(seed=0)
    env.step(np.array([-9, 0.5, 9, 1], dtype=np.float32))

    assert task.signature().outputs == Controls((-1, -2, -3, -4), (1, 2, 3, 4))
    np.testing.assert_array_equal(Toy.told, [[-1, 0.5], [3, 1]])


# ----------------------------------------------------------------------------------------------- what cannot be made


def test_an_unknown_id_names_the_closest(gym: MakeGym) -> None:
    with pytest.raises(ConfigError, match=r"'CartPol-v1'; did you mean .*'CartPole-v1'"):
        gym(env="CartPol-v1").signature()


def test_an_id_without_its_version_is_refused(gym: MakeGym) -> None:
    with pytest.raises(ConfigError, match=r"'CartPole'; did you mean .*'CartPole-v1'"):
        gym(env="CartPole").signature()


def test_an_option_cannot_name_a_module_to_import(gym: MakeGym) -> None:
    with pytest.raises(ConfigError, match="'this:CartPole-v1' names a module"):
        gym(env="this:CartPole-v1").signature()

    assert "this" not in sys.modules


def test_a_missing_dependency_names_the_extra_to_install(gym: MakeGym, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "Box2D", None)
    for module in [name for name in sys.modules if name.startswith("gymnasium.envs.box2d")]:
        monkeypatch.delitem(sys.modules, module)

    with pytest.raises(DataError, match=r"'LunarLander-v3' needs a package.*pip install 'novum-rl\[box2d\]'"):
        gym(env="LunarLander-v3").signature()


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"observations": spaces.Tuple([spaces.Discrete(2)])}, "observations of env 'Toy-v0' are .*, a Tuple"),
        ({"observations": spaces.Dict({"a": spaces.Discrete(2)})}, "observations of env 'Toy-v0' are .*, a Dict"),
        ({"actions": spaces.MultiDiscrete([2, 2])}, "actions of env 'Toy-v0' are .*, a MultiDiscrete"),
        ({"actions": spaces.Box(0, 9, (1,), dtype=np.int64)}, "actions of env 'Toy-v0' are .*, a Box"),
    ],
)
def test_an_unsupported_space_is_named(toy: MakeGym, parts: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        toy(**parts).signature()


def test_an_environment_without_a_time_limit_asks_for_one(gym: MakeGym) -> None:
    with pytest.raises(ConfigError, match=r"'CliffWalking-v1' has no time limit.*set max_steps"):
        gym(env="CliffWalking-v1").signature()

    assert gym(env="CliffWalking-v1", max_steps=100).signature().inputs == Vector((48,))


def test_an_unknown_option_of_the_environment_names_those_it_takes(gym: MakeGym) -> None:
    with pytest.raises(ConfigError, match=r"refused kwargs \{'slippery': False\}.*it takes .*is_slippery"):
        gym(env="FrozenLake-v1", kwargs={"slippery": False}).signature()


def test_a_deprecated_version_warns_nobody(gym: MakeGym) -> None:
    assert gym(env="CartPole-v0").signature().outputs == Actions(2)


def test_box2d_loads_where_warnings_are_errors() -> None:
    pytest.importorskip("gymnasium.envs.box2d", reason="the extra box2d is not installed")
    code = "from novum_rl.gym import Gym; print(Gym(Gym.Config(env='LunarLander-v3')).signature().outputs.count)"

    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)

    assert done.stdout.strip() == "4", done.stderr


# --------------------------------------------------------------------------------------------------------- physics


def test_physics_sets_numbers_and_refreshes_what_cartpole_derives_from_them(gym: MakeGym) -> None:
    task = gym(physics={"length": 1.0, "masspole": 0.2})

    pole = task._make(Split.TRAIN).unwrapped

    assert (pole.length, pole.masspole) == (1.0, 0.2)
    assert pole.polemass_length == pytest.approx(0.2)
    assert pole.total_mass == pytest.approx(1.2)


def test_the_derived_numbers_are_those_that_cartpole_computes_itself() -> None:
    pole: Any = gymnasium.make("CartPole-v1").unwrapped

    assert environment.derived(pole) == {"total_mass": pole.total_mass, "polemass_length": pole.polemass_length}


def test_an_attribute_of_the_class_can_be_set_on_one_environment(gym: MakeGym) -> None:
    changed = gym(env="Acrobot-v1", physics={"LINK_LENGTH_1": 2})._make(Split.TRAIN).unwrapped
    untouched = gym(env="Acrobot-v1")._make(Split.TRAIN).unwrapped

    assert (changed.LINK_LENGTH_1, untouched.LINK_LENGTH_1) == (2.0, 1.0)


def test_an_unknown_attribute_names_the_closest(gym: MakeGym) -> None:
    with pytest.raises(ConfigError, match=r"physics.lenght = 1.0: .* did you mean 'length'"):
        gym(physics={"lenght": 1.0}).signature()


def test_an_attribute_that_is_no_number_is_refused(gym: MakeGym) -> None:
    with pytest.raises(ConfigError, match="no number called 'kinematics_integrator'"):
        gym(physics={"kinematics_integrator": 1.0}).signature()


def test_a_derived_attribute_is_refused_with_what_to_set_instead(gym: MakeGym) -> None:
    with pytest.raises(ConfigError, match=r"derives 'polemass_length'.*set those instead \(.*length, masscart"):
        gym(physics={"polemass_length": 1.0}).signature()


def test_changed_conditions_hold_in_test_alone(gym: MakeGym) -> None:
    task = gym(physics={"gravity": 9.0}, test_physics={"length": 2.0})

    found = {split: task._make(split).unwrapped for split in Split}

    assert {split: (env.gravity, env.length) for split, env in found.items()} == {
        Split.TRAIN: (9.0, 0.5),
        Split.DEV: (9.0, 0.5),
        Split.TEST: (9.0, 2.0),
    }


def test_a_fault_in_the_test_conditions_shows_in_the_fingerprint_before_any_training(gym: MakeGym) -> None:
    with pytest.raises(ConfigError, match=r"physics.lenght"):
        gym(test_physics={"lenght": 1.0}).fingerprint()


# --------------------------------------------------------------------------------------------------------- observe


def test_observing_twice_gives_the_same_facts(gym: MakeGym) -> None:
    assert gym().observe() == gym().observe()
    assert gym(env="Pendulum-v1").observe() == gym(env="Pendulum-v1").observe()


def test_cartpoles_scale_runs_from_the_random_policy_to_the_registered_threshold(gym: MakeGym) -> None:
    seen = gym().observe()

    assert seen.scale is not None
    assert (seen.scale.metric, seen.scale.reference) == ("return", 475.0)
    assert 10 < seen.scale.chance < 40  # a random policy falls within some 20 steps
    assert seen["random.return"].value == pytest.approx(seen.scale.chance)
    assert seen["env.horizon"].value == 500
    assert seen["rewards.low"].value == seen["rewards.high"].value == 1.0
    assert seen["reward.threshold"].value == 475.0


def test_with_another_horizon_the_threshold_gives_way_to_it(gym: MakeGym) -> None:
    scale = gym(max_steps=100).observe().scale

    assert scale is not None and scale.reference == 100.0


def test_without_a_reference_there_is_no_scale_and_the_reason_is_a_fact(gym: MakeGym) -> None:
    seen = gym(env="Pendulum-v1").observe()

    assert seen.scale is None
    assert isinstance(seen["reference.return"].value, Undefined)
    assert isinstance(seen["reward.threshold"].value, Undefined)
    assert float(str(seen["random.return.low"].value)) < -500


def test_a_stated_scale_is_taken(gym: MakeGym) -> None:
    seen = gym(env="Pendulum-v1", chance=-1200.0, reference=-150.0).observe()

    assert seen.scale == Scale("return", -1200.0, -150.0)


def test_a_reference_below_chance_is_refused(gym: MakeGym) -> None:
    with pytest.raises(ConfigError, match=r"reference = 5.0 is not above chance = 20.0"):
        gym(chance=20.0, reference=5.0).observe()


def test_a_threshold_that_the_random_policy_reaches_makes_no_scale(toy: MakeGym) -> None:
    seen = toy(threshold=0.5).observe()

    assert seen.scale is None
    assert "not above chance" in str(seen["reference.return"].value)


# ----------------------------------------------------------------------------------------------------- fingerprint


def test_the_fingerprint_is_the_same_each_time(gym: MakeGym) -> None:
    assert gym(env="Pendulum-v1").fingerprint() == gym(env="Pendulum-v1").fingerprint()


@pytest.mark.parametrize(
    "options",
    [
        {"env": "Acrobot-v1"},
        {"physics": {"length": 0.51}},
        {"test_physics": {"length": 0.51}},
        {"kwargs": {"sutton_barto_reward": True}},
        {"max_steps": 400},
    ],
)
def test_the_fingerprint_changes_with_what_changes_the_environment(gym: MakeGym, options: dict[str, Any]) -> None:
    assert gym(**options).fingerprint() != gym().fingerprint()


def test_the_fingerprint_changes_with_dynamics_that_no_option_names(toy: MakeGym) -> None:
    assert toy(reward=1.0).fingerprint() != toy(reward=2.0).fingerprint()


def test_the_fingerprint_does_not_change_with_how_much_is_played(gym: MakeGym) -> None:
    assert gym(envs=2, episodes=3).fingerprint() == gym().fingerprint()


# ------------------------------------------------------------------------------------------------- config and source


def test_a_config_cannot_be_changed_after_it_was_made(gym: MakeGym) -> None:
    config = gym(physics={"length": 1.0}).config

    with pytest.raises(TypeError):
        config.physics["length"] = 2.0  # type: ignore[index]
    with pytest.raises(ValidationError):
        config.env = "Acrobot-v1"  # type: ignore[misc]


def test_a_config_survives_json(gym: MakeGym) -> None:
    config = gym(physics={"length": 1.0}, kwargs={"sutton_barto_reward": True}).config

    assert Gym.Config.model_validate_json(config.model_dump_json()) == config
    assert Gym.Config.model_json_schema()["properties"]["physics"]["type"] == "object"


def test_the_source_plays_as_many_environments_and_episodes_as_asked(gym: MakeGym, ppo: Any, rollout: Any) -> None:
    task = gym(envs=4, episodes=3)

    def left(inputs: Any, ids: Any = (), explore: bool = False) -> Prediction:
        return Prediction(zeros(len(inputs), dtype=int64))

    _, batch = rollout(task, ppo(), 0, batch_size=40)
    (scored,) = task.source(Split.DEV, Seed(0), Recipe()).each(left)

    assert batch.inputs.shape == (10, 4, 4)
    assert len(scored.ids) == 3
