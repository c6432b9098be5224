from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import novum
import pytest
from novum import StudyError, pieces
from novum.executors import InlineExecutor, spool
from novum.experiment import Trial
from novum.faults import ATTEMPTS
from novum.lab import Lab, Listener
from novum.ledger import Ledger
from novum.pieces import weights
from novum.runner import jobs
from novum.runner.resolve import resolve
from novum.trials import forget, recover, score, train

Meddle = Callable[[Any], Any]


class Heard(Listener):
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.trials: list[tuple[str, str]] = []
        self.plans: list[tuple[int, int]] = []

    def planned(self, total: int, done: int, workers: int) -> None:
        self.plans.append((total, done))

    def trial(self, task: str, arm: str, index: int, state: str, metrics: Any) -> None:
        self.trials.append((f"{arm} {index}", state))


class Counting(InlineExecutor):
    """Counts the jobs that it starts, by kind, and passes each result through `meddle`."""

    meddle: Meddle | None = None
    started: Counter[str]

    def run(self, jobs: Any) -> Iterator[Any]:
        for result in super().run(jobs):
            self.started[result.job.kind] += 1
            yield result if self.meddle is None else self.meddle(result)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    executor = Counting(tmp_path)
    executor.started = Counter()
    with Ledger.open(tmp_path) as ledger:
        yield Lab(tmp_path, ledger, executor, Heard())


def started(lab: Lab) -> Counter[str]:
    assert isinstance(lab.executor, Counting)
    return lab.executor.started


def meddle(lab: Lab, how: Meddle) -> None:
    assert isinstance(lab.executor, Counting)
    lab.executor.meddle = how


def heard(lab: Lab) -> Heard:
    assert isinstance(lab.listener, Heard)
    return lab.listener


def planned(arm: novum.Arm, seeds: int = 1, side: str = "control", block: str = "0") -> list[Trial]:
    plan = resolve(arm.to_json())
    return [
        Trial.of("blobs", side, index, plan, {"root": 0, "block": block, "index": index, "indices": None})
        for index in range(seeds)
    ]


def row(lab: Lab, trial: Trial, suffix: str = "") -> dict[str, Any]:
    found = lab.ledger.trial(trial.key + suffix)
    assert found is not None
    return found


def state(lab: Lab, trial: Trial) -> str:
    found = lab.ledger.trial(trial.key)
    return "not planned" if found is None else str(found["state"])


# ------------------------------------------------------------------------------------------------- once and for all


def test_a_trial_is_trained_once_however_often_it_is_asked_for(lab: Lab, arm: Any) -> None:
    trials = planned(arm(), seeds=2)

    assert train(lab, trials)
    assert train(lab, trials)

    assert started(lab)["train"] == 2
    assert [row(lab, trial)["state"] for trial in trials] == ["done", "done"]
    assert heard(lab).plans == [(2, 0)]


def test_arms_that_share_a_trial_share_its_run(lab: Lab, arm: Any) -> None:
    train(lab, [*planned(arm()), *planned(arm(), side="treatment")])

    assert started(lab)["train"] == 1


# ------------------------------------------------------------------------------------------------- losses and faults


def losing(times: int, lost: Meddle, kind: str = "train") -> Meddle:
    left = Counter({kind: times})

    def turn(result: Any) -> Any:
        left[result.job.kind] -= 1
        return lost(result) if left[result.job.kind] >= 0 else result

    return turn


def test_a_lost_trial_is_tried_again_on_the_same_seed_and_gives_its_own_numbers(
    lab: Lab, arm: Any, lost: Meddle, tmp_path: Path
) -> None:
    (trial,) = planned(arm())
    meddle(lab, losing(ATTEMPTS - 1, lost))

    assert train(lab, [trial])

    undisturbed = jobs.perform(
        "train",
        {
            "key": "x",
            "plan": trial.plan,
            "seed": {name: trial.seed[name] for name in ("root", "block", "index")},
            "points": 5,
            "parent": None,
            "tracker": "jsonl",
        },
        tmp_path,
    )
    assert (row(lab, trial)["state"], row(lab, trial)["attempts"]) == ("done", ATTEMPTS)
    assert row(lab, trial)["result"]["weights"] == undisturbed["weights"]
    assert heard(lab).trials == [("control 0", "lost")] * (ATTEMPTS - 1) + [("control 0", "done")]


