"""The page: one HTML file that needs nothing else. The same data give the same bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from novum.report import answer, record, text
from novum.report.cells import amount, folded
from novum.report.markup import Markup, element, joined, trusted
from novum.report.style import CSS

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""What the browser may load: nothing, and run: nothing. Should anything slip through, it stays text."""
PLACES = {
    "effects": "Effects",
    "tasks": "Tasks",
    "new": "New data",
    "observed": "Observed",
    "registered": "Registered",
    "trials": "Trials",
    "environment": "Environment",
    "check": "Check it",
}
WORDS = (
    ("Control and treatment", "Two ways to train, alike but for what the claim is about."),
    ("Pair", "Both, trained on the same seed: same order of data, same initial weights where they fit."),
    ("Dev", "Data that are scored on and never trained on; the decision is made here."),
    ("Test, or new data", "Opened once, to confirm a claim that dev supports. Nothing was chosen by looking at it."),
    ("Effect", "Treatment minus control, averaged over the pairs; above zero means that the treatment is better."),
    ("Scale", "Puts tasks side by side: 0 is what chance scores, 1 a reference score."),
    ("Supported", "The whole interval lies above the least effect that counts, on every task, on dev and on new data."),
    ("Refuted", "On some task the whole interval lies below the least effect that counts."),
    ("Equivalent", "The whole interval lies within the least effect that counts, either way."),
    ("Inconclusive", "The interval holds the least effect that counts: these seeds do not decide."),
    ("Invalid", "A trial broke, so the plan could not be completed; this says nothing of the idea."),
    ("Diverged", "Training ended in numbers that are not finite. An outcome: it counts as the metric's worst value."),
)


def render(data: Mapping[str, Any]) -> str:
    """The report of what `novum.report.gather` found, as one HTML document."""
    hypothesis = data["hypothesis"]
    outcome = "no verdict yet" if data["verdict"] is None else data["verdict"]["outcome"]
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", f"{outcome}: {hypothesis['claim']}"),
        element("style", trusted(CSS)),
    )
    sections = (
        answer.answer(data),
        answer.effects(data),
        answer.tasks(data),
        answer.new_data(data),
        record.observed(data),
        record.registered(data),
        record.trials(data),
        record.environment(data),
        record.check(data),
    )
    body = element("body", _header(data), element("main", *sections), record.limits(data))
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


def _header(data: Mapping[str, Any]) -> Markup:
    places = [
        element("a", name, href=f"#{place}")
        for place, name in PLACES.items()
        if place != "effects" or data["verdict"] is not None
    ]
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
    head = ("task", "metric", "control", "treatment", "effect", "interval", "outcome", "cost")
    rows = [
        element(
            "tr",
            element("th", name, style="text-align:left"),
            *(
                element("td", cell)
                for cell in (
                    task["metric"],
                    amount(task["control"]),
                    amount(task["treatment"]),
                    amount(task["effect"], plus=True),
                    amount(task["interval"]),
                    task["outcome"],
                    text.costs(task["cost"]),
                )
            ),
        )
        for name, task in record["tasks"].items()
    ]
    titles = element("tr", *(element("th", name, style="text-align:left") for name in head))
    sentence = f" {text.HEADLINES[record['outcome']]} {' '.join(record['reasons'])}"
    return element(
        "div",
        element("p", element("strong", f"{record['outcome']}."), sentence),
        element("table", element("thead", titles), element("tbody", *rows)),
    )
