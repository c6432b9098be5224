"""What the report tells of a sequential claim: looks, what was spared, levels, several tasks, reported scores."""

from __future__ import annotations

import copy
import importlib.util
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import novum
import pytest
from novum.report import gather, render
from novum.report.html import verdict_table
from novum.report.looks import looks
from novum.report.text import verdict_rows
from novum.report.trials import fate


def load(name: str) -> Any:
    """A module beside this one, by path: tests are no package."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None and spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


fixture = load("report_fixture")
CONFIRMED, HELPED, Page, study = fixture.CONFIRMED, fixture.HELPED, fixture.Page, fixture.study
Make = Callable[..., dict[str, Any]]

EARLY: Any = {"digits": [*HELPED["digits"][:4], (0.95, "stopped"), (None, None)]}
"""Decided after three pairs; the fourth ran ahead, of the fifth one side was stopped, and the sixth never began."""


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Gathers a study; one that was asked for before is not made again."""
    known: dict[str, dict[str, Any]] = {}

    def gathered(dev: Any, test: Any = None, **options: Any) -> dict[str, Any]:
        key = repr((dev, test, options))
        if key not in known:
            ledger, name = study(tmp_path_factory.mktemp("study"), dev, test, **options)
            with ledger:
                known[key] = gather(ledger, name)
        return copy.deepcopy(known[key])

    return gathered


def section(page: str, name: str) -> str:
    """The text of one section."""
    found = re.search(rf'<section id="{name}">.*?</section>|<section[^>]* id="{name}">.*?</section>', page, re.DOTALL)
    assert found is not None
    return str(Page(found[0]).text)


# ----------------------------------------------------------------------------------------------------------- looks

OPEN = {"undefined": "it is open on this side"}
SEEN: Any = [
    {"pairs": 3, "effect": 0.1, "interval": [OPEN, OPEN]},
    {"pairs": 4, "effect": 0.2, "interval": [-9.0, 9.0]},
    {"pairs": 5, "effect": 0.15, "interval": [0.05, 0.25]},
]


def test_the_looks_are_drawn_in_order_and_the_deciding_one_in_the_outcomes_colour() -> None:
    page = Page(str(looks(SEEN, "supported", (0.02,), 5, 10, "accuracy", decided=True)))

    assert [page.count("g", kind) for kind in ("look", "is-none", "is-supported")] == [3, 2, 1]
    assert page.count("line", "margin") == 1 and page.count("line", "zero") == 1
    assert "spared" in page.text and "3 pairs: +0.1 (−∞ … ∞)" in page.text


def test_an_open_interval_runs_to_the_edge_and_has_no_cap() -> None:
    page = Page(str(looks(SEEN, "supported", (0.02,), 5, 10, "accuracy", decided=True)))

    spans = [
        sorted((float(found["y1"]), float(found["y2"])))
        for tag, found in page.tags
        if tag == "line" and found.get("class") == "interval"
    ]
    assert spans[0] == spans[1] == [26.0, 226.0]  # the second is far outside: an axis that held it would show nothing
    assert 26 < spans[2][0] < spans[2][1] < 226
    assert page.count("line", "cap") == 2


def test_an_open_question_has_no_deciding_look_and_no_look_no_plot() -> None:
    page = Page(str(looks(SEEN, "inconclusive", (0.02,), 5, None, "accuracy", decided=False)))

    assert page.count("g", "is-none") == 3 and "spared" not in page.text
    assert looks([], "invalid", (0.02,), 0, 10, "accuracy", decided=True) is None


def test_a_long_series_of_looks_keeps_its_width() -> None:
    many = [{"pairs": at, "effect": 1 / at, "interval": [1 / at - 1, 1 / at + 1]} for at in range(3, 201)]

    page = Page(str(looks(many, "inconclusive", (0.0,), 200, 200, "accuracy", decided=True)))

    across = [float(found["cx"] or 0) for tag, found in page.tags if tag == "circle"]
    assert len(across) == 198 and min(across) > 58 and max(across) < 420
    assert across == sorted(across)


# -------------------------------------------------------------------------------------------- spared and ran ahead