def test_a_trial_that_is_lost_too_often_is_broken_and_says_why(lab: Lab, arm: Any, lost: Meddle) -> None:
    (trial,) = planned(arm())
    meddle(lab, losing(ATTEMPTS, lost))

    assert not train(lab, [trial])

    assert row(lab, trial)["state"] == "failed"
    assert row(lab, trial)["result"]["failed"] == "Lost: the process was ended by SIGKILL"
    assert started(lab)["train"] == ATTEMPTS


def test_losses_of_one_trial_leave_the_others_their_tries(lab: Lab, arm: Any, lost: Meddle) -> None:
    trials = planned(arm(), seeds=3)
    meddle(lab, losing(3, lost))

    assert train(lab, trials)

    assert [row(lab, trial)["attempts"] for trial in trials] == [3, 2, 1]  # another goes first after a loss


def test_a_trial_that_raises_is_broken_at_once_and_ends_the_rest(lab: Lab, arm: Any) -> None:
    trials = [*planned(arm(model={"mode": "raise"})), *planned(arm(), seeds=2, side="treatment")]

    assert not train(lab, trials)

    assert [state(lab, trial) for trial in trials] == ["failed", "not planned", "not planned"]
    assert row(lab, trials[0])["result"]["failed"] == "ValueError: this model is broken"
    assert started(lab)["train"] == 1


def test_an_interrupt_puts_what_had_not_ended_back_into_the_plan(lab: Lab, arm: Any) -> None:
    trials = planned(arm(), seeds=3)

    def interrupt(result: Any) -> Any:
        if result.job.id == trials[1].key:
            raise KeyboardInterrupt
        return result

    meddle(lab, interrupt)
    with pytest.raises(KeyboardInterrupt):
        train(lab, trials)

    assert [state(lab, trial) for trial in trials] == ["done", "planned", "not planned"]


def test_a_diverged_trial_is_an_outcome(lab: Lab, arm: Any, toy: Any) -> None:
    toy.SEEN.clear()
    (trial,) = planned(arm(model={"mode": "nan"}))

    assert train(lab, [trial])

    assert row(lab, trial)["state"] == "diverged"
    assert "not finite" in row(lab, trial)["result"]["diverged"]
    assert lab.ledger.scores([trial.key], "dev") == {}


def test_code_that_changed_since_it_was_planned_stops_the_study_and_blames_no_trial(lab: Lab, arm: Any) -> None:
    (trial,) = planned(arm())
    trial.plan["code"]["torch"] = "0.0"

    with pytest.raises(StudyError, match="registered with other code"):
        train(lab, [trial])

    assert row(lab, trial)["state"] == "planned"


# ---------------------------------------------------------------------------------------------------------- recovery


def spooled(lab: Lab, trial: Trial, outcome: dict[str, Any]) -> int:
    """A trial whose worker stored a result just before its caller was killed."""
    lab.ledger.plan_trials([trial.to_json()])
    attempt = lab.ledger.start(trial.key)
    (lab.folder / "spool").mkdir(exist_ok=True)
    spool.write(lab.folder, trial.key, outcome)
    return attempt


def test_a_result_that_outlived_its_caller_is_taken_in(lab: Lab, arm: Any) -> None:
    (trial,) = planned(arm())
    value = {"seconds": 1.5, "diverged": None, "weights": None, "scores": {"dev": {"metrics": {"accuracy": 0.5}}}}
    value["scores"]["dev"] |= {"tables": {}, "units": {}}  # type: ignore[index]
    spooled(lab, trial, {"value": value})

    recover(lab)

    assert row(lab, trial)["state"] == "done"
    assert lab.ledger.scores([trial.key], "dev")[trial.key]["metrics"] == {"accuracy": 0.5}
    assert not spool.place(lab.folder, trial.key).exists()
    assert train(lab, [trial])
    assert started(lab)["train"] == 0


@pytest.mark.parametrize("outcome", [None, {"error": {"type": "Lost", "message": "x", "traceback": ""}}])
def test_a_trial_without_a_value_returns_to_the_plan(lab: Lab, arm: Any, outcome: dict[str, Any] | None) -> None:
    (trial,) = planned(arm())
    spooled(lab, trial, outcome or {"error": {}})
    if outcome is None:
        spool.remove(lab.folder, trial.key)

    recover(lab)

    assert row(lab, trial)["state"] == "planned"
    assert not spool.place(lab.folder, trial.key).exists()


