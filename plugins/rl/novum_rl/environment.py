"""Making one environment: its id, its physics, and the spaces that the rest of Novum speaks.

Importing this module imports no gymnasium; `make` does, with deprecation warnings off: turned into errors while
Box2D is being imported, they crash the interpreter.
"""

from __future__ import annotations

import difflib
import inspect
import re
import warnings
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from novum import Actions, ConfigError, Controls, DataError, Signature, Vector

EXTRAS = ("box2d", "mujoco")
"""Extras of this distribution; every other family is an extra of gymnasium itself."""


def make(name: str, kwargs: Mapping[str, Any], physics: Mapping[str, float], max_steps: int | None) -> Any:
    """A new environment whose observations are arrays and whose actions are positions or flat real vectors.

    Discrete observations become one-hot vectors; actions of a Box are clipped into it, so that a policy may
    answer any real vector. kwargs go to the environment's constructor, physics onto its attributes, and
    max_steps replaces its time limit (None keeps it).

    Raises ConfigError for an id, option or attribute that does not exist, and for an environment without a time
    limit; DataError when a dependency is missing or a space is neither Box nor Discrete.
    """
    import gymnasium

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        _check_id(name, gymnasium.registry)
        try:
            env = gymnasium.make(name, max_episode_steps=max_steps, disable_env_checker=True, **kwargs)
        except (ImportError, gymnasium.error.DependencyNotInstalled) as error:
            raise DataError(_missing(name, str(error))) from error
        except gymnasium.error.Error as error:
            raise ConfigError(f"task 'gym': env {name!r} cannot be made: {error}") from error
        except Exception as error:
            if not kwargs:
                raise
            raise ConfigError(
                f"task 'gym': env {name!r} refused kwargs {dict(kwargs)!r}: {error}; it takes "
                f"{_parameters(name, gymnasium.registry)}."
            ) from error
    set_physics(env.unwrapped, name, physics)
    if horizon(env) is None:
        raise ConfigError(
            f"task 'gym': env {name!r} has no time limit, so an episode may never end; set max_steps, such as 200."
        )
    return _adapt(env, name)


def horizon(env: Any) -> int | None:
    """The most steps that an episode can take, from the environment's time limit; None where it has none."""
    spec = env.spec
    return None if spec is None or spec.max_episode_steps is None else int(spec.max_episode_steps)


def signature(env: Any) -> Signature:
    """Vector → Actions or Controls, for an environment that `make` made."""
    from gymnasium import spaces

    actions = env.action_space
    outputs: Actions | Controls
    if isinstance(actions, spaces.Discrete):
        outputs = Actions(int(actions.n))
    else:
        outputs = Controls(tuple(map(float, actions.low)), tuple(map(float, actions.high)))
    return Signature(Vector(tuple(env.observation_space.shape)), outputs)


# --------------------------------------------------------------------------------------------------- the physics


def set_physics(env: Any, name: str, physics: Mapping[str, float]) -> None:
    """Set numeric attributes of an unwrapped environment, and refresh what it derived from them.

    An attribute that is an integer stays one where the value is whole. Spaces stay as they were made.

    Raises ConfigError for an attribute that does not exist, is no number, or is derived from others.
    """
    settable = _numbers(env) - derived(env).keys()
    for attribute, value in physics.items():
        if attribute in derived(env):
            raise ConfigError(
                f"task 'gym': physics.{attribute} = {value!r}: {name!r} derives {attribute!r} from other attributes; "
                f"set those instead ({', '.join(sorted(settable))})."
            )
        if attribute not in settable:
            raise ConfigError(
                f"task 'gym': physics.{attribute} = {value!r}: {name!r} has no number called {attribute!r}; "
                f"{_near(attribute, settable)}."
            )
        whole = isinstance(getattr(env, attribute), int) and float(value).is_integer()
        setattr(env, attribute, int(value) if whole else float(value))
    for attribute, value in derived(env).items():
        setattr(env, attribute, value)


