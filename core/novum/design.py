"""Design: a hypothesis frozen into a plan, with everything that will decide it.

A plan is plain JSON::

    hypothesis   its id
    method       {"name", "version"} of the verdict function
    alpha        of the claim, or of its goal's stream; level: at which this hypothesis is tested
    stream       the account of its goal at registration, or null
    scope, margins, estimand, confirm, keep, price_per_hour   as the hypothesis has them
    open         true where no maximum of seeds was declared
    order        the tasks, in the claim's order
    seeds        {"root", "block", "indices"}
    tasks        name → control, treatment: plans of arms (control null where `bar` is a number); metric; margin;
                 scale; resolution; signature; test: the registered sequential test, its looks and critical values;
                 secondary: the uncorrected test of a task that does not decide alone, or null; power; dev: its size
                 and the arms scored on it before; budgets; early: the sides that may stop before theirs is used, where
                 there are any; trials_per_pair; trials_once; together: by side what training seeds together was
                 measured to cost, or why they are trained apart; blocks: the seeds that are trained together, or null
                 where each trial is trained on its own
    average      {"test", "power"} where the scope is the average over tasks, else null
    fixed        critical values of the fixed-n test on new data at each look, by the levels of the experiment
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from novum import blocks, spread
from novum.arm import Arm, canonical
from novum.errors import ConfigError, PluginError, closest
from novum.experiment import Experiment, lineage, meant
from novum.stats.design import Design, earliest, smallest
from novum.stats.design import design as registered_test
from novum.stats.paired import boundary

if TYPE_CHECKING:
    from novum.hypothesize import Hypothesis
    from novum.ledger import Ledger

METHOD = {"name": "sequential", "version": 1}
OPEN = 1000
"""Pairs at which a claim without a declared maximum ends after all: a plan lists its critical values."""
KINDS = ("score", "success", "episodes")
UNASKED = {"undefined": "nobody asked whether they are better trained together"}
BY_SIGNS = ("success", "episodes")
"""Kinds of metric whose differences over seeds can be far from normal, such as two-pointed: they get sign-flips."""


def design(
    hypothesis: Hypothesis,
    arms: Mapping[str, Mapping[str, Any]],
    observations: Mapping[str, Mapping[str, Any]],
    ledger: Ledger,
    stream: Mapping[str, Any] | None = None,
    workers: int = 1,
    first_block: int = 0,
) -> Experiment:
    """Freeze a hypothesis into a plan.

    arms: "TASK/control" and "TASK/treatment" → what the job `resolve` gave, with what the rehearsal found ("together").
    observations: task → facts and scale. stream: what the goal's account gives this hypothesis; None where it names no
    goal. workers: trials at a time, among which blocks of seeds are divided. Raises ConfigError when a
    metric does not exist, when a margin has no scale to stand on, or when no data could support the claim.
    """
    level = hypothesis.alpha if stream is None else float(stream["level"])
    if hypothesis.max_seeds is None:  # it may be decided after any pair
        arms = {name: blocks.apart(arm) for name, arm in arms.items()}
    tasks = {name: _task(hypothesis, name, arms, observations[name], ledger) for name in hypothesis.tasks}
    pairs = _pairs(hypothesis, tasks, level, raised=stream is not None)
    least = hypothesis.least
    deciding = level / (len(tasks) - least + 1) if least is not None else level
    against = hypothesis.alpha / least if least is not None and hypothesis.scope != "all" else hypothesis.alpha
    costs = {name: blocks.cost(arms, name) for name in tasks}
    steps = _steps(hypothesis, tasks, costs, pairs, deciding)
    for name, task in tasks.items():
        own = _test(hypothesis, task, pairs, deciding, against, steps[name])
        task["test"] = own.to_json()
        joint = costs[name] is not None
        task["blocks"] = blocks.divide(own.looks, workers // (2 * len(tasks))) if joint else None
        plain = _test(hypothesis, task, pairs, level, hypothesis.alpha, steps[name])
        task["secondary"] = None if hypothesis.scope == "all" else plain.to_json()
        width = 1.0 if task["scale"] is None else abs(task["scale"]["reference"] - task["scale"]["chance"])
        task["power"] = spread.power(own, spread.recorded(ledger, task), expected(hypothesis, task, width))
        task["dev"] = {"size": task.pop("size"), "queries": spread.queries(ledger, task)}
    average = None if hypothesis.scope != "average" else _average(hypothesis, tasks, pairs, level, steps)
    plan = {
        "hypothesis": hypothesis.id,
        "method": METHOD,
        "alpha": hypothesis.alpha,
        "level": level,
        "stream": None if stream is None else dict(stream),
        **{name: getattr(hypothesis, name) for name in ("scope", "margins", "estimand", "confirm", "keep")},
        "price_per_hour": hypothesis.price_per_hour,
        "open": hypothesis.max_seeds is None,
        "order": list(tasks),
        "seeds": {"root": hypothesis.seed, "block": _block(tasks, ledger, first_block), "indices": list(range(pairs))},
        "tasks": tasks,
        "average": average,
        "fixed": _fixed([*(task["test"] for task in tasks.values()), *([average["test"]] if average else [])]),
    }
    return Experiment(canonical(plan))


def expected(hypothesis: Hypothesis, task: Mapping[str, Any], width: float) -> float | None:
    """The effect that is hoped for, in the metric's units; None where no least effect says what would count."""
    asked = hypothesis.expected_effect
    if asked is not None:
        scaled = task["minimum_effect"] is not None and hypothesis.estimand == "mean"
        return asked * width if scaled else asked
    factor = 2.0 if hypothesis.margins == "strict" else 1.0
    return factor * task["margin"] or None


