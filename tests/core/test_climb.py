"""The closed loop: it adopts what holds, ends with a sentence that says why, and keeps to its budget and its laws."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import novum
import pytest
from novum import Budget, ConfigError, Goal, Lineage, RegistrationError, Start, StudyError, Target
from novum.lab import Listener
from novum.standing import Change, Screened

SPACE = {"recipe.learning_rate": {"low": 1e-6, "high": 1.0, "log": True}, "model.dropout": {"low": 0.0, "high": 0.95}}
HELPS, HURTS = {"recipe.learning_rate": 0.3}, {"model.dropout": 0.9}


class Told(Listener):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, sentence: str) -> None:
        self.said.append(sentence)


@pytest.fixture
def arm(toy: Any) -> novum.Arm:
    """Too low a rate on a task that a good one solves."""
    task = novum.task(toy.Blobs, noise=0.3)
    return novum.arm(task, novum.model(toy.Linear, dropout=0.0), learning_rate=1e-4, budget="80 samples")


@pytest.fixture
def goal(arm: novum.Arm) -> Any:
    """Makes goals of one task that a person's list of changes is tried on."""

    def make(*changes: dict[str, Any], **options: Any) -> Goal:
        declared = {"plugin": "declared", "changes": list(changes or (HELPS, HURTS))}
        usual = {"tasks": {"blobs": arm}, "budget": 100, "space": SPACE, "proposers": (declared,)}
        return Goal("toy", **{**usual, "max_seeds": 6, "seeds": 2, "worth": 3, **options})

    return make


def study(folder: Path) -> novum.Study:
    return novum.Study(folder, executor="inline", listener=Told())


def told(found: novum.Study) -> str:
    assert isinstance(found._listener, Told)
    return "\n".join(found._listener.said)


def events(found: novum.Study, kind: str) -> list[dict[str, Any]]:
    with found.reading() as ledger:
        rows = [row["record"] for row in ledger.observations("loop/toy/")]
    return [row for row in rows if row["kind"] == kind]


# ------------------------------------------------------------------------------------------------------------ the way


def test_what_holds_becomes_the_baseline_and_what_does_not_is_kept_beside_it(tmp_path: Path, goal: Any) -> None:
    found = study(tmp_path).loop(goal())

    assert [(step.outcome, step.adopted) for step in found.steps] == [
        ("supported", True),
        (found.steps[1].outcome, False),
    ]
    assert found.steps[1].outcome in ("refuted", "inconclusive")
    assert found.last["blobs"].recipe["learning_rate"] == 0.3
    assert found.first["blobs"].recipe["learning_rate"] == 1e-4
    assert found.last["blobs"].model.options["dropout"] == 0.0
    assert found.adopted == (found.steps[0],)


def test_a_stall_ends_it_with_a_sentence_that_says_why(tmp_path: Path, goal: Any) -> None:
    found = study(tmp_path).loop(goal(HELPS))

    assert (found.why, found.sentence) == ("stall", "Nothing promising is left: declared has nothing more.")


def test_its_worth_is_measured_on_test_with_fresh_seeds_and_counted_as_an_opening(tmp_path: Path, goal: Any) -> None:
    with study(tmp_path) as open_study:
        found = open_study.loop(goal())

        assert found.worth is not None and found.worth["fresh"] is True
        worth = found.worth["tasks"]["blobs"]
        assert (worth["metric"], worth["pairs"]) == ("accuracy", 3)
        assert worth["last"] - worth["first"] == pytest.approx(worth["effect"], abs=1e-8)
        assert worth["interval"][0] < worth["effect"] < worth["interval"][1]
        with open_study.reading() as ledger:
            openings = [(row["hypothesis"], row["purpose"]) for row in ledger.openings()]
            blocks = {row["block"] for row in ledger.trials(keys=found.worth["keys"])}
    assert openings == [(found.steps[0].hypothesis, "confirm"), (None, "worth of the loop toy")]
    assert blocks == {"worth"}


def test_where_nothing_was_adopted_test_is_not_opened(tmp_path: Path, goal: Any) -> None:
    with study(tmp_path) as open_study:
        found = open_study.loop(goal(HURTS))

        assert found.worth is not None and found.worth["tasks"] == {}
        with open_study.reading() as ledger:
            assert ledger.openings() == []


def test_adopting_an_arm_begins_a_fresh_block_of_seeds(tmp_path: Path, goal: Any) -> None:
    with study(tmp_path) as open_study:
        found = open_study.loop(goal(HELPS, HURTS, {"model.dropout": 0.5}))

        with open_study.reading() as ledger:
            blocks = [ledger.experiment(step.hypothesis)["plan"]["seeds"]["block"] for step in found.steps]
    assert blocks == ["0", "1", "1"]


