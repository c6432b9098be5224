"""A task: where experience comes from, and what a model must fit."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar

from novum import config as _config
from novum.errors import ConfigError, SplitClosed

if TYPE_CHECKING:
    from novum.data import Act, Batch, Signature
    from novum.observe import Observation
    from novum.recipe import Recipe
    from novum.seeds import Seed


class Split(StrEnum):
    """`train` is learned from, an experiment scores on `dev`, `test` is opened only to confirm a claim."""

    TRAIN = "train"
    DEV = "dev"
    TEST = "test"


class Source(ABC):
    """One opened split."""

    acts: ClassVar[bool] = False
    """True where `next` plays the model to collect experience (an environment)."""

    @property
    @abstractmethod
    def size(self) -> int | None:
        """How many units the split holds; None for an environment, which has no end."""

    @abstractmethod
    def next(self, act: Act) -> Batch:
        """The next batch for training; endless. Supervised sources ignore `act`."""

    @abstractmethod
    def each(self, act: Act) -> Iterator[Batch]:
        """One pass for scoring: fixed order, stable unit ids. An environment plays its fixed episodes with
        `act` and gives one unit per episode.
        """

    def hashes(self) -> tuple[str, ...] | None:
        """A content hash per unit, in order, by which the core counts duplicates within and across splits;
        None where units have no fixed content (an environment).
        """
        return None

    def select(self, rows: Sequence[int]) -> Source:
        """A source of some of its units alone, by their positions in the order of `each`, ascending; asked of a newly
        opened one. An early stop holds a slice of `train` back by it.

        Raises ConfigError, the default, where its units cannot be divided.
        """
        raise ConfigError(
            f"recipe.early_stop: {type(self).__name__} cannot hold units back, for it has no `select` of its own; "
            "leave early_stop out, or add one (see novum.Source)."
        )

    def state_dict(self) -> dict[str, Any] | None:
        """Where `next` stands, so that a killed trial goes on from a checkpoint with the very batches that it would
        have had: numbers, strings, numpy arrays, tensors, and lists, tuples and dictionaries of them.

        None, the default, promises nothing: a trial on such a source writes no checkpoint, and starts from its
        beginning after its process died. The ordinary generators are the runner's to save; what a source draws from
        generators of its own, and what it has running (workers, environments), belongs to its state.
        """
        return None

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` gave this state; asked of a newly opened source, before its first `next`. What it
        raises leaves the state unused: the trial then starts from its beginning.
        """
        raise NotImplementedError(f"{type(self).__name__} gives a state_dict but has no load_state_dict.")


class Task(ABC):
    """A problem. The constructor keeps its configuration and opens nothing.

    A subclass sets `Config` (nested, every field described) and `evaluator`, the default evaluator's name.
    """

    class Config(_config.Config):
        """No options."""

    evaluator: ClassVar[str] = "classification"
    imports: ClassVar[tuple[str, ...]] = ()
    """Slow modules that its methods import: workers load them once, before the first trial."""

    def __init__(self, config: Any) -> None:  # one that the nested `Config` validated
        self.config = config

    @abstractmethod
    def signature(self) -> Signature:
        """Inputs and outputs that a model must fit."""

    @abstractmethod
    def observe(self) -> Observation:
        """Facts about the training data or environment, and the scale, from `train` alone."""

    @abstractmethod
    def source(self, split: Split, seed: Seed, recipe: Recipe) -> Source:
        """Open a split: raw units with stable ids. Data order and environments draw from `seed` alone.

        Raises SplitClosed when the present phase must not see that split.
        """

    @abstractmethod
    def fingerprint(self) -> str:
        """Hexadecimal hash of the data or environment itself: it changes when they change."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "source" in cls.__dict__:  # the gate stands here so that no plugin can forget it
            cls.source = _gated(cls.source)  # type: ignore[method-assign]


_open: list[frozenset[Split]] = [frozenset(Split)]
"""What may be opened, innermost last. Of the whole process, so that a thread started by a plugin finds no way round."""


@contextmanager
def only(*splits: Split) -> Iterator[None]:
    """Within this block, only these splits can be opened, by anyone (design law 5)."""
    _open.append(frozenset(splits))
    try:
        yield
    finally:
        _open.pop()


def _gated(source: Callable[..., Source]) -> Callable[..., Source]:
    @functools.wraps(source)
    def gate(self: Task, split: Split, seed: Seed, recipe: Recipe) -> Source:
        if split not in _open[-1]:
            allowed = ", ".join(sorted(_open[-1])) or "none"
            raise SplitClosed(
                f"split {str(split)!r} of {type(self).__name__} was opened while only {allowed} may be seen; "
                "training code sees `train` alone, `test` opens only to confirm a supported claim."
            )
        return source(self, split, seed, recipe)

    return gate
