"""The table of rules and the proposer that reads it, on standings made by hand."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import novum
import pytest
from novum import ConfigError, Fact, Held, Rule, Sign, Step, plugins
from novum.arm import Arm
from novum.goal import Goal
from novum.hypothesize import Hypothesis
from novum.loop import Question, Seen
from novum.proposers.rules import Rules
from novum.recipe import Recipe
from novum.rules import installed
from novum.space import Option, written
from novum.standing import Change, Claimed, Standing

MLP = novum.arm(novum.task("image-classification"), novum.model("mlp"), budget="4 epochs")
TIMM = novum.arm(novum.task("image-classification"), novum.model("timm"), budget="4 epochs")
TRANSFORMER = novum.arm(novum.task("text-classification"), novum.model("transformer"), budget="4 epochs")
BAG = novum.arm(novum.task("text-classification"), novum.model("bag"), budget="4 epochs")
PPO = novum.arm(novum.task("gym"), novum.model("ppo"), budget="8_000 steps")
HOLDERS = (MLP, TIMM, TRANSFORMER, BAG, PPO)
"""In-tree models, one of which has to hold the remedy of each rule."""


def filled(arm: Arm) -> Arm:
    """The arm with every value of its recipe."""
    return dataclasses.replace(arm, recipe={**Recipe().model_dump(mode="json"), **arm.recipe})


def standing(
    *arms: Arm, space: Mapping[str, Any], facts: Mapping[str, float] | None = None, scope: str = "each", **more: Any
) -> Standing:
    """Tasks called a, b, …; facts by "a/run.gap", or by "run.gap" for the first alone."""
    names = "abcdef"[: len(arms)]
    tasks = dict(zip(names, arms, strict=True))
    known = {f"a/{name}" if "/" not in name else name: value for name, value in (facts or {}).items()}
    return Standing(
        goal=Goal("g", tasks, 100, scope=scope),
        round=1,
        baseline=tasks,
        whole={name: filled(arm) for name, arm in tasks.items()},
        spaces={
            name: {path: written(path, value, filled(arm)) for path, value in space.items()}
            for name, arm in tasks.items()
        },
        facts={
            name: {id: Fact(id, value) for id, value in known.items() if id.startswith(f"{name}/")} for name in tasks
        },
        **more,
    )


def asked(given: Standing, **options: Any) -> Hypothesis | None:
    seen = Seen(Question("g", {}), {}, {}, (), given)
    proposed: Hypothesis | None = plugins.create("proposer", "rules", options).propose(seen)
    return proposed


def changes(given: Standing, *names: str) -> list[Change]:
    proposer: Rules = plugins.create("proposer", "rules", {"only": names})
    return proposer.changes(given)


def defect(rule: Rule, arm: Arm) -> dict[str, float]:
    """Facts by which all signs of a rule show."""
    found = {}
    for sign in rule.signs:
        if isinstance(sign, Sign):
            bound: Any = sign.below if sign.above is None else sign.above
            number = 128.0 if isinstance(bound, str) else bound
            found[sign.fact] = number + 1 if sign.above is not None else number - 1e-3 - abs(number) / 10
    return found


def holder(rule: Rule) -> tuple[Arm, dict[str, Any]]:
    """An arm of an in-tree model, and a space that holds the rule's first remedy that the model has."""
    starts: Arm
    for remedy in rule.remedies:
        for arm in HOLDERS:
            try:
                space = {path: values(step, path, arm) for path, step in remedy.items()}
                for path, each in space.items():
                    written(path, each, filled(arm))
            except ConfigError:
                continue
            starts = (
                arm.but(start_from=arm, budget="2 epochs") if any(type(each) is Held for each in rule.signs) else arm
            )
            return (starts if "recipe.schedule" not in space else arm), space
    raise AssertionError(f"no in-tree model holds a remedy of {rule.name}")


def values(step: Step, path: str, arm: Arm) -> Any:
    if path == "start_from":
        return [{"recipe": {"budget": "2 epochs"}}]
    if path == "recipe.budget":
        return [f"{count} {str(arm.recipe['budget']).split()[1]}" for count in (4, 8, 16_000)]
    if step.to is not None:
        return [step.to]
    return True