# ------------------------------------------------------------------------------------------------------- one task


def _task(
    hypothesis: Hypothesis,
    name: str,
    arms: Mapping[str, Mapping[str, Any]],
    observed: Mapping[str, Any],
    ledger: Ledger,
) -> dict[str, Any]:
    asked = hypothesis.tasks[name]
    treatment = arms[f"{name}/treatment"]
    control = arms.get(f"{name}/control")
    first = control or treatment
    metrics = {metric["name"]: metric for metric in first["metrics"]}
    metric = metrics.get(asked.metric or first["metrics"][0]["name"])
    if metric is None:
        raise ConfigError(
            f"task {name!r}: no metric is called {asked.metric!r}; {closest(asked.metric or '', metrics)}."
        )
    if metric not in treatment["metrics"]:
        raise ConfigError(
            f"task {name!r}: the treatment's evaluator does not give {metric['name']!r} as the control's does; "
            "judge both arms by the same evaluator."
        )
    if metric.get("kind", "score") not in KINDS:
        raise PluginError(
            f"task {name!r}: the metric {metric['name']!r} has the kind {metric['kind']!r}, which decides how it is "
            f"tested; {closest(metric['kind'], KINDS)}. Its evaluator has to say one of these."
        )
    bar = None if isinstance(asked.control, Arm) else float(asked.control)
    low, high = metric.get("low"), metric.get("high")
    if bar is not None and not (-math.inf if low is None else low) <= bar <= (math.inf if high is None else high):
        raise ConfigError(
            f"task {name!r}: control: received {bar!r}, a bar that no {metric['name']} can be compared with; it lies "
            f"from {'−∞' if low is None else low} to {'∞' if high is None else high}."
        )
    if control is not None and control["plan"] == treatment["plan"]:
        raise ConfigError(
            f"task {name!r}: control and treatment resolve to the same arm once every default is filled in, so their "
            "trials would be the same; give the treatment something of its own."
        )
    scale = observed["scale"]
    if scale is not None and scale["metric"] != metric["name"]:
        scale = None
    if scale is not None and _better(metric["worst"], scale["chance"], metric["direction"]):
        raise ConfigError(
            f"task {name!r}: the worst value of {metric['name']!r} is {metric['worst']!r}, which is better than chance "
            f"({scale['chance']!r}), so a trial that diverges would be rewarded; set the evaluator's `worst` below it."
        )
    if hypothesis.scope == "average" and scale is None:
        raise ConfigError(
            f"task {name!r}: scope = 'average' adds up effects on the tasks' scales, but this task states no chance "
            f"and reference for {metric['name']!r}; use scope = 'all' or 'at_least(r)'."
        )
    sizes = {fact["id"]: fact["value"] for fact in observed["facts"]}
    plans = {"control": None if control is None else control["plan"], "treatment": treatment["plan"]}
    chains = {side: list(lineage(plan)) for side, plan in plans.items() if plan is not None}
    often = {canonical(plan) for line in chains.values() for plan, single in line if not single}
    once = {canonical(plan) for line in chains.values() for plan, single in line if single} - often
    early = [side for side, line in chains.items() if any(_may_stop(plan) for plan, _ in line)]
    return {
        **plans,
        "bar": bar,
        "metric": metric,
        "minimum_effect": asked.minimum_effect,
        "margin": float(f"{_margin(hypothesis, name, metric, scale):.9g}"),
        "scale": scale,
        "resolution": {
            split: 1.0 / sizes[f"{split}.size"] if metric["per_unit"] and sizes.get(f"{split}.size") else 0.0
            for split in ("dev", "test")
        },
        "size": sizes.get("dev.size"),
        "signature": first["signature"],
        "budgets": {side: [plan["units"] for plan, _ in line] for side, line in chains.items()},
        **({"early": early} if early else {}),
        "trials_per_pair": len(often),
        "trials_once": len(once),
        "together": {side: arms[f"{name}/{side}"].get("together") or UNASKED for side in chains},
    }


