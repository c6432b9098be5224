"""The first half of the page: the claim, the answer, and each task's evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from novum.report import svg, text
from novum.report.cells import amount, badge, differences, facts, hint, listed, table, unit_word, when
from novum.report.markup import Content, Markup, element, joined

SIDES = ("control", "treatment")
BROKEN = ("failed", "unrun")
"""States of a side that is no data: its pair is not drawn."""


def answer(data: Mapping[str, Any]) -> Markup:
    """The outcome in one sentence, its reasons, and the numbers that a reader asks for first."""
    record, plan = data["verdict"], data["plan"]
    if record is None:
        ended = sum(row["state"] in ("done", "diverged", "failed") for row in data["trials"])
        sentence = "There is no verdict yet."
        reasons = [
            f"{ended} of {len(data['trials'])} trials have ended. Nothing is decided before all have; the same command "
            "that began this claim goes on with it."
        ]
    else:
        sentence, reasons = text.HEADLINES[record["outcome"]], record["reasons"]
    told = [element("p", reason) for reason in reasons]
    tiles = element("dl", *_tiles(data, plan, record), class_="tiles")
    outcome = None if record is None else record["outcome"]
    top = element("div", badge(outcome), element("p", sentence, class_="sentence"), *told, tiles)
    return element("section", top, class_=f"card answer is-{outcome or 'none'}", id="answer")


def _tiles(data: Mapping[str, Any], plan: Mapping[str, Any], record: Mapping[str, Any] | None) -> list[Markup]:
    count, tasks = len(plan["seeds"]["indices"]), len(plan["tasks"])
    many = f"{count} seeds × {tasks} task{'s' if tasks > 1 else ''}"
    tiles = []
    if record is not None:
        small = f"{text.numbers(record['interval'])}; {record['effect_unit']}".rstrip("; ")
        if isinstance(record["effect"], Mapping):
            tiles.append(_tile("Effect", "undefined", f"because {record['effect']['undefined']}"))
        else:
            tiles.append(_tile("Effect", amount(record["effect"], plus=True), small))
    tiles.append(_tile("Pairs of trials", many, "control and treatment share each seed"))
    tiles.append(_tile("New data (test)", *_sealed(data)))
    if record is not None:
        ratio = record["cost"]["ratio"]
        big = amount(ratio) if isinstance(ratio, Mapping) else joined("×", amount(ratio))
        spent = f"{text.seconds(record['cost']['control'])} → {text.seconds(record['cost']['treatment'])} of training"
        tiles.append(_tile("Cost of the treatment", big, spent))
    return tiles


def _tile(name: str, big: Content, small: str) -> Markup:
    return joined(element("div", element("dt", name), element("dd", element("span", big, class_="big"), hint(small))))


def _sealed(data: Mapping[str, Any]) -> tuple[str, str]:
    mine = [row for row in data["openings"]["mine"] if row["split"] == "test"]
    if mine:
        return "opened once" if len(mine) == 1 else f"opened {len(mine)} times", "to confirm what dev supported"
    return "sealed", "opened only to confirm a claim"


# --------------------------------------------------------------------------------------------------------- effects


def effects(data: Mapping[str, Any]) -> Markup | None:
    """All tasks' effects with their intervals; None before there is a verdict."""
    record, plan = data["verdict"], data["plan"]
    if record is None:
        return None
    on_scale = [name for name in record["tasks"] if plan["tasks"][name]["scale"] is not None]
    panels = []
    if on_scale:
        lanes = [_lane(name, record["tasks"][name], _width(plan, name)) for name in on_scale]
        axis = "effect on each task's own scale: 1 is the way from chance to the reference"
        panels.append(svg.effects(lanes, axis))
    for name, task in record["tasks"].items():
        if name not in on_scale:
            axis = f"effect in {task['unit'] or task['metric']}: {name} states no scale"
            panels.append(svg.effects([_lane(name, task, 1.0)], axis))
    return element(
        "section",
        element("h2", "How much did it help?"),
        element("div", *panels, _key(bool(record["new_data"] == "opened"), _coverage(plan)), class_="card"),
        id="effects",
    )


