"""Ready sources for data sets, so that order, disjoint splits and unit ids are written once."""

from __future__ import annotations

import copy
import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from novum.data import Batch
from novum.errors import ConfigError, DataError
from novum.task import Source

if TYPE_CHECKING:
    from novum.data import Act
    from novum.seeds import Seed

SCORING_BATCH = 256


class Examples(Source):
    """A finite set of examples: a list of strings, numpy arrays, or anything with `len` and integer indexing.

    Training gives batches of exactly `batch_size` from one shuffled pass after another, so that a batch may
    span two passes; the order is a function of `seed` alone. Scoring gives every example once, in stored order.
    Its state is a place in that order, so that a trial resumes exactly; a subclass with a `next` of its own needs a
    `state_dict` of its own.
    """

    def __init__(
        self,
        inputs: Any,
        targets: Sequence[Any] | np.ndarray | None,
        ids: Sequence[str],
        *,
        seed: Seed,
        batch_size: int,
        hashes: Sequence[str] | None = None,
    ) -> None:
        """Raises DataError when empty, when lengths differ, or when an id occurs twice."""
        if len(ids) == 0:
            raise DataError("the split is empty: 0 examples; check the file, its filters and the split's shares.")
        if len(inputs) != len(ids) or (targets is not None and len(targets) != len(ids)):
            raise DataError(
                f"{len(inputs)} inputs, {'no' if targets is None else len(targets)} targets and {len(ids)} ids: "
                "give one of each per example."
            )
        if len(set(ids)) != len(ids):
            raise DataError(f"{len(ids) - len(set(ids))} unit ids occur twice; ids must be unique within a split.")
        self.inputs = inputs
        self.targets = None if targets is None else np.asarray(targets)
        self.ids = tuple(ids)
        self._names = np.empty(len(self.ids), dtype=object)
        self._names[:] = self.ids
        self._hashes = None if hashes is None else tuple(hashes)
        self._seed = seed
        self._batch_size = batch_size
        self._epoch = 0
        self._order: np.ndarray = np.empty(0, dtype=np.int64)

    @property
    def size(self) -> int:
        return len(self.ids)

    def next(self, act: Act) -> Batch:
        return self.at(self.rows())

    def rows(self) -> np.ndarray:
        """Positions of the next training batch's examples, int64 (batch_size,); it is used up by asking."""
        while len(self._order) < self._batch_size:
            self._order = np.concatenate([self._order, self._pass(self._epoch)])
            self._epoch += 1
        rows, self._order = self._order[: self._batch_size], self._order[self._batch_size :]
        return rows

    def each(self, act: Act) -> Iterator[Batch]:
        for start in range(0, self.size, SCORING_BATCH):
            yield self.at(np.arange(start, min(start + SCORING_BATCH, self.size)))

    def hashes(self) -> tuple[str, ...]:
        if self._hashes is None:
            self._hashes = tuple(content_hash(self.inputs[row]) for row in range(self.size))
        return self._hashes

    def select(self, rows: Sequence[int]) -> Examples:
        """The examples at some positions. A subclass that keeps more than this class does needs a `select` of its own:
        raises ConfigError.
        """
        more = sorted(set(vars(self)) - OWN)
        if more:
            raise ConfigError(
                f"recipe.early_stop: {type(self).__name__} keeps {', '.join(more)} beside its examples, which may "
                "belong to them one by one; give it a `select` of its own, or leave early_stop out."
            )
        found = copy.copy(self)
        at = np.asarray(rows, dtype=np.int64)
        found.inputs = self.inputs.take(at, 0) if isinstance(self.inputs, np.ndarray) else _Rows(self.inputs, at)
        found.targets = None if self.targets is None else self.targets.take(at, 0)
        found.ids = self.named(at)
        found._names = self._names.take(at)
        found._hashes = None if self._hashes is None else tuple(self._hashes[row] for row in at.tolist())
        return found

    def state_dict(self) -> dict[str, Any] | None:
        if type(self).next is not Examples.next:
            return None
        return {"size": self.size, "passes": self._epoch, "left": len(self._order)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Raises DataError when the state is that of a source of another size."""
        passes, left = int(state["passes"]), int(state["left"])
        if state["size"] != self.size or not (0 <= left <= self.size and passes >= (left > 0)):
            raise DataError(f"the state {state!r} is not that of a source of {self.size} examples.")
        self._epoch = passes
        # What is left belongs to the last pass: the one before is used up before another is drawn.
        self._order = self._pass(passes - 1)[self.size - left :] if left else np.empty(0, dtype=np.int64)

    def _pass(self, number: int) -> np.ndarray:
        return self._seed.child("epoch", number).numpy().permutation(self.size)

    def at(self, rows: np.ndarray) -> Batch:
        """The examples at some positions, as a batch."""
        array = isinstance(self.inputs, np.ndarray)
        return Batch(
            inputs=self.inputs.take(rows, 0) if array else [self.inputs[row] for row in rows.tolist()],
            targets=None if self.targets is None else self.targets.take(rows, 0),
            units=len(rows),
            ids=self.named(rows),
        )

    def named(self, rows: np.ndarray) -> tuple[str, ...]:
        """Unit ids at some positions."""
        return tuple(self._names.take(rows).tolist())


OWN = frozenset({"inputs", "targets", "ids", "_names", "_hashes", "_seed", "_batch_size", "_epoch", "_order"})
"""What an `Examples` keeps."""


class _Rows:
    """Some of the units of what has `len` and integer indexing; nothing is read before it is asked for."""

    def __init__(self, inputs: Any, rows: np.ndarray) -> None:
        self._inputs = inputs
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, row: int) -> Any:
        return self._inputs[int(self._rows[row])]


def content_hash(unit: Any) -> str:
    """A short hash of one unit's exact content: a string, bytes, or an array with its shape and type."""
    if isinstance(unit, str):
        return hashlib.sha256(unit.encode()).hexdigest()[:32]
    if isinstance(unit, bytes):
        return hashlib.sha256(unit).hexdigest()[:32]
    array = np.ascontiguousarray(unit)
    head = f"{array.dtype.str}{array.shape}".encode()
    return hashlib.sha256(head + array.tobytes()).hexdigest()[:32]


def split(
    ids: Sequence[str],
    dev: float = 0.1,
    test: float = 0.2,
    stratify: Sequence[Any] | None = None,
    group: Sequence[Any] | None = None,
    content: Sequence[Any] | None = None,
) -> dict[str, np.ndarray]:
    """Divide units into "train", "dev" and "test": ascending row positions, disjoint and complete.

    ids: one stable id per unit; a unit's split follows from its id alone (its rank by SHA-256 within its
        stratum), so the shares are exact to rounding and no random state is involved.
    dev, test: shares, each at least 0, together below 1.
    stratify: one class per unit; every class is divided by the same shares. Unsplittable classes of one or two
        units go to train first.
    group: one group per unit (a document, a speaker); units of one group, and units that share an id, never
        part. With both, a group counts for the class that most of its units have.

    content: what each unit is, or a hash of it (`content_hash`); exact duplicates, whatever their ids, never part: a
        copy in `dev` or `test` of what was learned by heart would be no new data.

    Raises ConfigError for shares out of range, and DataError when lengths differ or when a split with a positive
    share stays empty.
    """
    if not (dev >= 0 and test >= 0 and dev + test < 1):
        raise ConfigError(f"split: dev={dev!r} and test={test!r} must be shares, at least 0 and together below 1.")
    for name, given in (("stratify", stratify), ("group", group), ("content", content)):
        if given is not None and len(given) != len(ids):
            raise DataError(f"split: {len(ids)} ids and {len(given)} values of {name}; give one of each per unit.")
    members: dict[str, list[int]] = defaultdict(list)
    for row, unit in enumerate(_together(ids, group, content)):
        members[unit].append(row)
    strata: dict[str, list[str]] = defaultdict(list)
    for name, rows in members.items():
        strata[_common([stratify[row] for row in rows]) if stratify is not None else ""].append(name)
    found: dict[str, list[int]] = {"train": [], "dev": [], "test": []}
    for names in strata.values():
        names.sort(key=lambda name: hashlib.sha256(name.encode()).digest())
        total = sum(len(members[name]) for name in names)
        quota = {"test": round(test * total), "dev": round(dev * total)}
        for name in names:
            room = next((part for part in ("test", "dev") if quota[part] >= len(members[name])), "train")
            if room != "train":
                quota[room] -= len(members[name])
            found[room] += members[name]
    for part, share in (("train", 1.0), ("dev", dev), ("test", test)):
        if share > 0 and not found[part]:
            raise DataError(
                f"split: {part!r} stays empty ({len(ids)} units, share {share}); give more data or a larger share."
            )
    return {part: np.array(sorted(rows), dtype=np.int64) for part, rows in found.items()}


def _together(ids: Sequence[str], group: Sequence[Any] | None, content: Sequence[Any] | None) -> list[str]:
    """A name per unit, the same for units that share an id, a group or their content, also by way of others."""
    if group is None and content is None:
        return [str(unit) for unit in ids]
    above: dict[tuple[int, str], tuple[int, str]] = {}

    def top(name: tuple[int, str]) -> tuple[int, str]:
        while above.setdefault(name, name) != name:
            above[name] = name = above[above[name]]
        return name

    # The top is the smallest name: groups come before ids, and ids before what units hold.
    held = None if content is None else [each if isinstance(each, str) else content_hash(each) for each in content]
    kinds = [(0, group), (1, ids), (2, held)]
    columns = [[(kind, str(each)) for each in column] for kind, column in kinds if column is not None]
    for names in zip(*columns, strict=True):
        for name in names[1:]:
            low, high = sorted((top(names[0]), top(name)))
            above[high] = low
    return [top(name)[1] for name in columns[0]]


def _common(labels: Sequence[Any]) -> str:
    counts = Counter(str(label) for label in labels)
    return max(sorted(counts), key=lambda label: counts[label])