def test_what_the_decision_spared_is_told_and_is_no_deviation(make: Make) -> None:
    data = make(EARLY, CONFIRMED, max_seeds=8)

    page = render(data)

    assert data["verdict"]["tasks"]["digits"]["pairs"] == 3
    ran = section(page, "trials")
    assert (
        "16 trials were planned: 6 stand behind the verdict; 3 ran ahead of the decision and were not looked at; "
        "7 were spared, 1 of them while they ran." in ran
    )
    assert "Nothing to report: no trial diverged, broke or had to be started twice." in ran
    assert "digits, control, seed 3 (done)" in ran
    assert "spared" in ran and "stopped: the decision came first" in ran
    assert "10 trials" in section(page, "answer") and "3 of them ran ahead all the same" in section(page, "answer")


def test_every_planned_trial_has_a_fate(make: Make) -> None:
    data = make(EARLY, CONFIRMED, max_seeds=8)

    fates = [fate(data, row) for row in data["trials"]]

    assert {name: fates.count(name) for name in ("counted", "ahead", "stopped", "never")} == {
        "counted": 6,
        "ahead": 3,
        "stopped": 1,
        "never": 6,
    }


def test_pairs_that_ran_ahead_are_not_drawn(make: Make) -> None:
    page = Page(render(make(EARLY, max_seeds=8, minimum_effect=0.5)))

    assert page.count("g", "pair") == 3
    assert "1 pair that ran ahead left out" in page.text


def test_trials_that_an_unfinished_claim_has_not_run_are_not_called_spared(make: Make) -> None:
    ran = section(render(make({"digits": HELPED["digits"][:2]}, max_seeds=8, decided=False)), "trials")

    assert "At most 16 trials are planned, 4 have ended." in ran
    assert "spared" not in ran and "not started" in ran


# ------------------------------------------------------------------------------------------------- what was registered


def test_method_levels_looks_and_boundaries_are_told(make: Make) -> None:
    data = make(HELPED, CONFIRMED, futility=0.0)

    told = section(render(data), "registered")

    test = data["plan"]["tasks"]["docs"]["test"]
    for words in (
        "at every pair from 3 to 5",
        "every one of 3 tasks",
        "never given up before the last pair",
        "strict: supported says better by at least the least effect",
        "new data are scored with the networks already trained",
        "Boundaries of docs",
        f"{test['upper'][0]:.4g}",
    ):
        assert words in told


def test_a_zone_and_probabilities_of_winning_are_told_in_words(make: Make) -> None:
    rows = [(0.9, 0.9 + at / 1000) for at in range(1, 9)]
    zone = section(render(make({"digits": rows}, margins="zone")), "registered")
    win = render(make({"digits": rows}, estimand="win", minimum_effect=0.1))

    assert "zone: supported says better at all, and the least effect is not excluded" in zone
    assert "how far the probability that the treatment wins a pair lies above one half" in section(win, "registered")
    assert "effect: P(win) − ½" in section(win, "effects")
    assert "This test counts wins" in section(win, "registered")


def test_a_goals_account_and_the_claims_that_stand_alone_are_told(tmp_path: Path) -> None:
    ledgers = [
        study(tmp_path, {"digits": HELPED["digits"]}, {"digits": CONFIRMED["digits"]}, goal="schedules"),
        study(tmp_path, {"docs": HELPED["docs"]}, schedule="linear", goal="schedules", decided=False),
        study(tmp_path, {"docs": HELPED["docs"]}, schedule="step", decided=False),
    ]
    ledger, name = ledgers[1]

    page = render(gather(ledger, name))

    for each, _ in ledgers:
        each.close()
    told = section(page, "registered")
    rows = re.findall(r"h-[0-9a-f]{10}", told.split("The account of goal schedules")[1])
    assert rows == [ledgers[0][1], name]
    assert "✓ supported" in told and "no verdict yet" in told
    assert "1 hypothesis of this study names no goal" in told
    assert "the 2nd of goal schedules (LORD++ at 0.05); a refutation at 0.05." in section(page, "answer")


