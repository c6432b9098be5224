"""Ways to better a baseline with so many trials: Novum's loop, and what is done without it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import quick
from family import World
from novum import pacing
from novum.stats.stream import Past, next_level

SEEDS = 3
"""Trials at which each baseline is observed: what `novum.Goal` asks for where it does not say."""
ALPHA = 0.05
PAIRS = 20
"""Most pairs of a claim: what a stream of claims at d = 1 needs."""


@dataclass(frozen=True)
class Adopted:
    """A lever that became part of the baseline: its true effect, what the trials said it was worth, and where its claim
    stopped on dev and on new data (None where nothing was claimed).
    """

    true: float
    seen: float
    level: int | None = None
    plan: quick.Plan | None = None
    dev: quick.Stop | None = None
    new: quick.Stop | None = None


@dataclass
class Loop:
    """What came of one loop: what was adopted, the true gain at the end, trials spent, claims, the sentence it ended
    with ("budget" or "stall").
    """

    adopted: list[Adopted] = field(default_factory=list)
    gain: float = 0.0
    trials: int = 0
    claims: int = 0
    on_dev: int = 0
    end: str = "budget"


@dataclass(frozen=True)
class Pace:
    """How Novum's loop paces itself. candidates: screened by one exploratory trial before the best is claimed; 1: none
    is screened. keep: candidates that were screened and not claimed stay in the choice. bar: the gain from which a
    screened one is claimed. pairs: most of a claim. give_up, futility: as in `novum.stats.design`. least: pairs below
    which no claim begins. patience: batches that may gain nothing before the loop stalls; None: no end of patience.
    observed: trials of each new baseline; compare: whether trials are kept for the comparison at the end. confirm: the
    level on new data; None: that of the claim.
    """

    candidates: int = 1
    give_up: str = "both"
    pairs: int = PAIRS
    futility: float = 0.1
    keep: bool = False
    bar: float = 0.0
    least: int = pacing.FEWEST
    patience: int | None = None
    observed: int = SEEDS
    compare: bool = True
    confirm: float | None = None


class _Block:
    """The trials of one baseline on one block of seeds: its control's are drawn once, and shared by its claims."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.control: list[tuple[float, float]] = []
        self.base = world.trial()[0]
        """Its exploratory trial at the seed at which candidates are screened."""

    def claim(self, true: float, plan: quick.Plan) -> tuple[quick.Stop, list[float], int]:
        """Where the claim ends on dev, its differences on new data, and the trials that were new."""
        new: list[float] = []
        before = len(self.control)

        def pair(at: int) -> float:
            if at == len(self.control):
                self.control.append(self._world.trial())
            dev, test = self._world.trial()
            new.append(true + test - self.control[at][1])
            return true + dev - self.control[at][0]

        stop = quick.walk(plan, pair)
        return stop, new, stop.pairs + len(self.control) - before


def novum(world: World, budget: int, pace: Pace) -> Loop:
    """Novum's loop: screen, claim at the level of the stream, confirm on new data, adopt only what both support."""
    found = Loop()
    reserve = 2 * pacing.reserve(budget, 1, None) if pace.compare else 0
    left = budget - reserve
    history: list[Past] = []
    ahead = list(range(len(world.effects)))[::-1]
    waiting: list[tuple[float, int]] = []
    block: _Block | None = None
    while True:
        if left - (pace.observed if block is None else 0) < 2 * pace.least:
            break
        if block is None:
            block = _Block(world)
            left -= pace.observed
        lever, left = _next(world, block, pace, ahead, waiting, left)
        most = pacing.pairs(pace.pairs, left, 2)
        if lever is None or most < pace.least:
            found.end = "stall" if lever is None and most >= pace.least else "budget"
            break
        level = quick.rounded(next_level("lord++", ALPHA, history).level)
        plan = quick.plan(level, quick.size(most), pace.give_up, pace.futility)
        dev, new, spent = block.claim(world.effects[lever], plan)
        left -= spent
        confirmed = quick.again(plan, new, pace.confirm) if dev.outcome == "supported" else None
        held = confirmed is not None and confirmed.outcome == "supported"
        found.claims += 1
        found.on_dev += dev.outcome == "supported"
        history.append(Past(quick.STEP**-level, True, held))
        if held:
            found.adopted.append(Adopted(world.effects[lever], dev.mean, level, plan, dev, confirmed))
            block = None
            waiting = [(-math.inf, each) for _, each in waiting]  # what was screened against another baseline
    found.trials = budget - reserve - left
    found.gain = math.fsum(each.true for each in found.adopted)
    return found


