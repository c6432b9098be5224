"""Runs notebooks and keeps their outputs: `python docs/building/execute.py docs/notebooks/*.ipynb` (`make notebooks`).

A notebook runs in an empty folder of its own, by a kernel of this interpreter. No folder of this machine stays in it.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

ESCAPES = re.compile(r"\x1b\[[0-9;]*m")
LIMIT = 180
"""Seconds that a cell may take."""


def executed(path: Path, folder: Path) -> Any:
    """The notebook of a file, run in a folder: a new notebook with its outputs. Raises CellExecutionError where a cell
    fails.
    """
    import nbformat
    from nbclient import NotebookClient

    kernel = folder / "jupyter" / "kernels" / "here" / "kernel.json"
    kernel.parent.mkdir(parents=True)
    start = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    kernel.write_text(json.dumps({"argv": start, "display_name": "here", "language": "python"}))
    work = folder / "work"
    work.mkdir()
    os.environ |= {
        "JUPYTER_PATH": str(folder / "jupyter"),
        "IPYTHONDIR": str(folder / "ipython"),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",  # for cells that call `novum`
        "COLUMNS": "110",
    }
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, timeout=LIMIT, kernel_name="here", resources={"metadata": {"path": str(work)}})
    client.execute()
    return _tidied(notebook, {str(work): "…", str(folder): "…", str(Path(sys.executable).parents[1]): "…"})


def _tidied(notebook: Any, paths: dict[str, str]) -> Any:
    """Without ids that change, colours and folders of this machine; what a cell wrote to one stream in one piece."""
    import nbformat

    notebook.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    for at, cell in enumerate(notebook.cells):
        cell.id = f"cell-{at}"
        cell.metadata = {}
        if cell.cell_type == "code":
            cell.outputs = _merged(cell.outputs)
            for each in cell.outputs:
                if each.output_type == "stream":
                    each.text = ESCAPES.sub("", each.text).replace("\r\n", "\n")
    text = nbformat.writes(notebook)
    for found, shown in paths.items():
        text = text.replace(found, shown)
    return nbformat.reads(text, as_version=4)


def _merged(outputs: list[Any]) -> list[Any]:
    """What was written to one stream, in one output: how it came in pieces is chance."""
    found: list[Any] = []
    for one in outputs:
        same = next((each for each in found if one.output_type == "stream" and each.get("name") == one.name), None)
        if same is None:
            found.append(one)
        else:
            same.text += one.text
    return found


def main(names: list[str]) -> None:
    """Run each notebook in place."""
    import nbformat

    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            nbformat.write(executed(Path(name), Path(folder)), name)
        sys.stdout.write(f"{name}: executed\n")


if __name__ == "__main__":
    main(sys.argv[1:])
