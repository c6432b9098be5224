"""The page: one HTML file that needs nothing else. The same data give the same bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from novum.report import across, answer, fresh, record, registered, tasks, text, trials
from novum.report.cells import folded
from novum.report.markup import Markup, element, joined, trusted
from novum.report.style import CSS

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""What the browser may load: nothing, and run: nothing. Should anything slip through, it stays text."""
PLACES = {
    "effects": "Effects",
    "tasks": "Tasks",
    "across": "Across tasks",
    "new": "New data",
    "observed": "Observed",
    "registered": "Registered",
    "trials": "Trials",
    "environment": "Environment",
    "check": "Check it",
}
WORDS = (
    ("Control and treatment", "Two ways to train, alike but for what the claim is about. A control may be a number."),
    ("Pair", "Both, trained on the same seed: same order of data, same initial weights where they fit."),
    ("Look", "The moments at which the data may decide: after so many pairs, as registered. In between, nobody looks."),
    ("Interval", "Holds the true effect as often as it says, at all looks together; ∞: a look gives no bound yet."),
    ("Level", "How often, at most, the claim passes though it is not true. A goal's claims share one error rate."),
    ("p", "The smallest level at which the claim would have passed by now: an upper bound, valid at any look."),
    ("Power", "The chance that an effect as hoped for is supported: adequate from 80 %, unknown where the spread is."),
    ("Margin", "What the interval is held against: the least effect that counts; with a zone, 0 for support."),
    ("Dev", "Data that are scored on and never trained on; the decision is made here."),
    ("Test, or new data", "Opened once, to confirm a claim that dev supports. Nothing was chosen by looking at it."),
    ("Effect", "Treatment minus control, averaged over the pairs; above zero means that the treatment is better."),
    ("Scale", "Puts tasks side by side: 0 is what chance scores, 1 a reference score."),
    ("Supported", "The whole interval lies above the margin, on as many tasks as claimed, on dev and on new data."),
    ("Refuted", "The whole interval lies below the least effect that counts, on too many tasks for the claim to hold."),
    ("Equivalent", "The whole interval lies within the least effect that counts, either way."),
    ("Inconclusive", "The planned pairs did not decide, or neither answer had much of a chance left."),
    ("Invalid", "A trial broke, so the plan could not be completed; this says nothing of the idea."),
    ("Diverged", "Training ended in numbers that are not finite. An outcome: it counts as the metric's worst value."),
    ("Spared", "Trials that were planned and not needed: the decision came first."),
    ("Ran ahead", "Trials that idle workers ran beyond the deciding look. They are kept, and no look takes them in."),
    ("Secondary", "Told beside the claim, at a level that is not corrected for several tasks; it decides nothing."),
)


def render(data: Mapping[str, Any]) -> str:
    """The report of what `novum.report.gather` found, as one HTML document."""
    hypothesis = data["hypothesis"]
    outcome = "no verdict yet" if data["verdict"] is None else data["verdict"]["outcome"]
    title = f"{outcome}: {hypothesis['claim']}"
    sections = (
        answer.answer(data),
        answer.effects(data),
        tasks.tasks(data),
        across.across(data),
        fresh.new_data(data),
        record.observed(data),
        registered.registered(data),
        trials.trials(data),
        record.environment(data),
        record.check(data),
    )
    body = element("body", _header(data), element("main", *sections), record.limits(data))
    return f"<!doctype html>\n{element('html', head(title), body, lang='en')}\n"


def head(title: str) -> Markup:
    """The head of a page: its title, its style, and that nothing may be loaded or run."""
    return element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("style", trusted(CSS)),
    )


def _header(data: Mapping[str, Any]) -> Markup:
    absent = {"across"} if len(data["plan"]["tasks"]) == 1 else set()
    absent |= {"effects", "across"} if data["verdict"] is None else set()
    places = [element("a", name, href=f"#{place}") for place, name in PLACES.items() if place not in absent]
    words = element("dl", *(joined(element("dt", word), element("dd", said)) for word, said in WORDS), class_="facts")
    return element(
        "header",
        element("p", f"Novum report · {data['hypothesis']['id']}", class_="kicker"),
        element("h1", "Did it really help?"),
        element("p", data["hypothesis"]["claim"], class_="claim"),
        element("nav", *places, aria_label="Parts of this report"),
        folded("How to read this", "the words it uses", words),
    )


def verdict_table(record: Mapping[str, Any]) -> str:
    """A verdict as a small HTML fragment for notebooks, which bring their own style sheet.

    record: as `novum.validate.Verdict.record` gives it.
    """
    columns = ("task", "", "metric", "control", "treatment", "effect", "interval", "pairs", "outcome", "saved", "cost")
    rows = []
    for row in text.verdict_rows(record):
        split = "" if record["new_data"] == "none" else row["split"]
        parts = [split, *(row[name] for name in columns[2:8]), row["outcome"] + row["place"], row["saved"], row["cost"]]
        name = "" if row["split"] == "new data" else row["task"]
        rows.append(
            element("tr", element("th", name, style="text-align:left"), *(element("td", part) for part in parts))
        )
    titles = element("tr", *(element("th", name, style="text-align:left") for name in columns))
    sentence = f" {text.headline(record)} {' '.join(record['reasons'])}"
    outcome = record["outcome"] if record["ended"] else "undecided"
    return element(
        "div",
        element("p", element("strong", f"{outcome}."), sentence),
        element("table", element("thead", titles), element("tbody", *rows)),
    )


def study_table(status: Mapping[str, Any] | None, folder: str) -> str:
    """What a study holds as a small HTML fragment for notebooks.

    status: as `novum.status.status` gives it; None for a study in which nothing has begun.
    """
    if status is None:
        return element("p", element("strong", f"Study {folder}."), " Nothing has begun in it.")
    trials = ", ".join(f"{count} {state}" for state, count in status["trials"].items()) or "none"
    parts = [element("p", element("strong", f"Study {folder}."), f" It is {status['state']}. Trials: {trials}.")]
    if status["fault"]:
        parts.append(element("p", f"Its record is damaged: {status['fault']}"))
    head = ("claim", "treatment", "pairs", "verdict", "id")
    rows = []
    for claim in status["hypotheses"]:
        pairs = "; ".join(_pairs(task, **counts) for task, counts in claim["pairs"].items())
        cells = (claim["claim"], claim["treatment"], pairs, claim["verdict"] or "none yet", claim["id"])
        rows.append(element("tr", *(element("td", cell, style="text-align:left") for cell in cells)))
    if rows:
        titles = element("tr", *(element("th", name, style="text-align:left") for name in head))
        parts.append(element("table", element("thead", titles), element("tbody", *rows)))
    return element("div", *parts)


def _pairs(task: str, used: int | None, planned: int | None) -> str:
    most = "no declared maximum" if planned is None else f"at most {planned}"
    return f"{task}: {most}" if used is None else f"{task}: {used} ({most})"
