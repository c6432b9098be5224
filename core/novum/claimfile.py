"""Claim files: what a person writes in TOML, read into hypotheses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from novum import config, recipe
from novum.arm import Arm
from novum.config import flaw, plain, shown
from novum.errors import ConfigError, closest
from novum.hypothesize import Comparison, Hypothesis
from novum.toml import put, read, sound

SHARED = (
    *("margins", "estimand", "batch", "test", "futility", "expected_effect", "goal", "fdr", "scope", "confirm"),
    *("price_per_hour", "seed", "keep", "metric", "rests_on", "give_up", "because"),
)
"""What every treatment's hypothesis takes from the file as it stands."""
LONGEST_CLAIM = 1000
LONGEST_NAME = 64
MOST_COMPARISONS = 1000
ARM_KEYS = ("task", "model", "evaluator", "recipe", "start_from")
"""Tables of an arm; each may be overridden key by key."""


class Override(config.Config):
    """What an arm changes: any part of task, model, evaluator and recipe, and the arm that it starts from."""

    task: dict[str, Any] = {}
    """Options of the task to replace; naming another `plugin` replaces the table."""
    model: dict[str, Any] = {}
    """Options of the model to replace; naming another `plugin` replaces the table."""
    evaluator: dict[str, Any] = {}
    """The evaluator, or options of it."""
    recipe: dict[str, Any] = {}
    """Values of the recipe to replace; techniques come together by name."""
    start_from: dict[str, Any] | None = None
    """Overrides that make the parent arm, whose trained weights this arm begins with."""
    start_once: bool | None = None
    """Whether the parent is trained once for all seeds, rather than once per seed (the default)."""


class TaskTable(Override):
    """One task of a claim: the arm that both sides share, and what each changes."""

    control: Override = Override()
    """What the control changes on this task."""
    treatments: dict[str, Override] = {}
    """What each treatment changes on this task."""
    metric: Annotated[str, Field(max_length=100)] | None = None
    """The metric that decides, if not the evaluator's primary one."""
    minimum_effect: float | None = None
    """The least effect that counts, on this task's scale."""
    minimum_effect_raw: float | None = None
    """The least effect that counts, in the metric's own units."""


class ClaimFile(config.Config):
    """A claim as written."""

    claim: str
    """The sentence that is to be tested."""
    minimum_effect: float | None = None
    """The least effect that counts, on each task's scale: 0 is chance, 1 the reference."""
    minimum_effect_raw: float | None = None
    """The least effect that counts, in the metric's own units."""
    margins: Literal["strict", "zone"] = "strict"
    """Supported means: at least the least effect (strict), or above 0 with the least effect not excluded (zone)."""
    estimand: Literal["mean", "win"] = "mean"
    """What is compared: the mean difference, or the probability that the treatment wins a pair."""
    max_seeds: int | Literal["open"] = 10
    """Most pairs of trials per task; "open": no declared maximum."""
    batch: int = 1
    """Pairs between two looks."""
    test: Literal["auto", "t", "sign-flip"] = "auto"
    """The sequential test; auto goes by the metric's kind."""
    futility: float = 0.1
    """Predictive power below which the question is given up; 0: never."""
    give_up: Literal["both", "support"] = "both"
    """What has to be out of reach before the question is given up: support and refutation, or support alone."""
    expected_effect: float | None = None
    """The effect that is hoped for, in the unit of the least effect, for the judgement of power."""
    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    """One-sided error rate of the claim, which several treatments share; with a goal, of the goal's whole stream."""
    goal: str | None = None
    """The stream of hypotheses that this claim belongs to."""
    fdr: Literal["lord++", "lond", "none"] = "lord++"
    """How a goal's error rate is spent on its hypotheses."""
    scope: Annotated[str, Field(max_length=100)] = "all"
    """On how many tasks it must hold: all, at_least(r), or their average."""
    confirm: Literal["same-networks", "fresh-seeds"] = "same-networks"
    """Which networks new data are scored with."""
    price_per_hour: float | None = None
    """Price of one device for an hour, in any currency, to report money."""
    seed: int = 0
    """Root of the seed schedule."""
    keep: Annotated[str, Field(max_length=100)] = "first"
    """Which trained weights outlive the verdict: none, first (the first seed of each arm) or all."""
    metric: Annotated[str, Field(max_length=100)] | None = None
    """The metric that decides, if not each evaluator's primary one."""
    rests_on: tuple[str, ...] = ()
    """Ids of the observations behind the claim."""
    because: Annotated[str, Field(max_length=1000)] = ""
    """Why it may hold, in a sentence."""
    control: Override = Override()
    """What the control changes on every task."""
    treatments: dict[str, Override]
    """What each treatment changes on every task; each is a hypothesis of its own."""
    tasks: dict[str, TaskTable]
    """The tasks, by the names that the report will use."""


