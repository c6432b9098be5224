"""How many options should a candidate of `search` change, and does TPE help? Simulated loops with known true effects.

    python experiments/search/simulate.py [LOOPS]

Nine options: four numbers whose best value lies somewhere, two choices of three to five values, three switches of
which 15 % help and 40 % hurt. A loop has 120 trials. The proposer is the real one; its trials and claims are drawn. A
claim is looked at after each pair from the fourth on: it is supported at t > 2.9, given up at t < 0.3, and ends after
12 pairs.
"""

from __future__ import annotations

import math
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

import numpy as np
from novum import plugins
from novum.arm import Arm, Plugin
from novum.goal import Goal
from novum.loop import Question, Seen
from novum.seeds import Seed
from novum.space import Option, applied, differences
from novum.standing import Change, Claimed, Screened, Standing

TRIALS = 120
NOISE = 0.08
"""Standard deviation of the difference of a pair; the best value of a number is worth some 0.1."""
VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "tpe, one option": {"at_once": 1},
    "tpe, one or two (default)": {},
    "tpe, one to three": {"at_once": 3},
    "tpe, one to eight": {"at_once": 8},
    "tpe, learning from the tenth on": {"startup": 10},
    "random, one or two": {"sampler": "random"},
    "tpe, eight candidates": {"candidates": 8},
}


@dataclass
class World:
    """Options, each with the value that the loop begins with and the true effect of every value."""

    space: dict[str, Option]
    start: dict[str, Any]
    effects: dict[str, Callable[[Any], float]]

    @classmethod
    def drawn(cls, draw: np.random.Generator) -> World:
        space: dict[str, Option] = {}
        start: dict[str, Any] = {}
        effects: dict[str, Callable[[Any], float]] = {}
        for at in range(4):
            best, begin, weight = (float(each) for each in draw.uniform([0, 0, 0.2], [1, 1, 1.5]))
            space[f"model.number{at}"], start[f"number{at}"] = Option(f"model.number{at}", low=0.0, high=1.0), begin
            effects[f"model.number{at}"] = lambda value, best=best, weight=weight: -weight * (value - best) ** 2
        for at in range(2):
            table = [0.0, *draw.normal(-0.1, 0.12, int(draw.integers(2, 5)))]
            choices = tuple(range(len(table)))
            space[f"model.choice{at}"], start[f"choice{at}"] = Option(f"model.choice{at}", choices=choices), 0
            effects[f"model.choice{at}"] = lambda value, table=table: float(table[value])
        for at in range(3):
            effect = float(draw.choice([0.1, 0.0, -0.15], p=[0.15, 0.45, 0.4]))
            space[f"model.switch{at}"] = Option(f"model.switch{at}", choices=(False, True))
            start[f"switch{at}"] = False
            effects[f"model.switch{at}"] = lambda value, effect=effect: effect * value
        return cls(space, start, effects)

    def worth(self, arm: Arm) -> float:
        """The true score of an arm."""
        return sum(effect(arm.model.options[path.removeprefix("model.")]) for path, effect in self.effects.items())


def loop(seed: int, options: Mapping[str, Any]) -> float:
    """The true gain of the last baseline over the first."""
    draw = Seed(seed, ("world",)).numpy()
    world = World.drawn(draw)
    first = base = Arm(Plugin("task", "made-up"), Plugin("model", "linear").but(**world.start))
    goal = Goal("simulated", {"it": first}, budget=TRIALS, seed=seed)
    proposer = plugins.create("proposer", "search", options)
    screened: tuple[Screened, ...] = ()
    claimed: tuple[Claimed, ...] = ()
    left = TRIALS
    for now in range(1, TRIALS):

        def try_out(changes: Sequence[Change], now: int = now, base: Arm = base) -> tuple[Screened, ...]:
            nonlocal screened, left
            arms = [applied(base, each.options) for each in changes]
            gains = [world.worth(arm) - world.worth(base) + draw.normal(0, NOISE) for arm in arms]
            found = tuple(
                Screened(now, each.tasks, each.options, gain) for each, gain in zip(changes, gains, strict=True)
            )
            screened, left = (*screened, *found), left - len(found)
            return found

        standing = Standing(
            goal, now, {"it": base}, {"it": base}, {"it": world.space}, {"it": {}}, screened, claimed, left, try_out
        )
        claim = proposer.propose(Seen(Question("", {}), {}, {}, (), standing))
        if claim is None:
            break
        after = claim.tasks["it"].treatment
        held, pairs = tested(world.worth(after) - world.worth(base), min(12, left // 2), draw)
        left -= 2 * pairs
        outcome = "supported" if held else "inconclusive"
        claimed = (*claimed, Claimed(now, claim.id, ("it",), differences(base, after), outcome, held))
        base = after if held else base
    return world.worth(base) - world.worth(first)


def tested(effect: float, most: int, draw: np.random.Generator) -> tuple[bool, int]:
    """Whether a claim was supported, and after how many pairs."""
    pairs: list[float] = []
    while len(pairs) < most:
        pairs.append(effect + float(draw.normal(0, NOISE)))
        if len(pairs) >= 4:
            t = statistics.fmean(pairs) / (statistics.stdev(pairs) / math.sqrt(len(pairs)))
            if t > 2.9 or t < 0.3:
                return t > 2.9, len(pairs)
    return False, len(pairs)


def main(loops: int) -> None:
    default = "tpe, one or two (default)"
    with get_context("spawn").Pool() as pool:
        gains = {
            name: pool.starmap(loop, [(seed, options) for seed in range(loops)], chunksize=4)
            for name, options in VARIANTS.items()
        }
    print(f"| candidates | true gain | less than the default's by |\n|---|---|---|  <!-- {loops} loops each -->")
    for name, found in gains.items():
        less = [one - other for one, other in zip(gains[default], found, strict=True)]
        error = statistics.stdev(less) / math.sqrt(loops)
        beside = "" if name == default else f"{statistics.fmean(less):+.3f} ± {1.96 * error:.3f}"
        print(f"| {name} | {statistics.fmean(found):.3f} | {beside} |")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
