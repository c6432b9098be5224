"""Who may import what. The tables are the document; each row is a test.

Imports inside functions count as well; those under `if TYPE_CHECKING` do not happen and do not count.
"""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import novum
import pytest

ROOT = Path(__file__).parents[2]
CORE = ROOT / "core" / "novum"
PLUGINS = {f"novum_{name}": ROOT / "plugins" / name / f"novum_{name}" for name in ("text", "vision", "rl")}
PLUGINS["novum_tabular"] = ROOT / "docs" / "examples" / "novum-tabular" / "novum_tabular"
OTHER_PLUGINS = {each: tuple(other for other in PLUGINS if other != each) for each in PLUGINS}
SERIALIZERS = ("pickle", "cloudpickle", "dill", "joblib")

OTHERS = tuple(
    f"novum.{path.stem}"
    for path in sorted(CORE.iterdir())
    if path.stem not in ("stats", "errors", "py") and path.stem[:2] != "__"
)
"""Every part of the core but the statistics and the errors."""

ONLY: Mapping[str, tuple[str, ...]] = {
    # what                  may be imported by these alone
    "stevedore": ("novum.plugins",),
    "sqlalchemy": ("novum.ledger",),
    "alembic": ("novum.ledger",),
    "psycopg": ("novum.ledger.address",),
    "typer": ("novum.cli",),
    "rich": ("novum.cli",),
    "pandas": ("novum.study",),
    "pyarrow": ("novum.export",),
    "scipy": ("novum.stats",),
    "safetensors": ("novum.runner.artifacts", "novum.runner.checkpoint"),
    "tensorboard": ("novum.trackers.tensorboard",),
    "ray": ("novum.executors.ray", "novum.executors.ray_cluster", "novum.executors.ray_worker"),
    "pydantic": (
        *("novum.config", "novum.recipe", "novum.claimfile", "novum.schema", "novum.cli.catalogue"),
        *("novum.mlp", "novum.runner.techniques", "novum.testing.every", "novum.proposers"),
    ),
    "tomllib": ("novum.toml",),
    "timm": ("novum.runner.optimizers",),
    "optuna": ("novum.proposers.search",),
    "novum.cli": ("novum.cli",),
    "novum.decide": ("novum.decide", "novum.validate", "novum.experiment", "novum.compare"),
    "novum.study": ("novum.cli", "novum.compare"),
    "novum.report": ("novum.report", "novum.study", "novum.cli", "novum.validate", "novum.lineage"),
    "novum.loop": (
        "novum.climb",
        "novum.study",
        "novum.cli",
        "novum.report",
        "novum.compare",
        "novum.testing",
    ),
    "novum.climb": ("novum.study",),
    "novum.rehearse": ("novum.loop", "novum.climb", "novum.scouting", "novum.run", "novum.study", "novum.cli"),
    "novum.runner": (
        *("novum.runner", "novum.run", "novum.trials", "novum.pieces", "novum.feed", "novum.cli"),
        "novum.testing",  # plugins are tried as a trial would use them
    ),
    "novum.testing": ("novum.testing", "novum.cli.check"),
    "pytest": ("novum.testing.contracts",),
    "novum.ledger": (
        "novum.ledger",
        "novum.study",
        "novum.folder",
        "novum.pieces",
        "novum.repair",
        "novum.compare",
    ),
    "novum.executors": (
        "novum.executors",
        "novum.lab",
        "novum.trials",
        "novum.pieces",
        "novum.together",
        "novum.session",
        "novum.archive",
        "novum.repair",
        "novum.runner.crew",  # a private folder
        "novum.runner.ranks",  # how many cores there are
        "novum.runner.inventory",
        *("novum.testing.executors", "novum.testing.isolation"),
    ),
}
NEVER: Mapping[str, tuple[str, ...]] = {
    # who                   never imports these, in any function either
    "novum.observe": ("novum.hypothesize", "novum.experiment", "novum.validate", "novum.trials", "torch"),
    "novum.hypothesize": ("novum.experiment", "novum.validate", "novum.trials", "numpy", "torch"),
    "novum.experiment": ("novum.validate", "numpy", "torch"),
    "novum.validate": ("numpy", "torch", "scipy"),
    "novum.decide": ("novum.experiment", "novum.trials", "numpy", "torch", "random", "time", "datetime", "os"),
    "novum.stats": (*OTHERS, "torch", "random", "time", "os"),
    "novum.errors": ("novum", "numpy", "torch"),
    "novum.data": ("novum", "numpy", "torch"),
    "novum.config": ("numpy", "torch"),
    "novum.toml": ("novum.arm", "novum.hypothesize", "novum.plugins", "numpy", "torch", "yaml", "pickle"),
    "novum.seeds": ("novum", "time", "os", "secrets"),
    "novum.arm": ("numpy", "torch"),
    "novum.claimfile": ("numpy", "torch"),
    "novum.plugins": ("numpy", "torch"),
    "novum.plugins.installed": ("novum.plugins.own", "novum.plugins.origin", "stevedore", "numpy", "torch"),
    "novum.schema": ("numpy", "torch"),
    "novum.example": ("numpy", "torch"),
    "novum.technique": ("numpy", "torch"),
    "novum.idea": ("numpy", "torch"),
    "novum.ledger": ("numpy", "torch"),
    "novum.report": ("numpy", "torch"),
    "novum.proposers": ("novum.validate", "novum.trials", "numpy", "torch"),
    "novum.lab": ("numpy", "torch"),
    "novum.loop": ("numpy", "torch"),
    "novum.rehearse": ("numpy", "torch"),
    "novum.study": ("numpy", "torch"),
    "novum.folder": ("numpy", "torch"),
    "novum.trials": ("numpy", "torch"),
    "novum.feed": ("numpy", "torch"),
    "novum.pieces": ("numpy", "torch"),
    "novum.together": ("numpy", "torch"),
    "novum.blocks": ("numpy", "torch"),
    "novum.faults": ("numpy", "torch"),
    "novum.needs": ("numpy", "torch"),
    "novum.nvml": ("novum", "numpy", "torch"),
    "novum.session": ("numpy", "torch"),
    "novum.archive": ("numpy", "torch"),
    "novum.repair": ("novum.decide", "novum.validate", "numpy", "torch"),
    "novum.executors.base": ("numpy", "torch"),
    "novum.executors.local": ("numpy", "torch"),
    "novum.executors.parcels": ("numpy", "torch", "ray"),
    "novum.executors.placing": ("numpy", "torch"),
    "novum.executors.ray": ("numpy", "torch"),
    "novum.executors.ray_cluster": ("numpy", "torch"),
    "novum.executors.ray_worker": ("numpy", "torch"),
    "novum.executors.scratch": ("novum.errors", "numpy", "torch", "ray"),
    "novum.executors.spool": ("numpy", "torch"),
    "novum.executors.leases": ("numpy", "torch", "time.time", "datetime"),
    "novum.runner": ("novum.trials", "novum.experiment", "novum.validate", "novum.hypothesize"),
    "novum": (*PLUGINS, "pickle", "cloudpickle", "dill", "joblib", "transformers", "gymnasium", "sklearn"),
    **{each: (*others, *SERIALIZERS) for each, others in OTHER_PLUGINS.items()},
}
LATE: Mapping[str, tuple[str, ...]] = {
    # what                  is imported outside of functions by these alone, for its import is slow
    "torch": (
        *("novum_vision.network", "novum_rl.network"),  # all of these are themselves imported late
        *("novum.runner.batched", "novum.runner.joint", "novum.runner.muon", "novum.runner.table"),
    ),
    "scipy": (),
    "safetensors": (),
    "timm": (),
    "transformers": (),
    "torchvision": (),
    "gymnasium": (),
    "sklearn": (),
    "PIL": (),
    "pytest": (),
    "pandas": (),
    "pyarrow": (),
    "ray": (),
    "optuna": (),
    "stevedore": (),
    "sqlalchemy": ("novum.ledger",),
    "alembic": ("novum.ledger",),
    "psycopg": (),
    "typer": ("novum.cli",),
    "rich": ("novum.cli",),
    "numpy": ("novum.sources", "novum.episodes", "novum.runner.table", *PLUGINS),
    "novum.runner.joint": ("novum.runner.together",),
    "novum.runner.together": (),
    "novum.runner.muon": (),
    "novum_vision.network": (),
    "novum_rl.network": (),
}