RULES = installed()


def test_names_are_unique_and_every_rule_has_a_source_with_a_year() -> None:
    assert len(RULES) >= 20
    assert [rule.name for rule in RULES] == sorted({rule.name for rule in RULES})
    assert all(re.search(r"\b(19|20)\d\d, \S+", rule.source) for rule in RULES)


@pytest.mark.parametrize("rule", RULES, ids=[rule.name for rule in RULES])
def test_a_rule_fires_on_its_defect_and_not_without_it(rule: Rule) -> None:
    arm, space = holder(rule)
    facts = defect(rule, arm)

    found = changes(standing(arm, space=space, facts=facts), rule.name)

    assert len(found) == 1
    assert set(found[0].options) <= set(space)
    assert found[0].rests_on == tuple(f"a/{name}" for name in facts)
    assert found[0].because.endswith(f"Source: {rule.source.rstrip('.')}.")
    assert "{" not in found[0].because
    assert "unknown" not in found[0].because
    for name in facts:
        without = {each: value for each, value in facts.items() if each != name}
        assert changes(standing(arm, space=space, facts=without), rule.name) == []


@pytest.mark.parametrize("rule", RULES, ids=[rule.name for rule in RULES])
def test_a_rule_says_nothing_where_the_space_lacks_its_remedy(rule: Rule) -> None:
    arm, _ = holder(rule)
    other = standing(arm, space={"recipe.momentum": {"low": 0.5, "high": 0.99}}, facts=defect(rule, arm))

    assert changes(other, rule.name) == []


def test_the_reason_quotes_the_facts_value() -> None:
    space = {"recipe.warmup": True}

    found = changes(standing(MLP, space=space, facts={"run.spread": 0.0734}), "warmed-up")

    assert "a spread of 0.0734 of the scale over seeds" in found[0].because


def test_it_is_nothing_outside_of_a_closed_loop() -> None:
    assert plugins.create("proposer", "rules", {}).propose(Seen(Question("g", {}), {}, {})) is None


def test_it_claims_what_promises_most_per_cost() -> None:
    space = {"recipe.budget": ["4 epochs", "8 epochs"], "recipe.learning_rate": {"low": 1e-5, "high": 1.0}}
    facts = {"run.rise": 0.1, "run.diverged": 0.0}

    found = changes(standing(MLP, space=space, facts=facts))
    claim = asked(standing(MLP, space=space, facts=facts))

    assert [each.rank for each in found] == sorted((each.rank for each in found), reverse=True)
    assert [set(each.options) for each in found] == [{"recipe.learning_rate"}, {"recipe.budget"}]
    assert claim is not None
    assert claim.tasks["a"].treatment.recipe["learning_rate"] == pytest.approx(3e-3)
    assert claim.claim == "A higher learning rate helps on a: recipe.learning_rate = 0.003"
    assert (claim.rests_on, claim.goal) == (("a/run.rise", "a/run.diverged"), "g")
    assert "Bengio 2012" in claim.because


def test_the_same_standing_gets_the_same_claim() -> None:
    given = standing(MLP, space={"model.dropout": True, "model.label_smoothing": True}, facts={"run.gap": 0.3})

    first, again = asked(given), asked(given)

    assert first is not None
    assert first == again


def test_what_was_claimed_is_never_proposed_again_whatever_came_of_it() -> None:
    space = {"model.dropout": True, "model.label_smoothing": True, "model.width": True, "recipe.weight_decay": True}
    given = standing(MLP, space=space, facts={"run.gap": 0.3, "run.ece": 0.2})
    keys = []

    while (found := Rules(Rules.Config()).changes(given)) and len(keys) < 50:
        keys.append(found[0].key)
        tried = Claimed(given.round, "h", found[0].tasks, found[0].options, "refuted", False)
        given = dataclasses.replace(given, claimed=(*given.claimed, tried))

    assert 4 < len(keys) < 20
    assert len(set(keys)) == len(keys)