def derived(env: Any) -> dict[str, float]:
    """Attributes that an environment computes once from others, with the values that follow from them now.

    The one place for such knowledge: environments like CartPole keep the total mass and the pole's mass times its
    half length; changed alone, `length` would leave a pole whose equations disagree.
    """
    if all(hasattr(env, part) for part in ("masscart", "masspole", "length", "total_mass", "polemass_length")):
        return {"total_mass": env.masspole + env.masscart, "polemass_length": env.masspole * env.length}
    return {}


def _numbers(env: Any) -> set[str]:
    found = set()
    for attribute in dir(env):
        # statically, so that no property runs; numpy's scalars count, truth values do not
        value = inspect.getattr_static(env, attribute, None)
        if not attribute.startswith("_") and isinstance(value, int | float | np.number) and not isinstance(value, bool):
            found.add(attribute)
    return found


# ------------------------------------------------------------------------------------------------------ the spaces


def _adapt(env: Any, name: str) -> Any:
    from gymnasium import spaces, wrappers

    if isinstance(env.observation_space, spaces.Discrete):
        env = wrappers.FlattenObservation(env)  # one-hot
    elif not isinstance(env.observation_space, spaces.Box):
        raise _unsupported(name, "observations", env.observation_space)
    actions = env.action_space
    if isinstance(actions, spaces.Discrete):
        if actions.start == 0:
            return env
        start = int(actions.start)
        return wrappers.TransformAction(env, lambda action: action + start, spaces.Discrete(int(actions.n)))
    if not isinstance(actions, spaces.Box) or not np.issubdtype(actions.dtype, np.floating):
        raise _unsupported(name, "actions", actions)
    shape, low, high = actions.shape, actions.low, actions.high
    flat = spaces.Box(low.reshape(-1), high.reshape(-1), dtype=np.float32)
    return wrappers.TransformAction(
        env, lambda action: np.clip(np.reshape(action, shape), low, high).astype(low.dtype, copy=False), flat
    )


def _unsupported(name: str, what: str, space: Any) -> DataError:
    return DataError(
        f"task 'gym': the {what} of env {name!r} are {space}, a {type(space).__name__}; only Discrete and real-valued "
        "Box spaces are supported. Register a wrapped environment that flattens them, or write a task of your own."
    )


# ------------------------------------------------------------------------------------------------------- the words


def _check_id(name: str, registry: Mapping[str, Any]) -> None:
    if ":" in name:
        raise ConfigError(
            f"task 'gym': env {name!r} names a module to import, and an option never names code; give the id alone. "
            "Environments that Gymnasium does not register itself need a task plugin that imports their package."
        )
    if name not in registry:
        raise ConfigError(
            f"task 'gym': no environment has the id {name!r}; {_near(name, registry)}. Ids end in their version; "
            "environments that Gymnasium does not register itself need a task plugin that imports their package."
        )


def _near(name: str, allowed: Collection[str]) -> str:
    lower = {each.lower(): each for each in sorted(allowed)}
    found = difflib.get_close_matches(name.lower(), lower, n=3, cutoff=0.5)
    if found:
        return f"did you mean {' or '.join(repr(lower[each]) for each in found)}"
    return f"allowed: {', '.join(sorted(allowed)) or 'none'}"


def _missing(name: str, message: str) -> str:
    extra = re.search(r"gymnasium\[([\w-]+)\]", message)
    if extra is not None and extra[1] in EXTRAS:
        how = f"run `pip install 'novum-rl[{extra[1]}]'`"
    elif extra is not None:
        how = f"run `pip install 'gymnasium[{extra[1]}]'`"
    elif "jax" in message:
        how = "run `pip install 'gymnasium[jax]'`"
    else:
        how = "install what it names"
    return f"task 'gym': env {name!r} needs a package that is not installed ({message}); {how}."


def _parameters(name: str, registry: Mapping[str, Any]) -> str:
    from gymnasium.envs.registration import load_env_creator

    point = registry[name].entry_point
    creator = load_env_creator(point) if isinstance(point, str) else point
    return ", ".join(inspect.signature(creator).parameters) or "no options"
