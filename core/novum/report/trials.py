"""What ran of what was planned: every trial in a row, what was spared, and what did not go as planned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from novum.report import text
from novum.report.cells import amount, folded, hint, short, table, when
from novum.report.markup import Content, Markup, element, joined

ENDED = ("done", "diverged", "failed")
CAME_FIRST = "stopped: the decision came first"
"""Why a running trial was put back into the plan when nobody needed it any more."""


def fate(data: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    """What became of a planned trial: "counted" in the verdict; "ahead": it ended, and no look came so far; "stopped"
    or "never" started, as the decision came first; "waiting" while there is no verdict.
    """
    record = data["verdict"]
    if record is None:
        return "counted" if row["state"] in ENDED else "waiting"
    if row["confirms"] or row["index"] < record["tasks"][row["task"]]["pairs"] or _broke(record, row):
        return "counted"
    if row["state"] in ENDED:
        return "ahead"
    return "stopped" if CAME_FIRST in row["released"] else "never"


def _broke(record: Mapping[str, Any], row: Mapping[str, Any]) -> bool:
    """Whether this trial is of the pair that broke and so ended its task: the first one behind those looked at."""
    task = record["tasks"][row["task"]]
    return task["outcome"] == "invalid" and row["state"] in ENDED and bool(row["index"] == task["pairs"])


def ran_ahead(data: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Trials of this claim that ended and that no look reached."""
    return [row for row in data["trials"] if fate(data, row) == "ahead" and not row["earlier"]]


def trials(data: Mapping[str, Any]) -> Markup:
    """Every planned trial in a row, and what did not go as planned."""
    order = list(data["plan"]["order"])
    rows = sorted(data["trials"], key=lambda row: (order.index(row["task"]), row["index"]))
    fates = {row["key"]: fate(data, row) for row in rows}
    unscored = "—" if data["plan"].get("reported") else "sealed" if data["evidence"]["test"] is None else "not scored"
    said = list(_deviations([row for row in rows if fates[row["key"]] in ("counted", "waiting")]))
    head = ["task", "arm", "seed", "state", "dev", "test", "units", "seconds", "peak memory"]
    head += ["loaded / fresh", "attempts", "trial", "weights"]
    drawn = [_trial(row, fates[row["key"]], unscored) for row in rows]
    whole = table(head, drawn, numeric=[2, 4, 5, 6, 7, 8, 9, 10], kind="tight wide")
    earlier = sum(row["earlier"] for row in rows)
    shared = (
        element("p", f"{earlier} of them were trained for an earlier claim, which had the same control.", class_="hint")
        if earlier
        else None
    )
    card = element(
        "div",
        element("p", _counted(data, rows, fates)),
        shared,
        *_ahead([row for row in rows if fates[row["key"]] == "ahead"]),
        element("h4", "Deviations"),
        element("ul", *(element("li", each) for each in said), class_="plain")
        if said
        else element("p", "Nothing to report: no trial diverged, broke or had to be started twice."),
        *_sessions(data["sessions"]),
        folded("Every trial", f"{len(rows)} rows", whole),
        class_="card",
    )
    return element("section", element("h2", "What ran"), card, id="trials")


ENDS = {
    "ended": "ended",
    "working": "works, or has ended without a word since",
    "interrupted": "interrupted",
    "paused": "paused",
    "failed": "stopped by an error",
    "lost": "killed or lost",
}


def _sessions(sessions: Sequence[Mapping[str, Any]]) -> list[Markup]:
    """Who worked on it and how that ended: interruptions and recoveries, which changed no number."""
    if not sessions:
        return []
    head = ["began", "ended", "how", "executor", "machine", "trials ended", "environment"]
    rows = [
        [
            when(each["started"]),
            "—" if each["ended"] is None else when(each["ended"]),
            joined(ENDS.get(each["state"], each["state"]), hint(each["reason"]) if each["reason"] else None),
            each["executor"],
            each["machine"],
            amount(each["trials"]),
            "—" if each["environment"] is None else short(each["environment"], 8),
        ]
        for each in sessions
    ]
    cut = sum(each["state"] not in ("ended", "working") for each in sessions)
    told = text.count(len(sessions), "session") + (f", {cut} cut short" if cut else "")
    why = element("p", "A session that was cut short lost no result: the next one took in what it left.", class_="hint")
    return [folded("Sessions", told, why if cut else None, table(head, rows, numeric=[5], kind="tight"))]


