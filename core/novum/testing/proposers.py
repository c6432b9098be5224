"""What a proposer promises: hypotheses or None, the same for the same history, and none twice; and what a rule is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from novum.testing.laws import Broken, expect, law

if TYPE_CHECKING:
    from novum.hypothesize import Hypothesis
    from novum.testing.subject import Subject

ROUNDS = 20
"""Hypotheses after which a proposer that still has others counts as one that knows what it does."""
VERDICTS: tuple[dict[str, Any] | None, ...] = (None, {"outcome": "invalid", "tasks": {}})


def seen(history: tuple[Any, ...] = ()) -> Any:
    """What a proposer sees before anything was tried, or after that history: one task with two arms."""
    from novum.arm import Arm, Plugin
    from novum.loop import Question, Seen

    base = Arm(Plugin("task", "sample"), Plugin("model", "linear"), recipe={"budget": "2 epochs"})
    arms = {"control": base, "treatment": base.but(schedule="cosine")}
    facts = [{"id": "train.size", "value": 64, "unit": "units", "about": "Units in train."}]
    scale = {"metric": "accuracy", "chance": 0.25, "reference": 1.0}
    return Seen(Question("contract", {"sample": arms}), {"sample": {"facts": facts, "scale": scale}}, {}, history)


def _ask(proposer: Any, history: tuple[Any, ...]) -> Hypothesis | None:
    from novum.hypothesize import Hypothesis

    given = seen(history)
    found = proposer.propose(given)
    expect(
        found is None or isinstance(found, Hypothesis),
        f"`propose` gives {type(found).__name__}; give a novum.Hypothesis, or None when nothing promising is left",
    )
    expect(given == seen(history), "`propose` changes what it sees; it is a record that others read, too")
    return found if isinstance(found, Hypothesis) else None


@law("it proposes hypotheses or None, from an empty history too, and changes nothing that it sees", "proposer")
def it_proposes_hypotheses(subject: Subject) -> None:
    _ask(subject.make(), ())


@law("the same history gets the same hypothesis", "proposer")
def the_same_history_gets_the_same_hypothesis(subject: Subject) -> None:
    first, again = _ask(subject.make(), ()), _ask(subject.make(), ())
    same = (first is None and again is None) or (first and again and first.fingerprint == again.fingerprint)
    expect(same, "two proposers of the same options differ on one history; draw from a fixed novum.Seed, not the clock")


@law("what was registered is not proposed again", "proposer")
def nothing_is_proposed_twice(subject: Subject) -> None:
    for verdict in VERDICTS:
        history: tuple[Any, ...] = ()
        for _ in range(ROUNDS):
            found = _ask(subject.make(), history)
            if found is None:
                break
            known = {record["fingerprint"] for record, _ in history}
            expect(
                found.fingerprint not in known,
                f"{found.claim!r} was registered and is proposed again; leave out what stands in `seen.history`",
            )
            record = {**found.to_json(), "fingerprint": found.fingerprint, "id": found.id}
            history = (*history, (record, verdict))


@law("a rule is a record that is called as its entry point, and every sentence of it can be told", "rule")
def a_rule_is_a_sound_record(subject: Subject) -> None:
    from novum.rules import QUOTED, Rule

    rule = subject.cls
    expect(isinstance(rule, Rule), f"it is {type(rule).__name__}; name a novum.Rule as its entry point")
    if isinstance(subject.plugin, str):
        expect(rule.name == subject.plugin, f"it says that it is called {rule.name!r}; give both the same name")
    for quoted in QUOTED.finditer(rule.reason):
        try:
            format(0.5, quoted["spec"] or "")
        except ValueError as error:
            raise Broken(f"its reason cannot tell a number as {quoted[0]}: {error}") from None
    expect(not rule.claim.rstrip().endswith("."), "its claim ends with a full stop; what changes is told after it")