def load(path: str | Path, treatment: str | None = None, overrides: Sequence[str] = ()) -> Hypothesis:
    """The hypothesis of a claim file with one treatment, or the one called `treatment`.

    Raises what `load_all` raises, and ConfigError when there are several and none, or an unknown one, is named.
    """
    found = {each.name: each for each in load_all(path, overrides)}
    if treatment is None and len(found) == 1:
        return next(iter(found.values()))
    if treatment not in found:
        raise ConfigError(f"{path}: which treatment? received {shown(treatment)}; {closest(str(treatment), found)}.")
    return found[treatment]


def load_all(path: str | Path, overrides: Sequence[str] = ()) -> tuple[Hypothesis, ...]:
    """One hypothesis per treatment of a claim file, in order; each is tested at alpha / number of treatments,
    or, where the file names a goal, at the level that the goal's stream gives it.

    overrides: "tasks.digits.recipe.learning_rate=1e-3": a dotted key and a TOML value (or bare text).
    Raises DataError when the file cannot be read, ConfigError when it does not hold a claim.
    """
    data = read(Path(path))
    for override in overrides:
        put(data, override)
    return hypotheses(data, plain(str(path), 300))


def hypotheses(data: Mapping[str, Any], where: str) -> tuple[Hypothesis, ...]:
    """Hypotheses from the tables of a claim file. Raises ConfigError, with the place of the fault."""
    sound(data, where)
    _explain_misplaced(data, where)
    data, bars = _take_bars(data, where)
    most = data.get("max_seeds", 10)
    if not (isinstance(most, int) and not isinstance(most, bool)) and most != "open":
        raise ConfigError(f'{where}: max_seeds: received {shown(most)}; give a whole number from 3 to 1000, or "open".')
    written = config.parse(ClaimFile, data, where)
    for field in ("tasks", "treatments"):
        if not getattr(written, field):
            raise ConfigError(f"{where}: [{field}.NAME] is missing; a claim has at least one task and one treatment.")
    _check_names(written, where)
    for name, table in written.tasks.items():
        unknown = set(table.treatments) - set(written.treatments)
        if unknown:
            raise ConfigError(
                f"{where}: tasks.{name}.treatments: {shown(sorted(unknown)[0])} is no treatment of this claim; "
                f"{closest(sorted(unknown)[0], written.treatments)}."
            )
    shared = {
        "minimum_effect": written.minimum_effect if written.minimum_effect is not None else 0.0,
        "minimum_effect_raw": written.minimum_effect_raw,
        **{name: getattr(written, name) for name in SHARED},
        "max_seeds": None if written.max_seeds == "open" else written.max_seeds,
    }
    share = 1 if written.goal is not None else len(written.treatments)  # a goal's stream spends alpha by itself
    if written.minimum_effect is not None and written.minimum_effect_raw is not None:
        raise ConfigError(f"{where}: give minimum_effect or minimum_effect_raw, not both.")
    return tuple(
        Hypothesis(
            claim=written.claim,
            name=treatment,
            alpha=written.alpha / share,
            tasks={name: _compare(written, name, treatment, where, bars.get(name)) for name in written.tasks},
            **shared,
        )
        for treatment in written.treatments
    )


def _check_names(written: ClaimFile, where: str) -> None:
    """The sentence and the names go to terminals, reports and the ledger, and people type them."""
    bad = flaw(written.claim) or (len(written.claim) > LONGEST_CLAIM and f"{len(written.claim)} characters")
    if bad:
        raise ConfigError(
            f"{where}: claim: received {shown(written.claim)}, which has {bad}; allowed: one sentence on one line, of "
            f"at most {LONGEST_CLAIM} characters."
        )
    goals = () if written.goal is None else (written.goal,)
    for kind, names in (("task", written.tasks), ("treatment", written.treatments), ("goal", goals)):
        for name in names:
            if not is_name(name):
                raise ConfigError(
                    f"{where}: {shown(name)} is no name for a {kind}; allowed: 1 to {LONGEST_NAME} printable "
                    "characters without slashes, which begin with neither a dot nor a dash and end with no space."
                )
    most = len(written.tasks) * len(written.treatments)
    if most > MOST_COMPARISONS:
        raise ConfigError(
            f"{where}: {len(written.tasks)} tasks with {len(written.treatments)} treatments are {most} comparisons; a "
            f"claim has at most {MOST_COMPARISONS}: write several claims."
        )


def is_name(name: str) -> bool:
    """Whether a text may name a task, a treatment or a goal."""
    good = 1 <= len(name) <= LONGEST_NAME and name.isprintable() and name == name.strip()
    return good and not (name[0] in ".-" or "/" in name or "\\" in name)