@dataclass(frozen=True)
class Import:
    """`importer` imports `name`, in a function or at the top of the module."""

    importer: str
    name: str
    line: int
    late: bool


def modules(package: str, folder: Path) -> dict[str, Path]:
    """Module names of a package, with their files."""
    found = {}
    for path in sorted(folder.rglob("*.py")):
        parts = (package, *path.relative_to(folder).with_suffix("").parts)
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(sources: Mapping[str, Path]) -> list[Import]:
    """Every import of these modules that can happen."""
    return [
        found
        for module, path in sources.items()
        for found in _imports(module, path.name == "__init__.py", ast.parse(path.read_text()), set(sources), False)
    ]


def _imports(module: str, package: bool, node: ast.AST, known: set[str], late: bool) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        yield from (Import(module, alias.name, node.lineno, late) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        up = module.split(".")[: len(module.split(".")) - node.level + package]
        base = ".".join([*(up if node.level else ()), *([node.module] if node.module else ())])
        for alias in node.names:
            whole = f"{base}.{alias.name}"
            yield Import(module, whole if whole in known else base, node.lineno, late)
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        children: list[ast.AST] = list(node.orelse)
    else:
        children = list(ast.iter_child_nodes(node))
    inside = late or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
    for child in children:
        yield from _imports(module, package, child, known, inside)


def within(name: str, *packages: str) -> bool:
    """Whether a module is one of these or lies in one of them."""
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def only(found: list[Import], name: str, allowed: tuple[str, ...]) -> list[Import]:
    """Imports of `name` by others than those allowed."""
    return [each for each in found if within(each.name, name) and not within(each.importer, *allowed)]


def never(found: list[Import], importer: str, forbidden: tuple[str, ...]) -> list[Import]:
    """Imports of what is forbidden by `importer`; its own parts are not meant."""
    return [
        each
        for each in found
        if within(each.importer, importer) and within(each.name, *forbidden) and not within(each.name, importer)
    ]


def early(found: list[Import], name: str, allowed: tuple[str, ...]) -> list[Import]:
    """Imports of `name` at the top of a module by others than those allowed."""
    return [each for each in only(found, name, allowed) if not each.late]


KIT = "novum.testing"
"""What a plugin may import of the core beside the names of `novum.__all__`."""


def private(trees: list[ast.Module]) -> list[str]:
    """What the modules of one package use that is neither theirs nor public: modules of the core, as an import, an
    attribute or a name in a string; names that `novum` does not list; attributes with an underscore that none of them
    sets.
    """
    nodes = [node for tree in trees for node in ast.walk(tree)]
    public = {*novum.__all__, "testing"}
    own = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)}
    own |= {node.attr for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)}
    own |= {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    found: list[str] = []
    for node in nodes:
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if within(alias.name, "novum")]
            found += [each for each in names if each not in ("novum", KIT)]
        elif isinstance(node, ast.ImportFrom) and node.module == "novum":
            found += [f"novum.{alias.name}" for alias in node.names if alias.name not in public]
        elif isinstance(node, ast.ImportFrom) and within(node.module or "", "novum"):
            hidden = [alias.name for alias in node.names if node.module != KIT or alias.name.startswith("_")]
            found += [f"{node.module}.{each}" for each in hidden]
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "novum":
            found += [f"novum.{node.attr}"] if node.attr not in public else []
        elif isinstance(node, ast.Attribute) and re.fullmatch(r"_[a-z]\w*", node.attr) and node.attr not in own:
            found.append(ast.unparse(node))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found += [node.value] if re.fullmatch(r"novum(\.\w+)+", node.value) and node.value != KIT else []
    return found


