"""What the report of a hypothesis shows, on studies that go through a real ledger."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Mapping, Sequence
from html import escape, unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from novum.arm import arm, canonical, model, task
from novum.decide import decide
from novum.errors import StudyError
from novum.experiment import Experiment, Trial, design, evidence
from novum.hypothesize import Comparison, Hypothesis
from novum.ledger import Ledger, Score
from novum.report import gather, render, write
from novum.report.html import verdict_table
from novum.report.text import numbers, signed, verdict_rows

Value = float | str | dict[str, str] | None
"""A score; "diverged", "failed"; {"undefined": why}; None for a trial that never ran."""
Pairs = Sequence[tuple[Value, Value]]

ACCURACY = {"name": "accuracy", "direction": "max", "worst": 0.0, "unit": "", "low": 0.0, "high": 1.0}
RETURN = {"name": "return", "direction": "max", "worst": 0.0, "unit": "reward", "low": None, "high": None}
METRICS = {"digits": ACCURACY | {"per_unit": True}, "docs": ACCURACY | {"per_unit": True}}
METRICS["cartpole"] = RETURN | {"per_unit": False}
SCALES = {
    "digits": {"metric": "accuracy", "chance": 0.102, "reference": 1.0},
    "docs": {"metric": "accuracy", "chance": 0.125, "reference": 1.0},
    "cartpole": {"metric": "return", "chance": 22.0, "reference": 475.0},
}
HELPED: dict[str, Pairs] = {
    "digits": [(0.942, 0.983), (0.951, 0.989), (0.939, 0.972), (0.957, 0.986), (0.948, 0.981)],
    "docs": [(0.711, 0.782), (0.724, 0.776), (0.698, 0.771), (0.719, 0.769), (0.731, 0.802)],
    "cartpole": [(318.2, 441.5), (352.9, 463.0), (287.4, 398.8), (341.0, 471.3), (309.6, 402.7)],
}
CONFIRMED: dict[str, Pairs] = {
    "digits": [(0.938, 0.977), (0.947, 0.981), (0.941, 0.969), (0.949, 0.983), (0.944, 0.972)],
    "docs": [(0.706, 0.771), (0.713, 0.769), (0.701, 0.762), (0.722, 0.774), (0.725, 0.793)],
    "cartpole": [(325.7, 436.1), (344.2, 458.8), (291.3, 402.4), (336.5, 465.9), (314.1, 409.0)],
}
UNSCORED = {"undefined": "no class was predicted"}
MIXED: dict[str, Pairs] = {
    "digits": [(0.961, 0.963), (0.958, 0.961), (0.964, 0.962), (0.959, 0.962), (0.962, 0.964)],
    "docs": [(0.711, 0.742), (0.724, 0.706), (0.698, UNSCORED), (0.719, 0.739), (0.7, 0.712)],
    "cartpole": [(318.2, 305.0), (352.9, 331.3), (287.4, "diverged"), (341.0, 322.8), (309.6, 287.1)],
}
HOSTILE = "<script>alert(\"1\")</script> & 'cosine' beats <b>constant</b>"


# -------------------------------------------------------------------------------------------------- making studies


def code(name: str) -> dict[str, Any]:
    own = {"distribution": name, "version": "0.1.0", "sources": "c0de" * 16, "requires": {"torch": "2.15.0"}}
    core = {"distribution": "novum", "version": "0.1.0", "sources": "", "requires": {}}
    return {"runner": "feed" * 16, "torch": "2.15.0", "numpy": "2.4.1", "task": own, "model": own, "evaluator": core}


def resolved(name: str, schedule: str, pretrained: bool = False) -> dict[str, Any]:
    image = {"plugin": "image-classification", "data": name, "seed": None}
    recipe = {"budget": "6 epochs", "batch_size": 64, "learning_rate": 0.002, "schedule": schedule, "clip": 0.0}
    arms = {
        "digits": (image, {"plugin": "timm", "name": "test_resnet"}, "classification", 7500),
        "docs": ({"plugin": "text-classification", "data": name}, {"plugin": "bag"}, "classification", 21000),
        "cartpole": ({"plugin": "gym", "env": "CartPole-v1"}, {"plugin": "ppo"}, "episodes", 50000),
    }
    asked, learner, judge, units = arms[name]
    if name == "cartpole":
        recipe["budget"] = "50_000 steps"
    plan = {
        "arm": {"task": asked, "model": learner, "evaluator": {"plugin": judge}, "recipe": recipe},
        "units": units,
        "data": "da7a" * 8,
        "code": code(f"novum-{name}"),
        "device": "cpu",
        "precision": "fp32",
        "start_from": resolved(name, "constant")["plan"] if pretrained else None,
    }
    return {"plan": plan, "metrics": [METRICS[name]], "signature": {}}


def observed(name: str) -> dict[str, Any]:
    facts: list[dict[str, Any]] = [
        {"id": "train.size", "value": 1257, "unit": "units", "about": "Units in train."},
        {"id": "dev.size", "value": 180, "unit": "units", "about": "Units in dev."},
        {"id": "test.size", "value": 360, "unit": "units", "about": "Units in test."},
        {"id": "noise", "value": {"undefined": "labels come once"}, "unit": "", "about": "Share of wrong labels."},
    ]
    return {"facts": facts, "scale": SCALES[name], "task": name}


def study(
    folder: Path,
    dev: Mapping[str, Pairs],
    test: Mapping[str, Pairs] | None = None,
    *,
    claim: str = "Cosine decay beats a constant learning rate at the same budget",
    decided: bool = True,
    pretrained: bool = False,
    schedule: str = "cosine",
    **asked: Any,
) -> tuple[Ledger, str]:
    """A ledger in `folder` that holds one hypothesis with these scores, and the hypothesis' id."""
    sides = {"control": "constant", "treatment": schedule}
    arms = {
        side: {name: arm(task("t", data=name), model("m"), schedule=word) for name in dev}
        for side, word in sides.items()
    }
    comparisons = {name: Comparison(arms["control"][name], arms["treatment"][name]) for name in dev}
    count = len(next(iter(dev.values())))
    options: dict[str, Any] = {"minimum_effect": 0.02, "max_seeds": count, "name": "cosine"} | asked
    hypothesis = Hypothesis(claim, tasks=comparisons, **options)
    ledger = Ledger.open(folder)
    found = {
        f"{name}/{side}": resolved(name, word, pretrained and side == "treatment")
        for name in dev
        for side, word in sides.items()
    }
    plan = design(hypothesis, found, {name: observed(name) for name in dev}, ledger)
    for name in dev:
        ledger.record_observation(f"o-{name}", observed(name))
    record = hypothesis.to_json() | {"id": hypothesis.id, "fingerprint": hypothesis.fingerprint}
    record["observations"] = {name: f"o-{name}" for name in dev}
    ledger.register([(record, {"id": plan.id, "hypothesis": hypothesis.id, "plan": plan.record})])
    planned = list(plan.trials())
    for trial in planned:
        if trial.parent is not None:
            run(ledger, trial.parent, 0.5, plan)
        run(ledger, trial, dev[trial.task][trial.index][trial.side == "treatment"], plan)
    if test is not None:
        confirm(ledger, hypothesis.id, planned, test, plan)
    if decided:
        rows = evidence(ledger, plan, "dev").rows
        again = None if test is None else evidence(ledger, plan, "test").rows
        ledger.record_verdict(hypothesis.id, canonical(decide(plan.record, rows, again)))
    return ledger, hypothesis.id


