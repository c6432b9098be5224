"""The head of the page: the answer, the numbers that a reader asks for first, and all tasks' effects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from novum.numbers import listed
from novum.report import svg, text, words
from novum.report.cells import amount, badge, hint
from novum.report.markup import Content, Markup, element, joined
from novum.report.trials import ran_ahead

WIN = "P(win) − ½"
"""The unit of an effect where the probability of winning a pair is estimated."""


def answer(data: Mapping[str, Any]) -> Markup:
    """The outcome in one sentence, its reasons, and the numbers that a reader asks for first."""
    record, plan = data["verdict"], data["plan"]
    if record is None:
        ended = sum(row["state"] in ("done", "diverged", "failed") for row in data["trials"])
        most = "" if plan["open"] else f" of at most {len(data['trials'])}"
        sentence = "There is no verdict yet."
        reasons = [
            f"{ended}{most} trials have ended. A verdict is recorded once a look decides; the same command that began "
            "this claim goes on with it."
        ]
    else:
        sentence, reasons = text.headline(record), record["reasons"]
    told = [element("p", reason) for reason in reasons]
    told.append(element("p", words.level(plan), class_="soft"))
    if record is not None:
        told.append(element("p", record["fairness"], class_="soft"))
    tiles = element("dl", *_tiles(data, plan, record), class_="tiles")
    outcome = None if record is None else record["outcome"]
    top = element("div", badge(outcome), element("p", sentence, class_="sentence"), *told, tiles)
    return element("section", top, class_=f"card answer is-{outcome or 'none'}", id="answer")


def _tiles(data: Mapping[str, Any], plan: Mapping[str, Any], record: Mapping[str, Any] | None) -> list[Markup]:
    tiles = []
    if record is not None:
        if isinstance(record["effect"], Mapping):
            tiles.append(_tile("Effect", "undefined", f"because {record['effect']['undefined']}"))
        else:
            small = f"{text.interval(record['interval'])}; {record['effect_unit']}".rstrip("; ")
            tiles.append(_tile("Effect", amount(record["effect"], plus=True), small))
    tiles.append(_tile("Pairs", *_pairs(plan, record)))
    if record is not None:
        tiles.append(_tile("Saved", *_saved(data, record)))
    tiles.append(_tile("Power", *_power(plan)))
    tiles.append(_tile("New data (test)", *_sealed(data, plan)))
    if record is not None:
        tiles.append(_tile("Cost of the treatment", *_cost(record["cost"])))
    return tiles


def _tile(name: str, big: Content, small: str) -> Markup:
    return joined(element("div", element("dt", name), element("dd", element("span", big, class_="big"), hint(small))))


def _pairs(plan: Mapping[str, Any], record: Mapping[str, Any] | None) -> tuple[str, str]:
    count, tasks = len(plan["seeds"]["indices"]), len(plan["tasks"])
    planned = None if plan["open"] else count * tasks
    bars = any(task["control"] is None for task in plan["tasks"].values())
    share = "each seed against the bar" if bars else "control and treatment share each seed"
    if record is None:
        return ("open" if planned is None else f"at most {planned:,}"), share
    used = sum(task["pairs"] for task in record["tasks"].values())
    big = f"{used:,}" if planned is None else f"{used:,} of {planned:,}"
    each = listed([f"{name} {record['tasks'][name]['pairs']}" for name in plan["order"]])
    limit = "no maximum was declared" if planned is None else share
    return big, limit if tasks == 1 else f"{each}; {limit}"


def _saved(data: Mapping[str, Any], record: Mapping[str, Any]) -> tuple[str, str]:
    saved = record["saved"]
    if isinstance(saved["trials"], Mapping):
        return "undefined", f"because {saved['trials']['undefined']}"
    if not saved["trials"]:
        return "nothing", "every planned pair was looked at"
    small = []
    if text.is_number(saved["seconds"]):
        small.append(f"about {text.seconds(saved['seconds'])} of device time")
    if text.is_number(saved["money"]):
        small.append(f"{text.numbers(saved['money'], 3)} in money")
    ahead = len(ran_ahead(data))
    if ahead:
        small.append(f"{ahead} of them ran ahead all the same")
    return text.count(saved["trials"], "trial"), "; ".join(small) or "by deciding early"


def _power(plan: Mapping[str, Any]) -> tuple[str, str]:
    """The label of what decides: the average's, or the tasks' where they agree, else the worst with its tasks."""
    if plan["average"] is not None:
        power = plan["average"]["power"]
        return str(power["label"]), str(power["because"])
    powers = {name: plan["tasks"][name]["power"] for name in plan["order"]}
    for label in ("under-powered", "unknown", "adequate"):
        names = [name for name, power in powers.items() if power["label"] == label]
        if names:
            because = str(powers[names[0]]["because"])
            return label, because if len(names) == len(powers) == 1 else f"on {listed(names)}: {because}"
    return "unknown", "it was not registered"


def _cost(cost: Mapping[str, Any]) -> tuple[Content, str]:
    """The ratio of both arms' training times; the treatment's own where the control is a bar and cost nothing."""
    spent = [text.seconds(cost[side]) for side in ("control", "treatment")]
    if isinstance(cost["ratio"], Mapping):
        return spent[1], f"of training; {cost['ratio']['undefined']}"
    return joined("×", amount(cost["ratio"])), f"{spent[0]} → {spent[1]} of training"


def _sealed(data: Mapping[str, Any], plan: Mapping[str, Any]) -> tuple[str, str]:
    if plan.get("reported"):
        return "none", "scores were reported by the caller"
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
    panels = []
    scaled = [name for name in plan["order"] if width(plan, name) is not None]
    lanes = [_lane(name, record, plan, width(plan, name) or 1.0) for name in scaled]
    if record.get("average"):
        lanes.append(_average(record, plan))
    if lanes:
        panels.append(svg.effects(lanes, "effect on each task's own scale: 1 is the way from chance to the reference"))
    others = [name for name in plan["order"] if name not in scaled]
    if plan["estimand"] == "win":
        panels.append(
            svg.effects([_lane(name, record, plan, 1.0) for name in others], f"effect: {WIN}, {words.ESTIMANDS['win']}")
        )
    else:
        for name in others:
            axis = f"effect in {unit_of(record['tasks'][name], plan)}"
            axis += "" if plan.get("reported") else f": {name} states no scale"
            panels.append(svg.effects([_lane(name, record, plan, 1.0)], axis))
    return element(
        "section",
        element("h2", "How much did it help?"),
        element("div", *panels, _key(record, plan), class_="card"),
        id="effects",
    )


def width(plan: Mapping[str, Any], name: str) -> float | None:
    """One on the task's scale, in the unit of its effect; None where its effect stands on no scale."""
    scale = plan["tasks"][name]["scale"]
    if scale is None or plan["estimand"] == "win":
        return None
    return abs(float(scale["reference"]) - float(scale["chance"]))


