"""docs/rules.md: its table is the table of the code. `python tests/core/test_rules_page.py` writes it anew."""

from __future__ import annotations

from pathlib import Path

from novum import plugins
from novum.plugins.installed import CORE
from novum.rules import Rule, installed

PAGE = Path(__file__).parents[2] / "docs" / "rules.md"
BEGIN, END = "<!-- rules:begin -->\n", "<!-- rules:end -->\n"
GROUPS = {
    "novum.rules.data": "The data",
    "novum.rules.fitting": "How what was seen carries over",
    "novum.rules.training": "The course of training",
    "novum.rules.episodes": "Episodes",
}


def row(rule: Rule) -> str:
    signs = " and ".join(f"`{each}`" for each in rule.signs)
    ways = "; else ".join(", ".join(f"`{path} {step}`" for path, step in remedy.items()) for remedy in rule.remedies)
    return f"| `{rule.name}` | {signs} | {ways} | {rule.gain:g} | {rule.cost:g} |"


def table() -> str:
    homes = {one.name: one.value.partition(":")[0] for one in plugins.listings("rule") if one.distribution == CORE}
    rules = [rule for rule in installed() if rule.name in homes]
    lines: list[str] = []
    for home, title in GROUPS.items():
        own = [rule for rule in rules if homes[rule.name] == home]
        lines += [
            f"### {title}",
            "",
            "| rule | where | then | gain | cost |",
            "|---|---|---|---|---|",
            *map(row, own),
            "",
        ]
        lines += [f"- `{rule.name}`: {rule.reason} {rule.source}." for rule in own]
        lines.append("")
    assert sum(line.startswith("- `") for line in lines) == len(rules)
    return "\n".join(lines).replace("?.\n", "?\n")


def test_the_table_of_the_page_is_that_of_the_code() -> None:
    between = PAGE.read_text().partition(BEGIN)[2].partition(END)[0]

    assert between == table()


if __name__ == "__main__":
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(before + BEGIN + table() + END + rest.partition(END)[2])
