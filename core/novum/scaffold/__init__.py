"""A new plugin: a complete distribution with an example that works, written from the files beside this module.

The files are templates only in that `@WORD@` stands for a value; there is no engine.
"""

from __future__ import annotations

import importlib.util
import keyword
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from novum import plugins
from novum.config import shown
from novum.errors import ConfigError, DataError, closest
from novum.plugins import installed

KINDS = ("task", "model", "evaluator", "proposer", "executor")
"""Kinds of which there is an example, in the order in which they stand in files."""
USUAL = ("task", "model", "evaluator")
"""What is written where no kind is named."""
LONGEST = 30

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_WORD = re.compile(r"@([A-Z]+)@")
_FILES = Path(__file__).parent / "files"
_DEPENDENCIES: Mapping[str, tuple[str, ...]] = {
    "task": ("numpy>=2.0",),
    "model": ("numpy>=2.0", "pydantic>=2.12", "torch>=2.9"),
    "evaluator": ("pydantic>=2.12",),
    "proposer": ("pydantic>=2.12",),
    "executor": (),
}
_ABOUT: Mapping[str, str] = {
    "task": "a task: tell the script of a letter from its Unicode name",
    "model": "a model: a hidden layer and a prototype for each class",
    "evaluator": "an evaluator: how honest the probabilities of a classification are",
    "proposer": "a proposer: which learning rate to try next",
    "executor": "an executor: trials that give way while the machine is busy",
}


def _hint(kind: str) -> str:
    """What to do about a kind of which there is no example."""
    if kind in ("technique", "optimizer", "schedule"):
        return "An idea of this kind needs no distribution at first: docs/ideas.md and `novum --load FILE`."
    if kind == "tracker":
        return "A tracker is one class: docs/write-a-plugin.md#the-smaller-kinds."
    if kind == "rule":
        return "A rule is one record: docs/rules.md."
    return "For several, give it several times: --kind task --kind model."


@dataclass(frozen=True)
class Plugin:
    """What is to be written: a distribution called `name` with one plugin of each kind, all called `name` as well.

    Raises ConfigError for a name that is none or is taken, and for kinds of which there is no example.
    """

    name: str
    kinds: tuple[str, ...] = USUAL

    def __post_init__(self) -> None:
        unknown = [kind for kind in self.kinds if kind not in KINDS]
        if unknown or not self.kinds:
            given = unknown[0] if unknown else ""
            raise ConfigError(f"--kind {shown(given)}: {closest(given, KINDS)}. {_hint(given)}")
        object.__setattr__(self, "kinds", tuple(kind for kind in KINDS if kind in self.kinds))
        _check_name(self.name, self.kinds)

    @property
    def package(self) -> str:
        """Its import package: "my-task" → "my_task"."""
        return self.name.replace("-", "_")

    @property
    def title(self) -> str:
        """What its classes' names begin with: "my-task" → "MyTask"."""
        return "".join(word.capitalize() for word in self.name.split("-"))

    def files(self) -> dict[str, str]:
        """Every file by its path within the distribution, sorted."""
        words = self._words()
        found = {
            "pyproject.toml": "pyproject.toml",
            "README.md": "README.md",
            "LICENSE": "LICENSE",
            ".gitignore": "gitignore",
            ".github/workflows/ci.yml": "ci.yml",
            f"{self.package}/__init__.py": "init.py",
            "tests/test_contract.py": "test_contract.py",
            **{f"{self.package}/{kind}.py": f"{kind}.py" for kind in self.kinds},
            **({"claim.toml": "claim.toml"} if "task" in self.kinds else {}),
        }
        texts = {path: _filled(_read(template), words) for path, template in found.items()}
        return dict(sorted({**texts, f"{self.package}/py.typed": ""}.items()))

    def _words(self) -> dict[str, str]:
        known = {each: None for kind in self.kinds for each in _DEPENDENCIES[kind]}
        task, model = self._partners()
        kinds = [_an(kind) for kind in self.kinds]
        listed = " and ".join([", ".join(kinds[:-1]), kinds[-1]] if kinds[:-1] else kinds)
        paths = [(f"{self.package}/{kind}.py", _ABOUT[kind]) for kind in self.kinds]
        paths += [("claim.toml", "a claim to run")] if "task" in self.kinds else []
        return {
            "NAME": self.name,
            "PACKAGE": self.package,
            "CLASS": self.title,
            "CONTRACT": str(plugins.CONTRACT),
            "TASK": task,
            "MODEL": model,
            "SUMMARY": f"A plugin for Novum: {listed}.",
            "SENTENCE": f"A plugin for Novum with {listed}. There is a small example of each, and all of them work.",
            "DEPENDENCIES": ", ".join(f'"{each}"' for each in sorted(["novum", *known])),
            "POINTS": "\n\n".join(self._point(kind) for kind in self.kinds),
            "IMPORTS": self._imports(),
            "TESTS": "\n\n\n".join(self._test(kind) for kind in self.kinds),
            "FILES": "\n".join(f"| `{path}` | {about} |" for path, about in paths),
            "USE": self._use(),
            **self._claim(),
        }

    def _claim(self) -> dict[str, str]:
        if "model" in self.kinds:
            return {"CLAIM": "Prototypes beat a perceptron", "TREATMENT": f'model = {{ plugin = "{self.name}" }}'}
        return {"CLAIM": "A wider perceptron is better", "TREATMENT": "model = { width = 256 }"}

    def _partners(self) -> tuple[str, str]:
        """A task and a model for a proposer to begin with: its own where it has them."""
        from novum.example import partners
        from novum.plugins.aside import aside

        if "task" in self.kinds:
            return self.name, self.name if "model" in self.kinds else "mlp"
        if "proposer" not in self.kinds:
            return "", ""
        found, why = aside(lambda: partners("model", "mlp"))
        task, model = found[:2] if not why else ("…", "mlp")
        if task == "…":
            raise ConfigError(
                "--kind proposer: its claims are about an installed task that the model 'mlp' fits, and there is none"
                f"{f' ({why})' if why else ''}; install a plugin with one, or add --kind task, which brings its own."
            )
        return task, model

    def _point(self, kind: str) -> str:
        return f'[project.entry-points."{plugins.NAMESPACES[kind]}"]\n{self.name} = "{self._home(kind)}"'

    def _home(self, kind: str) -> str:
        return f"{self.package}.{kind}:{self.title}{kind.capitalize()}"

    def _imports(self) -> str:
        contracts = ", ".join(sorted(f"{kind.capitalize()}Contract" for kind in self.kinds))
        own = [f"from {self.package}.{kind} import {self.title}{kind.capitalize()}" for kind in sorted(self.kinds)]
        return "\n".join([f"from novum.testing import {contracts}", "", *own])

    def _test(self, kind: str) -> str:
        """A subclass of the kind's contract; what it is tried with stands there where the distribution brings it."""
        own = f"{self.title}{kind.capitalize()}"
        partner = {"task": '    model = "mlp"\n\n'}.get(kind, "")
        if kind in ("model", "evaluator") and "task" in self.kinds:
            partner = f"    task = {self.title}Task\n\n"
        return (
            f"class Test{own}({kind.capitalize()}Contract):\n{partner}"
            f"    @pytest.fixture\n    def plugin(self):\n        return {own}"
        )

    def _use(self) -> str:
        if "task" not in self.kinds:
            return ""
        trained = self.name if "model" in self.kinds else "mlp"
        return (
            f"Train on it, then ask a question with a verdict:\n\n```console\nnovum observe {self.name}\n"
            f"novum train task={self.name} model={trained} --seeds 3\nnovum run claim.toml\n```\n\n"
        )