def _width(plan: Mapping[str, Any], name: str) -> float:
    scale = plan["tasks"][name]["scale"]
    return abs(float(scale["reference"]) - float(scale["chance"]))


def _coverage(plan: Mapping[str, Any]) -> str:
    return f"{100 * (1 - 2 * plan['alpha']):.4g} %"


def _lane(name: str, task: Mapping[str, Any], width: float) -> svg.Lane:
    """A task's row; `width` is one of its axis in the metric's units."""
    again = task["new_data"]
    looks = [("dev", task, "supported" if again is not None else task["outcome"])]
    if again is not None:
        looks.append(("new data", again, again["outcome"]))
    marks, told = [], []
    for split, seen, outcome in looks:
        words = told_effect(seen, task["unit"] or task["metric"])
        told.append(element("span", element("span", f"{split} ", class_="soft") if again is not None else None, words))
        low, high = (None, None) if isinstance(seen["interval"], Mapping) else seen["interval"]
        point = None if isinstance(seen["effect"], Mapping) else seen["effect"] / width
        ends = [None if end is None else end / width for end in (low, high)]
        marks.append(svg.Mark(outcome, point, ends[0], ends[1], f"{split} {words}", confirms=split != "dev"))
    lead = element("span", element("strong", name), " ", badge(task["outcome"]))
    head = element("div", lead, element("span", *told, class_="told"), class_="row")
    return svg.Lane(name, tuple(marks), task["margin"] / width, head)


def told_effect(seen: Mapping[str, Any], unit: str) -> str:
    """An effect in words, such as `+0.0312 accuracy (0.0201 … 0.0424)`, or why there is none."""
    if isinstance(seen["effect"], Mapping):
        return text.numbers(seen["effect"])
    return f"{text.signed(seen['effect'])} {unit} ({text.numbers(seen['interval'])})"


def _key(opened: bool, coverage: str) -> Markup:
    def sample(*shapes: Markup, tone: str = "is-none") -> Markup:
        return element("svg", *shapes, width=30, height=14, class_=tone, aria_hidden="true")

    line = element("line", x1=1, x2=29, y1=7, y2=7, class_="interval")
    zone = element("rect", x=0, y=0, width=22, height=14, class_="small")
    items = [
        joined(
            sample(line, element("circle", cx=15, cy=7, r=5, class_="point")), f"mean and {coverage} interval on dev"
        ),
        joined(
            sample(zone, element("line", x1=22, x2=22, y1=0, y2=14, class_="margin")),
            "smaller than what counts (dotted: the least effect that does)",
        ),
    ]
    if opened:
        shape = element("path", d="M15,0 L22,7 L15,14 L8,7 Z", class_="point")
        items.insert(1, joined(sample(line, shape), "the same models on new data"))
    return element("ul", *(element("li", item) for item in items), class_="key")


# ----------------------------------------------------------------------------------------------------------- tasks


def tasks(data: Mapping[str, Any]) -> Markup:
    """One card per task."""
    cards = [_task(data, name) for name in data["plan"]["tasks"]]
    return element("section", element("h2", "Task by task"), *cards, id="tasks")


def _task(data: Mapping[str, Any], name: str) -> Markup:
    task = data["plan"]["tasks"][name]
    found = None if data["verdict"] is None else data["verdict"]["tasks"][name]
    arm = task["control"]["arm"]
    title = element("div", element("h3", name), badge(found["outcome"]) if found is not None else None, class_="title")
    about = element(
        "p",
        f"{arm['model']['plugin']} on {arm['task']['plugin']}, {arm['recipe'].get('budget', '')}, judged by "
        f"{task['metric']['name']}.",
        class_="soft",
    )
    told: list[Markup] = []
    if found is not None:
        told = [element("p", reason) for reason in found["reasons"]]
        notes = found["notes"] + (found["new_data"] or {"notes": []})["notes"]
        told += [element("ul", *(element("li", note) for note in notes), class_="plain")] if notes else []
    inside = [title, about, _changes(task), *told, _plots(data, name, found), _pretraining(data, name)]
    return element("article", *inside, class_="card task")


