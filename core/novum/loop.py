"""The walk: observe → hypothesize → experiment → validate, once round. Every value is one frozen record."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from novum import archive, blocks, computed, streams
from novum import experiment as experiments
from novum import validate as validation
from novum.arm import canonical, fingerprint
from novum.design import design
from novum.errors import RegistrationError, StudyError
from novum.experiment import Experiment
from novum.lab import Lab, local_code
from novum.rehearse import estimate, rehearse

if TYPE_CHECKING:
    from novum.arm import Arm
    from novum.evidence import Evidence
    from novum.hypothesize import Hypothesis
    from novum.ledger import Ledger
    from novum.standing import Standing
    from novum.validate import Verdict


@dataclass(frozen=True)
class Question:
    """What one round is about: named tasks, each with the arms under discussion ("control" first)."""

    name: str
    arms: Mapping[str, Mapping[str, Arm]]

    @classmethod
    def of(cls, hypothesis: Hypothesis) -> Question:
        """What a claim asks: its tasks and both their arms."""
        return cls(hypothesis.claim, {name: each.arms for name, each in hypothesis.tasks.items()})


@dataclass(frozen=True)
class Seen:
    """What a proposer may know: the question, each task's facts and scale, and what was tried with which verdict.

    resolved: "TASK/ARM" → plan, signature and metrics. standing: of the closed loop that asks; None where a person
    asks for one proposal. Nothing of it comes from `test`.
    """

    question: Question
    observations: Mapping[str, Mapping[str, Any]]
    resolved: Mapping[str, Mapping[str, Any]]
    history: tuple[tuple[Mapping[str, Any], Mapping[str, Any] | None], ...] = ()
    standing: Standing | None = None


Propose = Callable[[Seen], "Hypothesis | None"]


def cycle(question: Question, lab: Lab, propose: Propose, pause: int | None = None) -> Verdict | None:
    """Once round the loop; None when the proposer has nothing left to propose.

    pause: pairs per task at which a claim with no declared maximum stops for now, undecided and unrecorded.
    """
    lab.listener.act(1, "observe", "What do the tasks look like, and what are their 0 and 1?")
    seen = observe(question, lab)

    hypothesis = propose(seen)
    return None if hypothesis is None else claim(lab, hypothesis, seen, pause)


def claim(lab: Lab, hypothesis: Hypothesis, seen: Seen, pause: int | None = None, block: int = 0) -> Verdict:
    """The rest of the way round, from a hypothesis to its verdict. block: as that of `register_all`."""
    lab.listener.act(2, "hypothesize", hypothesis.claim)
    try:
        plan = register(lab, hypothesis, seen, block)
    except RegistrationError:
        known = lab.ledger.hypothesis_by_fingerprint(hypothesis.fingerprint)
        if known is None:
            raise
        plan = registered(lab.ledger, known["id"])  # another machine was faster: both work on it

    lab.listener.act(3, "experiment", "Train both arms on the same seeds, and score them on dev.")
    lab.listener.registered(plan.record)
    evidence = experiments.run(lab, plan, pause)

    return _decide(lab, plan, evidence)


def _decide(lab: Lab, plan: Experiment, evidence: Evidence) -> Verdict:
    lab.listener.act(4, "validate on new data", "Decide; where the claim holds, open test once.")
    verdict = validation.validate(lab, plan, evidence)
    return finish(lab, plan, verdict) if verdict.ended else verdict


def family(hypotheses: Sequence[Hypothesis], lab: Lab, pause: int | None = None) -> list[Verdict]:
    """The treatments of one claim: all registered together before any of them runs, so that they share the control's
    trials and none is chosen after another was seen.
    """
    left = [each for each in hypotheses if lab.ledger.hypothesis_by_fingerprint(each.fingerprint) is None]
    proposed = []
    for hypothesis in left:
        lab.listener.act(1, "observe", f"Treatment {hypothesis.name}: what do its tasks look like?")
        proposed.append((hypothesis, observe(Question.of(hypothesis), lab)))
        lab.listener.act(2, "hypothesize", f"{hypothesis.claim} ({hypothesis.name}, tested at {hypothesis.alpha:.3g})")
    if proposed:
        register_all(lab, proposed)
    verdicts = [resume(hypothesis, lab, pause) for hypothesis in hypotheses]
    return [verdict for verdict in verdicts if verdict is not None]


def resume(hypothesis: Hypothesis, lab: Lab, pause: int | None = None) -> Verdict | None:
    """Go on with a registered claim where it stopped; None when it is not registered."""
    known = lab.ledger.hypothesis_by_fingerprint(hypothesis.fingerprint)
    if known is None:
        return None
    recorded = lab.ledger.verdict(known["id"])
    if recorded is not None:
        return validation.Verdict(recorded)
    plan = registered(lab.ledger, known["id"])
    lab.listener.act(3, "experiment", f"The registered plan of {known['id']}: what is trained is not trained again.")
    lab.listener.registered(plan.record)
    refuse_a_mixture(lab, plan)
    return _decide(lab, plan, experiments.run(lab, plan, pause))


def refuse_a_mixture(lab: Lab, plan: Experiment) -> None:
    """Raise StudyError where an arm's sources, the runner, data, torch or the device changed since registration: pairs
    of before and after would compare more than the arms.
    """
    arms = {
        f"{side} on {name}": task[side]
        for name, task in plan.tasks.items()
        for side in experiments.SIDES
        if task[side] is not None
    }
    code = local_code(*(arm["arm"] for arm in arms.values()))
    found = lab.one("recheck", {"plans": arms, "local": code}, plan.record["hypothesis"])["differs"]
    changed = {name: what for name, what in found.items() if what}
    if not changed:
        return
    ended = {row["key"] for row in lab.ledger.trials() if row["state"] in ("done", "diverged", "failed")}
    anew = [trial for trial in plan.trials() if f"{trial.side} on {trial.task}" in changed]
    told = "; ".join(f"{name}: {', '.join(what)}" for name, what in changed.items())
    raise StudyError(
        f"{plan.record['hypothesis']} cannot go on: since it was registered, this has changed. {told}. Numbers from "
        f"before and after must not be mixed. These arms would have to run anew: {', '.join(changed)} "
        f"({sum(trial.key in ended for trial in anew)} of their trials have ended). Put back what changed and give the "
        "same command, or register the claim anew, as a child with fresh seeds, with --new (in a script: run(claim, "
        "new=True)). Nothing was run."
    )


def finish(lab: Lab, plan: Experiment, verdict: Verdict) -> Verdict:
    """Let go of the weights that a verdict no longer needs, and record it: last, so that a crash leaves nothing undone
    that the same command would not do again.
    """
    from novum import trials

    fresh = plan.confirming() if plan.record["confirm"] == "fresh-seeds" else ()
    trials.forget(lab, [*plan.trials(), *fresh], plan.record["keep"], verdict.hypothesis)
    return validation.record(lab, verdict)


# ---------------------------------------------------------------------------------------------------- the first act


def observe(question: Question, lab: Lab, *, tell: bool = True) -> Seen:
    """Resolve every arm of a question and observe every task, in workers. What was observed before is read.

    tell: whether the listener hears of it.
    """
    jobs = []
    for task, arms in question.arms.items():
        written = {f"{task}/{side}": arm.to_json() for side, arm in arms.items()}
        jobs.append((task, "resolve", {"arms": written, "local": local_code(*written.values())}))
    resolved = {name: each for found in lab.all(jobs).values() for name, each in found["arms"].items()}
    first = {task: resolved[f"{task}/{next(iter(arms))}"]["plan"] for task, arms in question.arms.items()}
    keys = {task: observation_key(plan) for task, plan in first.items()}
    unseen = {task: plan for task, plan in first.items() if lab.ledger.observation(keys[task]) is None}
    payloads = [(task, "observe", {"plan": plan, "local": local_code(plan["arm"])}) for task, plan in unseen.items()]
    for task, record in lab.all(payloads).items():
        lab.ledger.record_observation(keys[task], {**record, "task": task})
    observations = {task: lab.ledger.observation(key) or {} for task, key in keys.items()}
    for task, found in observations.items() if tell else ():
        lab.listener.observed(task, found)
    return Seen(question, observations, resolved, history(lab.ledger))


def observation_key(plan: Mapping[str, Any]) -> str:
    """Facts belong to a task's options, its data and the code that measures them."""
    code = {part: plan["code"][part] for part in ("task", "evaluator")}
    arm = {part: plan["arm"][part] for part in ("task", "evaluator")}
    return fingerprint({"arm": arm, "data": plan["data"], "code": code})


