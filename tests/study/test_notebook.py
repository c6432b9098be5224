"""A notebook, executed cell by cell by a kernel of this interpreter."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

CELLS = (
    "import novum\nstudy = novum.Study('study')",
    "base = novum.arm(novum.task('text-classification', data='pets.csv'), novum.model('bag', buckets=512),\n"
    "                 budget='64 samples')\n"
    "run = study.train(base)\nrun",
    "claim = novum.Hypothesis('more helps', control=base, treatment=base.but(budget='128 samples'), max_seeds=3)\n"
    "result = study.run(claim)\nresult",
    "from novum_text.bag import Bag\n\nclass Mine(Bag):\n    'A model of this notebook.'\n\n"
    "mine = study.train(base.but(model=novum.model(Mine, buckets=512)))\nmine.metrics['accuracy']",
    "from IPython.display import display\ndisplay(study, novum.Study('nothing-yet'))",
    "import json, os\nprint(json.dumps([result.outcome, len(study.rows()), study.trials().shape[0]]))",
)
EXECUTE = """
import sys
import nbformat
from nbclient import NotebookClient

notebook = nbformat.read(sys.argv[1], as_version=4)
NotebookClient(notebook, timeout=120, kernel_name="here").execute()
nbformat.write(notebook, sys.argv[1])
"""


@pytest.fixture(scope="module")
def executed(process: Callable[..., Any], shelf: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """The cells' outputs."""
    nbformat: Any = importlib.import_module("nbformat")  # its functions are not typed
    folder = tmp_path_factory.mktemp("notebook")
    (folder / "pets.csv").write_bytes((shelf / "pets.csv").read_bytes())
    kernel = folder / "jupyter" / "kernels" / "here" / "kernel.json"
    kernel.parent.mkdir(parents=True)
    start = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    kernel.write_text(json.dumps({"argv": start, "display_name": "here", "language": "python"}))
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    nbformat.write(notebook, folder / "it.ipynb")
    own = {"JUPYTER_PATH": str(folder / "jupyter"), "IPYTHONDIR": str(folder / "ipython")}

    said = process(sys.executable, "-c", EXECUTE, "it.ipynb", cwd=folder, **own)

    assert said.code == 0, said.err
    return [cell.outputs for cell in nbformat.read(folder / "it.ipynb", as_version=4).cells]


def text(outputs: list[Any], name: str) -> str:
    """What a cell wrote to "stdout" or "stderr"."""
    return "".join(one.text for one in outputs if one.output_type == "stream" and one.name == name)


def shown(outputs: list[Any]) -> Any:
    """What the last line of a cell displays, by its media types."""
    return next(one.data for one in outputs if one.output_type == "execute_result")


def test_a_run_displays_itself_with_its_metrics(executed: list[Any]) -> None:
    page = shown(executed[1])["text/html"]

    assert "exploratory" in page and "accuracy" in page


def test_a_verdict_displays_itself_with_its_outcome(executed: list[Any]) -> None:
    outcome, rows, frame = json.loads(text(executed[5], "stdout"))

    assert outcome in shown(executed[2])["text/html"]
    assert (rows, frame) == (8, 8)
    assert "novum: 6 of 6 trials done." in text(executed[2], "stderr")


def test_a_study_displays_itself_with_its_claims_and_how_they_ended(executed: list[Any]) -> None:
    held, empty = (one.data["text/html"] for one in executed[4])

    outcome = json.loads(text(executed[5], "stdout"))[0]
    assert "more helps" in held and f">{outcome}<" in held
    assert "Trials: 8 done." in held
    assert "Nothing has begun in it." in empty


def test_a_class_of_a_cell_runs_inline_and_says_so(executed: list[Any]) -> None:
    assert 0.0 <= float(shown(executed[3])["text/plain"]) <= 1.0
    assert "A class from a notebook cell or a prompt cannot travel to a worker: running inline." in text(
        executed[3], "stderr"
    )