def _changes(task: Mapping[str, Any]) -> Markup:
    rows = differences(task["control"], task["treatment"])
    if len(rows) == 1:
        return element("p", "The treatment changes ", *_change(*rows[0]), ".")
    few = rows[:4]
    items = [element("li", *_change(*row)) for row in few]
    more = element("li", f"and {len(rows) - len(few)} more, below under “What was registered”") if rows[4:] else None
    return joined(element("p", "The treatment changes:"), element("ul", *items, more, class_="plain"))


def _change(name: str, before: str, after: str) -> list[Content]:
    return [element("code", name), ": ", element("code", before), " → ", element("code", after)]


def _plots(data: Mapping[str, Any], name: str, found: Mapping[str, Any] | None) -> Markup:
    task = data["plan"]["tasks"][name]
    metric = task["metric"]
    figures = []
    for split, place in (("dev", data["evidence"]["dev"]), ("test", data["evidence"]["test"])):
        rows = [] if place is None else place.get(name, [])
        whole = [row for row in rows if all(row[side]["state"] not in BROKEN for side in SIDES)]
        if whole:
            seen = "dev" if split == "dev" else "new data"
            note = "" if len(whole) == len(rows) else f"{len(rows) - len(whole)} broken pair(s) left out"
            figures.append(_figure(f"Each seed on {seen}", _legend(), svg.pairs(whole, metric, seen), note))
    trained = {side: [row for row in data["trials"] if row["task"] == name and side in row["sides"]] for side in SIDES}
    series = {side: [svg.curve_of(row["curve"]) for row in rows] for side, rows in trained.items()}
    drawn = svg.curves(series, metric["name"], unit_word(task["control"]))
    if drawn is not None:
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
        beside = "beside" if len(figures) == 2 else None
        figures.append(_figure("While learning", _legend(curve=True), drawn, note, beside))
    numbers = None if found is None else _numbers(name, found, data["plan"])
    return joined(element("div", *figures, class_="plots"), numbers)


def _legend(curve: bool = False) -> Markup:
    items = []
    for side in SIDES:
        line = element("line", x1=0, x2=26, y1=7, y2=7, class_=f"mean {side}") if curve else None
        dot = element("circle", cx=13, cy=7, r=4.5, class_=f"dot {side}")
        items.append(element("li", element("svg", line, dot, width=26, height=14, aria_hidden="true"), side))
    return element("ul", *items, class_="key")


def _figure(title: str, legend: Markup, drawn: Markup, note: str = "", kind: str | None = None) -> Markup:
    caption = element("figcaption", title, hint(note) if note else None, legend)
    return element("figure", caption, drawn, class_=kind)


def _pretraining(data: Mapping[str, Any], name: str) -> Markup | None:
    """What was trained before an arm began: it costs, and its curve is another task's or another budget's."""
    said = []
    for side in ("control's start", "treatment's start"):
        rows = [row for row in data["trials"] if row["task"] == name and side in row["sides"]]
        if rows:
            spent = sum(row["seconds"] or 0.0 for row in rows)
            units = sorted({row["units"] for row in rows if row["units"] is not None})
            used = f"{text.numbers(units[-1])} units each" if units else "not trained yet"
            whose = listed([each.removesuffix("'s start") for each in rows[0]["sides"] if each.endswith("'s start")])
            count = f"{len(rows)} parent trials, {used}, {text.seconds(spent)} in all"
            line = f"The {whose} began from trained weights: {count}"
            if line not in said:
                said.append(line)
    if not said:
        return None
    return element(
        "p", *(f"{line}. " for line in said), "Their cost is counted; their curves are not shown.", class_="hint"
    )