def test_a_result_of_a_trial_that_ended_before_changes_nothing(lab: Lab, arm: Any) -> None:
    (trial,) = planned(arm())
    train(lab, [trial])
    before = row(lab, trial)
    spool.write(lab.folder, trial.key, {"value": {"seconds": 99.0, "scores": {}}})

    recover(lab)

    assert row(lab, trial) == before


# ----------------------------------------------------------------------------------------------------------- parents


def test_a_parent_is_trained_once_per_seed_and_shared(lab: Lab, arm: Any) -> None:
    parent = arm(budget="1 epochs")
    first, second = arm(learning_rate=0.2, start_from=parent), arm(learning_rate=0.3, start_from=parent)

    assert train(lab, [*planned(first, 2), *planned(second, 2, "treatment"), *planned(parent, 2, "other")])

    assert started(lab)["train"] == 2 + 2 + 2
    for trial in planned(first, 2):
        assert trial.parent is not None
        assert row(lab, trial.parent)["state"] == "done"
        assert row(lab, trial)["result"]["start"] == {"loaded": 2, "fresh": []}


def test_a_start_begins_with_the_weights_of_its_parent(lab: Lab, arm: Any) -> None:
    parent = arm(budget="1 epochs")
    (trial,) = planned(arm(learning_rate=1e-30, start_from=parent))

    train(lab, [trial])

    assert trial.parent is not None
    assert row(lab, trial)["result"]["weights"] == row(lab, trial.parent)["result"]["weights"]


def test_a_trial_whose_parent_diverged_diverged_with_it_without_being_run(lab: Lab, arm: Any, toy: Any) -> None:
    toy.SEEN.clear()
    middle = arm(budget="1 epochs", start_from=arm(model={"mode": "nan"}))
    (trial,) = planned(arm(start_from=middle))

    assert train(lab, [trial])

    assert started(lab)["train"] == 1
    assert [row(lab, each)["state"] for each in trial.line()] == ["diverged"] * 3
    assert row(lab, trial)["result"]["diverged"].startswith("the arm it starts from diverged:")
    assert row(lab, trial)["result"]["units"] == 0


def test_a_trial_whose_parent_broke_is_not_run(lab: Lab, arm: Any) -> None:
    (trial,) = planned(arm(start_from=arm(model={"mode": "raise"})))

    assert not train(lab, [trial])

    assert [state(lab, each) for each in trial.line()] == ["not planned", "failed"]


# ----------------------------------------------------------------------------------------------------------- weights


def wipe(lab: Lab, trial: Trial) -> Path:
    folder = lab.folder / "weights" / str(row(lab, trial)["result"]["weights"])
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    return folder


def test_lost_weights_are_trained_again_to_the_bit(lab: Lab, arm: Any) -> None:
    (trial,) = planned(arm(start_from=arm(budget="1 epochs")))
    assert trial.parent is not None
    train(lab, [trial])
    folders = [wipe(lab, trial), wipe(lab, trial.parent)]

    digest = weights(lab, trial)

    assert digest == row(lab, trial)["result"]["weights"]
    assert all(folder.is_dir() for folder in folders)
    assert started(lab)["train"] == 4


def test_training_lost_weights_again_stands_on_the_record(lab: Lab, arm: Any) -> None:
    (trial,) = planned(arm())
    train(lab, [trial])
    wipe(lab, trial)
    before = len(lab.ledger.events())

    weights(lab, trial)

    assert trial.key in str([event["payload"] for event in lab.ledger.events()[before:]])


def test_weights_that_come_out_differently_are_refused(lab: Lab, arm: Any) -> None:
    first, other = *planned(arm()), *planned(arm(learning_rate=0.2))
    train(lab, [first, other])
    wipe(lab, first)

    def swap(result: Any) -> Any:
        result.value["weights"] = row(lab, other)["result"]["weights"]
        return result

    meddle(lab, swap)
    with pytest.raises(StudyError, match="were lost, and training again gave others"):
        weights(lab, first)


def kept(lab: Lab) -> set[str]:
    return {path.name for path in (lab.folder / "weights").iterdir()}