def _may_stop(plan: Mapping[str, Any]) -> bool:
    return plan["arm"].get("recipe", {}).get("early_stop") is not None


def _margin(hypothesis: Hypothesis, name: str, metric: Mapping[str, Any], scale: Mapping[str, Any] | None) -> float:
    asked = hypothesis.tasks[name]
    if hypothesis.estimand == "win":
        return float(asked.minimum_effect or asked.minimum_effect_raw or 0.0)
    if asked.minimum_effect_raw is not None:
        return float(asked.minimum_effect_raw)
    if scale is not None:
        return float(asked.minimum_effect or 0.0) * abs(float(scale["reference"]) - float(scale["chance"]))
    if not asked.minimum_effect:
        return 0.0
    raise ConfigError(
        f"task {name!r}: minimum_effect = {asked.minimum_effect!r} is on the task's scale, but the task states no "
        f"chance and reference for {metric['name']!r}; give minimum_effect_raw in {metric['unit'] or 'its units'}."
    )


def _better(first: float, second: float, direction: str) -> bool:
    return bool(first > second if direction == "max" else first < second)


# ------------------------------------------------------------------------------------------------------- the tests


def method(hypothesis: Hypothesis, kinds: set[str]) -> str:
    """The test of a metric of these kinds, chosen before any data."""
    if hypothesis.estimand == "win":
        return "sequential-sign"
    if hypothesis.max_seeds is None:
        return "e-process"
    signs = hypothesis.test == "sign-flip" or (hypothesis.test == "auto" and bool(kinds & set(BY_SIGNS)))
    return "sequential-sign-flip" if signs else "sequential-t"


def _kind(task: Mapping[str, Any]) -> str:
    return str(task["metric"].get("kind", "score"))


def _pairs(hypothesis: Hypothesis, tasks: Mapping[str, Mapping[str, Any]], level: float, *, raised: bool) -> int:
    """The declared maximum; raised in a goal's stream, whose level nobody chose, to where the test can accept."""
    if hypothesis.max_seeds is None:
        return OPEN
    least = hypothesis.least
    deciding = level / (len(tasks) - least + 1) if least is not None else level
    together = [{_kind(task) for task in tasks.values()}] if hypothesis.scope == "average" else []
    needed = {}
    for name, kinds in [*((name, {_kind(task)}) for name, task in tasks.items()), *(("", each) for each in together)]:
        chosen = method(hypothesis, kinds)
        needed[name] = _able(hypothesis, chosen, deciding, _null(hypothesis, tasks, name)), chosen
    name, (most, chosen) = max(needed.items(), key=lambda item: item[1][0])
    if hypothesis.max_seeds >= most:
        return hypothesis.max_seeds
    if raised:
        return most
    raise ConfigError(
        f"max_seeds: received {hypothesis.max_seeds!r}; at the level {deciding:.3g} {_words(chosen)} can support "
        f"nothing with fewer than {most} pairs{f' ({name})' if name else ''}; raise max_seeds to {most}, or alpha."
    )


def _able(hypothesis: Hypothesis, chosen: str, level: float, null: float) -> int:
    """The least maximum at which the very test of this claim, its seed and batch included, can support at the level."""
    most = smallest(chosen, level, hypothesis.batch, null)
    options: dict[str, Any] = {"alpha": level, "null": null, "claimed": null, "seed": hypothesis.seed}
    while most < OPEN and chosen == "sequential-sign-flip":
        if earliest(registered_test(chosen, most, batch=hypothesis.batch, **options)) is not None:
            break
        most += 1  # random sign paths, beyond 16 pairs, can tie with the observed one
    return most


