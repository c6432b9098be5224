"""A search space: which options of an arm may change, and to what.

Options go by dotted paths: "recipe.learning_rate", "model.dropout", "task.envs", "recipe.techniques.flooding.level",
and "start_from" as a whole. What values one may take is written in the goal, or follows from how its plugin describes
it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from novum import plugins
from novum.arm import Arm, canonical
from novum.config import shown
from novum.errors import ConfigError, NovumError, closest
from novum.recipe import Recipe, amount

ROOTS = ("recipe", "model", "task")
FREE = 30.0
"""A positive option without an end is searched from its value in the starting arm divided by this to times this."""
BUDGETS = (1.0, 2.0, 4.0)
"""Multiples of the starting arm's budget."""
UNASKED = frozenset(
    {
        *("recipe.precision", "recipe.layout", "recipe.compile", "recipe.replicates", "recipe.devices"),
        *("recipe.time_limit", "recipe.cpus", "recipe.gpus", "recipe.memory_gb", "recipe.techniques"),
        *("recipe.budget", "recipe.early_stop", "recipe.early_stop_share", "recipe.momentum"),
    }
)
"""Options of a recipe that are searched only where a goal names them: they decide cost or speed, or little alone."""


@dataclass(frozen=True)
class Option:
    """One option and the values that it may take.

    Either choices (JSON values, at least one), or low and high, both included, with low < high; log: draw evenly on the
    logarithm; whole: whole numbers alone.
    """

    path: str
    choices: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    whole: bool = False

    def __post_init__(self) -> None:
        if self.choices:
            return
        good = math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high
        if not good or (self.log and self.low <= 0):
            raise ConfigError(
                f"space: {self.path}: received low = {self.low!r}, high = {self.high!r}; give a list of values, or "
                "finite ends with low below high (and low above 0 where log = true)."
            )

    def holds(self, value: Any) -> bool:
        """Whether a value may be tried."""
        if self.choices:
            return canonical(value) in {canonical(each) for each in self.choices}
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and self.low <= value <= self.high and (not self.whole or value == int(value))

    def nearest(self, value: float) -> float | int:
        """The value of a range that is nearest to a number."""
        cut = min(max(value, self.low), self.high)
        return round(cut) if self.whole else float(f"{cut:.6g}")

    def to_json(self) -> Any:
        """As a goal writes it, the inverse of `written`."""
        if self.choices:
            return list(self.choices)
        found: dict[str, Any] = {"low": self.low, "high": self.high}
        return found | {name: True for name in ("log", "whole") if getattr(self, name)}

    def __str__(self) -> str:
        if self.choices:
            return ", ".join(show(each) for each in self.choices)
        return f"{self.low:g} … {self.high:g}{' (log)' if self.log else ''}"


Space = Mapping[str, Option]
"""Options by path, in the order in which they were written."""


def show(value: Any) -> str:
    """A value for a person, short."""
    if isinstance(value, float):
        return f"{value:.3g}"
    return value if isinstance(value, str) else canonical(value)