def _next(
    world: World, block: _Block, pace: Pace, ahead: list[int], waiting: list[tuple[float, int]], left: int
) -> tuple[int | None, int]:
    """The lever that is claimed next, None where none is left; and the trials that are then left."""
    if pace.candidates == 1:
        return (ahead.pop() if ahead else None), left
    failed = 0
    while True:
        fewer = max(0, min(pace.candidates, left - 2 * pace.least, len(ahead)))
        batch = [ahead.pop() for _ in range(fewer)]
        screened = [(world.effects[each] + world.trial()[0] - block.base, each) for each in batch]
        left -= len(batch)
        choice = screened + (waiting if pace.keep else [])
        at = pacing.best([gain - pace.bar for gain, _ in choice])
        if at is not None:
            lever = choice[at][1]
            waiting[:] = [each for each in choice if each[1] != lever]
            return lever, left
        waiting[:] = choice
        failed += 1
        if not batch or failed == pace.patience:
            return None, left


# --------------------------------------------------------------------------------------------------- without Novum


def greedy(world: World, budget: int) -> Loop:
    """Keep what scored better: one trial each, at one seed; what scores above the best so far is kept, and its score is
    what the next has to beat. Levers come in random order, then again: one that is on is switched off.
    """
    found, on = Loop(trials=budget), [False] * len(world.effects)
    first = best = world.trial()[0]
    true = 0.0
    for at in range(budget - 1):
        lever = at % len(on)
        change = -world.effects[lever] if on[lever] else world.effects[lever]
        score = true + change + world.trial()[0]
        if score > best:
            found.adopted.append(Adopted(change, score - best))
            on[lever], true, best = not on[lever], true + change, score
    assert math.isclose(math.fsum(each.seen for each in found.adopted), best - first, abs_tol=1e-9)
    found.gain = true
    return found


def greedy_pairs(world: World, budget: int) -> Loop:
    """Keep what won its pair: each lever against the baseline at a fresh seed, two trials a lever."""
    found, on = Loop(trials=2 * (budget // 2)), [False] * len(world.effects)
    true = 0.0
    for at in range(budget // 2):
        lever = at % len(on)
        change = -world.effects[lever] if on[lever] else world.effects[lever]
        seen = change + world.trial()[0] - world.trial()[0]
        if seen > 0:
            found.adopted.append(Adopted(change, seen))
            on[lever], true = not on[lever], true + change
    found.gain = true
    return found


def _best(world: World, configurations: list[list[int]], scores: list[float], first: float) -> Loop:
    """What the best configuration promises, against one trial of the first baseline."""
    found = Loop(trials=len(scores) + 1)
    at = max(range(len(scores)), key=scores.__getitem__)
    if scores[at] <= first:
        return found
    chosen = configurations[at]
    share = (scores[at] - first) / max(len(chosen), 1)
    found.adopted = [Adopted(world.effects[each], share) for each in chosen]
    found.gain = world.total(chosen)
    return found


def random_search(world: World, budget: int) -> Loop:
    """The best of random configurations, one trial each: how many levers are on is drawn evenly from 1 to all, then
    which (each on by a coin would always switch on half of what hurts).
    """
    first, configurations, scores = world.trial()[0], [], []
    for _ in range(budget - 1):
        count = int(world.generator.integers(1, len(world.effects) + 1))
        levers = world.generator.choice(len(world.effects), count, replace=False).tolist()
        configurations.append(levers)
        scores.append(world.total(levers) + world.trial()[0])
    return _best(world, configurations, scores, first)


def tpe(world: World, budget: int) -> Loop:
    """The best of Optuna's TPE sampler over on and off of every lever; the first baseline is its first trial."""
    optuna = _optuna()
    seed = int(world.generator.integers(2**31))
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    study.enqueue_trial({str(each): False for each in range(len(world.effects))})
    configurations: list[list[int]] = []
    scores: list[float] = []
    for _ in range(budget):
        trial = study.ask()
        levers = [each for each in range(len(world.effects)) if trial.suggest_categorical(str(each), [False, True])]
        configurations.append(levers)
        scores.append(world.total(levers) + world.trial()[0])
        study.tell(trial, scores[-1])
    return _best(world, configurations[1:], scores[1:], scores[0])


def _optuna():
    try:
        import optuna
    except ImportError:
        raise SystemExit("Optuna is not installed: pip install optuna (or ask without it: --no-optuna).") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


Climber = Callable[[World, int], Loop]