def test_all_claims_are_of_one_stream_at_its_levels(tmp_path: Path, goal: Any) -> None:
    with study(tmp_path) as open_study:
        found = open_study.loop(goal())

        with open_study.reading() as ledger:
            account = ledger.streams("toy")
    assert [row["hypothesis"] for row in account] == [step.hypothesis for step in found.steps]
    assert [row["level"] for row in account] == [step.level for step in found.steps]
    assert all(level is not None and level < 0.05 for level in (step.level for step in found.steps))


def test_a_change_over_two_tasks_is_one_claim_and_is_adopted_on_both(
    tmp_path: Path, goal: Any, arm: novum.Arm, toy: Any
) -> None:
    other = arm.but(task=novum.task(toy.Blobs, noise=0.1))

    found = study(tmp_path).loop(goal(HELPS, tasks={"one": arm, "two": other}, scope="average"))

    (step,) = found.steps
    assert (step.tasks, step.outcome, step.adopted) == (("one", "two"), "supported", True)
    assert {name: each.recipe["learning_rate"] for name, each in found.last.items()} == {"one": 0.3, "two": 0.3}
    assert found.worth is not None and set(found.worth["tasks"]) == {"one", "two"}


# ---------------------------------------------------------------------------------------------------------- its budget


def test_a_used_up_budget_ends_it_with_a_sentence_and_is_kept_to(tmp_path: Path, goal: Any) -> None:
    with study(tmp_path) as open_study:
        changes = [HELPS, *({"model.dropout": round(0.1 + 0.05 * at, 2)} for at in range(15))]
        found = open_study.loop(goal(*changes, budget=40))

        with open_study.reading() as ledger:
            trained = [row for row in ledger.trials() if row["kind"] == "train"]
    assert found.why == "budget"
    assert found.sentence.startswith("Its trials are used up: ") and "of 40, and 6 are kept" in found.sentence
    assert len(found.steps) >= 2
    assert len(trained) <= 40


def test_time_and_device_hours_end_it_too(tmp_path: Path, goal: Any) -> None:
    timed = study(tmp_path / "a").loop(goal(budget=Budget(wall="0.1 s")))
    hours = study(tmp_path / "b").loop(goal(budget=Budget(device_hours=1e-9)))

    assert timed.why == "budget" and timed.sentence.startswith("Its time is used up: ")
    assert hours.why == "budget" and hours.sentence.startswith("Its device-hours are used up: ")


def test_what_the_study_had_already_costs_nothing(tmp_path: Path, goal: Any, arm: novum.Arm) -> None:
    with study(tmp_path) as open_study:
        open_study.train_seeds(arm, seeds=(0, 1))
        before = len(open_study.rows())
        found = open_study.loop(goal(HURTS, budget=17, worth=3))
        after = len(open_study.rows())

    assert before == 2
    assert len(found.steps) == 1, "a budget without the two trials that were there would not have sufficed"
    assert after > before


def test_a_larger_budget_lets_the_same_loop_go_on_without_drawing_anything_twice(tmp_path: Path, goal: Any) -> None:
    with study(tmp_path) as open_study:
        small = open_study.loop(goal(budget=26))
        large = open_study.loop(goal(budget=100))

    assert small.why == "budget" and len(small.steps) == 1
    assert large.steps[0] == small.steps[0] and len(large.steps) == 2
    assert len({step.hypothesis for step in large.steps}) == 2


def test_an_ended_loop_is_told_again_and_nothing_is_run(tmp_path: Path, goal: Any) -> None:
    with study(tmp_path) as open_study:
        first = open_study.loop(goal())
        rows = open_study.rows()
        again = open_study.loop(goal())

        assert again == first
        assert open_study.rows() == rows
        assert "has ended" in told(open_study) and "Nothing is run again" in told(open_study)


# ---------------------------------------------------------------------------------------------------------- its target


def test_a_target_that_is_shown_on_new_data_ends_it(tmp_path: Path, goal: Any, arm: novum.Arm) -> None:
    larger = arm.but(task=arm.task.but(size=200))
    found = study(tmp_path).loop(goal(target=Target("blobs", 0.6), tasks={"blobs": larger}))

    assert (found.why, found.sentence) == ("target", "The target is reached: blobs at 0.6, on new data too.")
    last = found.steps[-1]
    assert (last.proposer, last.outcome, last.adopted, dict(last.options)) == ("target", "supported", False, {})
    assert last.claim == "blobs reaches 0.6 accuracy"
    assert [step.proposer for step in found.steps] == ["declared", "target"], "it was not tried before it looked near"


def test_a_target_out_of_reach_is_never_claimed(tmp_path: Path, goal: Any) -> None:
    found = study(tmp_path).loop(goal(target=Target("blobs", 1.0)))

    assert found.why == "stall"
    assert all(step.proposer == "declared" for step in found.steps)


# --------------------------------------------------------------------------------------------------- what it is told of