def flat(table: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """(path, what is written there) of the nested tables of a space."""
    for name, value in table.items():
        path = f"{above}{name}"
        if isinstance(value, Mapping) and not ({"low", "high"} & set(value)) and path != "start_from":
            yield from flat(value, f"{path}.")
        else:
            yield path, value


def written(path: str, value: Any, arm: Arm) -> Option:
    """One option as a goal writes it: a list of values, {low, high, log, whole}, or true for what its plugin allows.

    Raises ConfigError for anything else, and for an option that the arm does not have.
    """
    _check_path(path, arm)
    if isinstance(value, list | tuple):
        if not value:
            raise ConfigError(f"space: {path}: received an empty list; give the values that may be tried.")
        option = Option(path, choices=tuple(value))
    elif value is True:
        found = described(path, arm)
        if found is None:
            raise ConfigError(
                f"space: {path}: received true, but nothing says where its values end; give a list of values, or "
                "{ low = …, high = … }."
            )
        option = found
    elif isinstance(value, Mapping) and {"low", "high"} <= set(value) <= {"low", "high", "log", "whole"}:
        whole = _schema(path, arm).get("type") == "integer"
        option = Option(
            path,
            low=_end(path, value["low"]),
            high=_end(path, value["high"]),
            log=bool(value.get("log", False)),
            whole=bool(value.get("whole", whole)),
        )
    else:
        raise ConfigError(
            f"space: {path}: received {shown(value)}; give a list of values, {{ low = …, high = … }} with log = true "
            "where wanted, or true for what its description allows."
        )
    for each in option.choices or (option.low, option.high):
        checked(applied(arm, {path: round(each) if option.whole else each}), path)
    return option


def _end(path: str, value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ConfigError(f"space: {path}: received {shown(value)} as an end of a range; give a number.")
    return float(value)


def spaces(
    shared: Mapping[str, Any], own: Mapping[str, Mapping[str, Any]], arms: Mapping[str, Arm]
) -> dict[str, Space]:
    """What may change on each task: of the shared options those that its arm has, and its own; where nothing is written
    anywhere, what is described with ends.

    shared, own (by task): as a goal writes them. Raises ConfigError for an option or a value that no arm takes, and
    where nothing may change at all.
    """
    flatly = dict(flat(shared))
    asked = bool(flatly) or any(own.values())
    found: dict[str, Space] = {}
    for task, arm in arms.items():
        mine = dict(flat(own[task]))
        both = {path: value for path, value in flatly.items() if path in mine or has(arm, path)} | mine
        found[task] = {path: written(path, value, arm) for path, value in both.items()} if asked else default(arm)
    nowhere = [path for path in flatly if not any(path in each for each in found.values())]
    if nowhere:
        written(nowhere[0], flatly[nowhere[0]], next(iter(arms.values())))  # says what is wrong with it
    if not any(found.values()):
        raise ConfigError(
            "space: it is empty: no option of any arm may change; name some in [space], such as recipe.schedule = "
            "true, or leave the table out for all that are described with ends."
        )
    return found


def default(arm: Arm) -> dict[str, Option]:
    """What may change where a goal says nothing: every option of recipe and model whose description bounds it."""
    paths = [f"recipe.{name}" for name in Recipe.model_fields]
    paths += [f"model.{name}" for name in plugins.load("model", arm.model.name).Config.model_fields]
    found = {path: described(path, arm) for path in paths if path not in UNASKED}
    return {path: option for path, option in found.items() if option is not None}


def described(path: str, arm: Arm) -> Option | None:
    """The values of an option as its plugin describes them; None where nothing bounds them."""
    root, _, name = path.partition(".")
    now = current(arm, path)
    if root == "recipe" and name in ("optimizer", "schedule"):
        return Option(path, choices=tuple(plugins.names(name)))
    if path == "recipe.budget":
        count, unit = amount(str(now))
        return Option(path, choices=tuple(_amount(count * times, unit) for times in BUDGETS))
    schema = _schema(path, arm)
    if schema.get("type") == "boolean":
        return Option(path, choices=(False, True))
    if "enum" in schema:
        return Option(path, choices=tuple(schema["enum"]))
    if schema.get("type") not in ("number", "integer"):
        return None
    whole = schema["type"] == "integer"
    low, high = _ends(schema, now, whole)
    if low is None or high is None or low >= high:
        return None
    return Option(path, low=low, high=high, log=low > 0 and high / low >= 20, whole=whole)


def _ends(schema: Mapping[str, Any], now: Any, whole: bool) -> tuple[float | None, float | None]:
    """Ends of a number's range: those of its description, drawn in where they are open or missing."""
    low, high = schema.get("minimum"), schema.get("maximum")
    positive = isinstance(now, int | float) and not isinstance(now, bool) and now > 0
    if high is None and not positive and "usual" in schema:  # from 0 nothing says how far
        low, high = schema["usual"]
    if high is None and "exclusiveMaximum" in schema:
        top = float(schema["exclusiveMaximum"])
        high = top - 1 if whole else 0.9 * top
    if positive and (high is None or (low is None and "exclusiveMinimum" in schema)):
        span = 4.0 if whole else FREE
        high = now * span if high is None else high
        low = max(now / span, low or 0.0)
        return (max(1.0, round(low)), float(round(high))) if whole else (low, float(f"{high:.6g}"))
    return (None if low is None else float(low)), (None if high is None else float(high))


def _amount(count: float, unit: str) -> str:
    return f"{count:g} {unit}" if unit == "epochs" else f"{round(count)} {unit}"


def _schema(path: str, arm: Arm) -> Mapping[str, Any]:
    """The JSON Schema of one option, through tables and through "or none"."""
    root, _, rest = path.partition(".")
    if root == "start_from":
        return {}
    kind = Recipe if root == "recipe" else plugins.load(root, getattr(arm, root).name).Config
    whole = kind.model_json_schema()
    at: Mapping[str, Any] = whole
    for name in rest.split("."):
        at = _met(at, whole).get("properties", {}).get(name, {})
    return _met(at, whole)


def _met(at: Mapping[str, Any], whole: Mapping[str, Any]) -> Mapping[str, Any]:
    """A schema behind its reference, or its one alternative that is not null."""
    for one in at.get("allOf", ()) or [each for each in at.get("anyOf", ()) if each.get("type") != "null"][:1]:
        at = {**at, **one}
    name = str(at.get("$ref", "")).rpartition("/")[2]
    return {**at, **whole["$defs"][name]} if name else at


def has(arm: Arm, path: str) -> bool:
    """Whether an arm has an option."""
    try:
        _check_path(path, arm)
    except ConfigError:
        return False
    return True


def _check_path(path: str, arm: Arm) -> None:
    root, _, rest = path.partition(".")
    if path == "start_from":
        return
    if root not in ROOTS or not rest:
        raise ConfigError(
            f"space: {shown(path)} is no option of an arm; allowed: recipe.NAME, model.NAME, task.NAME, start_from."
        )
    kind = Recipe if root == "recipe" else plugins.load(root, getattr(arm, root).name).Config
    name = rest.split(".")[0]
    if name not in kind.model_fields:
        whose = "the recipe" if root == "recipe" else f"the {root} {getattr(arm, root).name!r}"
        raise ConfigError(f"space: {path}: {whose} has no such option; {closest(name, kind.model_fields)}.")


# ------------------------------------------------------------------------------------------------ changes of an arm


def current(arm: Arm, path: str) -> Any:
    """The value of an option in an arm: as written, else its default (the model's own recipe is not asked here).

    None where nothing says.
    """
    root, _, rest = path.partition(".")
    if path == "start_from":
        return None if arm.start_from is None else arm.start_from.to_json()
    at: Any = dict(arm.recipe) if root == "recipe" else getattr(arm, root).options
    kind: Any = Recipe if root == "recipe" else plugins.load(root, getattr(arm, root).name).Config
    for name in rest.split("."):
        if isinstance(at, Mapping) and name in at:
            at = at[name]
            continue
        field = getattr(kind, "model_fields", {}).get(rest)
        found: Any = None if field is None or field.is_required() else field.get_default(call_default_factory=True)
        return found.model_dump(mode="json") if hasattr(found, "model_dump") else found
    return at


def applied(arm: Arm, options: Mapping[str, Any]) -> Arm:
    """The arm with options replaced, by path. A start_from is a table of changes to the arm itself, or None."""
    for path, value in options.items():
        root, _, rest = path.partition(".")
        if path == "start_from":
            from novum.claimfile import begun

            arm = begun(arm, value)
        elif root == "recipe":
            name, *deeper = rest.split(".")
            arm = arm.but(**{name: _put(arm.recipe.get(name), deeper, value)})
        else:
            part = getattr(arm, root)
            name, *deeper = rest.split(".")
            arm = arm.but(**{root: part.but(**{name: _put(part.options.get(name), deeper, value)})})
    return arm


def _put(table: Any, names: Sequence[str], value: Any) -> Any:
    if not names:
        return value
    below = dict(table) if isinstance(table, Mapping) else {}
    return {**below, names[0]: _put(below.get(names[0]), names[1:], value)}


def differences(before: Arm, after: Arm) -> dict[str, Any]:
    """The options, by path, whose written values differ, with those of the second arm."""
    found: dict[str, Any] = {}
    for root in ROOTS:
        sides = [dict(arm.recipe) if root == "recipe" else getattr(arm, root).options for arm in (before, after)]
        for name in sorted(set(sides[0]) | set(sides[1])):
            if canonical(sides[0].get(name)) != canonical(sides[1].get(name)):
                found |= _leaves(f"{root}.{name}", sides[0].get(name), sides[1].get(name))
    starts = [None if arm.start_from is None else arm.start_from.to_json() for arm in (before, after)]
    if starts[0] != starts[1] or before.start_once != after.start_once:
        once = {"start_once": True} if after.start_once else {}
        found["start_from"] = None if starts[1] is None else {**_plain(starts[1]), **once}
    return found


def _leaves(path: str, before: Any, after: Any) -> dict[str, Any]:
    if isinstance(after, Mapping) and (before is None or isinstance(before, Mapping)):
        old = before or {}
        return {
            leaf: value
            for name in after
            if canonical(old.get(name)) != canonical(after[name])
            for leaf, value in _leaves(f"{path}.{name}", old.get(name), after[name]).items()
        }
    return {path: after}


def _plain(arm: Mapping[str, Any]) -> dict[str, Any]:
    """An arm as a table of changes: without what is not set."""
    return {name: value for name, value in arm.items() if value not in (None, {}, [])}


def checked(arm: Arm, path: str) -> Arm:
    """The arm, once its recipe and its plugins' options are sound. Raises ConfigError that names the option."""
    from novum import config

    try:
        config.parse(Recipe, dict(arm.recipe), "recipe")
        for part in (arm.task, arm.model):
            config.parse(plugins.load(part.kind, part.name).Config, part.options, f"{part.kind} {part.name!r}")
    except NovumError as error:
        raise ConfigError(f"space: {path}: {error} Only values that the option takes can be searched.") from None
    return arm
