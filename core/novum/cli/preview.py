"""What `novum plan` says of a hypothesis: its tests, what they could see, what they may cost, the noise floor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from novum.report import text, words

if TYPE_CHECKING:
    from novum.preview import Preview

LONG = 40
"""Looks beyond which those shown lie ever farther apart."""
SHOWN = 5
"""Critical values that stand on a line; of more the first, some between, and the last."""


def print_preview(console: Console, name: str, told: Preview) -> None:
    """A preview: the line, what one should know, and a block for each task."""
    console.print(f"[bold]{escape(name)}[/]: {escape(told.line)}")
    for sentence in told.said:
        console.print(f"  {escape(sentence)}")
    record = told.record
    for task, block in record["tasks"].items():
        console.print()
        for line in _test(task, block):
            console.print(line)
        console.print(_table(block, _trials_per_pair(record, block)))
        for line in [*_sees(block, told.said), _cost(block["cost"], record["open"]), *_noise(block)]:
            console.print(f"  {escape(line)}")
    console.print("\nNothing is registered.")


def _test(task: str, block: Mapping[str, Any]) -> list[str]:
    level, refute = text.numbers(block["level"], 3), text.numbers(block["refute"], 3)
    levels = f"at the level {level}" + ("" if level == refute else f", refuted at {refute}")
    return [
        f"[bold]{escape(task)}[/]: {words.test(block['test'])} {levels}",
        f"  looks {words.looks(block['looks'])}{_earliest(block)}",
        f"  {_boundaries(block)}",
    ]


def _earliest(block: Mapping[str, Any]) -> str:
    first = block["earliest"]
    return "" if first in (None, block["looks"][0]) else f"; can support from {first} pairs on"


def _boundaries(block: Mapping[str, Any]) -> str:
    """A few critical values of t, from the first look to the last."""
    looks, bounds = block["looks"], block["boundaries"]
    if block["test"] == "sequential-sign":
        return "counts wins; no assumption on the sizes of the differences"
    if not bounds:
        return "no fixed critical values: they follow from the sizes of the differences"
    last = len(looks) - 1
    if len(looks) <= LONG:
        step = max(1, -(-last // (SHOWN - 1)))
        places = sorted({*range(0, len(looks), step), last})
    else:  # they fall fast at first
        places = sorted({0, *(round(len(looks) ** (at / (SHOWN - 1))) - 1 for at in range(1, SHOWN - 1)), last})
    told = [f"{'∞' if bounds[at] is None else f'{bounds[at]:.3g}'} at {looks[at]}" for at in places]
    return f"supported above t = {', '.join(told)} pairs"


def _trials_per_pair(record: Mapping[str, Any], block: Mapping[str, Any]) -> float | None:
    """Trials of a pair of this task, parents included; None where the preview does not tell."""
    if "trials_per_pair" in block:
        return float(block["trials_per_pair"])
    alone = record["scope"] == "average" or len(record["tasks"]) == 1
    return record["trials"] / record["pairs"] if alone else None


def _table(block: Mapping[str, Any], trials: float | None) -> Table:
    """Effect → what comes of it, and how much it takes."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    equivalent = any(row["equivalent"] >= 0.005 for row in block["table"])
    known = block["table_unit"] == "metric"
    wins = block["test"] == "sequential-sign"
    first = "  P(win) - 0.5" if wins else "  true effect" if known else "  true effect in sd"
    heads = [first, "supported", "refuted"]
    heads += ["equivalent"] if equivalent else []
    heads += ["undecided", "pairs", *(["trials"] if trials is not None else [])]
    for head in heads:
        table.add_column(head, justify="right", no_wrap=True)
    for row in block["table"]:
        refuted = row["refuted"] + (0.0 if equivalent else row["equivalent"])
        shares = [row["supported"], refuted, *([row["equivalent"]] if equivalent else []), row["inconclusive"]]
        counts = [f"{row['pairs']:.1f}", *([f"{row['pairs'] * trials:.0f}"] if trials is not None else [])]
        table.add_row(text.numbers(row["effect"], 3), *(f"{100 * share:.0f} %" for share in shares), *counts)
    return table


def _sees(block: Mapping[str, Any], already: Sequence[str]) -> list[str]:
    """What the design can see. already: sentences that stand above, which are not repeated."""
    power = block["power"]
    said = []
    wins = block["test"] == "sequential-sign"
    if block["table_unit"] != "metric" and not wins:
        said.append(f"effects are counted in {block['table_unit']}")
    if text.is_number(power["detectable"]):
        seen = text.numbers(power["detectable"], 3)
        unit = "above P(win) = 0.5" if wins else block["unit"]
        said.append(f"smallest effect supported with a chance of 80 %: {seen} {unit}")
    repeated = any(power["because"] in sentence for sentence in already)
    said.append(f"power: {power['label']}{'' if repeated else ', ' + power['because']}")
    if text.is_number(power["sd"]) and not wins:
        sd, pairs = text.numbers(power["sd"], 3), text.count(power["pairs"], "pair")
        said.append(f"spread of the differences {sd}, from {pairs} of {power['source']}")
    return said


def _cost(cost: Mapping[str, Any], endless: bool) -> str:
    if "undefined" in cost:
        return f"cost: {cost['undefined']}"
    if isinstance(cost["pair"], Mapping):
        return f"cost of a pair: {text.numbers(cost['pair'])}"
    whole = "" if endless else f", {text.seconds(cost['whole'])} for all"
    source = text.count(cost["trials"], "recorded trial")
    return f"cost: {text.seconds(cost['pair'])} of device time a pair{whole}, from {source}"


def _noise(block: Mapping[str, Any]) -> list[str]:
    """The noise floor, where it was measured."""
    noise = block["noise"]
    if noise is None:
        return []
    again, items, arm = noise["again"], noise["items"], noise["arm"]
    mean, sd = text.signed(again["mean"], 3), text.numbers(again["sd"], 3)
    paired_sd, unpaired_sd, correlation = (
        text.numbers(noise[name], 3) for name in ("paired_sd", "unpaired_sd", "correlation")
    )
    said = [
        f"noise floor, over {noise['seeds']} seeds, in {block['unit']}:",
        f"  seeds alone: sd {text.numbers(noise['seeds_sd'], 3)}",
        f"  {arm} against {arm}: {mean} ± {sd} (sd)",
        f"  paired by seed: sd {paired_sd}, unpaired {unpaired_sd}; correlation {correlation}",
    ]
    if "undefined" in items:
        said.append(f"  evaluation items: {text.numbers(items)}")
    else:
        error = text.numbers(items["error"], 3)
        said.append(f"  evaluation items: error {error} ({items['count']:,} items), which no further seed reduces")
    paired, unpaired = noise["pairs_needed"], noise["unpaired_needed"]
    if paired == unpaired and isinstance(paired, Mapping):
        said.append(f"  pairs needed: {text.numbers(paired)}")
    else:
        said.append(f"  pairs needed: {text.numbers(paired)}; without pairing: {text.numbers(unpaired)}")
    return said