def run(ledger: Ledger, trial: Trial, value: Value, plan: Experiment) -> None:
    ledger.plan_trials([trial.to_json()])
    known = ledger.trial(trial.key)
    if value is None or known is None or known["state"] != "planned":  # a control may be the treatment's parent
        return
    if trial.index == 1 and trial.side == "treatment" and trial.task == "docs":
        ledger.start(trial.key)
        ledger.release(trial.key, "its process was ended by SIGKILL")
    attempt = ledger.start(trial.key)
    metric = plan.tasks[trial.task]["metric"]["name"]
    end = value if isinstance(value, float) else plan.tasks[trial.task]["scale"]["chance"] * 1.5
    low = plan.tasks[trial.task]["scale"]["chance"]
    shares = [0.2, 0.4] if value == "diverged" else [0.2, 0.4, 0.6, 0.8, 1.0]
    curve = [
        {
            "units": round(trial.plan["units"] * share),
            "share": share,
            "seconds": 8 * share,
            "losses": {"loss": 1 - share / 2},
            "metrics": {metric: low + (end - low) * (1 - (1 - share) ** 2) if share < 1 else value},
        }
        for share in shares
    ]
    why = "a loss or weight was not finite after 20000 of 50000 units" if value == "diverged" else None
    result = {
        "units": curve[-1]["units"],
        "seconds": 8.125 + 0.25 * trial.index + 0.5 * (trial.side == "treatment"),
        "curve": curve,
        "diverged": why,
        "start": None if trial.parent is None else {"loaded": 12, "fresh": ["head.weight", "head.bias"]},
        "weights": trial.key[::-1] * 2,
        "bytes": 1000,
    }
    if value == "failed":
        ledger.finish(trial.key, attempt, "failed", {"failed": "ValueError: wrong shape", "seconds": 1.0}, {})
    elif value == "diverged":
        ledger.finish(trial.key, attempt, "diverged", result, {})
    else:
        ledger.finish(trial.key, attempt, "done", result, {"dev": Score({metric: value}, {}, {"id": ["u"]}, 8.0)})


def confirm(ledger: Ledger, name: str, trials: Sequence[Trial], test: Mapping[str, Pairs], plan: Experiment) -> None:
    ledger.open_split(name, "test", [trial.key for trial in trials], "confirm")
    for trial in trials:
        key, metric = f"{trial.key}-test", plan.tasks[trial.task]["metric"]["name"]
        ledger.plan_trials([{**trial.to_json(), "key": key, "kind": "score", "of": trial.key}])
        value = test[trial.task][trial.index][trial.side == "treatment"]
        ledger.finish(key, ledger.start(key), "done", {}, {"test": Score({metric: value}, {}, {"id": ["u"]}, 0.75)})