@pytest.mark.parametrize(("keep", "left"), [("none", 0), ("first", 2), ("all", 6)])
def test_after_a_verdict_only_the_weights_that_its_claim_names_are_kept(
    lab: Lab, arm: Any, keep: str, left: int
) -> None:
    trials = [*planned(arm(), 3), *planned(arm(learning_rate=0.2), 3, "treatment")]
    train(lab, trials)
    expected = {row(lab, trial)["result"]["weights"] for trial in trials if keep == "all" or trial.index == 0}

    forget(lab, trials, keep)

    assert len(kept(lab)) == left
    assert kept(lab) == (expected if left else set())
    assert {each["hash"] for each in lab.ledger.weights() if each["state"] == "kept"} == kept(lab)


def test_weights_that_another_trial_also_gave_stay(lab: Lab, arm: Any) -> None:
    mine, others = planned(arm()), planned(arm(model={"note": "inert"}))
    train(lab, [*mine, *others])

    forget(lab, mine, "none")

    assert kept(lab) == {row(lab, others[0])["result"]["weights"]} == {row(lab, mine[0])["result"]["weights"]}


def test_parents_are_forgotten_with_their_children(lab: Lab, arm: Any) -> None:
    trials = planned(arm(start_from=arm(budget="1 epochs")), 2)
    train(lab, trials)

    forget(lab, trials, "first")

    first = trials[0]
    assert first.parent is not None
    assert kept(lab) == {row(lab, each)["result"]["weights"] for each in first.line()}


# ---------------------------------------------------------------------------------------------------------- scoring


def test_scoring_trains_nothing_and_is_done_once(lab: Lab, arm: Any) -> None:
    trials = planned(arm(), 2)
    train(lab, trials)

    score(lab, trials, "test")
    score(lab, trials, "test")

    assert started(lab) == {"train": 2, "score": 2}
    found = lab.ledger.scores([f"{trial.key}-test" for trial in trials], "test")
    assert len(found) == 2
    assert row(lab, trials[0], "-test")["kind"] == "score"


def test_a_score_is_of_the_network_that_training_scored(lab: Lab, arm: Any) -> None:
    (trial,) = planned(arm())
    train(lab, [trial])

    score(lab, [trial], "dev")

    first = lab.ledger.scores([trial.key], "dev")[trial.key]
    again = lab.ledger.scores([f"{trial.key}-dev"], "dev")[f"{trial.key}-dev"]
    assert first["metrics"] == again["metrics"]
    assert first["tables"] == again["tables"]


def test_a_lost_score_is_tried_again(lab: Lab, arm: Any, lost: Meddle) -> None:
    trials = planned(arm(), 2)
    train(lab, trials)
    meddle(lab, losing(2 * (ATTEMPTS - 1), lost, "score"))

    score(lab, trials, "test")

    assert [row(lab, trial, "-test")["state"] for trial in trials] == ["done", "done"]
    assert [row(lab, trial, "-test")["attempts"] for trial in trials] == [ATTEMPTS, ATTEMPTS]


def test_a_score_that_is_lost_too_often_is_broken(lab: Lab, arm: Any, lost: Meddle) -> None:
    (trial,) = planned(arm())
    train(lab, [trial])
    meddle(lab, losing(ATTEMPTS, lost, "score"))

    score(lab, [trial], "test")

    assert row(lab, trial, "-test")["state"] == "failed"
    assert "SIGKILL" in row(lab, trial, "-test")["result"]["failed"]


def test_damaged_weights_stop_the_study_and_blame_no_trial(lab: Lab, arm: Any) -> None:
    (trial,) = planned(arm())
    train(lab, [trial])
    (lab.folder / "weights" / row(lab, trial)["result"]["weights"] / "net.safetensors").write_bytes(b"")

    with pytest.raises(StudyError, match="are damaged"):
        score(lab, [trial], "test")

    assert row(lab, trial, "-test")["state"] == "planned"


def test_a_diverged_trial_has_nothing_to_score(lab: Lab, arm: Any, toy: Any) -> None:
    toy.SEEN.clear()
    (trial,) = planned(arm(model={"mode": "nan"}))
    train(lab, [trial])

    score(lab, [trial], "test")

    assert started(lab)["score"] == 0