def test_after_a_claim_about_an_option_failed_others_come_first() -> None:
    space = {"recipe.learning_rate": {"low": 1e-5, "high": 1.0}, "recipe.budget": ["4 epochs", "8 epochs"]}
    given = standing(MLP, space=space, facts={"run.rise": 0.1, "run.diverged": 0.0})
    failed = Claimed(1, "h", ("a",), {"recipe.learning_rate": 3e-3}, "refuted", False)

    found = changes(dataclasses.replace(given, claimed=(failed,)))

    assert [dict(each.options) for each in found] == [
        {"recipe.budget": "8 epochs"},
        {"recipe.learning_rate": pytest.approx(1.7e-3)},
    ]


def test_no_change_leaves_the_space() -> None:
    space = {"model.dropout": {"low": 0.0, "high": 0.2}, "recipe.learning_rate": {"low": 1e-4, "high": 2e-3}}
    facts = {"run.gap": 0.3, "run.rise": 0.1, "run.diverged": 0.0}

    found = changes(standing(MLP, space=space, facts=facts))

    assert {path: value for each in found for path, value in each.options.items()} == {
        "model.dropout": 0.2,
        "recipe.learning_rate": 2e-3,
    }


def test_a_choice_that_is_not_in_the_space_is_not_taken() -> None:
    facts = {"run.rise": 0.0, "run.fall": 0.0, "run.scaled": 0.5}

    found = changes(standing(MLP, space={"recipe.schedule": ["constant", "linear"]}, facts=facts))

    assert [dict(each.options) for each in found] == [{"recipe.schedule": "linear"}]


def test_tasks_that_are_changed_together_need_the_option_on_every_task_and_the_sign_on_one() -> None:
    both = {"recipe.weight_decay": {"low": 0.0, "high": 0.3}}
    given = standing(MLP, BAG, space=both, facts={"b/run.gap": 0.2}, scope="all")
    alone = dataclasses.replace(given, spaces={"a": {}, "b": given.spaces["b"]})

    found = changes(given, "weight-decay")

    assert [(each.tasks, dict(each.options)) for each in found] == [(("a", "b"), {"recipe.weight_decay": 0.1})]
    assert found[0].because.startswith("On b: train is scored 0.2 of the scale better than dev")
    assert found[0].rests_on == ("b/run.gap",)
    assert changes(alone, "weight-decay") == []


def test_tasks_that_are_changed_together_are_never_moved_the_other_way() -> None:
    space = {"recipe.learning_rate": {"low": 1e-5, "high": 1.0}}
    facts = {"a/run.rise": 0.2, "a/run.diverged": 0.0}
    slow, fast = MLP.but(learning_rate=1e-3), BAG.but(learning_rate=0.1)

    assert changes(standing(slow, fast, space=space, facts=facts, scope="all"), "higher-rate") == []
    assert len(changes(standing(fast, slow, space=space, facts=facts, scope="all"), "higher-rate")) == 1


def test_several_tasks_for_themselves_get_changes_of_their_own() -> None:
    space = {"recipe.warmup": True}
    facts = {"a/run.spread": 0.2, "b/run.spread": 0.2}

    found = changes(standing(MLP, BAG, space=space, facts=facts), "warmed-up")

    assert [each.tasks for each in found] == [("a",), ("b",)]


# ------------------------------------------------------------------------------------------------- rules of others

OWN = Rule(
    name="own",
    claim="Momentum helps",
    signs=(Sign("own.fact", below=1.0),),
    remedies=({"recipe.momentum": Step(to=0.95)},),
    reason="The fact is {own.fact:.1f}.",
    source="A person 2024, A paper",
    gain=5.0,
)


