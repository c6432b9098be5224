"""What came of a loop, as people see it: in a terminal, in a notebook and as a page."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import novum
import pytest
from novum import Goal, Lineage
from novum.cli.climb import print_lineage, run_loop
from novum.lab import Listener
from novum.report import write_loop
from novum.report.lineage import fragment, render
from rich.console import Console

SPACE = {"recipe.learning_rate": {"low": 1e-6, "high": 1.0}, "model.dropout": {"low": 0.0, "high": 0.95}}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lineage")


@pytest.fixture(scope="module")
def lineage(home: Path, toy: Any) -> Lineage:
    """A loop that adopted one change and not another."""
    arm = novum.arm(
        novum.task(toy.Blobs, noise=0.3), novum.model(toy.Linear, dropout=0.0), learning_rate=1e-4, budget="80 samples"
    )
    changes = [{"recipe.learning_rate": 0.3, "claim": "A higher rate <b>helps</b>"}, {"model.dropout": 0.9}]
    goal = Goal(
        "toy & co",
        {"blobs": arm},
        100,
        space=SPACE,
        proposers=({"plugin": "declared", "changes": changes},),
        max_seeds=6,
        seeds=2,
        worth=3,
    )
    return novum.Study(home, executor="inline", listener=Listener()).loop(goal)


def printed(lineage: Lineage) -> str:
    console = Console(record=True, width=200, file=io.StringIO())
    print_lineage(console, lineage)
    return console.export_text()


def test_a_terminal_shows_every_round_the_worth_and_why_it_ended(lineage: Lineage) -> None:
    text = printed(lineage)

    assert "├ 1 A higher rate <b>helps</b>: supported" in text and ", adopted  declared" in text
    assert "└ 2 On blobs, dropout = 0.9 helps: " in text
    assert "The last baseline beside the first on test, fresh seeds:" in text
    assert "Nothing promising is left: declared has nothing more. 2 claims tested, 1 adopted, in " in text


def test_the_page_is_a_tree_in_which_the_adopted_bears_what_followed(lineage: Lineage) -> None:
    page = render(lineage)

    tree = page.partition('<ul class="tree">')[2]
    first, second = tree.index("A higher rate"), tree.index("dropout = 0.9")
    assert first < tree.index('<ul class="tree">') < second, "the second round stands below the first"
    assert f"{lineage.steps[0].hypothesis}.html" in tree
    assert "recipe.learning_rate 0.0001 → 0.3" in page
    assert "because a person declared it" in page
    assert "blobs/run.gap" in page and "toy &amp; co" in page


def test_no_text_of_a_claim_becomes_a_tag_and_the_same_loop_gives_the_same_bytes(lineage: Lineage) -> None:
    page = render(lineage)

    assert "A higher rate &lt;b&gt;helps&lt;/b&gt;" in page and "<b>helps" not in page
    assert render(lineage) == page


def test_a_notebook_shows_it_in_short(lineage: Lineage) -> None:
    shown = lineage._repr_html_()

    assert shown == fragment(lineage)
    assert "2 claims tested, 1 adopted" in shown and "<script" not in shown


def test_a_loop_under_way_says_so(lineage: Lineage) -> None:
    waiting = replace(lineage, worth=None, why=None, sentence="")

    assert "It is under way: the same command goes on." in render(waiting)
    assert "That is measured when the loop ends." in render(waiting)


def test_where_nothing_was_adopted_the_first_arms_stand(lineage: Lineage) -> None:
    assert lineage.worth is not None
    nothing = replace(lineage, steps=(), last=lineage.first, worth={**lineage.worth, "tasks": {}})

    assert "no change was adopted, and the first arms stand" in render(nothing)
    assert "No change was adopted: the first arms stand." in printed(nothing)
    assert "no change was claimed here" in printed(nothing)


def test_a_refused_proposal_is_told_with_its_reason(lineage: Lineage) -> None:
    step = replace(lineage.steps[1], outcome=None, hypothesis="", effect={}, refused="it cannot train")
    shown = replace(lineage, steps=(lineage.steps[0], step))

    assert "! refused" in render(shown) and "nothing was registered: it cannot train" in render(shown)
    assert "refused, nothing was registered" in printed(shown)


def test_the_page_is_written_beside_the_other_reports(lineage: Lineage, home: Path) -> None:
    path = write_loop(lineage, home)

    assert path == home / "reports" / "loop-toy---co.html"
    assert path.read_text(encoding="utf-8") == render(lineage)


def test_a_lineage_is_plain_data(lineage: Lineage) -> None:
    plain = json.loads(json.dumps(lineage.to_json()))

    assert [step["adopted"] for step in plain["steps"]] == [True, False]
    assert plain["first"]["blobs"]["recipe"]["learning_rate"] == 1e-4
    assert plain["last"]["blobs"]["recipe"]["learning_rate"] == 0.3


def test_the_command_works_on_a_goal_file_and_tells_json_alone_where_asked(tmp_path: Path) -> None:
    file = tmp_path / "goal.toml"
    file.write_text(
        'goal = "quick"\nmax_seeds = 6\nseeds = 2\nworth = 3\n'
        'proposers = [{ plugin = "declared", changes = [{ "recipe.learning_rate" = 0.01 }] }]\n'
        "[budget]\ntrials = 40\n[space]\nrecipe.learning_rate = { low = 1e-5, high = 0.1 }\n[tasks.digits]\n"
        'task = { plugin = "image-classification", per_class = 20 }\nmodel = { plugin = "linear" }\n'
        'recipe = { budget = "1 epochs", learning_rate = 1e-5 }\n'
    )
    study = novum.Study(tmp_path / "study", executor="inline", listener=Listener())
    told: list[Any] = []

    run_loop(file, ["budget.trials=50"], study, Console(quiet=True), told.append, True)

    (found,) = told
    assert found["why"] == "stall" and found["goal"]["budget"] == {"trials": 50}
    assert found["steps"][0]["outcome"] in ("supported", "inconclusive")
    page = Path(found["report"])
    assert page.is_file()
    assert (page.parent / f"{found['steps'][0]['hypothesis']}.html").is_file()
