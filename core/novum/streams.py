"""The stream of hypotheses of a goal: at which level the next one is tested, from what the ledger knows (design §5).

A claim that names no goal is a stream of its own, at its stated error rate.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from novum.errors import RegistrationError

if TYPE_CHECKING:
    from novum.hypothesize import Hypothesis
    from novum.ledger import Ledger


def spend(ledger: Ledger, hypothesis: Hypothesis, pending: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any] | None:
    """What the goal's account gives the next hypothesis; None where it names no goal.

    pending: accounts of hypotheses of this goal that are about to be registered together with it. Only tests that
    have a verdict by now count as finished, a supported one as a rejection. Registering the hypothesis spends it, so
    that a crashed or an abandoned one has spent its index. Raises RegistrationError when the goal was begun with
    another rule or error rate.
    """
    if hypothesis.goal is None:
        return None
    from novum.stats.stream import Past, next_level

    rows = [*ledger.streams(hypothesis.goal), *(each for each in pending if each["goal"] == hypothesis.goal)]
    if rows and (rows[0]["rule"], rows[0]["alpha"]) != (hypothesis.fdr, hypothesis.alpha):
        raise RegistrationError(
            f"goal {hypothesis.goal!r} spends its error rate by {rows[0]['rule']!r} at alpha = {rows[0]['alpha']!r}, "
            f"and this claim says {hypothesis.fdr!r} at {hypothesis.alpha!r}; a goal has one of each: use them, or "
            "name another goal."
        )
    outcomes = {row["index"]: _outcome(ledger, row.get("hypothesis")) for row in rows}
    history = [
        Past(row["level"], finished=outcomes[row["index"]] is not None, rejected=outcomes[row["index"]] == "supported")
        for row in rows
    ]
    spent = next_level(hypothesis.fdr, hypothesis.alpha, history)
    return {
        "goal": hypothesis.goal,
        "index": spent.index,
        "rule": hypothesis.fdr,
        "alpha": hypothesis.alpha,
        "level": spent.level,
        "wealth_before": spent.wealth_before,
        "wealth_after": spent.wealth_after,
        "finished": [index for index, outcome in outcomes.items() if outcome is not None],
        "rejections": [index for index, outcome in outcomes.items() if outcome == "supported"],
    }


def account(ledger: Ledger, goal: str) -> list[dict[str, Any]]:
    """Every hypothesis of a goal in order, with its level, the wealth after it, and its outcome (None: not yet)."""
    return [{**row, "outcome": _outcome(ledger, row["hypothesis"])} for row in ledger.streams(goal)]


def alone(ledger: Ledger) -> int:
    """How many registered hypotheses name no goal: each may be wrong as often as it says, and nobody corrects for
    their number.
    """
    return sum(row.get("goal") is None for row in ledger.hypotheses())


def _outcome(ledger: Ledger, hypothesis: str | None) -> str | None:
    text = None if hypothesis is None else ledger.verdict(hypothesis)
    return None if text is None else str(json.loads(text)["outcome"])