def _numbers(name: str, found: Mapping[str, Any], plan: Mapping[str, Any]) -> Markup:
    unit = found["unit"] or found["metric"]
    looks: list[Mapping[str, Any]] = [found] if found["new_data"] is None else [found, found["new_data"]]
    head = ["in numbers", *["dev", "new data"][: len(looks)], "what it is"]
    scale = plan["tasks"][name]["scale"]
    shares = ""
    if scale is not None:
        width = abs(scale["reference"] - scale["chance"])
        shares = f"; {text.numbers(found['margin'] / width)} on the task's scale"

    def row(title: str, why: str, cells: Sequence[Content]) -> list[Content]:
        return [title, *cells, element("span", why, class_="soft")]

    def each(key: str, *, plus: bool = False) -> list[Content]:
        return [amount(look[key], plus=plus) for look in looks]

    cost = found["cost"]
    spent = joined(
        text.seconds(cost["control"]), " → ", text.seconds(cost["treatment"]), " (ratio ", amount(cost["ratio"]), ")"
    )
    rows = [
        row("Control", f"mean {found['metric']} over whole pairs", each("control")),
        row("Treatment", f"mean {found['metric']} over whole pairs", each("treatment")),
        row("Effect", f"in {unit}; above zero: the treatment is better", each("effect", plus=True)),
        row(
            "Interval",
            f"{_coverage(plan)}; its lower end alone: {100 * (1 - plan['alpha']):.4g} %, one-sided",
            each("interval"),
        ),
        row("Least effect that counts", f"registered before any run{shares}", [amount(found["margin"])] * len(looks)),
        row("p", "one-sided, against the least effect that counts", each("p")),
        row("Treatment better", "pairs out of all", [text.won(look, found["pairs"]) for look in looks]),
        row("Spread", "standard deviation of the differences over seeds", each("deviation")),
        row("Correlation", "of the two arms over seeds: the higher, the more pairing saved", each("correlation")),
        row(
            "Training",
            "device-seconds of control → treatment, parents included",
            [spent, "the same models"][: len(looks)],
        ),
    ]
    return table(head, rows, numeric=range(1, len(looks) + 1), kind="tight numbers")


def new_data(data: Mapping[str, Any]) -> Markup:
    """What `test` said, or that it stayed sealed and why."""
    mine = [row for row in data["openings"]["mine"] if row["split"] == "test"]
    record = data["verdict"]
    if mine:
        said = (
            f"Dev supported the claim, so test was opened once, at {when(mine[0]['time'])}, for the "
            f"{mine[0]['keys']} models that were trained already. A claim stands only where both agree."
        )
    elif record is None:
        said = "Test is sealed. It is opened once, and only if dev supports the claim."
    else:
        said = (
            f"Test stays sealed. It is opened only to confirm a claim that dev supports on every task, and this one is "
            f"{record['outcome']} on dev: opening it would use up new data and decide nothing."
        )
    count = data["openings"]["test"]
    inside: list[Content] = [element("p", said)]
    if mine and record is not None and record["new_data"] == "opened":
        rows = [
            [
                name,
                told_effect(task, task["unit"] or task["metric"]),
                told_effect(task["new_data"], task["unit"] or task["metric"]),
                badge(task["new_data"]["outcome"]),
            ]
            for name, task in record["tasks"].items()
        ]
        inside.append(table(["task", "on dev", "on new data", "new data alone say"], rows))
    inside.append(
        facts([("Openings of test", f"{len(mine)} by this claim, {text.numbers(count)} in the whole study so far")])
    )
    return element("section", element("h2", "What did new data say?"), element("div", *inside, class_="card"), id="new")
