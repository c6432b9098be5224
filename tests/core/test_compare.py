"""Any two functions from a seed to a score."""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import Any

import novum
import numpy as np
import pytest
from novum import ConfigError

CALLS: list[tuple[str, int]] = []


def old(seed: int) -> float:
    CALLS.append(("old", seed))
    return 0.80 + 0.01 * math.sin(seed)


def better(seed: int) -> float:
    CALLS.append(("better", seed))
    return 0.85 + 0.01 * math.sin(seed) + 0.002 * math.cos(3 * seed)


def worse(seed: int) -> float:
    return 0.75 + 0.01 * math.sin(seed) + 0.002 * math.cos(3 * seed)


@pytest.fixture(autouse=True)
def _no_calls_yet() -> None:
    CALLS.clear()


def test_it_calls_both_on_the_same_seeds_until_it_is_decided() -> None:
    verdict = novum.compare(old, better, minimum_effect=0.01, seed=7)

    assert verdict.outcome == "supported"
    assert [(name, seed) for seed in (7, 8, 9) for name in ("old", "better")] == CALLS
    assert verdict.effect == pytest.approx(0.05, abs=0.003)
    assert verdict.saved["pairs"] == 7
    assert verdict.record["new_data"] == "none"
    assert "as far as the reported scores go" in verdict.reasons[0]
    assert "not known here" in verdict.record["fairness"]


@pytest.mark.parametrize(
    ("treatment", "parts", "outcome"),
    [
        (worse, {}, "refuted"),
        (worse, {"direction": "min"}, "supported"),
        (better, {"minimum_effect": 0.2}, "equivalent"),
        (better, {"test": "sign-flip"}, "supported"),
        (better, {"estimand": "win"}, "supported"),
        (better, {"max_seeds": None}, "supported"),
        (better, {"margins": "zone", "minimum_effect": 0.01}, "supported"),
    ],
)
def test_every_option_of_a_claim_holds_here_too(treatment: Any, parts: dict[str, Any], outcome: str) -> None:
    assert novum.compare(old, treatment, **parts).outcome == outcome


def test_a_number_is_a_bar_that_the_treatment_reaches_or_not() -> None:
    assert novum.compare(0.8, better).outcome == "supported"
    assert novum.compare(0.9, better).outcome == "refuted"
    assert {name for name, _ in CALLS} == {"better"}


def test_scores_may_be_numpys() -> None:
    found = novum.compare(lambda seed: np.float32(old(seed)), lambda seed: np.array(better(seed)))

    assert found.outcome == "supported"


def broken(seed: int) -> float:
    return math.nan if seed == 1 else better(seed)


