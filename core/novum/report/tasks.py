"""One card per task: what the treatment changes, its looks, its pairs, its curves, its numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from novum.numbers import listed
from novum.report import svg, text, words
from novum.report.answer import unit_of, width
from novum.report.cells import amount, badge, differences, hint, table, unit_word
from novum.report.looks import looks
from novum.report.markup import Content, Markup, element, joined
from novum.report.trials import fate

SIDES = ("control", "treatment")
BROKEN = ("failed", "unrun")
"""States of a side that is no data: its pair is not drawn."""


def tasks(data: Mapping[str, Any]) -> Markup:
    """One card per task."""
    cards = [_task(data, name) for name in data["plan"]["order"]]
    return element("section", element("h2", "Task by task"), *cards, id="tasks")


def _task(data: Mapping[str, Any], name: str) -> Markup:
    plan = data["plan"]
    task = plan["tasks"][name]
    found = None if data["verdict"] is None else data["verdict"]["tasks"][name]
    said: list[Markup | None] = [badge(found["outcome"])] if found is not None else []
    if found is not None and found["role"] != "decides":
        said.append(hint(str(found["role"])))
    title = element("div", element("h3", name), *said, class_="title")
    reported = bool(plan.get("reported"))
    about = element("p", _about(task, reported), class_="soft")
    told: list[Markup] = []
    if found is not None:
        told = [element("p", reason) for reason in found["reasons"]]
        if plan["scope"] != "average" and found["counts"] != found["outcome"]:
            told.append(element("p", f"For the claim, at its corrected level, it counts as {found['counts']}."))
        notes = found["notes"] + found["warnings"] + (found["new_data"] or {"notes": []})["notes"]
        told += [element("ul", *(element("li", note) for note in notes), class_="plain")] if notes else []
    inside = [title, about, changes(task, reported), *told, _plots(data, name, found), _pretraining(data, name)]
    return element("article", *inside, class_="card task")


def _about(task: Mapping[str, Any], reported: bool) -> str:
    arm, metric = task["treatment"]["arm"], task["metric"]["name"]
    if reported:
        better = "higher" if task["metric"]["direction"] == "max" else "lower"
        return f"Scores reported by the caller, {better} is better: of {metric}, Novum knows the numbers and no more."
    budget = arm["recipe"].get("budget", "")
    return f"{arm['model']['plugin']} on {arm['task']['plugin']}, {budget}, judged by {metric}."


def changes(task: Mapping[str, Any], reported: bool) -> Markup:
    """What the treatment changes, or the bar that it is to reach."""
    if task["control"] is None:
        unit = task["metric"]["unit"] or task["metric"]["name"]
        return element("p", "The control is a bar, for which nothing is trained: ", amount(task["bar"], unit), ".")
    if reported:
        named = [element("code", task[side]["arm"]["model"]["plugin"]) for side in SIDES]
        return element("p", "The control is the function ", named[0], ", the treatment ", named[1], ".")
    rows = differences(task["control"], task["treatment"])
    if len(rows) == 1:
        return element("p", "The treatment changes ", *_change(*rows[0]), ".")
    few = rows[:4]
    items = [element("li", *_change(*row)) for row in few]
    more = element("li", f"and {len(rows) - len(few)} more, below under “What was registered”") if rows[4:] else None
    return joined(element("p", "The treatment changes:"), element("ul", *items, more, class_="plain"))


def _change(name: str, before: str, after: str) -> list[Content]:
    return [element("code", name), ": ", element("code", before), " → ", element("code", after)]


# ----------------------------------------------------------------------------------------------------------- plots


def _plots(data: Mapping[str, Any], name: str, found: Mapping[str, Any] | None) -> Markup:
    figures = []
    if found is not None:
        test = words.deciding(data["plan"]["tasks"][name])
        figures += how_it_went(found, test, unit_of(found, data["plan"]), found["pairs"])
    figures += [*_each_seed(data, name, found), *_learning(data, name)]
    numbers = None if found is None else _numbers(name, found, data)
    return joined(element("div", *figures, class_="plots"), numbers)


def how_it_went(seen: Mapping[str, Any], test: Mapping[str, Any], unit: str, used: int) -> list[Markup]:
    """The plot of the looks, where there were any. seen: a task's record, or the average's; test: as registered; used:
    pairs that were needed.
    """
    margins = list(dict.fromkeys([test["null"], test["claimed"]]))
    planned = None if seen.get("planned") is not None and not text.is_number(seen["planned"]) else test["looks"][-1]
    decided = seen["stopped"] not in ("", "with the claim")
    drawn = looks(seen["looks"], words.on_dev(seen), margins, used, planned, unit, decided=decided)
    if drawn is None:
        return []
    why = words.STOPPED.get(seen["stopped"], seen["stopped"])
    note = f"mean and {words.coverage(test)} interval at each look; it ended as {why}"
    if not decided:
        note = f"mean and {words.coverage(test)} interval at each look; {why}"
    return [figure("How the looks went", None, drawn, note)]


def _each_seed(data: Mapping[str, Any], name: str, found: Mapping[str, Any] | None) -> list[Markup]:
    figures = []
    reported = data["plan"].get("reported")
    for split in ("dev", "test"):
        place = data["evidence"][split]
        rows = [] if place is None else list(place.get(name, []))
        looked = rows if found is None else rows[: found["pairs"]]
        whole = [row for row in looked if all(row[side]["state"] not in BROKEN for side in SIDES)]
        if not whole:
            continue
        seen = "as reported" if reported else "on dev" if split == "dev" else "on new data"
        said = []
        broken = sum(any(row[side]["state"] in BROKEN for side in SIDES) for row in rows)
        if broken:
            said.append(f"{text.count(broken, 'broken pair')} left out")
        if ahead := len(rows) - broken - len(whole):
            said.append(f"{text.count(ahead, 'pair')} that ran ahead left out")
        bar = data["plan"]["tasks"][name]["control"] is None
        drawn = svg.pairs(whole, data["plan"]["tasks"][name]["metric"], seen)
        figures.append(figure(f"Each seed {seen}", _legend(bar=bar), drawn, "; ".join(said)))
    return figures


def _learning(data: Mapping[str, Any], name: str) -> list[Markup]:
    task = data["plan"]["tasks"][name]
    mine = [row for row in data["trials"] if row["task"] == name and fate(data, row) != "ahead" and not row["confirms"]]
    trained = {side: [row for row in mine if side in row["sides"]] for side in SIDES}
    series = {side: [svg.curve_of(row["curve"]) for row in rows] for side, rows in trained.items()}
    drawn = svg.curves(series, task["metric"]["name"], unit_word(task["treatment"]))
    if drawn is None:
        return []
    longest = max((len(curve) for found in series.values() for curve in found), default=0)
    broke = sum(
        0 < len(svg.curve_of(row["curve"])) < longest
        for rows in trained.values()
        for row in rows
        if row["state"] in ("done", "diverged", "failed")
    )
    note = "line: mean over seeds; band: lowest to highest"
    if broke == 1:
        note += "; 1 curve breaks off early and counts as far as it goes"
    elif broke:
        note += f"; {broke} curves break off early and count as far as they go"
    return [figure("While learning", _legend(curve=True, bar=task["control"] is None), drawn, note)]


def _legend(curve: bool = False, bar: bool = False) -> Markup:
    items = []
    for side in SIDES[1:] if curve and bar else SIDES:
        line = element("line", x1=0, x2=26, y1=7, y2=7, class_=f"mean {side}") if curve else None
        dot = element("circle", cx=13, cy=7, r=4.5, class_=f"dot {side}")
        name = "control, the bar" if bar and side == "control" else side
        items.append(element("li", element("svg", line, dot, width=26, height=14, aria_hidden="true"), name))
    return element("ul", *items, class_="key")


def figure(title: str, legend: Markup | None, drawn: Markup, note: str = "") -> Markup:
    """A plot with its title, its key and a note."""
    caption = element("figcaption", title, hint(note) if note else None, legend)
    return element("figure", caption, drawn)


def _pretraining(data: Mapping[str, Any], name: str) -> Markup | None:
    """What was trained before an arm began: it costs, and its curve is another task's or another budget's."""
    said = []
    for side in ("control's start", "treatment's start"):
        rows = [row for row in data["trials"] if row["task"] == name and side in row["sides"] and row["attempts"]]
        if rows:
            spent = sum(row["seconds"] or 0.0 for row in rows)
            units = sorted({row["units"] for row in rows if row["units"] is not None})
            each = " each" if len(rows) > 1 else ""
            used = f"{text.numbers(units[-1])} units{each}" if units else "not trained yet"
            whose = listed([who.removesuffix("'s start") for who in rows[0]["sides"] if who.endswith("'s start")])
            count = f"{text.count(len(rows), 'parent trial')}, {used}, {text.seconds(spent)} in all"
            line = f"The {whose} began from trained weights: {count}"
            if line not in said:
                said.append(line)
    if not said:
        return None
    return element(
        "p", *(f"{line}. " for line in said), "Their cost is counted; their curves are not shown.", class_="hint"
    )


# --------------------------------------------------------------------------------------------------------- numbers


def _numbers(name: str, found: Mapping[str, Any], data: Mapping[str, Any]) -> Markup:
    plan = data["plan"]
    task = plan["tasks"][name]
    test, unit = words.deciding(task), unit_of(found, plan)
    seen: list[Mapping[str, Any]] = [found] if found["new_data"] is None else [found, found["new_data"]]
    first = "reported" if plan.get("reported") else "dev"
    head = ["in numbers", *[first, "new data"][: len(seen)], "what it is"]
    one = width(plan, name)
    shares = "" if one is None else f"; {text.numbers(found['margin'] / one)} on the task's scale"

    def row(title: str, why: str, cells: Sequence[Content]) -> list[Content]:
        return [title, *cells, element("span", why, class_="soft")]

    def each(key: str, *, plus: bool = False) -> list[Content]:
        return [amount(look[key], plus=plus) for look in seen]

    lower = f"{100 * (1 - test['support']):.4g} %"
    items = found["items"]
    noise: list[Content] = [_error(look["items"]) for look in seen]
    counted = "" if "count" not in items else f", over {items['count']:,} items"
    rows = [
        row("Control", f"mean {found['metric']} over the pairs", each("control")),
        row("Treatment", f"mean {found['metric']} over the pairs", each("treatment")),
        row("Effect", f"in {unit}; above zero: the treatment is better{_earlier(found)}", each("effect", plus=True)),
        row(
            "Interval",
            f"{words.coverage(test)} over all looks; its lower end alone: {lower}, one-sided. ∞: no bound at this look",
            [_interval(look["interval"]) for look in seen],
        ),
        row("Least effect that counts", f"registered before any run{shares}", [amount(found["margin"])] * len(seen)),
        row("p", f"one-sided, at most so much, against {text.numbers(test['null'])}", [_p(look["p"]) for look in seen]),
        row("Pairs", _ended(found), [text.used(found), str(found["pairs"])][: len(seen)]),
        row("Treatment better", "pairs out of those", [text.won(look, found["pairs"]) for look in seen]),
        row("Noise of seeds", "standard deviation of the differences over seeds", each("deviation")),
        row(
            "Noise of items",
            f"standard error that the evaluation items alone make{counted}; no further seed reduces it",
            noise,
        ),
        row("Correlation", "of the two arms over seeds: the higher, the more pairing saved", each("correlation")),
        row("Training", "device-seconds of control → treatment, parents included", _both(seen, text.costs)),
        row("Peak memory", "of control → treatment, while they trained", _both(seen, _peaks)),
        row("Saved", *_saved(found["saved"], len(seen))),
        row("Power", *_power(found["power"], len(seen))),
    ]
    return table(head, rows, numeric=range(1, len(seen) + 1), kind="tight numbers")


def _earlier(found: Mapping[str, Any]) -> str:
    """Where a secondary test ended before the one that decides: at how many pairs its numbers were seen."""
    last = found["looks"][-1]["pairs"] if found["looks"] else found["pairs"]
    return "" if last == found["pairs"] else f"; on dev after {last} pairs, where this task's own test ended"


def _ended(found: Mapping[str, Any]) -> str:
    limit = "of those planned" if text.is_number(found["planned"]) else "no maximum was declared"
    return f"{limit}; looks ended: {words.STOPPED.get(found['stopped'], found['stopped'])}"


def _interval(value: Any) -> Markup:
    if isinstance(value, Mapping):
        return amount(value)
    exact = " … ".join(str(end["undefined"]) if isinstance(end, Mapping) else repr(end) for end in value)
    return element("span", text.interval(value), title=exact)


def _p(value: Any) -> Markup:
    return amount(value) if not text.is_number(value) else element("span", text.bound(value), title=str(value))


def _error(items: Mapping[str, Any]) -> Markup:
    return amount(items if "undefined" in items else items["error"])


def _both(seen: Sequence[Mapping[str, Any]], told: Any) -> list[Content]:
    """A cost on dev; beside it that on new data, where other networks were trained for them."""
    costs: list[Content] = [told(seen[0]["cost"])]
    if len(seen) > 1:
        again = told(seen[1]["cost"])
        costs.append("the same models" if again == costs[0] else again)
    return costs


def _peaks(cost: Mapping[str, Any]) -> Content:
    memory = cost["memory"]
    known = any(text.is_number(memory[side]) for side in SIDES)
    return text.peaks(memory) if known else amount(memory["treatment"])


def _saved(saved: Mapping[str, Any], count: int) -> tuple[str, list[Content]]:
    known = not isinstance(saved["trials"], Mapping)
    more = text.spared(saved).partition(", ")[2] if known else ""
    cells: list[Content] = [text.count(saved["trials"], "trial") if known else amount(saved["trials"]), "—"]
    return f"by deciding early, against the full plan{': ' if more else ''}{more}", cells[:count]


def _power(power: Mapping[str, Any] | None, count: int) -> tuple[str, list[Content]]:
    if power is None:
        return "it was not registered", [amount(None)] * count
    told = str(power["because"])
    if text.is_number(power["detectable"]):
        told += f"; the smallest effect with a chance of 80 %: {text.numbers(power['detectable'])}"
    cells: list[Content] = [str(power["label"]), "—"]
    return told, cells[:count]
