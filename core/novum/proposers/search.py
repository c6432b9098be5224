"""Candidates by Optuna, screened by one exploratory trial each; the best of them is claimed, and decides nothing.

What a candidate changes is drawn as well as to what: first how many options, then which, then their values. TPE over
the whole space moves every option at once, so that no claim can say what helped, and what hurts hides what helps. In
simulated loops of 120 trials on nine options, some of which help, do nothing or hurt (docs/proposers.md), candidates of
one or two options gained a tenth more than those of all options, at equal trials.
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from novum import config as _config
from novum.arm import canonical
from novum.pacing import CANDIDATES, FEWEST, best
from novum.proposers import Proposer
from novum.proposers.changes import common, cost, differing, sentence
from novum.seeds import Seed
from novum.standing import Change

if TYPE_CHECKING:
    import optuna

    from novum.hypothesize import Hypothesis
    from novum.loop import Seen
    from novum.space import Option
    from novum.standing import Screened, Standing

REPEATS = 20
"""Draws in a row that are known already, after which the next ones are drawn evenly."""
TRIES = 400
"""Such draws after which the space counts as exhausted."""
SHARE = 0.5
"""Share of a screened gain that a claim hopes for: the best of four equal candidates lies a standard deviation above
their mean by luck alone."""


class Search(Proposer):
    """Screens candidates that Optuna draws, and claims the best: the claim then runs on fresh seeds, as any other does,
    so that a lucky candidate is not believed.

    There is no store but the ledger: Optuna's study is made anew from what was screened. What was screened against an
    earlier baseline still counts, unless it shares an option with a change that was adopted since: it was then measured
    against a value that the baseline no longer has, and its gain would be counted twice.
    """

    class Config(_config.Config):
        """How candidates are drawn, and how many are screened."""

        sampler: Literal["tpe", "random"] = "tpe"
        """Who draws: "tpe" learns from what was screened, "random" does not. Optuna's other samplers need a space of
        fixed options, and here a candidate changes a few alone."""
        candidates: Annotated[int, Field(ge=1, le=64)] = CANDIDATES
        """Candidates that are screened, by one exploratory trial on each task, before the best is claimed."""
        at_once: Annotated[int, Field(ge=1, le=8)] = 2
        """Most options that one candidate changes. 1: each claim is about one option; more finds options that help only
        together."""
        startup: Annotated[int, Field(ge=1, le=1000)] = CANDIDATES
        """Screened candidates from which on TPE learns; the first are drawn evenly."""
        patience: Annotated[int, Field(ge=1, le=100)] = 3
        """Batches of candidates in one round that may gain nothing before search has no proposal."""

    def propose(self, seen: Seen) -> Hypothesis | None:
        """The best of some new candidates as a claim; None outside of a loop, where none gains, and where the trials
        that are left do not suffice for screening and a claim of the fewest pairs.
        """
        standing = seen.standing
        if standing is None:
            return None
        before: list[tuple[str, ...]] = [each.tasks for each in standing.screened if each.round < standing.round]
        order = sorted(standing.groups(), key=before.count)  # in turn: the one screened least so far
        left = standing.left
        for tasks in order:
            found, left = self._of(standing, tasks, left)
            if found is not None:
                return standing.claim(found)
        return None

    def _of(self, standing: Standing, tasks: tuple[str, ...], left: int | None) -> tuple[Change | None, int | None]:
        """What is claimed of a group of tasks, and the trials that are then left."""
        options = common([standing.spaces[task] for task in tasks])
        past = _past(standing, tasks, options)
        now = {_key(each): each for each in standing.screened if each.round == standing.round}
        tried: list[Screened] = []
        for _ in range(self.config.patience if options else 0):
            drawn = self._draw(standing, tasks, options, [*past, *tried])
            batch, left = _affordable(drawn, now, left, len(tasks))
            if not batch:
                break
            fresh = [each for each in batch if each.key not in now]  # the rest: screened before an interruption
            now |= {_key(each): each for each in (standing.try_out(fresh) if fresh else ())}
            screened = [now[each.key] for each in batch if each.key in now]
            tried += screened
            at = best([_per_cost(standing, each) for each in screened])
            if at is not None:
                return self._claimed(standing, screened[at], len(tried)), left
        return None, left

    def _claimed(self, standing: Standing, found: Screened, count: int) -> Change:
        gain = float(found.gain or 0.0)
        starts = [standing.goal.tasks[task] for task in found.tasks]
        raw = standing.goal.minimum_effect_raw is not None or any(
            each.minimum_effect_raw is not None for each in starts
        )
        unit = "in the metric's units" if raw else "on the scale"
        return Change(
            found.tasks,
            found.options,
            sentence(standing, found.tasks, found.options),
            because=f"screened best of {count} by one exploratory trial each (gain {gain:+.3g} {unit})",
            gain=SHARE * gain,
            cost=cost(standing, found.tasks, found.options),
        )

    def _draw(
        self, standing: Standing, tasks: tuple[str, ...], options: Mapping[str, Option], told: Sequence[Screened]
    ) -> list[Change]:
        """New candidates, fewer where the space has no more. The same for the same standing and the same told."""
        asks = sum(sorted(each.tasks) == sorted(tasks) for each in standing.screened if each.round < standing.round)
        asks += sum(each.round == standing.round for each in told)
        seed = Seed(standing.goal.seed, ("search", *tasks)).child(self.config.sampler, asks)
        known = {each.key for each in standing.claimed} | {_key(each) for each in told}
        found: list[Change] = []
        with _quiet():
            study = _study(self.config, seed, options, told)
            repeats = 0
            while len(found) < self.config.candidates and repeats < TRIES:
                if repeats == REPEATS:
                    study.sampler = _sampler("random", seed.child(len(found)))
                drawn = _asked(study.ask(), options, self.config.at_once)  # a repeated one stays open, and so unliked
                change = _change(standing, tasks, drawn, known)
                repeats = repeats + 1 if change is None else 0
                if change is not None:
                    found.append(change)
                    known.add(change.key)
        return found


def _change(standing: Standing, tasks: tuple[str, ...], drawn: Mapping[str, Any], known: set[str]) -> Change | None:
    changed = differing(standing, tasks, drawn)
    change = Change(tasks, changed, "drawn")
    return change if changed and change.key not in known and standing.allows(change) else None


def _key(screened: Screened) -> str:
    """As that of the `Change`."""
    return canonical([sorted(screened.tasks), dict(screened.options)])


def _gain(screened: Screened) -> float | None:
    """What was gained; None where the trial could not run, and where its score is no number."""
    return screened.gain if screened.gain is not None and math.isfinite(screened.gain) else None


def _per_cost(standing: Standing, screened: Screened) -> float | None:
    gain = _gain(screened)
    return None if gain is None else gain / cost(standing, screened.tasks, screened.options)


def _affordable(
    drawn: Sequence[Change], now: Mapping[str, Screened], left: int | None, tasks: int
) -> tuple[list[Change], int | None]:
    """The candidates that can be screened so that a claim of the fewest pairs is left, and what is left of the trials.

    What was screened already costs nothing, so that a loop that was interrupted here comes to the same ones.
    """
    batch = []
    for change in drawn:
        if change.key not in now and left is not None:
            if left - tasks < 2 * FEWEST * tasks:
                continue
            left -= tasks
        batch.append(change)
    enough = left is None or left >= 2 * FEWEST * tasks
    return (batch if enough else []), left


def _past(standing: Standing, tasks: tuple[str, ...], options: Mapping[str, Option]) -> list[Screened]:
    """What was screened on these tasks in earlier rounds and still compares with the baseline, in a fixed order."""
    adopted = [each for each in standing.claimed if each.adopted and set(each.tasks) & set(tasks)]

    def stale(each: Screened) -> bool:
        return any(claim.round >= each.round and set(claim.options) & set(each.options) for claim in adopted)

    found = [
        each
        for each in standing.screened
        if each.round < standing.round and sorted(each.tasks) == sorted(tasks) and not stale(each)
    ]
    return sorted(found, key=lambda each: (each.round, _key(each)))  # trials may have ended in another order


# -------------------------------------------------------------------------------------------------- Optuna's study


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Optuna's log is silent in here, and afterwards as it was before."""
    import optuna

    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(logging.CRITICAL + 1)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(level)


