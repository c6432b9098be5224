"""The page of a loop: what it was worth, and the way from the first arms to the last as a tree, with all that did not
help. One HTML file that needs nothing else. The same lineage gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from novum.report import text
from novum.report.cells import amount, badge, facts, folded, hint, table
from novum.report.html import head
from novum.report.markup import Content, Markup, element, joined
from novum.space import current, show

if TYPE_CHECKING:
    from novum.arm import Arm
    from novum.lineage import Lineage, Step

ENDS = {"target": "supported", "budget": "none", "stall": "none"}
OPTIMISTIC = (
    "A description, no verdict: each adopted change was confirmed on these same new data, so the comparison is "
    "somewhat optimistic. It was counted as one opening."
)


def render(lineage: Lineage) -> str:
    """The page of a loop, as one HTML document."""
    name = lineage.goal.name
    header = element(
        "header",
        element("p", f"Novum loop · {name}", class_="kicker"),
        element("h1", "Did it really help?"),
        element("p", summary(lineage), class_="claim"),
    )
    sections = (_answer(lineage), _way(lineage), _observed(lineage), _asked(lineage))
    body = element("body", header, element("main", *sections), _footer())
    return f"<!doctype html>\n{element('html', head(f'loop: {name}'), body, lang='en')}\n"


def fragment(lineage: Lineage) -> str:
    """A loop as a small piece of HTML for notebooks."""
    return element(
        "div", element("p", summary(lineage)), _worth(lineage), *(_tree(lineage, t) for t in lineage.goal.tasks)
    )


def summary(lineage: Lineage) -> str:
    """One sentence on how it stands."""
    tested = [step for step in lineage.steps if step.outcome is not None]
    count = text.count(len(tested), "claim")
    kept = f"{len(lineage.adopted)} adopted"
    screened = f", {text.count(lineage.screened, 'change')} screened" if lineage.screened else ""
    why = lineage.sentence or "It is under way: the same command goes on."
    return f"{count} tested, {kept}{screened}. {why}"


def _answer(lineage: Lineage) -> Markup:
    tone = ENDS.get(lineage.why or "", "none")
    inside: list[Content] = [element("h2", "What it was worth")]
    if lineage.worth is None:
        inside.append(element("p", "That is measured when the loop ends.", class_="soft"))
    elif not lineage.worth["tasks"]:
        inside.append(element("p", "Nothing: no change was adopted, and the first arms stand.", class_="sentence"))
    else:
        inside += [_worth(lineage), element("p", OPTIMISTIC, class_="hint")]
    return element("section", element("div", *inside, class_=f"card answer is-{tone}"), id="worth")


def _worth(lineage: Lineage) -> Markup | None:
    if lineage.worth is None or not lineage.worth["tasks"]:
        return None
    seeds = "fresh seeds" if lineage.worth["fresh"] else "exploratory seeds"
    rows: list[list[Content]] = []
    for name, row in lineage.worth["tasks"].items():
        metric = joined(row["metric"], hint(f"over {row['pairs']} {seeds}"))
        effect = amount(row["effect"], row["unit"], plus=True)
        rows.append([name, metric, amount(row["first"]), amount(row["last"]), effect, amount(row["interval"])])
    titles = ["task, on test", "metric", "first arm", "last baseline", "gain", "95 % interval"]
    return table(titles, rows, numeric=[2, 3, 4, 5])


# ---------------------------------------------------------------------------------------------------------- the tree


def _way(lineage: Lineage) -> Markup:
    inside = [_tree(lineage, name) for name in lineage.goal.tasks]
    said = "From the first arm down: every change that was claimed, in order. An adopted one is what follows stands on."
    return element("section", element("h2", "The way"), element("p", said, class_="soft"), *inside, id="way")


def _tree(lineage: Lineage, task: str) -> Markup:
    """The rounds about one task, each below the baseline that it was tested against."""
    steps = [step for step in lineage.steps if task in step.tasks]
    arm = lineage.first[task]
    told = f"{arm.model.name}, {', '.join(f'{name} {show(value)}' for name, value in sorted(arm.recipe.items()))}"
    root = joined(element("strong", f"{task}: "), element("code", told.rstrip(", ")))
    return element("div", element("p", root), _below(lineage, task, steps, arm), class_="card")


def _below(lineage: Lineage, task: str, steps: Sequence[Step], arm: Arm) -> Markup | None:
    if not steps:
        return element("p", "No change was claimed here.", class_="soft")
    items: list[Markup] = []
    for at, step in enumerate(steps):
        node = _node(step, task, arm)
        if step.adopted:
            from novum.space import applied

            below = steps[at + 1 :]
            own = _below(lineage, task, below, applied(arm, step.options)) if below else None
            items.append(element("li", node, own))
            break
        items.append(element("li", node))
    return element("ul", *items, class_="tree")


def _node(step: Step, task: str, arm: Arm) -> Markup:
    change = "; ".join(f"{path} {_before(arm, path)} → {show(value)}" for path, value in step.options.items())
    effect = step.effect.get(task)
    mark = badge(step.outcome) if step.refused is None else element("span", "! refused", class_="badge is-none")
    told: list[Content] = [mark, " ", element("strong", step.claim)]
    if step.adopted:
        told.append(" — adopted")
    parts = [f"round {step.round}, proposed by {step.proposer}"]
    if effect is not None:
        parts.append(f"{text.signed(effect['mean'])} ({text.interval(effect['interval'])}) on dev")
    if step.pairs is not None:
        parts.append(text.count(step.pairs, "pair"))
    if step.level is not None:
        parts.append(f"tested at {step.level:.3g}")
    report = element("a", step.hypothesis, href=f"{step.hypothesis}.html") if step.hypothesis else None
    told.append(element("span", ", ".join(parts), ", " if report else None, report, class_="hint"))
    if step.refused is not None:
        told.append(hint(f"nothing was registered: {step.refused}"))
    if change:
        told.append(hint(change))
    if step.because:
        told.append(hint(f"because {step.because}" + (f" [{', '.join(step.rests_on)}]" if step.rests_on else "")))
    return joined(*told)


def _before(arm: Arm, path: str) -> str:
    value = current(arm, path)
    return "the model's own" if value is None else show(value)


# ------------------------------------------------------------------------------------------------ what it stood upon


def _observed(lineage: Lineage) -> Markup:
    parts = [
        folded(
            name,
            f"{len(found)} facts, as the last round saw them",
            table(
                ["fact", "value", "unit", "about"],
                [
                    [element("code", fact["id"]), amount_of(fact["value"]), fact["unit"], fact["about"]]
                    for fact in found
                ],
                kind="tight",
            ),
        )
        for name, found in lineage.facts.items()
    ]
    nothing = element("p", "Nothing was observed yet.", class_="soft")
    return element("section", element("h2", "Observed"), *(parts or [nothing]), id="observed")


def amount_of(value: Any) -> Content:
    """A fact's value: a number rounded, a text as it is."""
    return amount(value) if isinstance(value, int | float) else str(value)