@pytest.fixture(scope="module")
def everything() -> list[Import]:
    return [
        each for package, folder in ({"novum": CORE} | PLUGINS).items() for each in imports(modules(package, folder))
    ]


@pytest.mark.parametrize("name", ONLY)
def test_only_these_import(everything: list[Import], name: str) -> None:
    inside = [each for each in everything if within(each.importer, "novum")]

    assert only(inside, name, ONLY[name]) == []


@pytest.mark.parametrize("importer", NEVER)
def test_never_imports(everything: list[Import], importer: str) -> None:
    assert never(everything, importer, NEVER[importer]) == []


@pytest.mark.parametrize("name", LATE)
def test_is_imported_late(everything: list[Import], name: str) -> None:
    assert early(everything, name, LATE[name]) == []


@pytest.mark.parametrize("package", PLUGINS)
def test_a_plugin_uses_only_public_names_of_novum_and_its_contract_kit(package: str) -> None:
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in modules(package, PLUGINS[package]).values()]

    assert private(trees) == []


def test_the_sample_plugin_is_written_in_at_most_150_lines() -> None:
    lines = [path.read_text(encoding="utf-8").count("\n") for path in PLUGINS["novum_tabular"].rglob("*.py")]

    assert 0 < sum(lines) <= 150


def test_every_row_names_modules_that_are_there(everything: list[Import]) -> None:
    known = {each.importer for each in everything} | set(modules("novum", CORE))

    named = {*NEVER, *(each for row in (ONLY, LATE) for allowed in row.values() for each in allowed)}
    named |= {each for each in (*ONLY, *(name for row in NEVER.values() for name in row)) if within(each, "novum")}

    assert sorted(each for each in named if not any(within(module, each) for module in known)) == []