@pytest.fixture
def brought(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Gives plugins of the kind "rule", beside those that are installed."""
    loads, names = plugins.load, plugins.names

    def bring(**others: Any) -> None:
        def load(kind: str, name: str) -> Any:
            if kind == "rule" and name in others:
                if isinstance(others[name], Exception):
                    raise others[name]
                return others[name]
            return loads(kind, name)

        monkeypatch.setattr(plugins, "load", load)
        monkeypatch.setattr(plugins, "names", lambda kind: sorted([*names(kind), *(others if kind == "rule" else ())]))

    return bring


def test_a_rule_that_a_plugin_brings_is_found(brought: Any) -> None:
    brought(own=OWN)
    given = standing(
        MLP, space={"recipe.momentum": [0.9, 0.95], "recipe.warmup": True}, facts={"own.fact": 0.25, "run.spread": 0.5}
    )

    found = asked(given)

    assert found is not None
    assert found.claim.startswith("Momentum helps")
    assert found.because == "The fact is 0.2. Source: A person 2024, A paper."


@pytest.mark.parametrize(
    "broken",
    [plugins.PluginError("it cannot be imported"), "no rule", dataclasses.replace(OWN, reason="{own.fact:%Q}")],
)
def test_a_broken_rule_harms_no_other(brought: Any, broken: Any) -> None:
    brought(own=broken)
    space = {"recipe.momentum": [0.9, 0.95], "recipe.warmup": True}
    given = standing(MLP, space=space, facts={"own.fact": 0.25, "run.spread": 0.5})

    with pytest.warns(RuntimeWarning, match="left out"):
        found = asked(given)

    assert found is not None
    assert found.claim.startswith("Warming up")


def test_rules_can_be_named_and_left_out() -> None:
    given = standing(MLP, space={"recipe.warmup": True, "recipe.averaging": True}, facts={"run.spread": 0.5})

    assert [each.claim.split(" on ")[0] for each in changes(given, "warmed-up")] == [
        "Warming up the learning rate helps"
    ]
    assert [
        set(each.options) for each in plugins.create("proposer", "rules", {"without": ["warmed-up"]}).changes(given)
    ] == [{"recipe.averaging"}]
    with pytest.raises(ConfigError, match="no rule is called 'warmed'; did you mean 'warmed-up'"):
        asked(given, only=["warmed"])


@pytest.mark.parametrize(
    ("parts", "match"),
    [
        ({"name": "Not a name"}, "rule: name"),
        ({"source": "somebody"}, "a source with its year"),
        ({"remedies": ()}, "at least one option"),
        ({"signs": ()}, "at least one fact"),
        ({"gain": 0.0}, "rule: gain"),
        ({"reason": " "}, "printable text"),
    ],
)
def test_a_rule_that_says_too_little_is_refused(parts: dict[str, Any], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        dataclasses.replace(OWN, **parts)


def test_signs_and_steps_say_one_thing_each() -> None:
    with pytest.raises(ConfigError, match="either above or below"):
        Sign("run.gap")
    for wrong in ({}, {"to": 1, "times": 2.0}, {"times": 1.0}, {"times": -1.0}):
        with pytest.raises(ConfigError, match="exactly one of"):
            Step(**wrong)


@pytest.mark.parametrize(
    ("step", "option", "now", "new"),
    [
        (Step(times=2.0), Option("x", low=1, high=100, whole=True), 8, 16),
        (Step(times=2.0), Option("x", low=1, high=8, whole=True), 8, None),
        (Step(times=0.5), Option("x", low=1, high=100), 8, 4.0),
        (Step(times=2.0), Option("x", choices=("4 epochs", "6 epochs", "20 epochs")), "4 epochs", "6 epochs"),
        (Step(times=2.0), Option("x", choices=("4 epochs", "900 samples")), "4 epochs", None),
        (Step(times=2.0), Option("x", low=0, high=1), None, None),
        (Step(times=2.0), Option("x", low=0, high=1), 0, None),
        (Step(least=0.3), Option("x", low=0, high=0.9), 0.1, 0.3),
        (Step(least=0.3), Option("x", low=0, high=0.9), 0.4, None),
        (Step(least=0.3), Option("x", choices=(0.0, 0.2, 0.5)), 0.0, 0.2),
        (Step(to=True), Option("x", choices=(False, True)), False, True),
        (Step(to=2.0), Option("x", low=0, high=1), 0.0, None),
        (Step(other=True), Option("x", choices=(None, "b")), None, "b"),
    ],
)
def test_a_step_goes_where_the_space_lets_it(step: Step, option: Option, now: Any, new: Any) -> None:
    assert step.of(option, now) == new
