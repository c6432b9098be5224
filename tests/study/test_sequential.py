"""Sequential claims as a user meets them: on the command line, from a claim file, in a study of their own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import novum
import pytest

INLINE = ("--executor", "inline")
TWICE = (
    'tasks.more={ task = { plugin = "text-classification", data = "pets.csv" }, '
    'model = { plugin = "bag", buckets = 256, dimension = 8 }, recipe = { budget = "4 epochs", batch_size = 8 } }'
)


@pytest.fixture
def claimed(here: Callable[..., Any], shelf: Path, tmp_path: Path) -> Callable[..., Any]:
    """Runs a command on the shelf's claim: `claimed("run", "max_seeds=8")` gives its JSON, or what it said."""

    def run(command: str, *words: str, plain: bool = False, code: int = 0) -> Any:
        how = () if plain else ("--json",)
        study = ("--study", str(tmp_path / "study"))
        said = here(command, "claim.toml", *words, *how, *study, *INLINE, cwd=shelf)
        assert said.code == code, said.err
        return said if plain else json.loads(said.out)

    return run


def test_a_clear_effect_ends_the_claim_early_and_the_terminal_says_what_it_saved(claimed: Any, tmp_path: Path) -> None:
    said = claimed("run", "max_seeds=9", plain=True)

    assert "pets: supported after 3 of 9 pairs" in said.out
    assert "3 of 9 pairs; spared 12 trials" in said.out
    assert len(novum.Study(tmp_path / "study").rows()) == 6


def test_the_plan_shows_looks_power_and_noise_and_registers_nothing(claimed: Any, tmp_path: Path) -> None:
    quiet = claimed("plan", "max_seeds=6")["learning"]["record"]["tasks"]["pets"]
    loud = claimed("plan", "max_seeds=6", "--noise", "3")["learning"]["record"]["tasks"]["pets"]

    assert (quiet["looks"], quiet["power"]["label"], quiet["noise"]) == ([3, 4, 5, 6], "unknown", None)
    assert loud["power"]["label"] in ("adequate", "under-powered")
    assert loud["noise"]["seeds"] == 3
    assert loud["cost"]["trials"] == 9
    assert [row["supported"] for row in loud["table"]] == sorted(row["supported"] for row in loud["table"])
    assert novum.Study(tmp_path / "study").hypotheses() == []


def test_while_noise_is_measured_no_score_is_told(claimed: Any) -> None:
    said = claimed("plan", "--noise", "3", plain=True)

    assert "noise floor, over 3 seeds" in said.out
    assert "Mean scores on dev" not in said.out
    assert " → 0." not in said.out


def test_a_claim_without_a_maximum_pauses_and_goes_on(claimed: Any, tmp_path: Path) -> None:
    words = ('max_seeds="open"', "minimum_effect=0.9")

    paused = claimed("run", *words, "--pairs", "3")["verdict"]
    said = claimed("run", *words, "--pairs", "4", plain=True)

    assert (paused["ended"], paused["tasks"]["pets"]["pairs"]) == (False, 3)
    assert "no verdict is recorded" in said.out
    assert len(novum.Study(tmp_path / "study").rows()) == 8
    assert "max_seeds = " in claimed("run", "--pairs", "3", plain=True, code=2).err


@pytest.mark.parametrize("scope", ["at_least(1)", "average"])
def test_a_claim_about_some_tasks_or_their_average_is_confirmed_and_recomputed(
    claimed: Any, tmp_path: Path, scope: str
) -> None:
    found = claimed("run", TWICE, f'scope="{scope}"', "max_seeds=6")["verdict"]

    study = novum.Study(tmp_path / "study")
    assert (found["outcome"], found["new_data"]) == ("supported", "opened")
    assert {task["role"] for task in found["tasks"].values()} == {"secondary, uncorrected"}
    assert study.verdict(found["hypothesis"], recompute=True).record == found


def test_a_bar_trains_the_treatment_alone_and_is_confirmed_on_new_data(claimed: Any, tmp_path: Path) -> None:
    found = claimed("run", "control=0.6", "max_seeds=6", "minimum_effect=0")["verdict"]

    assert (found["outcome"], found["new_data"]) == ("supported", "opened")
    assert {row["side"] for row in novum.Study(tmp_path / "study").rows()} == {"treatment"}
    assert "nothing was trained" in found["fairness"]


def test_fresh_seeds_confirm_with_networks_of_their_own(claimed: Any, tmp_path: Path) -> None:
    found = claimed("run", 'confirm="fresh-seeds"', "max_seeds=5")["verdict"]

    seeds = {row["seed"] for row in novum.Study(tmp_path / "study").rows() if "test.accuracy" in row}
    assert found["outcome"] == "supported"
    assert seeds == {5, 6, 7}
    assert "fresh seeds" in " ".join(found["tasks"]["pets"]["reasons"])


def test_money_is_told_where_a_price_is_given(claimed: Any) -> None:
    found = claimed("run", "price_per_hour=3600", "max_seeds=5")["verdict"]

    assert found["saved"]["money"] == pytest.approx(found["saved"]["seconds"], rel=1e-6)


def test_the_level_of_a_goal_is_said_before_and_its_account_in_the_status(
    claimed: Any, here: Callable[..., Any], shelf: Path, tmp_path: Path
) -> None:
    said = claimed("run", 'goal="pets"', "max_seeds=6", plain=True)
    status = here("status", "--json", "--study", str(tmp_path / "study"), cwd=shelf)

    assert "Tested at 0.0109, the 1st of goal pets (LORD++ at 0.05)." in said.out
    assert "pets" in status.out
    assert json.loads(status.out)["alone"] == 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("alpha=0.5",), "alpha"),
        (('scope="some"',), "scope: received 'some'; allowed: 'all', 'at_least(r)' with r from 1 to 1, or 'average'"),
        (('scope="at_least(2)"',), "scope: received 'at_least(2)'"),
        (('margins="loose"',), "margins"),
        (('estimand="median"',), "estimand"),
        (("futility=0.5",), "futility: received 0.5; allowed: 0 (never) to below 0.5"),
        (("expected_effect=0",), "expected_effect: received 0"),
        (("batch=4",), "batch: received 4; allowed: a whole number from 1 to 3, max_seeds"),
        (('test="sign-flip"',), "max_seeds: received 3; at the level 0.05 the sign-flip test can support nothing"),
        (('max_seeds="open"', 'test="sign-flip"'), "max_seeds: without a declared maximum"),
        (('estimand="win"', "minimum_effect=0.5"), "the probability of winning lies above one half"),
        (("control=inf",), "a bar is a finite number"),
        (
            ("control=80",),
            "control: received 80.0, a bar that no accuracy can be compared with; it lies from 0.0 to 1.0",
        ),
        (('control="0.8"',), "control: received '0.8'; give a table of changes, or a number: the bar"),
        (('max_seeds="many"',), "max_seeds: received 'many'; give a whole number from 3 to 1000, or \"open\""),
        (('fdr="lond"',), "fdr: received 'lond', but no goal is named"),
        (('estimand="win"', 'test="t"'), "test: received 't' with estimand 'win'"),
        (('fdr="bh"',), "fdr"),
    ],
)
def test_what_cannot_be_tested_is_refused_with_the_field_and_the_range_and_registers_nothing(
    claimed: Any, tmp_path: Path, words: tuple[str, ...], says: str
) -> None:
    said = claimed("run", *words, plain=True, code=2)

    assert says in said.err
    ledger = tmp_path / "study" / "ledger.sqlite"
    assert not ledger.exists() or novum.Study(tmp_path / "study").hypotheses() == []
