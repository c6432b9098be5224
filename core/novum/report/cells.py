"""Small pieces of the page: numbers, badges, tables, and what of a plan is shown how."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from novum.arm import canonical
from novum.errors import ConfigError
from novum.experiment import once
from novum.plugins import LOCAL, NOT_INSTALLED
from novum.recipe import amount as budget_amount
from novum.report import text
from novum.report.markup import Content, Markup, element, joined

SIGNS = {"supported": "✓", "refuted": "✗", "equivalent": "≈", "inconclusive": "?", "invalid": "!"}
"""Before the word, so that an outcome is not told by colour alone."""
FRESH = "nothing: fresh weights"


def amount(value: Any, unit: str = "", *, plus: bool = False) -> Markup:
    """A stored number, rounded; the number as stored shows on hovering. What is undefined says why."""
    shown = text.signed(value) if plus else text.numbers(value)
    if value is None or isinstance(value, Mapping):
        return element("span", shown, class_="undefined")
    exact = " … ".join(repr(each) for each in value) if isinstance(value, list | tuple) else str(value)
    return element("span", f"{shown} {unit}".strip(), title=exact if exact != shown else None)


def badge(outcome: str | None) -> Markup:
    """An outcome in its colour, with its sign."""
    if outcome is None:
        return element("span", "… no verdict yet", class_="badge is-none")
    return element("span", f"{SIGNS.get(outcome, '')} {outcome}".strip(), class_=f"badge is-{outcome}")


def table(
    head: Sequence[Content], rows: Sequence[Markup | Sequence[Content]], numeric: Sequence[int] = (), kind: str = ""
) -> Markup:
    """A table that scrolls in itself where it is too wide. A row's first cell names it; a Markup row is kept."""

    def right(at: int) -> str | None:
        return "r" if at in numeric else None

    top = [element("th", cell, scope="col", class_=right(at)) for at, cell in enumerate(head)]
    body = [
        row
        if isinstance(row, Markup)
        else element(
            "tr",
            element("th", row[0], scope="row"),
            *(element("td", cell, class_=right(at)) for at, cell in enumerate(row[1:], start=1)),
        )
        for row in rows
    ]
    whole = element("table", element("thead", element("tr", *top)), element("tbody", *body), class_=kind or None)
    return element("div", whole, class_="scroll")


def facts(pairs: Sequence[tuple[str, Content]]) -> Markup:
    """Names and what they are, as a list in two columns."""
    return element("dl", *(joined(element("dt", name), element("dd", value)) for name, value in pairs), class_="facts")


def folded(title: str, note: str, *content: Content) -> Markup:
    """Something that opens when it is asked for."""
    summary = element("summary", title, element("span", f" {note}", class_="soft") if note else None)
    return element("details", summary, *content)


def hint(words: str) -> Markup:
    """A line in small print below what it explains."""
    return element("span", words, class_="hint")


def short(digest: Any, digits: int = 10) -> Markup:
    """The beginning of a hash; the whole shows on hovering."""
    return element("span", str(digest)[:digits], title=str(digest), class_="mono")


def when(time: str | None) -> str:
    """A time as the ledger has it, to the second, in UTC."""
    if time is None:
        return "undefined, because it was not recorded"
    return f"{time[:19].replace('T', ' ')} UTC" if time.endswith("+00:00") else time


def listed(names: Sequence[str]) -> str:
    """Names in a sentence: `a`, `a and b`, `a, b and c`."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


# ------------------------------------------------------------------------------------------------------------ plans


def options(plan: Mapping[str, Any]) -> dict[str, str]:
    """Everything that a plan says of an arm but its code, by dotted names, as text that loses nothing."""
    found: dict[str, str] = {}
    for part in ("task", "model", "evaluator", "recipe"):
        named = {name: each for name, each in plan["arm"][part].items() if (name, each) != ("techniques", {})}
        first = {"plugin": named["plugin"]} if "plugin" in named else {}
        found |= _flat({part: first | named})
    found |= {name: _exact(plan[name]) for name in ("units", "device", "precision")}
    found |= _flat(plan.get("how") or {}) | {"data": _exact(plan["data"])}
    above = plan["start_from"]
    if above is None:
        return found | {"start_from": FRESH}
    found |= {"start_once": "true"} if once(plan) else {}
    return found | {f"start_from.{name}": value for name, value in options(above).items()}


def coded(plan: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """(part, code) of everything that a plan's numbers come from; of a plugin, the part is its kind and name.

    Code of a person's own file has that file's name as its distribution, and is "not installed".
    """
    arm = plan["arm"]
    found: list[tuple[str, Any]] = []
    for part, code in plan["code"].items():
        if part == "techniques":
            found += [(f"technique {name}", each) for name, each in code.items()]
        elif isinstance(code, Mapping):
            name = arm.get(part, {}).get("plugin") or arm["recipe"].get(part, "")
            if name.startswith(LOCAL):  # older plans hold the whole path, and no version
                code = {**code, "distribution": PurePath(code["distribution"]).name, "version": NOT_INSTALLED}
            found.append((f"{part} {name}".strip(), code))
        else:
            found.append((part, code))
    return found


def differences(control: Mapping[str, Any], treatment: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(option, control's value, treatment's value) wherever two plans differ; of their code only if nothing else."""
    sides = options(control), options(treatment)
    if sides[0] == sides[1]:
        sides = _flat(control["code"]), _flat(treatment["code"])
    names = list(dict.fromkeys([*sides[0], *sides[1]]))
    rows = [(name, sides[0].get(name, "—"), sides[1].get(name, "—")) for name in names]
    found = [row for row in rows if row[1] != row[2]]
    if (control["start_from"] is None) == (treatment["start_from"] is None):
        return found
    starts = [start(plan) for plan in (control, treatment)]
    return [row for row in found if not row[0].startswith("start_")] + [("start_from", starts[0], starts[1])]


def start(plan: Mapping[str, Any]) -> str:
    """What a plan starts from, and whether that is trained once for all seeds."""
    above = plan["start_from"]
    if above is None:
        return FRESH
    arm = above["arm"]
    told = f"{arm['model']['plugin']} trained on {arm['task']['plugin']}, {above['units']} units"
    return f"{told}, once for all seeds" if once(plan) else told


def _flat(value: Mapping[str, Any], path: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for name, each in value.items():
        nested = isinstance(each, Mapping) and each
        found |= _flat(each, f"{path}{name}.") if nested else {f"{path}{name}": _exact(each)}
    return found


def _exact(value: Any) -> str:
    return value if isinstance(value, str) and value else canonical(value)


def unit_word(plan: Mapping[str, Any]) -> str:
    """What the budget of a plan counts: "samples seen", "environment steps" or "units of experience"."""
    try:
        _, unit = budget_amount(str(plan["arm"]["recipe"].get("budget", "")))
    except (ValueError, ConfigError):
        return "units of experience"
    return {"epochs": "samples seen", "samples": "samples seen", "steps": "environment steps"}.get(
        unit, "units of experience"
    )