def history(ledger: Ledger) -> tuple[tuple[Mapping[str, Any], Mapping[str, Any] | None], ...]:
    """Every registered hypothesis with its verdict, or None where there is none yet, oldest first.

    A verdict comes without the numbers that were measured on `test` (design law 5); its outcomes stay.
    """
    found = []
    for row in ledger.hypotheses():
        text = ledger.verdict(row["id"])
        found.append((row, None if text is None else _sealed(json.loads(text))))
    return tuple(found)


def _sealed(verdict: dict[str, Any]) -> dict[str, Any]:
    if verdict["new_data"] == "closed":
        return verdict
    own = ("new_data", "reasons")
    tasks = {name: {part: task[part] for part in task if part not in own} for name, task in verdict["tasks"].items()}
    return {part: verdict[part] for part in verdict if part not in ("effect", "interval")} | {"tasks": tasks}


# ------------------------------------------------------------------------------------------------ registering a plan


def register(lab: Lab, hypothesis: Hypothesis, seen: Seen, block: int = 0) -> Experiment:
    """Design, rehearse and register. A rehearsal that fails is an ordinary error and registers nothing."""
    return register_all(lab, [(hypothesis, seen)], block)[0]


def register_all(lab: Lab, proposed: Sequence[tuple[Hypothesis, Seen]], block: int = 0) -> list[Experiment]:
    """Register hypotheses together, all or none, once every one of them is designed and rehearsed.

    block: the first block of seeds that they may use; a closed loop passes those of the arms that it adopted.
    """
    ready: list[tuple[dict[str, Any], dict[str, Any]]] = []
    plans: list[Experiment] = []
    spent: list[dict[str, Any]] = []
    for hypothesis, seen in proposed:
        seen = rehearse(lab, seen)  # before anything is registered, so that a typo costs no error rate
        stream = streams.spend(lab.ledger, hypothesis, spent)
        workers = lab.executor.describe()["workers"]
        plan = design(hypothesis, seen.resolved, seen.observations, lab.ledger, stream, workers, block)
        lab.listener.say(estimate(lab, plan, seen))
        for sentence in announced(plan.record, hypothesis):
            lab.listener.say(sentence)
        record = hypothesis.to_json() | {
            "id": hypothesis.id,
            "fingerprint": hypothesis.fingerprint,
            "parent": hypothesis.parent or parent_of(lab.ledger, hypothesis),
            "observations": {
                task: observation_key(seen.resolved[f"{task}/{next(iter(arms))}"]["plan"])
                for task, arms in seen.question.arms.items()
            },
        }
        if stream is not None:
            record["stream"] = stream
            spent.append(stream)
        ready.append((record, {"id": plan.id, "hypothesis": hypothesis.id, "plan": plan.record}))
        plans.append(plan)
    lab.ledger.register(ready)
    archive.sync(lab.ledger, lab.folder)
    for plan in plans:
        lab.listener.say(f"Registered as {plan.record['hypothesis']}; the plan's fingerprint is {plan.id}.")
    return plans


