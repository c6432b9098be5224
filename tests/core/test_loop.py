from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import novum
import pytest
from novum import Hypothesis, MismatchError, PluginError, StudyError
from novum.executors import InlineExecutor
from novum.lab import Lab, Listener
from novum.ledger import Ledger
from novum.loop import Question, cycle, history, observe, parent_of, register, registered, resume
from novum.pieces import speed_key
from novum.rehearse import duration, trials_line


class Heard(Listener):
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.acts: list[tuple[int, str]] = []
        self.said: list[str] = []
        self.observations: dict[str, Mapping[str, Any]] = {}
        self.ends = 0

    def act(self, number: int, name: str, sentence: str) -> None:
        self.acts.append((number, name))

    def say(self, sentence: str) -> None:
        self.said.append(sentence)

    def observed(self, task: str, record: Mapping[str, Any]) -> None:
        self.observations[task] = record

    def ended(self) -> None:
        self.ends += 1


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Ledger.open(tmp_path) as ledger:
        yield Lab(tmp_path, ledger, InlineExecutor(tmp_path), Heard())


def heard(lab: Lab) -> Heard:
    assert isinstance(lab.listener, Heard)
    return lab.listener


def test_a_cycle_walks_through_the_four_acts_and_records_its_verdict(lab: Lab, claim: Any) -> None:
    hypothesis = claim()

    verdict = cycle(Question.of(hypothesis), lab, lambda seen: hypothesis)

    assert verdict is not None
    assert [number for number, _ in heard(lab).acts] == [1, 2, 3, 4]
    assert [name.split(" ")[0] for _, name in heard(lab).acts] == ["observe", "hypothesize", "experiment", "validate"]
    assert lab.ledger.verdict(hypothesis.id) == verdict.text
    assert heard(lab).ends == 1


def test_a_proposer_with_nothing_left_ends_the_cycle_and_registers_nothing(lab: Lab, claim: Any) -> None:
    assert cycle(Question.of(claim()), lab, lambda seen: None) is None
    assert lab.ledger.hypotheses() == []
    assert lab.ledger.trials() == []


def test_what_a_proposer_sees_holds_facts_scale_and_history_and_no_score_on_test(lab: Lab, claim: Any) -> None:
    first = claim()
    cycle(Question.of(first), lab, lambda seen: first)

    seen = observe(Question.of(first), lab)

    facts = {fact["id"]: fact["value"] for fact in seen.observations["Blobs"]["facts"]}
    assert facts["train.size"] == facts["dev.size"] == facts["test.size"] == 60
    assert facts["train-test.duplicates"] == 0
    assert seen.observations["Blobs"]["scale"] == {"metric": "accuracy", "chance": 0.5, "reference": 1.0}
    assert set(seen.resolved) == {"Blobs/control", "Blobs/treatment"}
    ((record, told),) = seen.history
    assert record["id"] == first.id
    assert told is not None
    assert told["outcome"] == "supported"


def tokens(text: str) -> list[str]:
    return re.findall(r"-?\d+\.\d+(?:e-?\d+)?", text)


def test_no_proposer_sees_a_number_that_was_measured_on_test(lab: Lab, claim: Any) -> None:
    first = claim()
    verdict = cycle(Question.of(first), lab, lambda seen: first)
    assert verdict is not None
    on_test = verdict.record["tasks"]["Blobs"]["new_data"]
    on_dev = verdict.record["tasks"]["Blobs"]
    numbers = {repr(on_test[name]) for name in ("effect", "deviation")}
    assert not numbers & {repr(on_dev[name]) for name in ("effect", "deviation")}
    assert {repr(on_dev[name]) for name in ("effect", "deviation")} <= set(tokens(verdict.text))

    seen = observe(Question.of(first), lab)

    told = tokens(json.dumps([seen.observations, seen.resolved, [list(each) for each in seen.history]]))
    assert numbers.isdisjoint(told)
    assert {repr(on_dev[name]) for name in ("effect", "deviation")} <= set(told)


def test_a_task_is_observed_once_and_read_afterwards(lab: Lab, arm: Any) -> None:
    kinds: list[str] = []
    original = lab.executor.run

    def run(jobs: Any) -> Any:
        kinds.extend(job.kind for job in jobs)
        return original(jobs)

    lab.executor.run = run  # type: ignore[method-assign]
    for learning_rate in (0.1, 0.2):
        observe(Question("g", {"blobs": {"arm": arm(learning_rate=learning_rate)}}), lab)

    assert kinds == ["resolve", "observe", "resolve"]
    assert len(lab.ledger.observations()) == 1
    assert (
        heard(lab).observations["blobs"] == observe(Question("g", {"blobs": {"arm": arm()}}), lab).observations["blobs"]
    )


def test_other_data_are_observed_anew(lab: Lab, arm: Any) -> None:
    for size in (20, 40):
        observe(Question("g", {"blobs": {"arm": arm(task={"size": size})}}), lab)

    assert len(lab.ledger.observations()) == 2


@pytest.mark.parametrize(
    ("model", "told"),
    [({"mode": "raise"}, "ValueError: this model is broken"), ({"mode": "build-dev"}, "only train may be seen")],
)
def test_a_rehearsal_that_fails_registers_nothing(lab: Lab, arm: Any, model: dict[str, Any], told: str) -> None:
    hypothesis = Hypothesis("x", control=arm(), treatment=arm(model=model), max_seeds=3)

    with pytest.raises(novum.NovumError, match=told):
        cycle(Question.of(hypothesis), lab, lambda seen: hypothesis)

    assert lab.ledger.hypotheses() == []
    assert lab.ledger.trials() == []


