"""What a person reads in a terminal: verdicts, previews, looks, the status."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import novum
import pytest
from novum.cli import app, status
from novum.cli.preview import print_preview
from novum.cli.terminal import Terminal
from novum.cli.verdict import print_verdict
from novum.decide.walk import Standing
from novum.lab import Listener
from novum.preview import Preview
from novum.stats.sequential import Decision, Look
from rich.console import Console

OPEN = {"undefined": "it is open on this side"}
NO_PRICE = {"undefined": "no price was given"}


def printed(tell: Callable[[Console], None]) -> str:
    """What is written to a terminal of 80 columns that is a file: sentences run on, tables must fit."""
    file = io.StringIO()
    tell(Console(file=file, width=80, soft_wrap=True, highlight=False))
    return file.getvalue()


def task(**parts: Any) -> dict[str, Any]:
    saved = {"pairs": 5, "trials": 10, "seconds": 21.0, "money": NO_PRICE}
    memory = {"control": 400_000_000, "treatment": 500_000_000, "ratio": 1.25}
    found: dict[str, Any] = {
        "metric": "accuracy",
        "unit": "",
        "margin": 0.016,
        "outcome": "supported",
        "counts": "supported",
        "test": {"name": "sequential-t", "level": 0.05},
        "role": "decides",
        "pairs": 3,
        "planned": 8,
        "saved": saved,
        "notes": [],
        "counted_at": 0.025,
        "warnings": [],
        "control": 0.519,
        "treatment": 0.881,
        "wins": 3,
        "effect": 0.362,
        "interval": [0.204, 0.52],
        "p": 0.02,
        "reasons": ["The treatment is better."],
        "new_data": None,
        "looks": [],
        "stopped": "support",
        "cost": {"control": 5.98, "treatment": 21.8, "ratio": 3.645, "memory": memory},
        "power": {"label": "unknown", "because": "nobody measured the spread"},
    }
    return found | parts


def verdict(tasks: dict[str, Any], **parts: Any) -> dict[str, Any]:
    found: dict[str, Any] = {
        "hypothesis": "h-1",
        "outcome": "supported",
        "ended": True,
        "reasons": ["It holds."],
        "order": list(tasks),
        "scope": "all",
        "margins": "strict",
        "estimand": "mean",
        "alpha": 0.05,
        "level": 0.05,
        "stream": {},
        "new_data": "closed",
        "tasks": tasks,
        "scores": "measured",
        "fairness": "Budgets were equal.",
        "effect": 0.362,
        "interval": [0.204, 0.52],
        "effect_unit": "accuracy",
        "saved": {"pairs": 5, "trials": 10, "seconds": 21.0, "money": NO_PRICE},
    }
    return found | parts


def told(record: dict[str, Any]) -> str:
    return printed(lambda console: print_verdict(console, record, "It helps"))


# -------------------------------------------------------------------------------------------------------- verdicts


def test_a_verdict_tells_pairs_what_was_spared_memory_and_power() -> None:
    text = told(verdict({"digits": task()}))

    assert "3 of 8 pairs; spared 10 trials, about 21 s of device time; p ≤ 0.02." in text
    assert "6 s → 22 s (×3.65) of device time; peak memory 400 MB → 500 MB (×1.25)." in text
    assert "Power unknown: nobody measured the spread." in text
    assert "Budgets were equal." in text and "Test stays sealed" in text
    assert "Tested at 0.05, on its own" in text


def test_a_task_has_few_lines() -> None:
    lines = told(verdict({"digits": task(role="secondary, uncorrected")})).splitlines()

    first = next(at for at, line in enumerate(lines) if line.startswith("  digits (accuracy)"))
    assert lines[first + 5] == ""


def test_tables_fit_eighty_columns_whatever_the_numbers() -> None:
    again = task(effect=-0.00123, interval=[-0.00456, 0.000789], outcome="inconclusive", cost=None)
    wide = task(effect=-0.00938, interval=[-0.0123, 0.00345], outcome="inconclusive", new_data=again)

    text = told(verdict({"stdlib-docs": wide, "digits": task()}, effect=0.1, interval=[0.0, 0.2], new_data="opened"))

    table = text.splitlines()[1:5]
    assert table[1].split()[0] == "stdlib-docs" and table[2].startswith("  new data")
    assert max(len(line.rstrip()) for line in table) <= 80
    assert "…" not in text.replace(" … ", "")


def test_open_intervals_are_infinite_and_supports_that_new_data_never_saw_are_on_dev() -> None:
    text = told(verdict({"digits": task(interval=[0.1, OPEN])}))

    assert "0.1 … ∞" in text and "supported on dev" in text


def test_a_power_that_all_tasks_share_is_told_once() -> None:
    text = told(verdict({"a": task(), "b": task()}, effect={"undefined": "no scale"}))

    assert text.count("nobody measured the spread") == 1
    assert "Power unknown on every task: nobody measured the spread." in text
    assert "Effect over tasks: undefined, because no scale." in text
    assert "The early decision spared 10 trials, about 21 s of device time in all." in text


def test_several_tasks_are_described_and_said_not_to_decide() -> None:
    across = {"mean": 0.3, "interval": [0.1, 0.5], "prediction": [-0.2, 0.8], "tau2": 0.01, "i2": 0.92}

    text = told(verdict({"a": task(), "b": task()}, across=across, effect_unit="on the scales"))

    assert "Effect, on the scales: +0.362 (0.204 … 0.52)." in text
    assert "Description, which decides nothing: one more task of the kind -0.2 … 0.8; I² 0.92." in text


def test_a_secondary_verdict_says_what_it_counts_as() -> None:
    second = task(role="secondary, uncorrected", counts="inconclusive")

    text = told(verdict({"a": second, "b": task()}, scope="at_least(1)"))

    assert "Secondary, uncorrected, at 0.05; at 0.025 it counts as inconclusive for the claim." in text


def test_the_account_of_a_goal_is_told() -> None:
    stream = {"goal": "rates", "index": 1, "rule": "lord++", "alpha": 0.05}

    text = told(verdict({"digits": task()}, stream=stream, level=0.0109))

    assert "Tested at 0.0109, the 1st of goal rates (LORD++ at 0.05); a refutation at 0.05." in text


def test_reported_scores_have_no_new_data_and_no_dev() -> None:
    text = told(verdict({"scores": task()}, new_data="none", scores="reported by the caller"))

    assert "There are no new data: the verdict rests on the reported scores alone." in text
    assert "sealed" not in text and "on dev" not in text


def test_a_paused_claim_is_undecided_so_far() -> None:
    nothing = {"undefined": "no maximum was declared"}
    saved = dict.fromkeys(("pairs", "trials", "seconds", "money"), nothing)

    text = told(verdict({"a": task(planned=nothing, saved=saved)}, ended=False, outcome="inconclusive", saved=saved))

    assert "undecided so far: It holds." in text
    assert "3 pairs, no maximum declared; p ≤ 0.02." in text
    assert "sealed" not in text


def test_a_verdict_of_an_earlier_method_is_still_read() -> None:
    old = {"outcome": "refuted", "reasons": ["It fails."], "method": {"name": "paired-t", "version": 1}, "tasks": {}}

    text = told(old)

    assert "refuted: It fails." in text and "method paired-t, version 1" in text


# -------------------------------------------------------------------------------------------------------- previews

POWER = {"label": "under-powered", "because": "an effect of 0.02 has a chance of 31 % to be supported"}
POWER |= {"sd": 0.0438, "pairs": 4, "source": "plan --noise", "expected": 0.02, "detectable": 0.0621}  # type: ignore[dict-item]
NOISE = {
    "seeds": 4,
    "arm": "control",
    "seeds_sd": 0.0308,
    "again": {"mean": -0.0292, "sd": 0.0459},
    "correlation": 0.6,
    "paired_sd": 0.03,
    "unpaired_sd": 0.05,
    "items": {"count": 60, "error": 0.0382},
    "pairs_needed": 22,
    "unpaired_needed": 61,
}


def preview(**parts: Any) -> Preview:
    row = {"effect": 0.02, "supported": 0.31, "equivalent": 0.0, "refuted": 0.05, "inconclusive": 0.64, "pairs": 8.8}
    block: dict[str, Any] = {
        "test": "sequential-t",
        "level": 0.0109,
        "refute": 0.05,
        "looks": list(range(3, 13)),
        "earliest": 3,
        "boundaries": [19.1, 9.8, 6.95, 5.5, 4.67, 4.2, 3.85, 3.6, 3.41, 3.25],
        "power": POWER,
        "table": [row],
        "table_unit": "metric",
        "unit": "accuracy",
        "margin": 0.02,
        "noise": None,
        "trials_per_pair": 3,
        "cost": {"pair": 2.0, "whole": 24.0, "trials": 8},
    }
    record = {"scope": "all", "open": False, "pairs": 12, "trials": 36, "tasks": {"digits": block | parts}}
    return Preview("At most 36 trials.", ("Under-powered on digits: " + str(POWER["because"]) + ".",), record)


def test_a_preview_tells_looks_boundaries_power_and_cost() -> None:
    text = printed(lambda console: print_preview(console, "cosine", preview()))

    assert text.startswith("cosine: At most 36 trials.\n") and text.rstrip().endswith("Nothing is registered.")
    assert "digits: sequential t-test at the level 0.0109, refuted at 0.05" in text
    assert "looks at every pair from 3 to 12" in text
    assert "supported above t = 19.1 at 3, 5.5 at 6, 3.85 at 9, 3.25 at 12 pairs" in text
    assert text.count(str(POWER["because"])) == 1
    assert "smallest effect supported with a chance of 80 %: 0.0621 accuracy" in text
    assert "cost: 2 s of device time a pair, 24 s for all, from 8 recorded trials" in text
    assert "noise floor" not in text


def test_a_preview_tells_chances_and_trials_of_an_effect() -> None:
    text = printed(lambda console: print_preview(console, "cosine", preview()))

    head = next(line for line in text.splitlines() if "true effect" in line)
    row = text.splitlines()[text.splitlines().index(head) + 1]
    assert head.split() == ["true", "effect", "supported", "refuted", "undecided", "pairs", "trials"]
    assert row.split() == ["0.02", "31", "%", "5", "%", "64", "%", "8.8", "26"]


def test_a_preview_tells_the_noise_floor() -> None:
    text = printed(lambda console: print_preview(console, "cosine", preview(noise=NOISE)))

    assert "noise floor, over 4 seeds, in accuracy:" in text
    assert "control against control: -0.0292 ± 0.0459 (sd)" in text
    assert "paired by seed: sd 0.03, unpaired 0.05; correlation 0.6" in text
    assert "evaluation items: error 0.0382 (60 items), which no further seed reduces" in text
    assert "pairs needed: 22; without pairing: 61" in text


def test_a_preview_of_other_tests_says_what_they_have_instead() -> None:
    flips = preview(test="sequential-sign-flip", boundaries=[], earliest=6, table_unit="sds of the difference")

    text = printed(lambda console: print_preview(console, "cosine", flips))

    assert "no fixed critical values" in text and "can support from 6 pairs on" in text
    assert "effects are counted in sds of the difference" in text


@pytest.mark.parametrize("noise", [None, NOISE])
def test_a_preview_is_readable_at_eighty_columns(noise: Any) -> None:
    text = printed(lambda console: print_preview(console, "cosine", preview(noise=noise)))

    sentences = preview().said
    assert [line for line in text.splitlines() if len(line) > 80 and line.strip() not in sentences] == []


def test_a_real_preview_is_printed(study: Any, claim: Any) -> None:
    found = study.plan(claim(max_seeds=6, minimum_effect=0.3), noise=3)

    text = printed(lambda console: print_preview(console, "treatment", found))

    assert "Blobs: sequential t-test at the level 0.05" in text
    assert "noise floor, over 3 seeds, in accuracy:" in text
    assert re.search(r"\n +0 +\d+ % +\d+ %", text)


# ------------------------------------------------------------------------------------------------------ while it runs

PLAN: dict[str, Any] = {"tasks": {}, "seeds": {"indices": list(range(8))}, "open": False}


def standing(outcome: str | None) -> Standing:
    look = Look(n=3, mean=0.1, deviation=0.01, low=0.05, high=None, t=3.0, wins=3)
    return Standing(3, Decision(3, outcome, "support" if outcome else "", look))


def test_a_look_is_told_once_it_decides() -> None:
    def tell(console: Console) -> None:
        terminal = Terminal(console)
        terminal.look("digits", PLAN, standing(None))
        terminal.look("digits", PLAN, standing("supported"))

    assert printed(tell) == "  digits: supported after 3 of 8 pairs, +0.1 (0.05 … ∞).\n"


def test_progress_of_a_claim_without_a_maximum_names_no_total() -> None:
    def tell(console: Console) -> None:
        terminal = Terminal(console)
        terminal.registered(PLAN | {"open": True})
        terminal.planned(2000, 0, 1)
        for index in range(25):
            terminal.trial("a", "treatment", index, "done", {})

    text = printed(tell)

    assert "2000" not in text and "left" not in text
    assert [line.split()[0] for line in text.splitlines()] == ["10", "20"]


def test_means_of_a_noise_floor_are_not_shown() -> None:
    def tell(console: Console) -> None:
        terminal = Terminal(console)
        terminal.planned(2, 0, 1)
        for arm in ("control", "treatment"):
            terminal.trial("a", arm, 0, "done", {"accuracy": 0.875})
        terminal.ended()

    assert "0.875" not in printed(tell)


def test_means_of_a_registered_claim_are_shown() -> None:
    def tell(console: Console) -> None:
        terminal = Terminal(console)
        terminal.registered(PLAN | {"tasks": {"a": {"metric": {"name": "accuracy"}}}})
        terminal.planned(2, 0, 1)
        for arm in ("control", "treatment"):
            terminal.trial("a", arm, 0, "done", {"accuracy": 0.875})
        terminal.ended()

    assert "Mean scores on dev: a 0.875 → 0.875" in printed(tell)


# --------------------------------------------------------------------------------------------------- run and status


def test_a_paused_claim_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, claim: Any
) -> None:
    endless = claim(max_seeds=None, minimum_effect=0.6)
    monkeypatch.setattr("novum.claimfile.load_all", lambda path, overrides: (endless,))
    study = novum.Study(tmp_path / "study", executor="inline", listener=Listener())

    outcomes = app._run_claim(Path("claim.toml"), [], study, False, pairs=4)

    said = capsys.readouterr().out
    assert outcomes == ["inconclusive"]
    assert "undecided so far" in said and "no verdict is recorded, and the trials are kept" in said
    assert f"novum run claim.toml --study {study.folder} --pairs 8" in said
    assert "--recompute" not in said


@pytest.mark.parametrize("count", [1, 2])
def test_pausing_is_refused_where_it_would_do_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, claim: Any, count: int
) -> None:
    monkeypatch.setattr("novum.claimfile.load_all", lambda path, overrides: (claim(),) * count)
    study = novum.Study(tmp_path / "study", executor="inline", listener=Listener())

    with pytest.raises(novum.ConfigError, match=r"--pairs 4: .*leave --pairs out"):
        app._run_claim(Path("claim.toml"), [], study, False, pairs=4)


def test_the_status_tells_pairs_goals_and_claims_that_stand_alone(
    capsys: pytest.CaptureFixture[str], study: Any, claim: Any
) -> None:
    study.run(claim(max_seeds=5))
    study.run(claim("seeing helps in this goal", max_seeds=9, goal="sight"))

    status.status(str(study.folder))
    text = capsys.readouterr().out
    status.status(str(study.folder), as_json=True)
    found = json.loads(capsys.readouterr().out)

    used = [row["pairs"]["Blobs"] for row in found["hypotheses"]]
    assert [each["planned"] for each in used] == [5, 9]
    assert all(3 <= each["used"] <= each["planned"] for each in used)
    assert f"{used[0]['used']} of 5 pairs" in text
    assert "Goal sight, LORD++:" in text and "1 claim of 2 named no goal: each stands alone." in text
    assert found["goals"]["sight"][0]["level"] == pytest.approx(0.0109, rel=0.01)
    assert found["alone"] == 1
