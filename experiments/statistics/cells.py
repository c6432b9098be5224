"""The cells of the protocol: each simulates one design under one law and gives plain numbers."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import laws
import numpy as np
from laws import Array
from novum.stats import signflip
from novum.stats.design import Design, design
from novum.stats.paired import boundary
from novum.stats.power import OUTCOMES, judge_many

ALPHA = 0.05
MARGIN = 0.7
"""The margin of the designs with one, in standard deviations."""


def peeking(plan: Design) -> Design:
    """The invalid rule: Student's critical value for exactly n pairs, used at every look n."""
    return replace(
        plan,
        upper=tuple(boundary(plan.support, n) for n in plan.looks),
        lower=tuple(boundary(plan.refute, n) for n in plan.looks),
    )


def judged(plan: Design, x: Array) -> dict[str, float]:
    """Shares of the outcomes, the mean pairs used, and the mean of what supported studies estimate."""
    outcome, pairs = judge_many(plan, x)
    share = dict(zip(OUTCOMES, (np.bincount(outcome, minlength=len(OUTCOMES)) / len(x)).tolist(), strict=True))
    won = np.flatnonzero(outcome == OUTCOMES.index("supported"))
    at_stop = np.cumsum(x[won], axis=1)[np.arange(won.size), pairs[won] - 1] / pairs[won]
    return share | {
        "refused": share["refuted"] + share["equivalent"],
        "pairs": float(pairs.mean()),
        "estimate": float(at_stop.mean()) if won.size else math.nan,
    }


def flipped(x: Array, looks: tuple[int, ...], null: float, level: float = ALPHA) -> dict[str, float]:
    """The exact sequential sign-flip test in both directions: strict margins, no futility."""
    ends = []
    for row in x.tolist():
        up = signflip.crossed(row, null, looks, level)
        down = signflip.crossed([-each for each in row], -null, looks, level)
        ends.append((up or math.inf, down or math.inf))
    up_, down_ = np.array(ends).T
    return {
        "supported": float(np.mean(up_ < down_)),
        "refused": float(np.mean(down_ < up_)),
        "pairs": float(np.minimum(np.minimum(up_, down_), looks[-1]).mean()),
    }


def errors(law: str, pairs: int, batch: int, margin: float, rule: str, studies: int, seed: int) -> dict[str, Any]:
    """Wrong support and wrong refutation at a true effect of exactly the margin."""
    x = margin + laws.draw(law, studies, pairs, seed)
    plan = design("sequential-t", pairs, alpha=ALPHA, null=margin, claimed=margin, batch=batch, futility=0.0)
    if rule == "sign-flip":
        found = flipped(x, plan.looks, margin)
        return found | {"studies": studies}
    chosen = {
        "t": plan,
        "fixed": replace(plan, looks=(pairs,), upper=(boundary(ALPHA, pairs),), lower=(boundary(ALPHA, pairs),)),
        "peeking": peeking(plan),
    }
    return judged(chosen[rule], x) | {"studies": studies}


def later(law: str, pairs: int, first: int, studies: int, seed: int) -> dict[str, Any]:
    """Wrong support of the t-test whose first look is later."""
    plan = design("sequential-t", pairs, alpha=ALPHA, looks=tuple(range(first, pairs + 1)), futility=0.0)
    return judged(plan, laws.draw(law, studies, pairs, seed)) | {"studies": studies}


def small(law: str, level: float, rule: str, pairs: int, studies: int, seed: int) -> dict[str, Any]:
    """Wrong support at a small level."""
    x = laws.draw(law, studies, pairs, seed)
    plan = design("sequential-t", pairs, alpha=level, refute=ALPHA, futility=0.0)
    if rule == "sign-flip":
        found = [signflip.crossed(row, 0.0, plan.looks, level) is not None for row in x.tolist()]
        return {"supported": float(np.mean(found)), "studies": studies}
    return judged(plan, x) | {"studies": studies}


def harm(pairs: int, studies: int, seed: int) -> dict[str, Any]:
    """Support of a treatment that harms by 0.3 standard deviations."""
    plan = design("sequential-t", pairs, alpha=ALPHA, futility=0.0)
    return judged(plan, laws.draw("normal", studies, pairs, seed) - 0.3) | {"studies": studies}


def power(rule: str, pairs: int, effect: float, futility: float, studies: int, seed: int) -> dict[str, Any]:
    """Support and pairs at one effect, in standard deviations."""
    x = effect + laws.draw("normal", studies, pairs, seed)
    if rule == "sign-flip":
        looks = tuple(range(3, pairs + 1))
        return flipped(x, looks, 0.0) | {"studies": studies}
    if rule == "fixed":
        plan = design("sequential-t", pairs, alpha=ALPHA, looks=(pairs,), futility=0.0)
    elif rule.startswith("t "):
        plan = design("sequential-t", pairs, alpha=ALPHA, rho=float(rule[2:]), futility=futility)
    else:
        method = {"e": "e-process", "stand-in": "sequential-sign-flip"}[rule]
        plan = design(method, pairs, alpha=ALPHA, futility=futility)
    return judged(plan, x) | {"studies": studies}


def small_power(level: float, pairs: int, effect: float, studies: int, seed: int) -> dict[str, Any]:
    """Support of a clear effect at a small level."""
    plan = design("sequential-t", pairs, alpha=level, refute=ALPHA)
    return judged(plan, effect + laws.draw("normal", studies, pairs, seed)) | {"studies": studies}


def zone(pairs: int, effect: float, studies: int, seed: int) -> dict[str, Any]:
    """A zone design that claims one standard deviation."""
    plan = design("sequential-t", pairs, alpha=ALPHA, null=0.0, claimed=1.0)
    return judged(plan, effect + laws.draw("normal", studies, pairs, seed)) | {"studies": studies}
