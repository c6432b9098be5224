"""The notebooks in docs/notebooks, one for each group of users: committed with their outputs, and run again here."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted(path.stem for path in ROOT.glob("docs/notebooks/*.ipynb"))
RUN = """
import sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])
import execute
import nbformat

notebook = execute.executed(Path(sys.argv[2]), Path.cwd())
nbformat.write(notebook, "again.ipynb")
"""
PATHS = re.compile(r"(?<![\w.:/])/(?:home|root|tmp|usr|var|work|opt|mnt|Users|private)/[\w.-]+")
"""What a path of somebody's machine looks like."""
OUTCOME = re.compile(r"<strong>(\w+)\.</strong>")


def code(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def committed(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "docs" / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8"))
    return found


def forms(cell: dict[str, Any]) -> set[str]:
    """In which forms a cell says something: names of streams, and media types of what it displays."""
    return {
        form for one in cell["outputs"] for form in ([one["name"]] if "name" in one else one.get("data", ["error"]))
    }


def said(cell: dict[str, Any], form: str) -> str:
    """What a cell displays in a form, or wrote to a stream."""
    return "".join(
        "".join(one["text"] if one.get("name") == form else one.get("data", {}).get(form, ()))
        for one in cell["outputs"]
    )


@pytest.fixture(scope="module", params=NOTEBOOKS)
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], dict[str, Any]]:
    """A notebook as it is committed, and as it comes out when it is run again."""
    name = str(request.param)
    folder = tmp_path_factory.mktemp(name)
    words = [
        sys.executable,
        "-c",
        RUN,
        str(ROOT / "docs" / "building"),
        str(ROOT / "docs" / "notebooks" / f"{name}.ipynb"),
    ]

    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    return committed(name), json.loads((folder / "again.ipynb").read_text(encoding="utf-8"))


def test_there_is_one_for_each_group_of_users() -> None:
    assert NOTEBOOKS == ["idea", "plugin", "script"]


def test_run_again_every_cell_says_something_in_the_same_forms(pair: Any) -> None:
    before, after = (list(map(forms, code(each))) for each in pair)

    assert before == after
    assert not any("error" in each for each in before)


def test_run_again_every_verdict_is_the_same(pair: Any) -> None:
    before, after = (OUTCOME.findall("".join(said(cell, "text/html") for cell in code(each))) for each in pair)

    assert before == after
    assert len(before) == 1


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_committed_notebook_was_run_in_order_to_its_end(name: str) -> None:
    assert [cell["execution_count"] for cell in code(committed(name))] == list(range(1, len(code(committed(name))) + 1))


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_no_command_of_a_committed_notebook_failed(name: str) -> None:
    printed = "\n".join(said(cell, "stdout") for cell in code(committed(name)))

    assert (
        re.findall(r"^(?:error: .*|Traceback .*|(?:ERROR|FAILED) .*|.*\b\d+ (?:failed|errors?)\b.*)$", printed, re.M)
        == []
    )


def test_the_notebook_of_a_team_runs_the_contract_of_its_task() -> None:
    printed = "\n".join(said(cell, "stdout") for cell in code(committed("plugin")))

    assert re.search(r"\b\d+ passed", printed)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_committed_notebook_names_no_place_of_a_machine(name: str) -> None:
    text = "\n".join(
        "".join(map(str, cell["source"])) + json.dumps(cell.get("outputs")) for cell in code(committed(name))
    )

    assert PATHS.findall(text) == []
    assert "\\u001b[" not in text
