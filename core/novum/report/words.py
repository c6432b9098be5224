"""What a plan registers and how a walk ended, in words: for the terminal and for the page."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from novum.loop import ordinal
from novum.report.text import count, numbers

TESTS = {
    "sequential-t": "sequential t-test",
    "sequential-sign-flip": "sequential sign-flip test",
    "sequential-sign": "sequential sign test",
    "e-process": "e-process",
}
RULES = {"lord++": "LORD++", "lond": "LOND", "none": "no correction"}
MARGINS = {
    "strict": "strict: supported says better by at least the least effect, refuted says by less",
    "zone": "zone: supported says better at all, and the least effect is not excluded; refuted says by less than it",
}
ESTIMANDS = {
    "mean": "the mean difference over seeds",
    "win": "how far the probability that the treatment wins a pair lies above one half",
}
CONFIRM = {
    "same-networks": "new data are scored with the networks already trained",
    "fresh-seeds": "new data are scored with networks of fresh seeds, trained for it",
}
STOPPED = {
    "support": "the interval came to lie above the margin",
    "equivalence": "the interval came to lie within the least effect, either way",
    "refutation": "the interval came to lie below the least effect",
    "futility": "what was asked for had not much of a chance left",
    "budget": "every planned pair was used",
    "no variation": "the seeds did not vary",
    "with the claim": "the claim was settled first",
    "": "it is still open",
}
"""Why the looks at a task ended; another word stands for itself."""


DEV = {"support": "supported", "equivalence": "equivalent", "refutation": "refuted"}


def on_dev(seen: Mapping[str, Any]) -> str:
    """The outcome that the looks gave by themselves, before new data could take it back."""
    return "invalid" if not seen["looks"] and seen["outcome"] == "invalid" else DEV.get(seen["stopped"], "inconclusive")


def test(method: str) -> str:
    """A registered test's name."""
    return TESTS.get(method, method)


def looks(at: Sequence[int]) -> str:
    """When a design looks: "at every pair from 3 to 10", "at 4, 8, 12 and 14 pairs", "once, at 5 pairs"."""
    if len(at) == 1:
        return f"once, at {count(at[0], 'pair')}"
    steps = {after - before for before, after in itertools.pairwise(at)}
    if len(steps) == 1:
        (step,) = steps
        if step == 1:
            return f"at every pair from {at[0]} to {at[-1]:,}"
        if len(at) > 4:
            return f"every {step} pairs from {at[0]} to {at[-1]:,}"
    if len(at) > 6:
        return f"at {at[0]}, {at[1]}, {at[2]}, … {at[-2]:,} and {at[-1]:,} pairs"
    return f"at {', '.join(map(str, at[:-1]))} and {at[-1]} pairs"


def scope(plan: Mapping[str, Any]) -> str:
    """On what a claim must hold."""
    name, tasks = str(plan["scope"]), len(plan["tasks"])
    if name == "average":
        return f"the average over {count(tasks, 'task')}, each on its scale"
    if name.startswith("at_least("):
        return f"at least {name.removeprefix('at_least(').rstrip(')')} of {count(tasks, 'task')}"
    return "its only task" if tasks == 1 else f"every one of {count(tasks, 'task')}"


def level(record: Mapping[str, Any]) -> str:
    """At which level a claim is tested, and whose account it stands in. record: of a plan or of a verdict."""
    stream = record["stream"]
    tested = f"Tested at {numbers(record['level'], 3)}"
    if not stream:
        return f"{tested}, on its own: it names no goal, and nobody corrects for other claims."
    rule = RULES.get(stream["rule"], stream["rule"])
    return (
        f"{tested}, the {ordinal(stream['index'])} of goal {stream['goal']} ({rule} at {numbers(stream['alpha'], 3)}); "
        f"a refutation at {numbers(record['alpha'], 3)}."
    )


def power(label: str) -> str:
    """The label of a design's power, to begin a sentence: "Power adequate", "Power unknown", "Under-powered"."""
    return "Under-powered" if label == "under-powered" else f"Power {label}"


def futility(share: float, give_up: str = "both") -> str:
    """When a question is given up."""
    if not share:
        return "never given up before the last pair"
    who = "support has no chance" if give_up == "support" else "neither answer has a chance"
    return f"given up when {who} of {100 * share:g} % left, by predictive power"


def coverage(test: Mapping[str, Any]) -> str:
    """How often the intervals of a registered test hold the true effect, at all looks together: "90 %"."""
    return f"{100 * (1 - test['support'] - test['refute']):.4g} %"


def deciding(task: Mapping[str, Any]) -> Mapping[str, Any]:
    """The test whose interval a task shows: its own, or the uncorrected one where it does not decide alone."""
    found: Mapping[str, Any] = task.get("secondary") or task["test"]
    return found
