"""An early stop in a claim: what the record, the verdict and the report say of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

BUDGET = 40 * 60  # epochs × examples
EQUAL = "Budgets were equal in units of experience, and neither arm was tuned in this claim."
MAY_STOP = " could stop before the budget was used, by a plateau on a slice of train."


@pytest.mark.parametrize(
    ("sides", "told"),
    [
        ((), ""),
        (("treatment",), f" The treatment{MAY_STOP}"),
        (("control", "treatment"), f" Both arms{MAY_STOP}"),
    ],
)
def test_a_verdict_says_which_arms_could_stop_early_and_the_record_and_the_report_where_they_did(
    study: Any, claim: Callable[..., Any], arm: Callable[..., Any], sides: tuple[str, ...], told: str
) -> None:
    base = arm(task={"size": 60, "noise": 2.0}, model={"dropout": 0.5}, budget="40 epochs", learning_rate=0.5)
    arms = {"control": base, "treatment": base.but(learning_rate=0.6)}
    arms |= {side: arms[side].but(early_stop=2) for side in sides}

    verdict = study.run(claim("one is better", **arms))

    assert verdict.record["fairness"] == EQUAL + told
    assert study.verdict(verdict.hypothesis, recompute=True).text == verdict.text
    page = study.report(verdict.hypothesis).read_text()
    with study.reading() as ledger:
        results = [row["result"] for row in ledger.trials() if row["kind"] == "train" and row["state"] == "done"]
    ended = [each for each in results if each["units"] < BUDGET]
    assert [each["stopped"] is None for each in results] == [each["units"] >= BUDGET for each in results]
    assert bool(ended) == bool(sides)
    for each in ended:
        assert each["stopped"] == f"stopped early at {each['units']:,} of 2,400 units"
        assert each["stopped"] in page


def test_an_exploratory_run_says_where_it_stopped(study: Any, arm: Callable[..., Any]) -> None:
    early = arm(task={"size": 60, "noise": 2.0}, budget="40 epochs", learning_rate=0.5, early_stop=2)

    run = study.train(early)

    assert run.facts["stopped"] == f"stopped early at {run.facts['units']:,} of 2,400 units"
    assert run.report().splitlines()[0] == f"dev, seed 0, {run.facts['stopped']}"
    assert run.curve[-1]["units"] == run.facts["units"] < BUDGET
