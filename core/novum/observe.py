"""Observe: facts about a task and its scale. The record of the first act, and the act."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from novum.data import Number
from novum.errors import DataError

if TYPE_CHECKING:
    from novum.evaluator import Evaluator
    from novum.recipe import Recipe
    from novum.task import Task

SPLITS = ("train", "dev", "test")


@dataclass(frozen=True)
class Fact:
    """Something measured. `id` is stable ("train.size"); `unit` may be empty; `about` is one sentence."""

    id: str
    value: Number | int | str
    unit: str = ""
    about: str = ""


@dataclass(frozen=True)
class Scale:
    """A task's 0 and 1 on one metric: the chance score and a reference score, which must differ."""

    metric: str
    chance: float
    reference: float

    def __post_init__(self) -> None:
        if self.chance == self.reference:
            raise DataError(
                f"the scale of {self.metric!r} is empty: chance and reference are both {self.chance!r}; "
                "state a reference that is better than chance."
            )


@dataclass(frozen=True)
class Observation:
    """Facts with unique ids, and the scale (None: the task gives none; then a claim needs minimum_effect_raw)."""

    facts: tuple[Fact, ...]
    scale: Scale | None = None

    def __post_init__(self) -> None:
        twice = [name for name, count in Counter(fact.id for fact in self.facts).items() if count > 1]
        if twice:
            raise DataError(f"observation: the fact ids {twice} occur more than once; make each unique.")

    def __getitem__(self, fact: str) -> Fact:
        """The fact with this id. Raises KeyError."""
        for each in self.facts:
            if each.id == fact:
                return each
        raise KeyError(fact)


def observe(task: Task, evaluator: Evaluator, recipe: Recipe) -> Observation:
    """What the task says of itself, and what the core adds: duplicates within and across splits.

    The core alone compares the splits, by content hashes, and reveals numbers only.
    """
    from novum.seeds import Seed
    from novum.task import Split, only

    with only(Split.TRAIN):
        said = task.observe()
    with only(*Split):
        hashes = {split: task.source(Split(split), Seed(0, ("observe",)), recipe).hashes() for split in SPLITS}
    counted = tuple(duplicates({split: found for split, found in hashes.items() if found is not None}))
    counted += tuple(balance(task, recipe))
    ids = {fact.id for fact in said.facts}
    facts = said.facts + tuple(fact for fact in counted if fact.id not in ids)
    scale = said.scale
    if scale is not None and scale.metric not in {metric.name for metric in evaluator.metrics}:
        scale = None  # a claim with another evaluator states its margin in raw units
    return Observation(facts, scale)


def foreseen(task: Task, recipe: Recipe, starts: Sequence[tuple[Task, Recipe]]) -> dict[str, int]:
    """How many units of the "dev" and "test" of a task stand, with their exact content, in the `train` of what an arm
    on it starts from. Units without a fixed content count for nothing.
    """
    from novum.seeds import Seed
    from novum.task import Split, only

    with only(*Split):

        def hashes(each: Task, how: Recipe, split: Split) -> Sequence[str]:
            return each.source(split, Seed(0, ("observe",)), how).hashes() or ()

        seen = {unit for above, how in starts for unit in hashes(above, how, Split.TRAIN)}
        return {
            str(split): sum(unit in seen for unit in hashes(task, recipe, split)) for split in (Split.DEV, Split.TEST)
        }


def duplicates(hashes: Mapping[str, Sequence[str]]) -> list[Fact]:
    """Count exact duplicates inside each split and across each pair of splits, from content hashes."""
    facts = [Fact(f"{split}.size", len(found), "units", f"Units in {split}.") for split, found in hashes.items()]
    facts += [
        Fact(
            f"{split}.duplicates",
            len(found) - len(set(found)),
            "units",
            f"Units of {split} whose content occurs earlier in {split}.",
        )
        for split, found in hashes.items()
    ]
    names = list(hashes)
    for at, first in enumerate(names):
        for second in names[at + 1 :]:
            seen = set(hashes[first])
            count = sum(value in seen for value in hashes[second])
            about = f"Units of {second} whose exact content also stands in {first}."
            facts.append(Fact(f"{first}-{second}.duplicates", count, "units", about))
    return facts


def balance(task: Task, recipe: Recipe) -> list[Fact]:
    """How the units that one trial trains on are spread over classes; nothing where the targets do not lie ready."""
    from novum.seeds import Seed
    from novum.sources import Examples
    from novum.task import Split, only

    if task.signature().outputs.kind != "classes":
        return []
    with only(Split.TRAIN):
        source = task.source(Split.TRAIN, Seed(0, ("observe",)), recipe)
    if not isinstance(source, Examples) or source.targets is None or not len(source.targets):
        return []
    counts = Counter(source.targets.tolist())
    mean, uneven = len(source.targets) / len(counts), max(counts.values()) / min(counts.values())
    return [
        Fact("train.per_class", mean, "units", "Units of a class that one trial trains on, the mean over classes."),
        Fact("train.imbalance", uneven, "times", "Units of the largest class over those of the smallest."),
    ]


def majority(targets: Sequence[Any]) -> float:
    """Share of the most frequent class, 0 to 1: the chance score of a classification. Raises DataError if empty."""
    if len(targets) == 0:
        raise DataError("the training data are empty: 0 units; check the file and its filters.")
    return max(Counter(int(target) for target in targets).values()) / len(targets)
