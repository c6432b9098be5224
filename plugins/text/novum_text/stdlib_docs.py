"""Real labelled text that every CPython carries: the docstrings of its standard library.

The sources are parsed with `ast` and never imported. A text is a docstring paragraph of 30 to 600 characters, its
label the top-level module, its group the docstring; a paragraph that occurs again is left out.
"""

from __future__ import annotations

import ast
import re
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path

from novum import DataError

from novum_text.tables import Table

NAME = "stdlib-docs"
MODULES = (
    "_pydecimal",
    "asyncio",
    "doctest",
    "email",
    "http",
    "importlib",
    "logging",
    "multiprocessing",
    "typing",
    "unittest",
    "urllib",
    "xml",
)
SHORTEST, LONGEST = 30, 600
_BLANK = re.compile(r"\n\s*\n")
_Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
_TESTS = {"test", "tests"}  # CPython 3.11 still ships the tests of unittest inside it


def read() -> Table:
    """The paragraphs, by file, then by docstring.

    Raises DataError when this Python has no sources of its standard library.
    """
    root = Path(sysconfig.get_path("stdlib"))
    seen: set[str] = set()
    texts, labels, rows, groups = list[str](), list[str](), list[str](), list[str]()
    for module in MODULES:
        for file in _files(root, module):
            relative = file.relative_to(root).as_posix()
            for number, (name, docstring) in enumerate(_docstrings(file), 1):
                for part, paragraph in enumerate(_BLANK.split(docstring), 1):
                    text = paragraph.strip()
                    if SHORTEST <= len(text) <= LONGEST and text not in seen:
                        seen.add(text)
                        texts.append(text)
                        labels.append(module)
                        rows.append(f"{relative}:{name or 'module'}:{number}.{part}")
                        groups.append(f"{relative}:{number}")
    return Table(NAME, tuple(texts), tuple(labels), tuple(rows), tuple(groups))


def _files(root: Path, module: str) -> list[Path]:
    package = root / module
    found = sorted(package.rglob("*.py")) if package.is_dir() else [root / f"{module}.py"]
    found = [file for file in found if file.is_file() and _TESTS.isdisjoint(file.relative_to(root).parts)]
    if not found:
        raise DataError(
            f"data: 'stdlib-docs' reads the sources of the standard library, but {root} holds none of {module!r}; use "
            "a Python that carries its sources, or give a file of labelled texts."
        )
    return found


def _docstrings(file: Path) -> Iterator[tuple[str, str]]:
    """(qualified name, docstring) of the module, its classes and functions, in the order of the source."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)  # of the library's own sources: no concern of the reader's
        tree = ast.parse(file.read_bytes(), filename=str(file))
    yield from _below(tree, "")


def _below(node: ast.AST, name: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, _Documented):
        docstring = ast.get_docstring(node)
        if docstring:
            yield name, docstring
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _below(child, f"{name}.{child.name}".lstrip("."))
        else:
            yield from _below(child, name)