def announced(plan: Mapping[str, Any], hypothesis: Hypothesis) -> list[str]:
    """What a person should know before a claim starts: how it is computed, its level in a stream, a raised maximum, its
    power.
    """
    said = [f"Device of {whose}: {how}." for whose, how in computed.lines(plan)]
    stream = plan["stream"]
    if stream is not None:
        rule = {"lord++": "LORD++", "lond": "LOND", "none": "no correction"}[stream["rule"]]
        said.append(
            f"Tested at {plan['level']:.3g}, the {ordinal(stream['index'])} of goal {stream['goal']} "
            f"({rule} at {stream['alpha']:.3g})."
        )
    count = len(plan["seeds"]["indices"])
    if hypothesis.max_seeds is not None and count > hypothesis.max_seeds:
        said.append(
            f"max_seeds is raised from {hypothesis.max_seeds} to {count}: with fewer pairs nothing could be supported "
            "at this level."
        )
    said += [
        f"On {name} seeds are trained {blocks.told(task)} ({blocks.reason(task)}); looks come after each block."
        for name, task in plan["tasks"].items()
        if task["blocks"] is not None
    ]
    single = ", ".join(name for name in plan["order"] if plan["tasks"][name].get("trials_once"))
    if single:
        said.append(f"Trained once for all seeds: a start on {single}; the claim is about that one network.")
    powers = {name: plan["tasks"][name]["power"] for name in plan["order"]}
    if plan["average"] is not None:
        powers = {"the average": plan["average"]["power"]}
    for name, power in powers.items():
        if power["label"] == "under-powered":
            said.append(f"Under-powered on {name}: {power['because']}.")
    unknown = [name for name, power in powers.items() if power["label"] == "unknown"]
    if unknown:
        said.append(f"Power unknown on {', '.join(unknown)}: {powers[unknown[0]]['because']}.")
    return said


def ordinal(number: int) -> str:
    """1st, 2nd, 3rd, 4th, 11th, 21st, …"""
    if number % 100 in (11, 12, 13):
        return f"{number}th"
    return f"{number}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th') }"


def parent_of(ledger: Ledger, hypothesis: Hypothesis) -> str | None:
    """The last registered hypothesis with the same sentence and treatment, which an edited claim replaces."""
    same = [
        row["id"]
        for row in ledger.hypotheses()
        if row["claim"] == hypothesis.claim and row["name"] == hypothesis.name and row["id"] != hypothesis.id
    ]
    return same[-1] if same else None


def registered(ledger: Ledger, hypothesis: str) -> Experiment:
    """The plan of a registered hypothesis. Raises RegistrationError when the record was changed since."""
    stored = ledger.experiment(hypothesis)
    plan = Experiment(canonical(stored["plan"]))
    if plan.id != stored["id"]:
        raise RegistrationError(
            f"the plan of {hypothesis} no longer has its fingerprint {stored['id']}: it was edited."
        )
    return plan