def test_two_levels_give_their_own_coverage(make: Make) -> None:
    data = make({"digits": HELPED["digits"]}, {"digits": CONFIRMED["digits"]}, goal="rates")

    page = Page(render(data))

    share = f"{100 * (1 - data['plan']['level'] - 0.05):.4g} %"
    assert f"mean and {share} interval on dev, valid at every look" in page.text


# ------------------------------------------------------------------------------------------------------- several tasks


def test_secondary_verdicts_are_labelled_beside_what_counts(make: Make) -> None:
    data = make(HELPED, CONFIRMED, scope="at_least(2)")

    page = render(data)

    told = section(page, "across")
    assert "The claim is about at least 2 of 3 tasks." in told
    assert "on its own (secondary, uncorrected)" in told and "0.025" in told
    assert section(page, "tasks").count("secondary, uncorrected") == 3


def test_the_average_has_its_looks_and_its_lane(make: Make) -> None:
    data = make(HELPED, CONFIRMED, scope="average")

    page = render(data)

    assert data["verdict"]["outcome"] == "supported"
    assert "The average, which decides" in section(page, "across")
    assert "effect in means of the scales" in section(page, "across")
    assert "average over tasks" in section(page, "effects")
    assert [row["task"] for row in verdict_rows(data["verdict"])][-2:] == ["average", "average"]


def test_a_task_that_new_data_merely_accompany_keeps_its_own_colour(make: Make) -> None:
    docs = [(0.7, 0.7 + gain) for gain in (0.2, -0.1, 0.1, -0.15, 0.2)]
    dev, test = HELPED | {"docs": docs}, CONFIRMED | {"docs": docs}

    data = make(dev, test, scope="average", minimum_effect=0.001)

    assert data["verdict"]["outcome"] == "supported"
    effects = Page(re.search(r'<section id="effects">.*?</section>', render(data), re.DOTALL)[0])  # type: ignore[index]
    tones = [str(found["class"]) for tag, found in effects.tags if tag == "g"]
    assert tones[2] == "is-inconclusive"  # digits has the first two marks


def test_random_effects_are_called_a_description(make: Make) -> None:
    data = make(HELPED, CONFIRMED)

    told = section(render(data), "across")

    assert "What describes the tasks together, and decides nothing" in told
    assert "one more task of the kind, as predicted" in told and "mean of the others" in told
    assert all(name in told for name in HELPED)


def test_a_claim_about_one_task_has_no_section_across_tasks(make: Make) -> None:
    page = Page(render(make({"digits": HELPED["digits"]}, {"digits": CONFIRMED["digits"]})))

    assert "Across tasks" not in page.text


# ------------------------------------------------------------------------------------------------------------ new data


def test_what_new_data_guard_against_is_said_plainly(make: Make) -> None:
    one = {"digits": HELPED["digits"]}, {"digits": CONFIRMED["digits"]}
    same, fresh = (section(render(make(*one, confirm=each)), "new") for each in ("same-networks", "fresh-seeds"))

    assert "It does not guard against lucky seeds: the same networks are scored again." in same
    assert "and against lucky seeds as well" in fresh and "models trained on fresh seeds for it" in fresh


def test_networks_of_fresh_seeds_have_rows_of_their_own(make: Make) -> None:
    data = make({"digits": HELPED["digits"]}, {"digits": CONFIRMED["digits"]}, confirm="fresh-seeds")

    ran = section(render(data), "trials")

    assert [row["index"] for row in data["trials"] if row["confirms"]] == [at for at in range(5, 10) for _ in range(2)]
    assert "10 trials were planned, and 10 on fresh seeds to confirm: 16 stand behind the verdict" in ran


def test_warnings_about_worn_items_stand_with_the_new_data(make: Make) -> None:
    data = make({"digits": HELPED["digits"]}, {"digits": CONFIRMED["digits"]})
    data["verdict"]["tasks"]["digits"] |= {
        "notes": ["Seed 1, control: it broke."],
        "warnings": ["These items are worn."],
    }

    told = section(render(data), "new")

    assert "digits: These items are worn." in told and "Seed 1" not in told
    assert "arms scored on them before" in told


# ----------------------------------------------------------------------------------- bars, open claims, reported scores