def _take_bars(data: Mapping[str, Any], where: str) -> tuple[dict[str, Any], dict[str, float]]:
    """The tables without controls that are numbers, and those numbers by task: `control = 0.9` is a bar to reach."""

    def number(value: Any) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool)

    tables = data.get("tasks")
    if not isinstance(tables, Mapping):
        return dict(data), {}
    places = {"control": data.get("control")}
    places |= {
        f"tasks.{name}.control": each.get("control") for name, each in tables.items() if isinstance(each, Mapping)
    }
    for place, value in places.items():
        if not (value is None or isinstance(value, Mapping) or number(value)):
            raise ConfigError(
                f"{where}: {place}: received {shown(value)}; give a table of changes, or a number: the bar."
            )
    over = data.get("control") if number(data.get("control")) else None
    bars, left = {}, {}
    for name, table in tables.items():
        own = table.get("control") if isinstance(table, Mapping) else None
        if number(own) or (own is None and over is not None):
            bars[name] = float(own if number(own) else over)  # type: ignore[arg-type]
        dropped = number(own)
        left[name] = {key: value for key, value in table.items() if key != "control"} if dropped else table
    rest = {key: value for key, value in data.items() if key != "tasks" and not (key == "control" and over is not None)}
    return rest | {"tasks": left}, bars


def _compare(written: ClaimFile, name: str, treatment: str, where: str, bar: float | None) -> Comparison:
    table = written.tasks[name]
    base = {key: getattr(table, key) for key in (*ARM_KEYS, "start_once")}
    control = _merge(_merge(base, written.control), table.control)
    treated = _merge(_merge(base, written.treatments[treatment]), table.treatments.get(treatment, Override()))
    return Comparison(
        control=_arm(control, f"{where}: tasks.{name}") if bar is None else bar,
        treatment=_arm(treated, f"{where}: tasks.{name}"),
        metric=table.metric,
        minimum_effect=table.minimum_effect,
        minimum_effect_raw=table.minimum_effect_raw,
    )


def _merge(base: Mapping[str, Any], over: Override | Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key in ARM_KEYS:
        new = over.get(key) if isinstance(over, Mapping) else getattr(over, key)
        if not new:
            continue
        old = merged.get(key) or {}
        other = "plugin" in new and new["plugin"] != old.get("plugin")
        if key == "recipe":
            merged[key] = recipe.merged(old, new)
        else:
            merged[key] = dict(new) if other or key == "start_from" else {**old, **new}
    once = over.get("start_once") if isinstance(over, Mapping) else over.start_once
    return merged if once is None else {**merged, "start_once": once}


def _arm(data: Mapping[str, Any], where: str) -> Arm:
    for key in ("task", "model"):
        if "plugin" not in data[key]:
            raise ConfigError(f'{where}.{key}: no plugin is named; write {key} = {{ plugin = "…" }}.')
        if not isinstance(data[key]["plugin"], str):
            raise ConfigError(f"{where}.{key}.plugin: received {shown(data[key]['plugin'])}; give a plugin's name.")
    parent = None
    if data.get("start_from"):
        over = config.parse(Override, data["start_from"], f"{where}.start_from")
        own = {**data, "start_from": None, "start_once": None}
        parent = _arm(_merge(own, over), f"{where}.start_from")
    evaluator = data.get("evaluator") or None
    if evaluator is not None and "plugin" not in evaluator:
        raise ConfigError(f'{where}.evaluator: no plugin is named; write evaluator = {{ plugin = "…" }}.')
    if evaluator is not None and not isinstance(evaluator["plugin"], str):
        raise ConfigError(f"{where}.evaluator.plugin: received {shown(evaluator['plugin'])}; give a plugin's name.")
    once = bool(data.get("start_once"))
    if once and parent is None:
        raise ConfigError(
            f"{where}.start_once: received true, but this arm has no start_from; add one, or drop start_once."
        )
    alone = Arm.from_json({**data, "evaluator": evaluator, "start_from": None, "start_once": False})
    return alone if parent is None else alone.but(start_from=parent, start_once=once)


def _explain_misplaced(data: Mapping[str, Any], where: str) -> None:
    """In TOML a key after a table's header belongs to that table: the commonest slip in a claim file."""
    tasks = data.get("tasks")
    top = set(ClaimFile.model_fields) - set(TaskTable.model_fields) - {"tasks"}
    for name, table in tasks.items() if isinstance(tasks, Mapping) else ():
        misplaced = sorted(top & set(table)) if isinstance(table, Mapping) else []
        if misplaced:
            raise ConfigError(
                f"{where}: {misplaced[0]!r} (value {shown(table[misplaced[0]])}) stands inside [tasks.{name}]; it is "
                f"about the whole claim: move it above the first [tasks.…]."
            )


def arm_of(table: Override, where: str) -> Arm:
    """The arm that one table describes as a whole. Raises ConfigError, with the place of the fault."""
    return _arm({key: getattr(table, key) for key in (*ARM_KEYS, "start_once")}, where)


def begun(arm: Arm, table: Mapping[str, Any] | None, where: str = "start_from") -> Arm:
    """The arm with another start: a table of changes to the arm itself, as a claim file writes `start_from`, and beside
    them `start_once`; None takes the start away. Raises ConfigError where the table makes no arm.
    """
    if table is None:
        return arm.but(start_from=None)
    once = table.get("start_once", False)
    over = config.parse(Override, {key: value for key, value in table.items() if key != "start_once"}, where)
    own = {**arm.to_json(), "start_from": None, "start_once": None}
    return arm.but(start_from=_arm(_merge(own, over), where), start_once=bool(once))