def write(plugin: Plugin, folder: Path) -> list[Path]:
    """Write a distribution into a folder, all of it or nothing; returns the files' paths.

    Raises DataError where the folder holds something already, or cannot be written.
    """
    home = Path(os.path.abspath(folder))  # noqa: PTH100 - a link stays what it is
    if home.is_symlink() or (home.exists() and not home.is_dir()) or (home.is_dir() and any(home.iterdir())):
        raise DataError(
            f"{home} is there already, and nothing is overwritten; give another name, or --to a new folder."
        )
    files = plugin.files()
    try:
        home.parent.mkdir(parents=True, exist_ok=True)
        half = Path(tempfile.mkdtemp(prefix=f".{home.name}-", dir=home.parent))
        try:
            for name, text in files.items():
                path = half / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8", newline="\n")
            half.chmod(0o755)
            half.rename(home)
        finally:
            shutil.rmtree(half, ignore_errors=True)
    except OSError as error:
        raise DataError(f"{home} cannot be written: {error.strerror}; give --to a folder where you may.") from None
    return [home / name for name in files]


def _check_name(name: str, kinds: Sequence[str]) -> None:
    """Refuse what cannot name a distribution, its package and its entry points, and what is taken."""
    allowed = f"up to {LONGEST} small letters, digits and single dashes, led by a letter: my-task"
    if not _NAME.fullmatch(name) or len(name) > LONGEST:
        near = re.sub(r"[^a-z0-9]+", "-", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name[:LONGEST]).lower())
        near = near.strip("-0123456789")
        hint = f" Such as {near!r}?" if _NAME.fullmatch(near) else ""
        raise ConfigError(f"{shown(name)} is no name for a plugin; allowed: {allowed}.{hint}")
    package = name.replace("-", "_")
    taken = ""
    if keyword.iskeyword(package) or keyword.issoftkeyword(package):
        taken = "is a word of Python"
    elif package in sys.stdlib_module_names or package in ("tests", "novum"):
        taken = f"would hide the module {package}"
    elif _there(package):
        taken = f"is taken: a package {package} is installed here"
    elif installed.version_of(name):
        taken = f"is taken: the distribution {name} {installed.version_of(name)} is installed here"
    for one in (one for kind in kinds for one in installed.installed(kind)):
        if not taken and one.name == name:
            taken = f"is taken: the {one.kind} {name!r} is brought by {one.told}"
    if taken:
        raise ConfigError(f"the name {name!r} {taken}; choose another, {allowed}.")


def _there(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):
        return True


def _an(kind: str) -> str:
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


def _read(template: str) -> str:
    return (_FILES / f"{template}.txt").read_text(encoding="utf-8")


def _filled(text: str, words: Mapping[str, str]) -> str:
    return _WORD.sub(lambda match: words[match[1]], text)