def test_a_bar_is_told_and_drawn(make: Make) -> None:
    rows = [(0.9, each) for each in (0.95, 0.94, 0.96, 0.95, 0.96)]

    page = render(make({"digits": rows}, {"digits": rows}, bar=0.9))

    assert "The control is a bar, for which nothing is trained: 0.9 accuracy." in section(page, "tasks")
    assert "(nothing was trained) → 401 MB" in section(page, "tasks")
    assert "control, the bar" in section(page, "tasks")
    assert "of training; the control cost nothing" in section(page, "answer")
    assert "each seed against the bar" in section(page, "answer")
    assert Page(page).count("g", "win") == 6  # three pairs on dev, three on new data


def test_a_claim_without_a_maximum_lists_what_was_started_and_calls_no_end(make: Make) -> None:
    data = make({"digits": HELPED["digits"][:3]}, max_seeds=None, decided=False)

    page = render(data)

    assert len(data["trials"]) == 6
    assert "No maximum is declared, 6 have ended." in section(page, "trials")
    assert "no maximum was declared (the plan lists 1,000)" in section(page, "registered")
    assert "… 958 more" in section(page, "registered")


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A comparison of two functions, with the second at seed 4 not finite."""

    def base(seed: int) -> float:
        return 0.5 + seed % 3 / 100

    def better(seed: int) -> float:
        return base(seed) + (0.2, 0.21, 0.19, 0.2)[seed % 4]

    folder = tmp_path_factory.mktemp("reported")
    verdict = novum.compare(base, better, minimum_effect=0.1, max_seeds=8, study=folder)
    with novum.Study(folder).reading() as ledger:
        return gather(ledger, verdict.hypothesis)


def test_reported_scores_have_a_report_that_says_what_is_not_known(reported: dict[str, Any]) -> None:
    page = render(reported)

    assert "There are no new data: scores were reported by the caller" in section(page, "new")
    assert "Scores reported by the caller, higher is better" in section(page, "tasks")
    assert re.search(r"The control is the function \S*base, the treatment \S*better", section(page, "tasks"))
    assert "Nothing: the caller reported scores, and Novum saw no data." in section(page, "observed")
    assert "The code behind the scores is not known here" in section(page, "environment")
    assert "sealed" not in section(page, "trials") and "on dev" not in section(page, "tasks")
    assert "Scores were reported by the caller: what either side was given" in section(page, "answer")


def test_a_reported_support_is_not_said_to_be_on_dev(reported: dict[str, Any]) -> None:
    rows = verdict_rows(reported["verdict"])

    assert [(row["outcome"], row["place"]) for row in rows] == [("supported", "")]


# --------------------------------------------------------------------------------------------------------- fragments


def test_a_notebook_shows_open_intervals_pairs_and_what_was_spared(make: Make) -> None:
    record = make(EARLY, CONFIRMED, max_seeds=8)["verdict"]
    record["tasks"]["digits"]["interval"] = [0.01, OPEN]

    text = Page(verdict_table(record)).text

    assert "0.01 … ∞" in text and "3 of 8" in text and "10 trials" in text


def test_an_undecided_claim_is_not_given_an_outcome(make: Make) -> None:
    record = make(EARLY, CONFIRMED, max_seeds=8)["verdict"] | {"ended": False, "outcome": "inconclusive"}

    text = Page(verdict_table(record)).text

    assert text.startswith("undecided. It is not decided yet.")


def test_an_open_end_is_drawn_to_the_edge_of_the_effects(make: Make) -> None:
    data = make(EARLY, CONFIRMED, max_seeds=8)
    data["verdict"]["tasks"]["digits"]["interval"] = [OPEN, 0.05]

    page = render(data)

    effects = Page(re.search(r'<section id="effects">.*?</section>', page, re.DOTALL)[0])  # type: ignore[index]
    lines = [found for tag, found in effects.tags if tag == "line" and found.get("class") in ("interval", "cap")]
    assert lines[0]["x1"] == "0%"
    assert [found["class"] for found in lines[:4]] == ["interval", "cap", "interval", "cap"]
    assert "(−∞ … 0.05)" in effects.text