def _study(config: Any, seed: Seed, options: Mapping[str, Option], told: Sequence[Screened]) -> optuna.Study:
    """A study in memory that knows what was screened; candidates that could not run are failed trials."""
    import optuna

    sampler = _sampler(config.sampler, seed, config.startup)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    done, broke = optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.FAIL
    for each in told:
        encoded = _encoded(each, options, config.at_once)
        if encoded is None:
            continue
        params, distributions = encoded
        study.add_trial(
            optuna.trial.create_trial(
                state=broke if _gain(each) is None else done,
                value=_gain(each),
                params=params,
                distributions=distributions,
            )
        )
    return study


def _sampler(name: str, seed: Seed, startup: int = 1) -> optuna.samplers.BaseSampler:
    import optuna

    root = seed.integer(32)
    if name == "tpe":
        return optuna.samplers.TPESampler(n_startup_trials=startup, seed=root)
    return optuna.samplers.RandomSampler(seed=root)


@dataclass(frozen=True)
class _Parameters:
    """How a candidate stands in the study: how many options it changes, which ones, and the value of each."""

    options: Mapping[str, Option]
    at_once: int

    @property
    def count(self) -> tuple[int, ...]:
        return tuple(range(1, min(self.at_once, len(self.options)) + 1))

    def distribution(self, name: str) -> Any:
        """Of "count", of "option 1" and so on, and of a path."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if name == "count":
            return CategoricalDistribution(self.count)
        option = self.options.get(name)
        if option is None:
            return CategoricalDistribution(tuple(self.options))
        if option.choices:
            return CategoricalDistribution(tuple(canonical(value) for value in option.choices))
        if option.whole:
            return IntDistribution(int(-(-option.low // 1)), int(option.high // 1), log=option.log)
        return FloatDistribution(option.low, option.high, log=option.log)


def _encoded(
    screened: Screened, options: Mapping[str, Option], at_once: int
) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Parameters and distributions of what was screened; None where the space no longer holds it."""
    held = all(path in options and options[path].holds(value) for path, value in screened.options.items())
    parameters = _Parameters(options, at_once)
    if not held or len(screened.options) not in parameters.count:
        return None
    paths = [path for path in options if path in screened.options]  # not as written: a ledger sorts its keys
    params: dict[str, Any] = {"count": len(paths)}
    for at, path in enumerate(paths, 1):
        params[f"option {at}"] = path
    for path in paths:
        value = screened.options[path]
        params[path] = canonical(value) if options[path].choices else value
    return params, {name: parameters.distribution(name) for name in params}


def _asked(trial: optuna.Trial, options: Mapping[str, Option], at_once: int) -> dict[str, Any]:
    """What a trial of the study changes. Numbers have three significant digits, so that claims can be read."""
    parameters = _Parameters(options, at_once)
    count = trial.suggest_categorical("count", parameters.count)
    places = [trial.suggest_categorical(f"option {at}", tuple(options)) for at in range(1, int(count) + 1)]
    return {path: _value(trial, parameters, path) for path in options if path in places}


def _value(trial: optuna.Trial, parameters: _Parameters, path: str) -> Any:
    option, found = parameters.options[path], parameters.distribution(path)
    if option.choices:
        written = trial.suggest_categorical(path, found.choices)
        return next(value for value in option.choices if canonical(value) == written)
    if option.whole:
        return trial.suggest_int(path, found.low, found.high, log=found.log)
    drawn = trial.suggest_float(path, found.low, found.high, log=found.log)
    return option.nearest(float(f"{drawn:.3g}"))
