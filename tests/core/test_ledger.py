"""What the ledger keeps and what it refuses."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from novum.errors import ConfigError, RegistrationError, StudyError
from novum.ledger import Ledger, Score


@pytest.fixture(params=["sqlite", "postgres"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    url = request.getfixturevalue("postgres").url() if request.param == "postgres" else None
    with Ledger.open(tmp_path / "study", url=url) as opened:
        yield opened


def claim(name: str = "abcd-1", fingerprint: str | None = None, **more: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    hypothesis = {"id": name, "fingerprint": fingerprint or f"fp-{name}", "parent": None, "claim": "A beats B", **more}
    return hypothesis, {"id": f"x-{name}", "hypothesis": name, "looks": [5, 10], "alpha": 0.05}


def job(key: str = "t1", **more: Any) -> dict[str, Any]:
    return {"key": key, "arm": "arm-a", "block": "b0", "index": 0, "kind": "train", "job": {"seed": 7}, **more}


def score(value: float = 0.75) -> Score:
    return Score({"accuracy": value}, {"class": {"cat": {"recall": 0.5}}}, {"id": ["u1", "u2"], "right": [1, 0]}, 0.25)


# ----------------------------------------------------------------------------- hypotheses


def test_a_registered_hypothesis_and_its_experiment_come_back_as_they_were(ledger: Ledger) -> None:
    hypothesis, experiment = claim(text="naïve ✓", nested={"b": [1, 2.5], "a": None})

    ledger.register([(hypothesis, experiment)])

    assert ledger.hypothesis("abcd-1") == hypothesis
    assert ledger.hypothesis_by_fingerprint("fp-abcd-1") == hypothesis
    assert ledger.hypothesis_by_fingerprint("fp-other") is None
    assert ledger.experiment("abcd-1") == experiment


def test_what_is_read_is_a_fresh_copy(ledger: Ledger) -> None:
    ledger.register([claim(nested={"a": 1})])

    ledger.hypotheses()[0]["nested"]["a"] = 2

    assert ledger.hypotheses()[0]["nested"]["a"] == 1


def test_hypotheses_are_listed_in_registration_order(ledger: Ledger) -> None:
    ledger.register([claim("zzzz-1"), claim("aaaa-1")])
    ledger.register([claim("mmmm-1", parent="zzzz-1")])

    found = [one["id"] for one in ledger.hypotheses()]

    assert found == ["zzzz-1", "aaaa-1", "mmmm-1"]


def test_the_same_fingerprint_is_registered_once(ledger: Ledger) -> None:
    ledger.register([claim("abcd-1", "fp")])

    with pytest.raises(RegistrationError, match=r"fingerprint 'fp' is registered already .*'abcd-1'"):
        ledger.register([claim("efgh-1", "fp")])


def test_other_content_under_a_registered_id_is_refused(ledger: Ledger) -> None:
    ledger.register([claim("abcd-1")])

    with pytest.raises(RegistrationError, match="id 'abcd-1' is registered already"):
        ledger.register([claim("abcd-1", "other", claim="B beats A")])


def test_registration_is_all_or_nothing(ledger: Ledger) -> None:
    ledger.register([claim("abcd-1")])
    before = ledger.events()

    with pytest.raises(RegistrationError):
        ledger.register([claim("efgh-1"), claim("abcd-1", "other")])

    assert ledger.hypothesis("efgh-1") is None
    assert ledger.events() == before


def test_an_experiment_of_another_hypothesis_is_refused(ledger: Ledger) -> None:
    hypothesis, _ = claim("abcd-1")
    _, experiment = claim("efgh-1")

    with pytest.raises(RegistrationError, match=r"names the hypothesis 'efgh-1', but is registered with 'abcd-1'"):
        ledger.register([(hypothesis, experiment)])


def test_what_is_no_json_is_refused_and_leaves_no_trace(ledger: Ledger) -> None:
    with pytest.raises(ConfigError):
        ledger.register([claim(bound=float("nan"))])

    assert ledger.hypotheses() == []


def test_a_unique_prefix_of_four_characters_finds_a_hypothesis(ledger: Ledger) -> None:
    ledger.register([claim("abcd-1"), claim("abXd-2"), claim("ABCD-3")])

    found = ledger.hypothesis("abcd")

    assert found is not None
    assert found["id"] == "abcd-1"
    assert ledger.hypothesis("abc") is None
    assert ledger.hypothesis("ab_d") is None
    assert ledger.hypothesis("abcd-12") is None


def test_a_whole_id_wins_over_the_prefixes_it_is(ledger: Ledger) -> None:
    ledger.register([claim("abcd-10"), claim("abcd-1")])

    found = ledger.hypothesis("abcd-1")

    assert found is not None
    assert found["id"] == "abcd-1"


def test_an_ambiguous_prefix_lists_what_it_fits(ledger: Ledger) -> None:
    ledger.register([claim("abcd-1"), claim("abcd-2")])

    with pytest.raises(StudyError, match="2 hypotheses: abcd-1, abcd-2"):
        ledger.hypothesis("abcd")


def test_an_unregistered_experiment_is_an_error(ledger: Ledger) -> None:
    with pytest.raises(RegistrationError, match="no hypothesis 'abcd-1' is registered"):
        ledger.experiment("abcd-1")


# ----------------------------------------------------------------------------- trials


def test_a_planned_trial_has_every_field(ledger: Ledger) -> None:
    ledger.plan_trials([job("t1", index=3)])

    assert ledger.trial("t1") == {
        "key": "t1",
        "arm": "arm-a",
        "block": "b0",
        "index": 3,
        "kind": "train",
        "state": "planned",
        "attempts": 0,
        "plan": job("t1", index=3),
        "result": None,
        "started": None,
        "finished": None,
        "session": None,
    }
    assert ledger.trial("t2") is None


def test_planning_again_leaves_known_trials_untouched(ledger: Ledger) -> None:
    ledger.plan_trials([job("t1")])
    ledger.start("t1")

    ledger.plan_trials([job("t1", job={"seed": 8}), job("t2"), job("t2", index=9)])

    assert [(one["key"], one["state"], one["plan"]["index"]) for one in ledger.trials()] == [
        ("t1", "running", 0),
        ("t2", "planned", 0),
    ]
    assert [event["payload"]["trials"] for event in ledger.events(kind="planned")] == [["t1"], ["t2"]]


def test_trials_are_chosen_by_key_arm_and_block_and_keep_plan_order(ledger: Ledger) -> None:
    many = [job(f"t{at}", arm=f"arm-{at % 2}", block=f"b{at % 3}", index=at) for at in range(1300)]
    ledger.plan_trials(many)
    keys = [one["key"] for one in many]

    assert [one["key"] for one in ledger.trials()] == keys
    assert [one["key"] for one in ledger.trials(keys[::-1] + keys[:5])] == keys
    assert [one["key"] for one in ledger.trials(keys[:12], arm="arm-1", block="b0")] == ["t3", "t9"]
    assert ledger.trials([]) == []


def test_each_start_is_a_new_attempt(ledger: Ledger) -> None:
    ledger.plan_trials([job()])

    assert [ledger.start("t1"), ledger.start("t1")] == [1, 2]
    found = ledger.trial("t1")
    assert found is not None
    assert (found["state"], found["attempts"]) == ("running", 2)
    assert found["started"].endswith("+00:00")


def test_a_trial_that_was_never_planned_cannot_start_or_finish(ledger: Ledger) -> None:
    with pytest.raises(RegistrationError, match="no trial 't1' is planned"):
        ledger.start("t1")
    with pytest.raises(RegistrationError, match="no trial 't1' is planned"):
        ledger.finish("t1", 1, "done", {}, {})


def test_a_finished_trial_keeps_its_result_scores_and_units(ledger: Ledger) -> None:
    ledger.plan_trials([job(), job("t2")])
    attempt = ledger.start("t1")

    accepted = ledger.finish("t1", attempt, "done", {"loss": 0.1}, {"dev": score(), "train": score(1.0)})

    assert accepted
    found = ledger.trial("t1")
    assert found is not None
    assert (found["state"], found["result"]) == ("done", {"loss": 0.1})
    assert found["finished"] >= found["started"]
    assert ledger.scores(["t2", "t1", "none"], "dev") == {
        "t1": {"metrics": {"accuracy": 0.75}, "tables": {"class": {"cat": {"recall": 0.5}}}, "seconds": 0.25}
    }
    assert ledger.scores(["t1"], "train")["t1"]["metrics"] == {"accuracy": 1.0}
    assert ledger.units("t1", "dev") == {"id": ["u1", "u2"], "right": [1, 0]}
    assert ledger.units("t1", "test") is None


def test_a_result_is_accepted_exactly_once(ledger: Ledger) -> None:
    ledger.plan_trials([job()])
    attempt = ledger.start("t1")

    first = ledger.finish("t1", attempt, "done", {"loss": 1}, {"dev": score()})
    second = ledger.finish("t1", attempt, "done", {"loss": 2}, {"dev": score(0.9)})

    assert (first, second) == (True, False)
    found = ledger.trial("t1")
    assert found is not None
    assert found["result"] == {"loss": 1}
    assert ledger.scores(["t1"], "dev")["t1"]["metrics"] == {"accuracy": 0.75}
    assert [event["kind"] for event in ledger.events()] == ["planned", "started", "finished", "superseded"]


def test_the_same_result_of_the_same_attempt_is_accepted_again_and_changes_nothing(ledger: Ledger) -> None:
    ledger.plan_trials([job()])
    attempt = ledger.start("t1")
    ledger.finish("t1", attempt, "done", {"loss": 1}, {"dev": score()})
    before = ledger.events()

    again = ledger.finish("t1", attempt, "done", {"loss": 1}, {"dev": score()})

    assert again
    assert ledger.events() == before
    assert not ledger.finish("t1", attempt, "diverged", {"loss": 1}, {})
    assert not ledger.finish("t1", attempt + 1, "done", {"loss": 1}, {"dev": score()})


def test_a_late_worker_is_superseded(ledger: Ledger) -> None:
    ledger.plan_trials([job()])
    late, current = ledger.start("t1"), ledger.start("t1")

    assert not ledger.finish("t1", late, "done", {"by": "late"}, {"dev": score()})
    assert ledger.scores(["t1"], "dev") == {}
    assert ledger.finish("t1", current, "diverged", {"by": "current"}, {})
    told = ledger.events(kind="superseded")[0]["payload"]
    assert (told["trial"], told["attempt"], told["current"]) == ("t1", 1, ["running", 2])


def test_a_trial_that_never_started_cannot_finish(ledger: Ledger) -> None:
    ledger.plan_trials([job()])

    assert not ledger.finish("t1", 0, "done", {}, {})


def test_a_finished_trial_never_starts_again(ledger: Ledger) -> None:
    ledger.plan_trials([job()])
    ledger.finish("t1", ledger.start("t1"), "diverged", {}, {})

    with pytest.raises(StudyError, match="'t1' is diverged and is never run twice"):
        ledger.start("t1")


def test_a_trial_finishes_only_as_done_diverged_or_failed(ledger: Ledger) -> None:
    ledger.plan_trials([job()])

    with pytest.raises(ValueError, match="received 'running'"):
        ledger.finish("t1", ledger.start("t1"), "running", {}, {})


def test_a_released_trial_runs_again_with_the_next_attempt(ledger: Ledger) -> None:
    ledger.plan_trials([job()])
    ledger.start("t1")

    assert ledger.release("t1", "worker was killed")
    assert not ledger.release("t1", "again")
    found = ledger.trial("t1")
    assert found is not None
    assert (found["state"], found["attempts"]) == ("planned", 1)
    assert ledger.start("t1") == 2
    assert [event["payload"]["reason"] for event in ledger.events(kind="released")] == ["worker was killed"]


def test_the_result_of_a_released_attempt_that_nobody_replaced_is_accepted(ledger: Ledger) -> None:
    ledger.plan_trials([job()])
    attempt = ledger.start("t1")
    ledger.release("t1", "the loop was killed")

    assert ledger.finish("t1", attempt, "done", {"found": "on disk"}, {})


def test_release_running_frees_exactly_the_running_trials(ledger: Ledger) -> None:
    ledger.plan_trials([job("t1"), job("t2"), job("t3"), job("t4")])
    ledger.start("t3")
    ledger.start("t1")
    ledger.finish("t2", ledger.start("t2"), "done", {}, {})

    assert ledger.release_running("start-up") == ["t1", "t3"]
    assert ledger.release_running("start-up") == []
    assert [one["state"] for one in ledger.trials()] == ["planned", "done", "planned", "planned"]


def test_one_of_two_sessions_gets_a_trial_and_keeps_it_until_it_is_released(ledger: Ledger) -> None:
    ledger.plan_trials([job("t1"), job("t2")])
    for name in ("s1", "s2"):
        ledger.begin_session(name, {})

    assert [ledger.claim("t1", "s1"), ledger.claim("t1", "s2"), ledger.claim("t2", "s2")] == [1, None, 1]
    assert ledger.release_running("s1 is lost", session="s1") == ["t1"]
    assert ledger.claim("t1", "s2") == 2
    assert not ledger.finish("t1", 1, "done", {"by": "s1"}, {})
    assert ledger.finish("t1", 2, "done", {"by": "s2"}, {})
    assert ledger.claim("t1", "s2") is None


def test_sessions_beat_while_they_work_and_one_taken_for_lost_comes_back(ledger: Ledger) -> None:
    for name in ("s1", "s2"):
        ledger.begin_session(name, {"process": 1})
    ledger.beat("s1")
    ledger.end_session("s2", "lost", "no sign of life")
    assert ledger.beats() == {"s1": 1}

    ledger.beat("s2")

    assert ledger.beats() == {"s1": 1, "s2": 1}
    assert [one["state"] for one in ledger.sessions()] == ["working", "working"]


# ----------------------------------------------------------------------------- openings, observations, verdicts


def test_each_opening_of_a_split_is_counted_once(ledger: Ledger) -> None:
    ledger.register([claim("abcd-1"), claim("efgh-1")])

    counts = [
        ledger.open_split("abcd-1", "test", ["t1", "t2"], "confirm"),
        ledger.open_split("efgh-1", "test", ["t1"], "confirm"),
        ledger.open_split("abcd-1", "test", ["t1", "t2"], "confirm"),
        ledger.open_split(None, "test", ["t1"], "train --test"),
        ledger.open_split(None, "test", ["t2"], "train --test"),
        ledger.open_split(None, "test", ["t1"], "train --test"),
        ledger.open_split("abcd-1", "dev", ["t1"], "look 1"),
    ]

    assert counts == [1, 2, 1, 3, 4, 3, 1]
    assert [(one["hypothesis"], one["split"], one["keys"]) for one in ledger.openings()] == [
        ("abcd-1", "test", ["t1", "t2"]),
        ("efgh-1", "test", ["t1"]),
        (None, "test", ["t1"]),
        (None, "test", ["t2"]),
        ("abcd-1", "dev", ["t1"]),
    ]


def test_nothing_is_opened_or_decided_for_an_unregistered_hypothesis(ledger: Ledger) -> None:
    with pytest.raises(RegistrationError, match="no hypothesis 'abcd-1'"):
        ledger.open_split("abcd-1", "test", [], "confirm")
    with pytest.raises(RegistrationError, match="no hypothesis 'abcd-1'"):
        ledger.record_verdict("abcd-1", "{}")


def test_a_changed_observation_is_added_beside_the_earlier_one(ledger: Ledger) -> None:
    for value in (1, 1, 2):
        ledger.record_observation("digits", {"train.size": value})

    assert ledger.observation("digits") == {"train.size": 2}
    assert ledger.observation("other") is None
    assert [(one["key"], one["record"]) for one in ledger.observations()] == [
        ("digits", {"train.size": 1}),
        ("digits", {"train.size": 2}),
    ]


def test_a_verdict_is_kept_byte_for_byte_and_never_changes(ledger: Ledger) -> None:
    ledger.register([claim()])
    text = '{"effect":0.0123456789,"outcome":"supported","why":"größer"}'
    assert ledger.verdict("abcd-1") is None

    ledger.record_verdict("abcd-1", text)
    ledger.record_verdict("abcd-1", text)

    with pytest.raises(StudyError, match="a verdict never changes"):
        ledger.record_verdict("abcd-1", text + " ")
    assert ledger.verdict("abcd-1") == text
    assert len(ledger.events(kind="verdict")) == 1


def test_weights_are_listed_as_kept_and_dropped_for_each_trial(ledger: Ledger) -> None:
    ledger.plan_trials([job("t1"), job("t2")])

    for key in ("t1", "t2", "t1"):
        ledger.keep_weights("h1", 100, key)
    ledger.drop_weights("h1")
    ledger.drop_weights("h1")
    ledger.keep_weights("h1", 100, "t2")

    assert ledger.weights() == [
        {"hash": "h1", "size": 100, "trial": "t1", "state": "dropped"},
        {"hash": "h1", "size": 100, "trial": "t2", "state": "kept"},
    ]
    assert [event["kind"] for event in ledger.events(since=1)] == [
        "weights-kept",
        "weights-kept",
        "weights-dropped",
        "weights-kept",
    ]


def test_events_are_numbered_and_read_from_any_number_on(ledger: Ledger) -> None:
    ledger.plan_trials([job("t1")])
    ledger.start("t1")
    ledger.start("t1")

    assert [event["seq"] for event in ledger.events()] == [1, 2, 3]
    assert [event["seq"] for event in ledger.events(since=2)] == [3]
    assert [event["payload"]["attempt"] for event in ledger.events(kind="started")] == [1, 2]
    assert ledger.events()[0]["previous"] == "0" * 64
    assert ledger.events()[1]["previous"] == ledger.events()[0]["hash"]


def test_a_study_opened_again_holds_what_it_held(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "a #?%41 folder") as first:
        first.plan_trials([job()])
        events = first.events()

    with Ledger.open(tmp_path / "a #?%41 folder", create=False) as second:
        assert second.events() == events
        second.verify()


def test_importing_novum_loads_no_database_library() -> None:
    code = "import novum, sys; print({'sqlalchemy', 'alembic'} & set(sys.modules))"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "set()"