def _counted(data: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], fates: Mapping[str, str]) -> str:
    found = Counter(fates.values())
    ended = sum(row["state"] in ENDED for row in rows)
    if data["verdict"] is None:
        planned = "no maximum is declared" if data["plan"]["open"] else f"at most {len(rows)} trials are planned"
        return f"{planned[0].upper()}{planned[1:]}, {ended} have ended."
    fresh = sum(row["confirms"] for row in rows)
    began = f"{len(rows) - fresh} trials were {'started' if data['plan']['open'] else 'planned'}"
    began += f", and {fresh} on fresh seeds to confirm" if fresh else ""
    parts = [f"{found['counted']} stand behind the verdict"]
    if found["ahead"]:
        parts.append(f"{found['ahead']} ran ahead of the decision and were not looked at")
    spared = found["stopped"] + found["never"]
    if spared:
        broke = data["verdict"]["outcome"] == "invalid"
        stopped = f", {found['stopped']} of them while they ran" if found["stopped"] else ""
        parts.append(f"{spared} were {'not run, as the experiment broke' if broke else 'spared'}{stopped}")
    return f"{began}: {'; '.join(parts)}."


def _ahead(rows: Sequence[Mapping[str, Any]]) -> list[Markup]:
    """Trials that ran ahead of the deciding look, named, so that nobody takes them for hidden."""
    if not rows:
        return []
    named = [f"{row['task']}, {' and '.join(row['sides'])}, seed {row['index']} ({row['state']})" for row in rows]
    why = "Where workers are idle, later pairs run ahead. No look takes them in, whatever they say:"
    listed = element("ul", *(element("li", each) for each in named), class_="plain")
    return [folded("Ran ahead, not looked at", text.count(len(rows), "trial"), element("p", why), listed)]


def _deviations(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for row in rows:
        who = f"{row['task']}, {' and '.join(row['sides'])}, seed {row['index']}"
        if row["state"] in ("diverged", "failed"):
            yield f"{who} {'diverged' if row['state'] == 'diverged' else 'broke'}: {row['because']}."
        for split in ("dev", "test"):
            if isinstance(row[split], Mapping):
                yield f"{who}: {row['metric']} on {split} is {text.numbers(row[split])}."
        reasons = [reason for reason in row["released"] if reason != CAME_FIRST]
        if row["attempts"] - row["released"].count(CAME_FIRST) > 1 or reasons:
            why = f" ({'; '.join(reasons)})" if reasons else ""
            yield f"{who} was started {row['attempts']} times on the same seed{why}."
        for each in row["deviations"]:
            yield f"{who}: {each}."
        for units in row["resumed"]:
            yield f"{who} went on from a checkpoint at {units:,} units, to the numbers of an uninterrupted run."


WORDS = {"ahead": "ran ahead, not looked at", "stopped": CAME_FIRST}


def _trial(row: Mapping[str, Any], fated: str, unscored: str) -> Markup:
    start = row["start"]
    loaded: Content = "fresh"
    if start is not None:
        fresh = ", ".join(start["fresh"]) or "none"
        loaded = element("span", f"{start['loaded']} / {len(start['fresh'])}", title=f"began fresh: {fresh}")
    said = [row["because"], row.get("stopped"), WORDS.get(fated), "for an earlier claim" if row["earlier"] else None]
    said.append("on a fresh seed" if row["confirms"] else None)
    why = "; ".join(each for each in said if each)
    spared = fated in ("stopped", "never")
    cells: list[tuple[Content, str | None]] = [
        (" and ".join(row["sides"]), None),
        (row["index"], "r"),
        (joined("spared" if spared else row["state"], hint(why) if why else None), "free" if row["because"] else None),
        ("—" if spared else _dev(row), "r"),
        (amount(row["test"]) if row["test"] is not None else "—" if spared else unscored, "r"),
        ("—" if row["units"] is None else amount(row["units"]), "r"),
        ("—" if row["seconds"] is None else amount(row["seconds"]), "r"),
        (_memory(row["memory"]), "r"),
        ("—" if spared else loaded, "r"),
        (row["attempts"], "r"),
        (short(row["key"], 8), None),
        ("—" if row["weights"] is None else short(row["weights"], 8), None),
    ]
    return element(
        "tr",
        element("th", row["task"], scope="row"),
        *(element("td", cell, class_=kind) for cell, kind in cells),
        class_=f"trial {fated}",
    )


def _memory(memory: Mapping[str, Any] | None) -> Content:
    if memory is None:
        return "—"
    if "bytes" not in memory:
        return element("span", "undefined", title=text.numbers(memory), class_="undefined")
    what = {"process": "resident memory of the process", "cuda": "tensors on the GPU"}
    return element("span", text.size(memory["bytes"]), title=what.get(memory["what"], memory["what"]))


def _dev(row: Mapping[str, Any]) -> Content:
    """A score on dev; where there is none, why."""
    if row["dev"] is not None:
        return amount(row["dev"])
    told = {"diverged": "undefined, because it diverged", "failed": "undefined, because it broke"}
    return element("span", told.get(row["state"], "not yet"), class_="undefined")
