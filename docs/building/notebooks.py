"""A notebook as a page of the site: its cells in order, with the outputs that were committed. Nothing is run here."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


def page(path: Path) -> str:
    """The Markdown page of a notebook file; ends with a link to the file itself."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    parts = [part for cell in notebook["cells"] for part in _cell(cell)]
    return "\n\n".join([*parts, f"The notebook itself: [{path.name}]({path.name}){{ download }}."]) + "\n"


def _cell(cell: dict[str, Any]) -> Iterator[str]:
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        yield source
        return
    yield fenced("python", source)
    for output in cell.get("outputs", ()):
        yield from _output(output)


def _output(output: dict[str, Any]) -> Iterator[str]:
    if output["output_type"] == "stream":
        yield fenced("text", "".join(output["text"]))
    elif output["output_type"] == "error":
        yield fenced("text", ESCAPES.sub("", "\n".join(output["traceback"])))
    elif "text/html" in output["data"]:
        lines = [line.strip() for line in "".join(output["data"]["text/html"]).splitlines()]
        yield "<div class='output'>" + "".join(lines) + "</div>"  # one block: no blank line may end it
    elif "text/plain" in output["data"]:
        yield fenced("text", "".join(output["data"]["text/plain"]))


def fenced(kind: str, text: str) -> str:
    """A fenced block whose fence is longer than any in the text."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{kind}\n{text.rstrip()}\n{fence}"