# ------------------------------------------------------------------------------------------- time limits, resources


def test_a_trial_may_take_twenty_times_its_rehearsal_and_at_least_ten_minutes(lab: Lab, arm: Any) -> None:
    (trial,) = planned(arm())
    units = trial.plan["units"]
    assert pieces.time_limit(lab, trial.plan, 5) == 86_400.0  # nothing rehearsed it

    for each, expected in ((0.0, 600.0), (100.0 / units, 20 * (100.0 + 5.0))):
        lab.ledger.record_observation(
            pieces.speed_key(trial.plan), {"seconds_per_unit": each, "score_seconds": 1.0 if each else 0.0}
        )
        assert pieces.time_limit(lab, trial.plan, 5) == pytest.approx(expected)

    lab.timeout = 7.0
    assert pieces.time_limit(lab, trial.plan, 5) == 7.0
    (limited,) = planned(arm(time_limit=3.0))
    assert pieces.time_limit(lab, limited.plan, 5) == 3.0  # what the claim registers goes before what the caller says


def test_a_recipe_tells_a_cluster_what_to_reserve(lab: Lab, arm: Any) -> None:
    (plain,) = planned(arm())
    (asking,) = planned(arm(cpus=2, gpus=0.25, memory_gb=1.5))

    assert pieces.Piece(plain).job(lab).payload["resources"] == {"cpus": 1}
    assert pieces.Piece(asking).job(lab).payload["resources"] == {"cpus": 2, "gpus": 0.25, "memory": 1.5e9}


def test_a_result_that_another_attempt_overtook_counts_for_nothing(lab: Lab, arm: Any) -> None:
    (trial,) = planned(arm())

    def overtake(result: Any) -> Any:
        if result.job.kind == "train" and row(lab, trial)["attempts"] == 1:
            lab.ledger.start(trial.key, "another machine")
            value = {**result.value, "seconds": 1.25}
            lab.ledger.finish(trial.key, 2, "done", {**value, "scores": {}}, {})
        return result

    meddle(lab, overtake)

    assert train(lab, [trial])

    assert (row(lab, trial)["attempts"], row(lab, trial)["result"]["seconds"]) == (2, 1.25)
    assert len(lab.ledger.events(kind="superseded")) == 1
    assert list((lab.folder / "spool").iterdir()) == []


def test_nobody_waits_for_a_trial_of_another_session_that_is_wanted_no_more(lab: Lab, arm: Any) -> None:
    theirs, ours = planned(arm(), seeds=2)
    lab.ledger.plan_trials([theirs.to_json()])
    lab.ledger.claim(theirs.key, "another session")

    def wanted() -> list[Trial]:
        return [] if state(lab, ours) == "done" else [theirs, ours]

    assert train(lab, wanted)

    assert (state(lab, theirs), state(lab, ours)) == ("running", "done")
    assert row(lab, theirs)["session"] == "another session"


def test_a_trial_that_another_session_ends_is_waited_for_and_not_run_here(lab: Lab, arm: Any) -> None:
    (trial,) = planned(arm())
    lab.ledger.plan_trials([trial.to_json()])
    attempt = lab.ledger.claim(trial.key, "another session")
    assert attempt is not None
    asked: list[int] = []

    def wanted() -> list[Trial]:
        return [trial]

    def end() -> None:
        while lab.ledger.trial(trial.key) is None or not asked:
            time.sleep(0.01)
        lab.ledger.finish(trial.key, attempt, "done", {"seconds": 1.0, "weights": None}, {})

    thread = threading.Thread(target=end)
    thread.start()
    asked.append(1)
    assert train(lab, wanted)
    thread.join()

    assert started(lab)["train"] == 0
    assert row(lab, trial)["result"]["seconds"] == 1.0


def test_a_trial_whose_process_was_lost_finds_its_checkpoints_when_it_is_tried_again(
    lab: Lab, arm: Any, lost: Any, tmp_path: Path
) -> None:
    (trial,) = planned(arm())
    place = tmp_path / "checkpoints" / trial.key / "1"
    place.mkdir(parents=True)
    seen: list[bool] = []

    def turn(result: Any) -> Any:
        seen.append(place.exists())
        return lost(result) if len(seen) == 1 else result

    meddle(lab, turn)

    assert train(lab, [trial])
    assert seen == [True, True]
