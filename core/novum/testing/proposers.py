"""What a proposer promises: hypotheses or None, the same for the same history, and none twice; in a closed loop, which
is made up in `loops`, claims within the space alone, on facts that exist. And what a rule is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from novum.arm import canonical
from novum.config import shown
from novum.testing.laws import Broken, Inapplicable, expect, law
from novum.testing.loops import Loop, Stopped, changed

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


# --------------------------------------------------------------------------------------------------- in a closed loop

SCOPES = ("each", "all")
ASKED = 5
"""Rounds of the loop that is made up."""


def _in_loop(proposer: Any, loop: Loop) -> Hypothesis | None:
    from dataclasses import replace

    from novum.hypothesize import Hypothesis

    given = loop.seen
    untouched = replace(loop, tried=[]).seen
    found = proposer.propose(given)
    expect(
        found is None or isinstance(found, Hypothesis),
        f"in a loop `propose` gives {type(found).__name__}; give `standing.claim(change)`, or None",
    )
    expect(given == untouched, "`propose` changes where the loop stands; it is a record that others read, too")
    return found if isinstance(found, Hypothesis) else None


def _about_baseline(found: Hypothesis, loop: Loop) -> dict[str, Any]:
    """Task → its comparison, of those that start from the loop's baseline; a person may declare others."""
    baseline = {name: canonical(arm.to_json()) for name, arm in loop.standing.baseline.items()}
    return {
        name: each
        for name, each in found.tasks.items()
        if name in baseline and each.arms.get("control") and canonical(each.control.to_json()) == baseline[name]
    }


@law("in a loop, the same standing gets the same claim, and nothing that it sees is changed", "proposer")
def the_same_standing_gets_the_same_claim(subject: Subject) -> None:
    for scope in SCOPES:
        first, again = (_in_loop(subject.make(), Loop(scope)) for _ in range(2))
        same = first is again or (first is not None and again is not None and first.fingerprint == again.fingerprint)
        expect(
            same, "two proposers of the same options differ on one standing; draw from a novum.Seed of the goal's seed"
        )


@law("in a loop it changes options of the space alone, to values that the space holds", "proposer")
def in_a_loop_it_keeps_to_what_may_change(subject: Subject) -> None:
    for scope in SCOPES:
        loop = Loop(scope)
        found = _in_loop(subject.make(), loop)
        for name, each in ({} if found is None else _about_baseline(found, loop)).items():
            options = changed(loop.standing, name, each.treatment)
            expect(
                options is not None,
                f"{found.claim!r} changes the arm of {name!r} outside of the options in `standing.spaces`"  # type: ignore[union-attr]
                "; ask `standing.allows(change)` first",
            )
            for path, value in (options or {}).items():
                expect(
                    loop.standing.spaces[name][path].holds(value),
                    f"{path} = {shown(value)} is not in the space; ask `standing.allows(change)` first",
                )


@law("in a loop it rests on facts that exist", "proposer")
def in_a_loop_it_cites_facts_that_exist(subject: Subject) -> None:
    for scope in SCOPES:
        loop = Loop(scope)
        found = _in_loop(subject.make(), loop)
        if found is None or not _about_baseline(found, loop):
            continue
        known = {fact for facts in loop.standing.facts.values() for fact in facts}
        unknown = sorted(set(found.rests_on) - known)
        expect(not unknown, f"it rests on {', '.join(map(repr, unknown))}, which `standing.facts` does not have")


@law("in a loop, a change that was claimed is not claimed again, whatever came of it", "proposer")
def in_a_loop_nothing_is_claimed_twice(subject: Subject) -> None:
    for scope in SCOPES:
        loop = Loop(scope)
        for _ in range(ASKED):
            found = _in_loop(subject.make(), loop)
            if found is None:
                break
            after = loop.after(found)
            keys = [each.key for each in after.standing.claimed if each.options]
            expect(
                len(keys) == len(set(keys)),
                f"the change of {found.claim!r} was claimed in an earlier round; leave out what `standing.known`",
            )
            expect(
                found.fingerprint not in {each.fingerprint for each in loop.claims},
                f"{found.claim!r} was claimed in an earlier round; leave out what stands in `seen.history`",
            )
            loop = after


@law("a screening that was interrupted goes on: nothing is screened twice, and the claim is the same", "proposer")
def an_interrupted_screening_goes_on(subject: Subject) -> None:
    whole = Loop()
    claim = _in_loop(subject.make(), whole)
    if not whole.tried:
        raise Inapplicable("it screens nothing")
    for kill in range(len(whole.tried) + 1):
        loop = Loop(kill=kill)
        try:
            found = _in_loop(subject.make(), loop)
        except Stopped:
            loop.kill = None
            found = _in_loop(subject.make(), loop)
        twice = len(loop.tried) - len(set(loop.tried))
        expect(not twice, f"killed after {kill} trials, it screens again what stands in `standing.screened` ({twice})")
        same = found is claim or (found is not None and claim is not None and found.fingerprint == claim.fingerprint)
        expect(
            same and sorted(loop.tried) == sorted(whole.tried),
            f"killed after {kill} trials, it screens others or claims another; draw from what earlier rounds screened",
        )