def test_a_rehearsal_covers_every_arm_that_another_starts_from(lab: Lab, arm: Any) -> None:
    first = arm(model={"mode": "raise"})
    hypothesis = Hypothesis("x", control=arm(), treatment=arm(start_from=arm(start_from=first)), max_seeds=3)

    with pytest.raises(PluginError, match="ValueError: this model is broken"):
        cycle(Question.of(hypothesis), lab, lambda seen: hypothesis)

    assert lab.ledger.hypotheses() == []


def test_a_rehearsal_records_how_much_memory_each_arm_and_each_that_it_starts_from_needed(lab: Lab, arm: Any) -> None:
    first = arm(learning_rate=0.2)
    hypothesis = Hypothesis("x", control=arm(), treatment=arm(start_from=first), max_seeds=3, minimum_effect=0.5)

    cycle(Question.of(hypothesis), lab, lambda seen: hypothesis)

    plans = lab.ledger.experiment(hypothesis.id)["plan"]
    treatment = plans["tasks"]["Blobs"]["treatment"]
    arms = [plans["tasks"]["Blobs"]["control"], treatment, treatment["start_from"]]
    readings = [(lab.ledger.observation(speed_key(each)) or {})["memory"] for each in arms]
    assert [each["what"] for each in readings] == ["process"] * 3
    assert all(each["bytes"] > 0 for each in readings)


def test_a_rehearsal_that_diverges_registers_nothing(lab: Lab, arm: Any) -> None:
    hypothesis = Hypothesis("x", control=arm(), treatment=arm(model={"mode": "nan-now"}), max_seeds=3)

    with pytest.raises(StudyError, match=r"preflight.*lower recipe.learning_rate"):
        cycle(Question.of(hypothesis), lab, lambda seen: hypothesis)

    assert lab.ledger.hypotheses() == []


def test_a_model_that_does_not_fit_keeps_its_kind_of_error_on_the_way_from_a_worker(lab: Lab, toy: Any) -> None:
    wrong = novum.arm(novum.task(toy.Blobs), "bag")

    with pytest.raises(MismatchError, match="does not fit the task"):
        observe(Question("g", {"blobs": {"arm": wrong}}), lab)


def test_an_error_that_is_nobodys_names_its_log(lab: Lab, toy: Any) -> None:
    class Odd(toy.Blobs):  # type: ignore[misc]
        def observe(self) -> Any:
            raise KeyError("colour")

    with pytest.raises(PluginError, match=r"observe of blobs failed in a worker: KeyError: 'colour'.*logs"):
        observe(Question("g", {"blobs": {"arm": novum.arm(novum.task(Odd), novum.model(toy.Linear))}}), lab)


def test_registering_tells_how_much_there_is_to_do_first(lab: Lab, claim: Any) -> None:
    hypothesis = claim(max_seeds=4)

    plan = register(lab, hypothesis, observe(Question.of(hypothesis), lab))

    assert "At most 8 trials, about " in heard(lab).said[0]
    assert heard(lab).said[1] == (
        "Device of every arm: a CPU, float32, contiguous tensors, eager steps, each seed trained apart (separate)."
    )
    assert "Power unknown on Blobs" in heard(lab).said[2]
    assert heard(lab).said[3] == f"Registered as {hypothesis.id}; the plan's fingerprint is {plan.id}."
    assert registered(lab.ledger, hypothesis.id) == plan
    assert history(lab.ledger)[0][1] is None


def test_a_registered_hypothesis_names_the_observations_that_it_saw(lab: Lab, claim: Any) -> None:
    hypothesis = claim()

    register(lab, hypothesis, observe(Question.of(hypothesis), lab))

    (row,) = lab.ledger.hypotheses()
    assert lab.ledger.observation(row["observations"]["Blobs"]) is not None


def test_a_claim_that_was_never_registered_has_nothing_to_resume(lab: Lab, claim: Any) -> None:
    assert resume(claim(), lab) is None


def test_the_parent_of_an_edited_claim_is_the_last_one_of_the_same_words(lab: Lab, claim: Any) -> None:
    first, second, other = claim(), claim(max_seeds=4), claim("something else")
    for hypothesis in (first, second):
        register(lab, hypothesis, observe(Question.of(hypothesis), lab))

    assert parent_of(lab.ledger, claim(max_seeds=5)) == second.id
    assert parent_of(lab.ledger, other) is None
    assert [row["parent"] for row in lab.ledger.hypotheses()] == [None, first.id]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.0, "1 s"), (40.2, "40 s"), (99.0, "99 s"), (121.0, "3 min"), (5999.0, "100 min"), (9000.0, "2.5 h")],
)
def test_a_length_of_time_is_told_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("about", "places"),
    [
        ({"workers": 1, "gpus": 0}, "1 core"),
        ({"workers": 4, "gpus": 0}, "4 cores"),
        ({"workers": 2, "gpus": 2}, "2 GPUs"),
    ],
)
def test_the_line_of_trials_names_where_they_run(about: dict[str, Any], places: str) -> None:
    assert trials_line(40, 360, about) == f"At most 40 trials, about 6 min on {places}"