def test_facts_tell_of_the_task_the_trials_and_the_claims_and_proposals_may_cite_them(
    tmp_path: Path, goal: Any
) -> None:
    with study(tmp_path) as open_study:
        open_study.loop(goal())
        rounds = events(open_study, "observed")

    (first, second, *_) = [{fact["id"]: fact["value"] for fact in each["facts"]["blobs"]} for each in rounds]
    assert {"blobs/train.mean", "blobs/run.score", "blobs/run.gap", "blobs/run.rise", "blobs/run.spread"} <= set(first)
    assert first["blobs/run.diverged"] == 0.0
    assert {"blobs/run.ece", "blobs/run.class.worst", "blobs/run.throughput", "blobs/run.memory"} <= set(first)
    assert second["blobs/run.score"] > first["blobs/run.score"], "the second round looks at the new baseline"
    assert second["blobs/tried.recipe.learning_rate=0.3"] == "supported"


class Spy(novum.Proposer):
    """Proposes nothing, and keeps what it saw."""

    seen: Any = None

    def propose(self, seen: Any) -> None:
        if Spy.seen is None:
            Spy.seen = []
        Spy.seen.append(seen)


class Screener(novum.Proposer):
    """Screens two changes and claims the better one, once."""

    def propose(self, seen: Any) -> novum.Hypothesis | None:
        standing = seen.standing
        if standing.claimed:
            return None
        changes = [Change(("blobs",), options, f"On blobs, {name} helps") for name, options in self.tries.items()]
        found = standing.try_out(changes)
        self.told = {"asked": len(changes)}
        at = max(range(len(changes)), key=lambda place: found[place].gain or -1.0)
        return standing.claim(changes[at])

    tries: dict[str, Any] = {"a higher rate": HELPS, "dropout": HURTS}