def test_a_score_that_is_not_finite_needs_a_worst_value_and_then_counts_as_it() -> None:
    with pytest.raises(ConfigError, match="treatment: its score at seed 1 is nan; give worst"):
        novum.compare(old, broken)

    verdict = novum.compare(old, broken, worst=0.0, futility=0.0, max_seeds=4)

    task = verdict.tasks["scores"].record
    assert verdict.outcome == "inconclusive"
    assert task["notes"] == ["Seed 1, treatment: the score came out as nan; it counts as the worst value, 0."]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: novum.compare("old", better), "control: received 'old'"),  # type: ignore[arg-type]
        (lambda: novum.compare(math.nan, better), "control: received nan"),
        (lambda: novum.compare(old, 0.9), "treatment: received 0.9"),  # type: ignore[arg-type]
        (lambda: novum.compare(old, better, direction="up"), "direction: received 'up'"),  # type: ignore[arg-type]
        (lambda: novum.compare(old, better, alpha=0.5), "alpha: received 0.5"),
        (lambda: novum.compare(old, better, max_seeds=2), "max_seeds: received 2"),
        (lambda: novum.compare(old, better, minimum_effect=-0.1), "minimum_effect_raw of task 'scores': received -0.1"),
        (lambda: novum.compare(old, better, resolution=math.inf), "resolution: received inf"),
        (lambda: novum.compare(old, better, test="sign-flip", max_seeds=4), "max_seeds: received 4; at the level 0.05"),
        (lambda: novum.compare(old, lambda seed: "0.9"), "treatment: its score at seed 0 is '0.9'"),  # type: ignore
        (lambda: novum.compare(old, lambda seed: None), "treatment: its score at seed 0 is None"),  # type: ignore
    ],
)
def test_what_is_out_of_range_is_named(call: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        call()


# --------------------------------------------------------------------------------------------------- with a study


def test_in_a_study_it_is_registered_stored_and_never_called_twice(tmp_path: Path) -> None:
    first = novum.compare(old, better, minimum_effect=0.01, study=tmp_path)
    calls = len(CALLS)

    again = novum.compare(old, better, minimum_effect=0.01, study=tmp_path)

    study = novum.Study(tmp_path)
    assert again == first
    assert len(CALLS) == calls == 6
    assert [row["claim"] for row in study.hypotheses()] == ["better beats old"]
    assert len(study.rows()) == 6
    assert study.verdict(first.hypothesis, recompute=True) == first
    assert first.record["scores"] == "reported by the caller"
    with study.reading() as ledger:
        ledger.verify()


def test_it_gives_the_same_verdict_with_a_study_and_without(tmp_path: Path) -> None:
    stored, alone = (
        novum.compare(old, worse, **parts).record  # type: ignore[arg-type]
        for parts in ({"study": novum.Study(tmp_path)}, {})
    )

    for record in (stored, alone):
        record.pop("cost"), record.pop("saved")
        record["tasks"]["scores"].pop("cost"), record["tasks"]["scores"].pop("saved")
    assert stored == alone


def test_a_function_that_raises_loses_no_score_and_the_same_call_goes_on(tmp_path: Path) -> None:
    fail = [True]

    def shaky(seed: int) -> float:
        if seed == 2 and fail:
            fail.pop()
            raise OSError("the disk is full")
        return better(seed)

    with pytest.raises(OSError, match="the disk is full"):
        novum.compare(old, shaky, study=tmp_path)
    kept = list(CALLS)
    CALLS.clear()

    verdict = novum.compare(old, shaky, study=tmp_path)

    assert verdict.outcome == "supported"
    assert not set(kept) & set(CALLS)


def test_another_function_under_the_same_name_is_another_claim(tmp_path: Path) -> None:
    def make(gain: float) -> Any:
        if gain > 0:

            def tuned(seed: int) -> float:
                return better(seed)
        else:

            def tuned(seed: int) -> float:
                return worse(seed)

        return tuned

    one = novum.compare(old, make(1), study=tmp_path)
    other = novum.compare(old, make(-1), study=tmp_path)

    assert (one.outcome, other.outcome) == ("supported", "refuted")
    assert len(novum.Study(tmp_path).hypotheses()) == 2


def scaled(seed: int, gain: float) -> float:
    return better(seed) + gain


@pytest.mark.parametrize(
    "make", [lambda gain: functools.partial(scaled, gain=gain), lambda gain: lambda s: scaled(s, gain)]
)
def test_values_that_are_bound_to_a_function_tell_it_from_another(tmp_path: Path, make: Any) -> None:
    for gain in (0.0, 0.01, 0.01):
        novum.compare(old, make(gain), study=tmp_path)

    assert len(novum.Study(tmp_path).hypotheses()) == 2


def test_a_changed_claim_about_the_same_functions_takes_fresh_seeds(tmp_path: Path) -> None:
    first = novum.compare(old, worse, study=tmp_path, minimum_effect=0.2)
    seen = {seed for _, seed in CALLS}
    CALLS.clear()

    second = novum.compare(old, worse, study=tmp_path, minimum_effect=0.3)

    assert first.hypothesis != second.hypothesis
    assert min(seed for _, seed in CALLS) == 1000
    assert seen.isdisjoint(seed for _, seed in CALLS)


@pytest.mark.parametrize("parts", [{"resolution": 5.0}, {"worst": -1.0}])
def test_what_a_score_counts_as_is_part_of_the_claim(tmp_path: Path, parts: dict[str, Any]) -> None:
    novum.compare(old, better, study=tmp_path)

    novum.compare(old, better, study=tmp_path, **parts)

    assert len(novum.Study(tmp_path).hypotheses()) == 2


@pytest.mark.parametrize("seed", range(4))
def test_a_maximum_that_random_paths_cannot_reach_is_refused_with_the_least_that_can(seed: int) -> None:
    options: dict[str, Any] = {"alpha": 8e-6, "test": "sign-flip", "seed": seed}
    try:
        novum.compare(old, better, max_seeds=17, **options)
    except ConfigError as error:
        assert "can support nothing with fewer than 18 pairs" in str(error)
        assert novum.compare(old, better, max_seeds=18, **options).outcome == "supported"


def test_the_report_of_reported_scores_can_be_written(tmp_path: Path) -> None:
    verdict = novum.compare(old, better, study=tmp_path)

    page = novum.Study(tmp_path).report(verdict.hypothesis).read_text(encoding="utf-8")

    assert "reported by the caller" in page