def _null(hypothesis: Hypothesis, tasks: Mapping[str, Mapping[str, Any]], name: str) -> float:
    """The null bound that the sign test's smallest design depends on."""
    zone = hypothesis.margins == "zone" or not name
    return 0.0 if zone else float(tasks[name]["margin"])


def _words(chosen: str) -> str:
    return {
        "sequential-sign-flip": "the sign-flip test",
        "sequential-sign": "the sign test",
        "sequential-t": "the t-test",
    }.get(chosen, chosen)


def _steps(
    hypothesis: Hypothesis,
    tasks: Mapping[str, Mapping[str, Any]],
    costs: Mapping[str, tuple[float, float] | None],
    pairs: int,
    level: float,
) -> dict[str, int]:
    """Pairs between two looks, per task: as declared, or as many as are best trained together."""
    found = {}
    for name, task in tasks.items():
        cost = costs[name]
        found[name] = hypothesis.batch
        if cost is not None:
            step = max(hypothesis.batch, blocks.best(pairs, cost))
            if earliest(_made(hypothesis, task, pairs, level, hypothesis.alpha, step)) is not None:
                found[name] = step
    if hypothesis.scope == "average":  # one walk over all of them
        return dict.fromkeys(found, max(found.values()))
    return found


def _test(
    hypothesis: Hypothesis, task: Mapping[str, Any], pairs: int, level: float, against: float, step: int
) -> Design:
    made = _made(hypothesis, task, pairs, level, against, step)
    assert earliest(made) is not None, "the declared maximum was checked to be large enough"
    return made


def _made(
    hypothesis: Hypothesis, task: Mapping[str, Any], pairs: int, level: float, against: float, step: int
) -> Design:
    return registered_test(
        method(hypothesis, {_kind(task)}),
        pairs,
        alpha=level,
        refute=against,
        null=task["margin"] if hypothesis.margins == "strict" else 0.0,
        claimed=task["margin"],
        batch=step,
        resolution=task["resolution"]["dev"] if hypothesis.estimand == "mean" else 0.0,
        futility=hypothesis.futility,
        seed=hypothesis.seed,
        give_up=hypothesis.give_up,
    )


def _average(
    hypothesis: Hypothesis, tasks: Mapping[str, Any], pairs: int, level: float, steps: Mapping[str, int]
) -> dict[str, Any]:
    least = float(next(iter(hypothesis.tasks.values())).minimum_effect or 0.0)
    made = registered_test(
        method(hypothesis, {_kind(task) for task in tasks.values()}),
        pairs,
        alpha=level,
        refute=hypothesis.alpha,
        null=least if hypothesis.margins == "strict" else 0.0,
        claimed=least,
        batch=max(steps.values()),
        futility=hypothesis.futility,
        seed=hypothesis.seed,
        give_up=hypothesis.give_up,
    )
    hoped = hypothesis.expected_effect or (2.0 if hypothesis.margins == "strict" else 1.0) * least or None
    return {"test": made.to_json(), "power": spread.power(made, spread.averaged(tasks), hoped)}


def _fixed(tests: list[dict[str, Any]]) -> dict[str, Any]:
    """Student's critical values for a test at exactly n pairs, at each look n, by "support refute" levels."""
    found: dict[str, Any] = {}
    for test in tests:
        key = f"{test['support']!r} {test['refute']!r}"
        found[key] = {
            end: [float(f"{boundary(test[side], look):.9g}") for look in test["looks"]]
            for end, side in (("upper", "support"), ("lower", "refute"))
        }
    return found


# ------------------------------------------------------------------------------------------------------- the seeds


def _block(tasks: Mapping[str, Mapping[str, Any]], ledger: Ledger, first: int) -> str:
    """The first block of seeds, from `first` on, in which no trial of any treatment exists: what was seen is no
    evidence (law 1).

    Trials of other sources or versions count as well: editing a comment makes no seed unseen.
    """
    treatments = {meant(task["treatment"]) for task in tasks.values()}
    used = {
        row["block"] for row in ledger.trials() if row["kind"] == "train" and meant(row["plan"]["plan"]) in treatments
    }
    return next(str(block) for block in range(first, first + len(used) + 1) if str(block) not in used)