def _asked(lineage: Lineage) -> Markup:
    goal = lineage.goal
    budget = ", ".join(f"{name.replace('_', '-')} {value}" for name, value in goal.budget.to_json().items())
    rows: list[tuple[str, Content]] = [
        ("Budget", budget),
        ("Time worked", text.seconds(lineage.worked)),
        ("Proposers, in order", ", ".join(str(each["plugin"]) for each in goal.proposers)),
        ("Error control", f"{goal.fdr.upper()} at {goal.alpha:g} over all claims of this goal"),
        ("Scope", {"each": "each task alone", "all": "on all tasks", "average": "on their average"}[goal.scope]),
    ]
    if goal.target is not None:
        rows.append(("Target", f"{goal.target.task} at {goal.target.value:g}, on new data"))
    told = list(_told(lineage))
    more = folded("What proposers say", "how they came to their proposals", facts(told)) if told else None
    return element("section", element("h2", "Asked for"), facts(rows), more, id="asked")


def _told(lineage: Lineage) -> Iterator[tuple[str, Content]]:
    for step in lineage.steps:
        if isinstance(step.told, Mapping):
            yield f"round {step.round}, {step.proposer}", "; ".join(f"{k}: {show(v)}" for k, v in step.told.items())


def _footer() -> Markup:
    limits = (
        "At most the stated share of adopted claims is expected to be false. Effects on dev are those at which a claim "
        "stopped, which overstates them; the gain on new data above does not stop early."
    )
    return element("footer", element("div", element("h2", "What this does not say"), element("p", limits)))
