"""Walks through a page as its reader does: writes the files it shows, and gives the commands it shows.

A block below `<!-- file: PATH -->` is written to that path; in a block below `<!-- shell -->` every line that begins
with "$ " is a command, and the lines below it are what it printed. `python docs/building/walk.py docs/PAGE.md` writes
anew what the commands print.

The walk has a virtual environment of its own, so that what a page installs is gone afterwards. All packages of this
interpreter can be imported there, and no index is asked.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tempfile
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

BLOCK = re.compile(r"^<!-- (?P<mark>shell|file: (?P<path>\S+)) -->\n```\w*\n(?P<text>.*?)^```$", re.M | re.S)
STEP = re.compile(r"^\$ (?P<command>[^\n]*)\n(?P<printed>(?:(?!\$ )[^\n]*\n)*)", re.M)
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
LIMIT = 300
"""Seconds that a command may take."""


@dataclass(frozen=True)
class Step:
    """One command of a page: what the page says it printed, what it printed now, and how it ended."""

    command: str
    shown: str
    printed: str
    code: int


def environment(folder: Path) -> dict[str, str]:
    """Makes a virtual environment in a folder; gives the variables under which commands use it."""
    venv.create(folder, with_pip=True)
    (own,) = folder.glob("lib/python3*/site-packages")
    words = [
        folder / "bin" / "python",
        "-m",
        "pip",
        "uninstall",
        "--quiet",
        "--yes",
        "setuptools",
    ]  # hides the lent one
    subprocess.run(words, check=True, capture_output=True)
    lent = sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    (own / "lent.pth").write_text("".join(f"import site; site.addsitedir({path!r})\n" for path in lent))
    program = folder / "bin" / "novum"
    program.write_text(f"#!{folder / 'bin' / 'python'}\nfrom novum.cli import main\n\nmain()\n")
    program.chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("NOVUM_", "PIP_", "PYTEST_"))}
    return kept | {
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # pip's inverted switch: build with what is here
        "PIP_NO_INDEX": "1",
        "PIP_ROOT_USER_ACTION": "ignore",
        "PYTHONDONTWRITEBYTECODE": "1",
        "COLUMNS": "110",
        "TERM": "dumb",
        "NO_COLOR": "1",
    }


def steps(page: str, folder: Path) -> Iterator[Step]:
    """Does what a page says, in an empty folder, command by command. A `cd` holds for the commands that follow."""
    variables = environment(folder / "environment")
    here = home = folder / "work"
    home.mkdir()
    for block in BLOCK.finditer(page):
        if block["path"] is not None:
            path = home / block["path"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block["text"], encoding="utf-8")
            continue
        for step in STEP.finditer(block["text"]):
            if step["command"].startswith("cd "):
                here = here / step["command"].removeprefix("cd ")
                yield Step(step["command"], step["printed"], "", 0 if here.is_dir() else 1)
                continue
            done = subprocess.run(
                ["sh", "-c", step["command"]],
                cwd=here,
                env=variables,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=LIMIT,
                check=False,
            )
            text = ESCAPES.sub("", done.stdout).replace(str(home), "…").replace(str(folder), "…")
            lines = [line.rstrip() for line in text.strip("\n").splitlines()]
            yield Step(step["command"], step["printed"], "".join(f"{line}\n" for line in lines), done.returncode)


def renewed(page: str, folder: Path) -> str:
    """The page with what its commands print now."""
    walk = steps(page, folder)

    def block(found: re.Match[str]) -> str:
        if found["path"] is not None:
            return found.group()
        return STEP.sub(lambda step: f"$ {step['command']}\n{next(walk).printed}", found.group())

    return BLOCK.sub(block, page)


def main(names: list[str]) -> None:
    """Renew each page in place."""
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            text = renewed(Path(name).read_text(encoding="utf-8"), Path(folder))
        Path(name).write_text(text, encoding="utf-8")
        sys.stdout.write(f"{name}: walked\n")


if __name__ == "__main__":
    main(sys.argv[1:])