def unit_of(task: Mapping[str, Any], plan: Mapping[str, Any]) -> str:
    """In what a task's effect is counted."""
    return WIN if plan["estimand"] == "win" else str(task["unit"] or task["metric"])


def _lane(name: str, record: Mapping[str, Any], plan: Mapping[str, Any], one: float) -> svg.Lane:
    """A task's row; `one` is one of its axis in the metric's units."""
    task = record["tasks"][name]
    return _row(name, task, task["margin"], unit_of(task, plan), one, _role(task))


def _average(record: Mapping[str, Any], plan: Mapping[str, Any]) -> svg.Lane:
    least = plan["average"]["test"]["claimed"]
    return _row("average over tasks", record["average"], least, "on their scales", 1.0, "decides")


def _role(task: Mapping[str, Any]) -> str:
    return "" if task["role"] == "decides" else str(task["role"])


def _row(name: str, task: Mapping[str, Any], margin: float, unit: str, one: float, role: str) -> svg.Lane:
    again = task.get("new_data")
    looks = [("dev", task, words.on_dev(task))]
    if again is not None:
        looks.append(("new data", again, again["outcome"]))
    marks, told = [], []
    for split, seen, outcome in looks:
        said = told_effect(seen, unit)
        told.append(element("span", element("span", f"{split} ", class_="soft") if again is not None else None, said))
        ends = text.ends(seen["interval"])
        low, high = (None, None) if ends is None else (ends[0] / one, ends[1] / one)
        point = None if isinstance(seen["effect"], Mapping) else seen["effect"] / one
        marks.append(svg.Mark(outcome, point, low, high, f"{split} {said}", confirms=split != "dev"))
    small = element("span", f" {role}", class_="hint") if role else None
    lead = element("span", element("strong", name), " ", badge(task["outcome"]), small)
    head = element("div", lead, element("span", *told, class_="told"), class_="row")
    return svg.Lane(name, tuple(marks), margin / one, head)


def told_effect(seen: Mapping[str, Any], unit: str) -> str:
    """An effect in words, such as `+0.0312 accuracy (0.0201 … 0.0424)`, or why there is none."""
    if isinstance(seen["effect"], Mapping):
        return text.numbers(seen["effect"])
    return f"{text.signed(seen['effect'])} {unit} ({text.interval(seen['interval'])})"


def _key(record: Mapping[str, Any], plan: Mapping[str, Any]) -> Markup:
    def sample(*shapes: Markup, tone: str = "is-none") -> Markup:
        return element("svg", *shapes, width=30, height=14, class_=tone, aria_hidden="true")

    line = element("line", x1=1, x2=29, y1=7, y2=7, class_="interval")
    zone = element("rect", x=0, y=0, width=22, height=14, class_="small")
    shares = list(dict.fromkeys(words.coverage(words.deciding(task)) for task in plan["tasks"].values()))
    where = "" if plan.get("reported") else " on dev"
    span = f"mean and {' or '.join(shares)} interval{where}, valid at every look"
    items = [joined(sample(line, element("circle", cx=15, cy=7, r=5, class_="point")), span)]
    if any(task["margin"] for task in plan["tasks"].values()):
        small = sample(zone, element("line", x1=22, x2=22, y1=0, y2=14, class_="margin"))
        items.append(joined(small, "smaller than what counts (dotted: the least effect that does)"))
    if record["new_data"] == "opened":
        shape = element("path", d="M15,0 L22,7 L15,14 L8,7 Z", class_="point")
        fresh = plan["confirm"] == "fresh-seeds"
        items.insert(
            1, joined(sample(line, shape), f"{'models of fresh seeds' if fresh else 'the same models'} on new data")
        )
    return element("ul", *(element("li", item) for item in items), class_="key")