Make = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Gathers a study; one that was asked for before is not made again."""
    known: dict[str, dict[str, Any]] = {}

    def gathered(dev: Mapping[str, Pairs], test: Mapping[str, Pairs] | None = None, **options: Any) -> dict[str, Any]:
        key = repr((dev, test, options))
        if key not in known:
            ledger, name = study(tmp_path_factory.mktemp("study"), dev, test, **options)
            with ledger:
                known[key] = gather(ledger, name)
        return copy.deepcopy(known[key])

    return gathered


class Page(HTMLParser):
    """Reads a page: refuses tags that do not balance, keeps every tag with its attributes, and the text shown."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == [], f"never closed: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "br"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self._open or self._open[-1] != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.texts).split())

    def count(self, tag: str, kind: str) -> int:
        return sum(name == tag and kind in (found.get("class") or "").split() for name, found in self.tags)


# ------------------------------------------------------------------------------------------------------- the page


@pytest.mark.parametrize("dev", [HELPED, MIXED], ids=["helped", "mixed"])
def test_tags_balance_and_ids_are_unique(make: Make, dev: Mapping[str, Pairs]) -> None:
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

SMALL: Pairs = [(0.9, 0.901), (0.91, 0.9102), (0.905, 0.9045), (0.9, 0.9005)]
WORSE: Pairs = [(0.95, 0.91), (0.96, 0.90), (0.94, 0.90), (0.95, 0.89)]
NOISY: Pairs = [(0.9, 0.99), (0.95, 0.90), (0.91, 0.96), (0.93, 0.92)]
BROKEN: Pairs = [(0.9, 0.95), (0.91, "failed"), (0.9, 0.93)]


@pytest.mark.parametrize(
    ("pairs", "outcome", "sentence"),
    [
        (WORSE, "refuted", "No: the treatment did not help as claimed."),
        (SMALL, "equivalent", "It makes no difference that counts."),
        (NOISY, "inconclusive", "It is not decided."),
        (BROKEN, "invalid", "There is no answer: the experiment broke."),
    ],
)
def test_every_outcome_is_told_with_its_reason(make: Make, pairs: Pairs, outcome: str, sentence: str) -> None:
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

    assert "There is no verdict yet." in page.text and "5 of 8 trials have ended." in page.text
    assert page.count("svg", "lane") == 0 and page.count("table", "numbers") == 0


def test_what_is_undefined_says_why_and_is_never_a_number(make: Make) -> None:
    data = make({"digits": BROKEN})

    page = Page(render(data))

    assert page.text.count("undefined, because the experiment broke") >= 7
    assert numbers(data["verdict"]["tasks"]["digits"]["treatment"]) not in page.text.split()  # counts 0 for a crash
    assert "undefined, because labels come once" in page.text  # a fact


# ------------------------------------------------------------------------------------------------------- the plots


def test_every_task_has_a_point_an_interval_and_a_margin(make: Make) -> None:
    one, both = Page(render(make(MIXED))), Page(render(make(HELPED, CONFIRMED)))

    assert [one.count("svg", "lane"), both.count("svg", "lane")] == [3, 3]
    legend = 1  # the key shows a sample of each mark
    assert [page.count("line", "interval") for page in (one, both)] == [3 + legend, 6 + 2 * legend]
    assert [page.count("line", "cap") for page in (one, both)] == [6, 12]
    assert [page.count("line", "margin") for page in (one, both)] == [3 + legend, 3 + legend]


def test_every_pair_and_every_curve_point_is_drawn(make: Make) -> None:
    page = Page(render(make(MIXED)))

    assert page.count("g", "pair") == 15
    assert page.count("path", "cross") == 2  # the diverged one and the undefined one
    assert page.count("g", "curve") == 6
    curves, pairs, keys = 6 * 5, 30 - 2, 3 * 2 * 2
    assert page.count("circle", "dot") == curves + pairs + keys
    for label in ("accuracy on dev, higher is better", "return on dev", "environment steps", "samples seen"):
        assert label in page.text
    assert "× counts as 0" in page.text
    assert "1 curve breaks off early and counts as far as it goes" in page.text


def test_every_plot_is_named_for_those_who_cannot_see_it(make: Make) -> None:
    page = Page(render(make(HELPED, CONFIRMED)))

    pictures = [found for tag, found in page.tags if tag == "svg" and found.get("role") == "img"]

    assert len(pictures) == 3 + 3 * 3
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

    for word in (data["fingerprint"], "paired-t, version 1", "root 0, block 0, seeds 0 to 4", "0.05, one-sided"):
        assert word in page.text
    assert f"novum verdict {data['hypothesis']['id']} --recompute --study FOLDER" in page.text
    assert data["environment"]["python"] in page.text and "torch 2.15.0" in page.text
    assert "Seeds sample the noise of training only" in page.text


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

    assert [(row["task"], row["split"]) for row in rows[:2]] == [("cartpole", "dev"), ("cartpole", "new data")]
    assert rows[0]["effect"] == signed(record["tasks"]["cartpole"]["effect"])
    assert all(isinstance(value, str) for row in rows for value in row.values())
