"""Every message that Novum raises on purpose, read from the code: a page of the site that cannot fall behind it."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

FLAT = re.compile(r"\s+")
EXITS = {
    "InputError": 2,
    "ConfigError": 2,
    "DataError": 2,
    "MismatchError": 2,
    "PluginError": 2,
    "StudyFolderError": 2,
    "StudyError": 3,
    "NestedStudyError": 3,
    "DisconnectedError": 3,
    "DiskFullError": 3,
    "RegistrationError": 3,
    "SplitClosed": 1,
    "NovumError": 1,
}
"""Exit code by class; tests/study/test_errors_page.py holds it against `novum.errors`."""
HEAD = """# Every message

What Novum says when it stops on purpose, as it stands in the code; `…` is a value. Each line says what was wrong, what
was received, what is allowed, and what to do next. [Errors and remedies](errors.md) has the kinds, and says more about
those that people meet most.
"""


@dataclass(frozen=True)
class Message:
    """One message: the error's class, its text with "…" for values, and the module that raises it."""

    kind: str
    text: str
    module: str


def found(package: Path) -> Iterator[Message]:
    """The messages of every error below a package's folder whose text is written where it is made, file by file."""
    for path in sorted(package.rglob("*.py")):
        module = ".".join(path.relative_to(package.parent).with_suffix("").parts).removesuffix(".__init__")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and node.args):
                continue
            kind = ast.unparse(node.func).rpartition(".")[2]
            text = FLAT.sub(" ", _text(node.args[0])).strip()
            if kind in EXITS and text.strip("… .;:"):
                yield Message(kind, text, module)


def _text(node: ast.expr) -> str:
    """The text of an expression, "…" where it is a value."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(each) for each in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _text(node.left) + _text(node.right)
    return "…"


@functools.cache
def texts(packages: tuple[Path, ...]) -> frozenset[str]:
    """Every text in the code of packages' folders, raised there or not, with "…" for values."""
    return frozenset(
        FLAT.sub(" ", _text(node))
        for package in packages
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.JoinedStr | ast.Constant | ast.BinOp)
    )


def page(packages: Iterable[Path]) -> str:
    """The page: messages by exit code and class, then by module, of packages' folders."""
    every = list(dict.fromkeys(each for package in packages for each in found(package)))
    parts = [HEAD]
    for kind in sorted(EXITS, key=lambda kind: (-EXITS[kind], list(EXITS).index(kind))):
        own = [each for each in every if each.kind == kind]
        if own:
            parts.append(f"## {kind}\n\nExit code {EXITS[kind]}.\n")
        for module in dict.fromkeys(each.module for each in own):
            parts.append(f"### {kind} in {module}\n")
            parts += [f"- {_shown(each.text)}" for each in own if each.module == module]
            parts.append("")
    return "\n".join(parts)


def _shown(text: str) -> str:
    """A message as inline code, whatever signs it holds."""
    fence = "``" if "`" in text else "`"
    space = " " if fence == "``" else ""
    return f"{fence}{space}{text}{space}{fence}"
