from __future__ import annotations

from pathlib import Path
from typing import Any

import novum
import pytest
from novum import ConfigError, Hypothesis, plugins
from novum.loop import Question, Seen
from novum.stats.paired import pairs_needed

BASE = novum.arm("images", "resnet", budget="3 epochs")
FREE = novum.arm("gym", "ppo", budget="1_000 steps")


def seen(*history: tuple[Hypothesis, dict[str, Any] | None]) -> Seen:
    rows = [(claim.to_json() | {"id": claim.id, "fingerprint": claim.fingerprint}, told) for claim, told in history]
    return Seen(Question("g", {}), {}, {}, tuple(rows))


def claim(**parts: Any) -> Hypothesis:
    tasks = {"a": (BASE, BASE.but(clip=1.0)), "b": (FREE, FREE.but(clip=1.0))}
    written: dict[str, Any] = {"tasks": tasks, "max_seeds": 5, "minimum_effect": 0.02}
    return Hypothesis("clipping helps.", **(written | parts))


def told(margin: float = 0.02, deviation: float = 0.05, effect: Any = 0.05, **outcomes: str) -> dict[str, Any]:
    each = {"effect": effect, "deviation": deviation, "interval": [0.0, 0.1], "margin": margin, "planned": 5}
    each |= {"test": {"level": 0.05}}
    return {"tasks": {name: each | {"outcome": outcome, "stopped": "budget"} for name, outcome in outcomes.items()}}


def stopped(found: dict[str, Any], *names: str) -> dict[str, Any]:
    """The same verdict, in which these tasks were open when the claim was settled."""
    for name in names:
        found["tasks"][name] |= {"outcome": "inconclusive", "stopped": "with the claim"}
    return found


def follow_up(*history: tuple[Hypothesis, dict[str, Any] | None]) -> Hypothesis | None:
    proposed: Hypothesis | None = plugins.create("proposer", "follow-up", {}).propose(seen(*history))
    return proposed


def test_nothing_follows_from_nothing() -> None:
    assert follow_up() is None
    assert follow_up((claim(), None)) is None


def test_an_undecided_task_is_asked_again_with_the_seeds_that_would_decide_it() -> None:
    last = claim()

    found = follow_up((last, told(a="inconclusive", b="supported")))

    assert found is not None
    assert list(found.tasks) == ["a"]
    assert found.max_seeds == pairs_needed(0.05, 0.05, 0.02, 0.05)
    words = "clipping helps: with more seeds"
    assert (found.claim, found.parent, found.rests_on) == (words, last.id, (last.id,))
    assert found.tasks["a"] == last.tasks["a"]


def test_more_seeds_are_always_more_than_before() -> None:
    verdict = told(a="inconclusive", b="inconclusive")
    verdict["tasks"]["a"]["planned"] = 40  # in a goal, more than the claim asked for
    found = follow_up((claim(max_seeds=8), verdict))

    assert found is not None
    assert found.max_seeds == 41


def test_an_effect_too_near_the_margin_is_left_alone() -> None:
    assert follow_up((claim(), told(effect=0.021, a="inconclusive", b="refuted"))) is None
    assert follow_up((claim(), told(effect={"undefined": "it broke"}, a="inconclusive", b="refuted"))) is None


def test_a_claim_that_held_in_part_is_narrowed_to_where_it_held() -> None:
    found = follow_up((claim(), told(a="supported", b="refuted")))

    assert found is not None
    assert (found.claim, list(found.tasks), found.max_seeds) == ("clipping helps: on a", ["a"], 5)
    assert found.tasks["a"].minimum_effect == 0.02


def test_tasks_that_were_open_when_another_refuted_the_claim_are_asked_alone() -> None:
    found = follow_up((claim(), stopped(told(a="refuted", b="refuted"), "b")))

    assert found is not None
    assert (found.claim, list(found.tasks)) == ("clipping helps: on b", ["b"])


def test_only_a_whole_average_leads_on() -> None:
    average = claim(scope="average")

    assert follow_up((average, told(a="inconclusive", b="supported") | {"outcome": "inconclusive"})) is None
    found = follow_up((average, told(a="inconclusive", b="supported") | {"outcome": "supported"}))
    assert found is not None and found.claim.endswith("twice the experience")


def test_nothing_follows_from_scores_that_a_caller_reported() -> None:
    assert follow_up((claim(), told(a="supported", b="refuted") | {"scores": "reported by the caller"})) is None


def test_a_claim_that_held_everywhere_is_asked_at_twice_the_experience() -> None:
    found = follow_up((claim(), told(a="supported", b="supported")))

    assert found is not None
    assert found.claim.endswith("still so with twice the experience")
    budgets = [arm.recipe["budget"] for task in found.tasks.values() for arm in (task.control, task.treatment)]
    assert budgets == ["6 epochs", "6 epochs", "2000 steps", "2000 steps"]


def test_a_budget_that_nobody_wrote_is_not_doubled() -> None:
    plain = novum.arm("images", "resnet")

    last = claim(tasks={"a": (plain, plain.but(clip=1.0))})

    assert follow_up((last, told(a="supported"))) is None


@pytest.mark.parametrize("outcome", ["refuted", "equivalent", "invalid"])
def test_nothing_follows_from_a_claim_that_failed_everywhere(outcome: str) -> None:
    assert follow_up((claim(), told(a=outcome, b=outcome))) is None


def test_what_was_registered_before_is_not_proposed_again() -> None:
    last = claim()
    proposed = follow_up((last, told(a="supported", b="refuted")))
    assert proposed is not None

    assert follow_up((proposed, None), (last, told(a="supported", b="refuted"))) is None


# --------------------------------------------------------------------------------------------------------- declared

CLAIM = """
claim = "x"
[treatments.one]
recipe.clip = 1.0
[treatments.two]
recipe.clip = 2.0
[tasks.digits]
task = { plugin = "images" }
model = { plugin = "resnet" }
"""


def test_declared_treatments_come_in_order_each_once(tmp_path: Path) -> None:
    path = tmp_path / "claim.toml"
    path.write_text(CLAIM)
    proposer = plugins.create("proposer", "declared", {"claim": str(path)})

    found = [proposer.propose(seen()) for _ in range(3)]

    assert [each.name if each else None for each in found] == ["one", "two", None]


def test_declared_treatments_that_were_registered_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "claim.toml"
    path.write_text(CLAIM)
    first = novum.load(path, "one")

    found = plugins.create("proposer", "declared", {"claim": str(path)}).propose(seen((first, None)))

    assert found.name == "two"


def test_a_declared_proposer_needs_something_to_declare() -> None:
    with pytest.raises(ConfigError, match=r"nothing is declared; give claim = \"claim\.toml\", or changes"):
        plugins.create("proposer", "declared", {})