@pytest.fixture
def handed_in(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Lets a goal name proposers of this file."""
    from novum import plugins

    installed = plugins.create

    def create(kind: str, name: str, options: Any) -> Any:
        own = {"spy": Spy, "screener": Screener}.get(name)
        return own(own.Config()) if own is not None else installed(kind, name, options)

    monkeypatch.setattr(plugins, "create", create)
    Spy.seen = None
    return create


def test_a_proposer_never_sees_a_number_of_test(tmp_path: Path, goal: Any, handed_in: Any) -> None:
    declared = {"plugin": "declared", "changes": [HELPS]}
    with study(tmp_path) as open_study:
        open_study.loop(goal(proposers=(declared, "spy")))

        with open_study.reading() as ledger:
            (row,) = ledger.hypotheses()
            verdict = json.loads(str(ledger.verdict(row["id"])))
    sealed = verdict["tasks"]["blobs"]["new_data"]
    shown = repr(Spy.seen[-1])
    assert "supported" in shown
    assert repr(sealed["effect"]) not in shown
    assert "run.score" in shown


def test_screening_is_one_exploratory_trial_each_on_record_and_charged(
    tmp_path: Path, goal: Any, handed_in: Any
) -> None:
    with study(tmp_path) as open_study:
        found = open_study.loop(goal(proposers=("screener",)))
        screened = events(open_study, "screened")

        with open_study.reading() as ledger:
            rows = {row["key"]: row for row in ledger.trials()}
    assert found.screened == 2
    assert [each["options"] for each in screened] == [HELPS, HURTS]
    assert screened[0]["gain"] > 0
    assert {rows[key]["block"] for each in screened for key in each["keys"]} == {"explore"}
    assert (found.steps[0].options, found.steps[0].told) == (HELPS, {"asked": 2})


def test_a_change_that_cannot_run_is_screened_as_nothing_and_harms_nobody(
    tmp_path: Path, goal: Any, handed_in: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = {"model.mode": "raise"}
    monkeypatch.setattr(Screener, "tries", {"a broken model": broken, "a higher rate": HELPS})
    space = {**SPACE, "model.mode": ["", "raise"]}
    with study(tmp_path) as open_study:
        found = open_study.loop(goal(proposers=("screener",), space=space))
        first = events(open_study, "screened")[0]

    assert Screened(1, ("blobs",), broken, None) == Screened(1, tuple(first["tasks"]), first["options"], first["gain"])
    assert found.steps[0].options == HELPS


def test_a_proposal_that_cannot_train_is_refused_on_record_and_the_loop_goes_on(tmp_path: Path, goal: Any) -> None:
    space = {**SPACE, "model.mode": ["", "raise"]}

    found = study(tmp_path).loop(goal({"model.mode": "raise"}, HELPS, space=space))

    assert [(step.outcome, step.adopted) for step in found.steps] == [(None, False), ("supported", True)]
    assert "this model is broken" in str(found.steps[0].refused)
    assert found.why == "stall"


def test_what_was_claimed_is_not_claimed_again(tmp_path: Path, goal: Any) -> None:
    found = study(tmp_path).loop(goal(HURTS, HURTS))

    assert len(found.steps) == 1


# ------------------------------------------------------------------------------------------------- what cannot be done


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"space": {"model.depth": [1]}}, r"model\.depth: the model .* has no such option"),
        ({"space": {"model": {}, "recipe.clip": []}}, r"received an empty list"),
        ({"proposers": ("wise",)}, r"no proposer is called 'wise'"),
        ({"proposers": ("declared",)}, r"nothing is declared; give claim"),
    ],
)
def test_a_goal_that_cannot_be_worked_on_is_refused_before_there_is_a_folder(
    tmp_path: Path, goal: Any, change: Any, words: str
) -> None:
    with pytest.raises(novum.NovumError, match=words):
        study(tmp_path / "new").loop(goal(**change))

    assert not (tmp_path / "new").exists()


def test_a_metric_that_no_evaluator_gives_is_refused_and_nothing_is_begun(
    tmp_path: Path, goal: Any, arm: novum.Arm
) -> None:
    open_study = study(tmp_path)

    with pytest.raises(
        ConfigError, match=r"tasks\.blobs\.metric: no evaluator of this task gives 'acuracy'; .*accuracy"
    ):
        open_study.loop(goal(tasks={"blobs": Start(arm, metric="acuracy")}))
    with pytest.raises(ConfigError, match=r"target\.metric: no evaluator of this task gives 'bleu'"):
        open_study.loop(goal(target=Target("blobs", 0.9, metric="bleu")))

    assert open_study.loops() == [] and open_study.hypotheses() == []


def test_a_baseline_that_cannot_train_is_refused_at_once(tmp_path: Path, goal: Any, arm: novum.Arm) -> None:
    broken = arm.but(model=arm.model.but(mode="raise"))
    open_study = study(tmp_path)

    with pytest.raises(novum.NovumError, match="this model is broken"):
        open_study.loop(goal(tasks={"blobs": broken}))

    assert open_study.loops() == [] and open_study.rows() == []


def test_a_loop_keeps_its_tasks_and_its_error_control(tmp_path: Path, goal: Any, arm: novum.Arm) -> None:
    with study(tmp_path) as open_study:
        open_study.loop(goal(HURTS))

        with pytest.raises(RegistrationError, match=r"began with alpha = 0\.05, .* another name"):
            open_study.loop(goal(HURTS, alpha=0.1))
        with pytest.raises(RegistrationError, match="began with other tasks"):
            open_study.loop(goal(HURTS, tasks={"blobs": arm.but(clip=1.0)}))


def test_ctrl_c_leaves_a_loop_that_goes_on_to_the_same_end(
    tmp_path: Path, goal: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = study(tmp_path / "whole").loop(goal())
    from novum import climb

    reached = climb._Climber._test
    presses = iter((True, False, False, False))

    def pressed(self: Any, past: Any, pending: Any) -> bool:
        if next(presses):
            raise KeyboardInterrupt
        return reached(self, past, pending)

    monkeypatch.setattr(climb._Climber, "_test", pressed)
    with study(tmp_path / "cut") as open_study:
        with pytest.raises(KeyboardInterrupt):
            open_study.loop(goal())
        (waiting,) = open_study.loops()
        assert (waiting.why, [step.outcome for step in waiting.steps]) == (None, [None])
        found = open_study.loop(goal())

    assert found.steps == whole.steps and found.worth is not None and whole.worth is not None
    assert found.worth["tasks"] == whole.worth["tasks"]


def test_a_loop_that_does_not_exist_is_named_with_those_that_do(tmp_path: Path, goal: Any) -> None:
    with study(tmp_path) as open_study:
        open_study.loop(goal(HURTS))

        with open_study.reading() as ledger, pytest.raises(StudyError, match=r"no loop 'other' .* there are: toy\."):
            Lineage.read(ledger, "other")


def test_a_claim_of_a_person_is_tested_in_the_loops_stream_and_adopted_where_it_begins_at_the_baseline(
    tmp_path: Path, goal: Any, handed_in: Any, arm: novum.Arm, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims = iter(
        [
            novum.Hypothesis("a rate", tasks={"blobs": (arm, arm.but(learning_rate=0.3))}, max_seeds=6),
            novum.Hypothesis("another", tasks={"blobs": (arm.but(clip=9.0), arm.but(clip=1.0))}, max_seeds=6),
        ]
    )
    monkeypatch.setattr(Spy, "propose", lambda self, seen: next(claims, None))

    found = study(tmp_path).loop(goal(proposers=("spy",)))

    assert [(step.claim, step.adopted) for step in found.steps] == [("a rate", True), ("another", False)]
    assert replace(found.steps[0], told=None).options == HELPS