def test_every_module_of_the_core_can_be_imported() -> None:
    for name in modules("novum", CORE):
        if "migrations" not in name:
            importlib.import_module(name)


# -------------------------------------------------------------------------------------- the checker checks


@pytest.fixture
def house(tmp_path: Path) -> list[Import]:
    """A package that breaks laws in every way that the checker must see."""
    files = {
        "__init__.py": "",
        "plain.py": "import torch.nn\n",
        "function.py": "def f():\n    from torch import nn\n",
        "method.py": "class A:\n    def f(self):\n        async def g():\n            import torch\n",
        "guarded.py": "try:\n    import torch\nexcept ImportError:\n    pass\n",
        "typed.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch\n",
        "other.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    pass\nelse:\n    import torch\n",
        "part.py": "from house import plain\n",
        "near.py": "from . import plain\nfrom .plain import nn\n",
        "deep/__init__.py": "from .. import plain\nfrom .below import x\n",
        "deep/below.py": "from ..plain import nn\n",
        "similar.py": "import torchvision, house.plainer\n",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return imports(modules("house", tmp_path))


def test_the_checker_sees_imports_wherever_they_stand_and_no_others(house: list[Import]) -> None:
    guilty = {each.importer for each in only(house, "torch", ("house.plain",))}

    assert guilty == {"house.function", "house.method", "house.guarded", "house.other"}


def test_the_checker_knows_submodules_and_relative_imports(house: list[Import]) -> None:
    guilty = [each.importer for each in only(house, "house.plain", ())]

    assert guilty == ["house.deep", "house.deep.below", "house.near", "house.near", "house.part"]
    assert [each.name for each in never(house, "house.deep", ("house.plain", "house.deep"))] == ["house.plain"] * 2


def test_the_checker_tells_late_imports_from_early_ones(house: list[Import]) -> None:
    guilty = {each.importer for each in early(house, "torch", ())}

    assert guilty == {"house.plain", "house.guarded", "house.other"}


@pytest.mark.parametrize(
    ("code", "guilty"),
    [
        ("import novum.runner", ["novum.runner"]),
        ("def f():\n    import novum.seeds as it", ["novum.seeds"]),
        ("from novum.sources import Examples", ["novum.sources.Examples"]),
        ("from novum import installed", ["novum.installed"]),
        ("import novum\nnovum.runner.train", ["novum.runner"]),
        ("import importlib\nimportlib.import_module('novum.runner.train')", ["novum.runner.train"]),
        ("from novum.testing import _secret", ["novum.testing._secret"]),
        ("def f(source):\n    return source._seed", ["source._seed"]),
        (
            "import novum\nfrom novum import Examples, testing\nfrom novum.testing import check\nimport novum.testing",
            [],
        ),
        ("class A:\n    def f(self):\n        self._mine = 1\n        return self._mine, self.__dict__", []),
        ("import novum_text.bag\nfrom novum_text import bag", []),
    ],
)
def test_the_checker_sees_what_is_private_and_only_that(code: str, guilty: list[str]) -> None:
    assert private([ast.parse(code)]) == guilty
