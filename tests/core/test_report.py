"""What the report of a hypothesis shows, on studies that go through a real ledger."""

from __future__ import annotations

import copy
import importlib.util
import json
import re
import sys
from collections.abc import Callable
from html import escape, unescape
from pathlib import Path
from typing import Any

import pytest
from novum.errors import StudyError
from novum.report import gather, render, write
from novum.report.html import verdict_table
from novum.report.text import numbers, signed, verdict_rows


def load(name: str) -> Any:
    """A module beside this one, by path: tests are no package."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None and spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


fixture = load("report_fixture")
CONFIRMED, HELPED, HOSTILE, MIXED = fixture.CONFIRMED, fixture.HELPED, fixture.HOSTILE, fixture.MIXED
Page, study = fixture.Page, fixture.study

Make = Callable[..., dict[str, Any]]


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


# ------------------------------------------------------------------------------------------------------- the page


@pytest.mark.parametrize("dev", [HELPED, MIXED], ids=["helped", "mixed"])
def test_tags_balance_and_ids_are_unique(make: Make, dev: Any) -> None:
    page = Page(render(make(dev)))

    ids = [found["id"] for _, found in page.tags if "id" in found]

    assert len(ids) == len(set(ids)) > 5
    assert {found["href"] for tag, found in page.tags if tag == "a"} <= {f"#{name}" for name in ids}


def test_a_page_loads_nothing_and_forbids_loading(make: Make) -> None:
    text = render(make(HELPED, CONFIRMED))

    page = Page(text)

    policies = [found["content"] for tag, found in page.tags if found.get("http-equiv") == "Content-Security-Policy"]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]
    assert not re.search(r"https?://|url\(|@import", text)
    assert not any(name in found for _, found in page.tags for name in ("src", "srcset", "style", "onload", "onclick"))
    assert not {"script", "link", "iframe", "object", "embed", "img", "form"} & {tag for tag, _ in page.tags}


def test_no_text_from_outside_becomes_a_tag(make: Make) -> None:
    data = make({"digits": [(0.9, 0.95), (0.91, "failed"), (0.9, 0.93)]})
    harmless = Page(render(data))
    tags = [tag for tag, _ in harmless.tags]

    hostile = render(poisoned(data))

    assert "<script" not in hostile and "<b>" not in hostile
    assert [tag for tag, _ in Page(hostile).tags] == tags
    assert Page(hostile).text.count(HOSTILE) > 10


def poisoned(data: dict[str, Any]) -> dict[str, Any]:
    """The same, with a tag in every free text."""
    data["hypothesis"] |= {"claim": HOSTILE, "name": HOSTILE}
    data["verdict"]["reasons"] = [HOSTILE]
    task = data["plan"]["tasks"]["digits"]
    for plan in (task["control"], task["treatment"]):
        plan["arm"]["model"]["name"] = plan["device"] = plan["data"] = HOSTILE
        plan["code"]["task"]["distribution"] = HOSTILE
    task["metric"]["unit"] = data["verdict"]["tasks"]["digits"]["unit"] = HOSTILE
    data["verdict"]["fairness"] = task["power"]["because"] = HOSTILE
    for row in data["trials"]:
        row |= {name: HOSTILE for name in ("because", "weights") if row[name]}
    data["observations"]["digits"]["facts"][0] |= {"value": HOSTILE, "about": HOSTILE}
    data["environment"]["platform"] = HOSTILE
    return data


def test_the_same_data_give_the_same_bytes(make: Make) -> None:
    data = make(HELPED, CONFIRMED)

    again = json.loads(json.dumps(data))

    assert again == data
    assert render(data) == render(again) != render(make(MIXED))


# ------------------------------------------------------------------------------------------------------ the answer

SMALL: Any = [(0.9, 0.901), (0.91, 0.9102), (0.905, 0.9045), (0.9, 0.9005)]
WORSE: Any = [(0.95, 0.91), (0.96, 0.90), (0.94, 0.90), (0.95, 0.89)]
NOISY: Any = [(0.9, 0.99), (0.95, 0.90), (0.91, 0.96), (0.93, 0.92)]
BROKEN: Any = [(0.9, 0.95), (0.91, "failed"), (0.9, 0.93)]


@pytest.mark.parametrize(
    ("pairs", "outcome", "sentence"),
    [
        (WORSE, "refuted", "No: the treatment did not help as claimed."),
        (SMALL, "equivalent", "It makes no difference that counts."),
        (NOISY, "inconclusive", "It is not decided."),
        (BROKEN, "invalid", "There is no answer: the experiment broke."),
    ],
)
def test_every_outcome_is_told_with_its_reason(make: Make, pairs: Any, outcome: str, sentence: str) -> None:
    data = make({"digits": pairs})

    page = Page(render(data))

    assert data["verdict"]["outcome"] == outcome
    assert page.count("span", f"is-{outcome}") == 3  # beside the answer, the interval and the task's name
    assert sentence in page.text
    assert data["verdict"]["tasks"]["digits"]["reasons"][0] in page.text
    assert "Test stays sealed." in page.text


def test_a_confirmed_claim_shows_what_new_data_said(make: Make) -> None:
    data = make(HELPED, CONFIRMED)

    page = Page(render(data))

    assert "Yes: the treatment helped." in page.text
    assert "1 by this claim, 1 in the whole study so far" in page.text
    for found in data["verdict"]["tasks"].values():
        assert f"{signed(found['new_data']['effect'])} " in page.text
        assert f"({numbers(found['new_data']['interval'])})" in page.text


def test_intervals_and_effects_are_the_verdicts_numbers(make: Make) -> None:
    data = make(MIXED)

    page = Page(render(data))

    titles = {found["title"] for _, found in page.tags if found.get("title")}
    for seen in data["verdict"]["tasks"].values():
        assert f"{signed(seen['effect'])} {seen['unit'] or seen['metric']} ({numbers(seen['interval'])})" in page.text
        assert {str(seen["effect"]), " … ".join(map(repr, seen["interval"]))} <= titles | {numbers(seen["effect"])}


def test_a_claim_under_way_shows_no_effect(make: Make) -> None:
    data = make({"digits": [(0.9, 0.95), (0.91, 0.96), (0.9, None), (None, None)]}, decided=False)

    page = Page(render(data))

    assert "There is no verdict yet." in page.text and "5 of at most 8 trials have ended." in page.text
    assert page.count("svg", "lane") == 0 and page.count("table", "numbers") == 0


def test_what_is_undefined_says_why_and_is_never_a_number(make: Make) -> None:
    data = make({"digits": BROKEN})

    page = Page(render(data))

    assert page.text.count("undefined, because the experiment broke") >= 5
    assert data["verdict"]["tasks"]["digits"]["treatment"] == 0.95  # no 0 for the crash
    assert page.count("g", "pair") == 1
    assert "1 broken pair left out; 1 pair that ran ahead left out" in page.text
    assert "undefined, because labels come once" in page.text  # a fact


# ------------------------------------------------------------------------------------------------------- the plots

ALL: Any = ((MIXED,), (HELPED, CONFIRMED))


def test_every_task_has_a_point_an_interval_and_a_margin(make: Make) -> None:
    one, both = Page(render(make(MIXED))), Page(render(make(HELPED, CONFIRMED)))

    lanes, described, legend = 3, 2, 1  # the mean over tasks and one more task; the key shows a sample of each mark
    assert [page.count("svg", "lane") for page in (one, both)] == [lanes + described, lanes + described]
    looks = [sum(len(task["looks"]) for task in make(*each)["verdict"]["tasks"].values()) for each in ALL]
    intervals = [page.count("line", "interval") for page in (one, both)]
    assert intervals == [lanes + described + legend + looks[0], 2 * lanes + described + 2 * legend + looks[1]]
    assert [page.count("line", "margin") for page in (one, both)] == [2 * lanes + legend, 2 * lanes + legend]


def test_every_pair_and_every_curve_point_is_drawn(make: Make) -> None:
    page = Page(render(make(MIXED)))

    looked = sum(task["pairs"] for task in make(MIXED)["verdict"]["tasks"].values())
    assert looked == page.count("g", "pair") == 3 + 3 + 4
    assert page.count("path", "cross") == 2  # the diverged one and the undefined one
    assert page.count("g", "curve") == 6
    curves, pairs, keys = 6 * 5, 2 * looked - 2, 3 * 2 * 2
    assert page.count("circle", "dot") == curves + pairs + keys
    for label in ("accuracy on dev, higher is better", "return on dev", "environment steps", "samples seen"):
        assert label in page.text
    assert "× counts as 0" in page.text
    assert "1 curve breaks off early and counts as far as it goes" in page.text


def test_every_plot_is_named_for_those_who_cannot_see_it(make: Make) -> None:
    page = Page(render(make(HELPED, CONFIRMED)))

    pictures = [found for tag, found in page.tags if tag == "svg" and found.get("role") == "img"]

    lanes, plots = 3 + 2, 3 * 4
    assert len(pictures) == lanes + plots
    assert all(found["aria-label"] for found in pictures)


# ------------------------------------------------------------------------------------------------------ the record


def test_every_trial_has_its_row_and_every_deviation_is_told(make: Make) -> None:
    data = make(MIXED)

    page = Page(render(data))

    assert page.count("tr", "trial") == len(data["trials"]) == 30
    assert {row["key"] for row in data["trials"]} <= {found.get("title") for _, found in page.tags}
    assert "cartpole, treatment, seed 2 diverged: a loss or weight was not finite" in page.text
    assert (
        "docs, treatment, seed 1 was started 2 times on the same seed (its process was ended by SIGKILL)" in page.text
    )
    assert "docs, treatment, seed 2: accuracy on dev is undefined, because no class was predicted" in page.text


def test_only_options_that_differ_are_marked(make: Make) -> None:
    page = Page(render(make(HELPED)))

    assert page.count("tr", "differs") == 3  # recipe.schedule, once a task
    assert page.text.count("recipe.schedule: constant → cosine") == 3


def test_parents_are_trials_of_their_own_and_shared_ones_have_one_row(make: Make) -> None:
    data = make({"digits": [(0.9, 0.91), (0.91, 0.93), (0.9, 0.905)]}, pretrained=True)

    page = Page(render(data))

    assert (
        sorted(row["sides"] for row in data["trials"]) == [["control", "treatment's start"]] * 3 + [["treatment"]] * 3
    )
    assert page.count("tr", "trial") == 6
    assert page.text.count("12 / 2") == 3
    assert "The treatment began from trained weights: 3 parent trials, 7,500 units each, 25 s in all." in page.text
    assert page.count("g", "curve") == 2


def test_what_was_registered_and_how_to_check_it_is_there(make: Make) -> None:
    data = make(HELPED, CONFIRMED)

    page = Page(render(data))

    for word in (data["fingerprint"], "sequential, version 1", "root 0, block 0, seeds 0 to 4", "0.05, one-sided"):
        assert word in page.text
    assert f"novum verdict {data['hypothesis']['id']} --recompute --study FOLDER" in page.text
    assert data["environment"]["python"] in page.text and "torch 2.15.0" in page.text
    assert "Seeds sample the noise of training only" in page.text
    assert "every arm: a CPU, float32, contiguous tensors, eager steps, each seed trained apart (separate)" in page.text


def test_code_of_a_script_is_called_not_installed_and_its_folder_stays_private(make: Make) -> None:
    data = make({"digits": SMALL})
    plan = data["plan"]["tasks"]["digits"]["treatment"]
    plan["arm"]["model"] = {"plugin": "local:Tiny"}
    plan["code"]["model"] |= {"distribution": "/home/someone/idea.py", "version": ""}

    page = Page(render(data))

    assert "model local:Tinyidea.pynot installed" in page.text  # three cells
    assert "/home/someone" not in render(data)


# -------------------------------------------------------------------------------------------------- gather and write


def test_the_report_is_written_whole_under_the_hypothesis_id(tmp_path: Path) -> None:
    ledger, name = study(tmp_path, {"digits": SMALL})

    with ledger:
        path = write(ledger, tmp_path, name)
        page = render(gather(ledger, name))

    assert path == tmp_path / "reports" / f"{name}.html"
    assert path.read_text(encoding="utf-8") == page
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_a_report_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    ledger, name = study(tmp_path, {"digits": SMALL})
    (tmp_path / "reports").write_text("in the way")

    with ledger, pytest.raises(StudyError, match=r"cannot be written .*write it again"):
        write(ledger, tmp_path, name)


def test_an_unknown_hypothesis_is_refused(tmp_path: Path) -> None:
    ledger, name = study(tmp_path, {"digits": SMALL})

    with ledger, pytest.raises(StudyError, match="no hypothesis"):
        gather(ledger, name[:6])  # a whole id is asked for, so that a file is never named by a prefix


def test_a_control_that_an_earlier_claim_trained_is_told_apart(tmp_path: Path) -> None:
    first, _ = study(tmp_path, {"digits": SMALL})
    first.close()
    second, name = study(tmp_path, {"digits": SMALL}, schedule="linear")

    with second:
        data = gather(second, name)

    assert [(row["sides"][0], row["earlier"]) for row in data["trials"][:2]] == [
        ("control", True),
        ("treatment", False),
    ]
    assert "4 of them were trained for an earlier claim" in Page(render(data)).text


# --------------------------------------------------------------------------------------------- fragments and rows


def test_a_notebook_gets_a_balanced_escaped_fragment(make: Make) -> None:
    record = make(HELPED, CONFIRMED)["verdict"] | {"reasons": [HOSTILE]}

    fragment = verdict_table(record)

    assert escape(HOSTILE) in fragment and "<script" not in fragment
    assert all(numbers(task["interval"]) in unescape(fragment) for task in record["tasks"].values())
    assert Page(fragment).text.startswith("supported. Yes: the treatment helped.")


def test_rows_for_a_terminal_hold_dev_and_new_data(make: Make) -> None:
    record = make(HELPED, CONFIRMED)["verdict"]

    rows = verdict_rows(record)

    assert [(row["task"], row["split"]) for row in rows[:2]] == [("digits", "dev"), ("digits", "new data")]
    assert rows[0]["effect"] == signed(record["tasks"]["digits"]["effect"])
    assert rows[0]["pairs"] == "3 of 5" and rows[0]["saved"].startswith("4 trials, about ")
    assert all(isinstance(value, str) for row in rows for value in row.values())
