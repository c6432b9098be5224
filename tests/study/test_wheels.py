"""What is shipped: each distribution's wheel, built from the archive of its sources."""

from __future__ import annotations

import email
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterable
from configparser import ConfigParser
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
DISTRIBUTIONS = {
    "novum": ROOT,
    "novum_text": ROOT / "plugins" / "text",
    "novum_vision": ROOT / "plugins" / "vision",
    "novum_rl": ROOT / "plugins" / "rl",
    "novum_tabular": ROOT / "docs" / "examples" / "novum-tabular",
}
BROUGHT = {
    "novum/quickstart/claim.toml": "experiments/quickstart/claim.toml",
    "novum/quickstart/goal.toml": "experiments/loop/goal.toml",
    "novum/testing/contract.md": "docs/contract.md",  # failures of the contract kit point there
}
"""What the core's wheel holds from outside of its package."""
BESIDE = {"novum": {"docs", "experiments"}, "novum_tabular": {"tests"}}
"""What an archive of sources holds beside the package."""


@dataclass(frozen=True)
class Built:
    """The files of a wheel and of the archive it was built from, by their paths within the distribution."""

    wheel: dict[str, bytes]
    sources: dict[str, bytes]

    def metadata(self, name: str) -> str:
        """A file of the wheel's .dist-info."""
        return next(text for path, text in self.wheel.items() if path.endswith(f".dist-info/{name}")).decode()


@pytest.fixture(scope="module")
def built(packed: Callable[[Path], Path]) -> dict[str, Built]:
    """Every distribution: first the archive, then the wheel from the archive alone."""
    folders = {name: packed(home) for name, home in DISTRIBUTIONS.items()}
    return {name: Built(_unzipped(out.glob("*.whl")), _untarred(out.glob("*.tar.gz"))) for name, out in folders.items()}


def _unzipped(paths: Iterable[Path]) -> dict[str, bytes]:
    (path,) = paths
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _untarred(paths: Iterable[Path]) -> dict[str, bytes]:
    (path,) = paths
    with tarfile.open(path) as archive:
        files = {
            each.name.split("/", 1)[1]: archive.extractfile(each) for each in archive.getmembers() if each.isfile()
        }
        return {name: file.read() for name, file in files.items() if file is not None}


@pytest.fixture(params=DISTRIBUTIONS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_wheel_holds_its_package_whole_and_nothing_else(built: dict[str, Built], name: str) -> None:
    package = (ROOT / "core" if name == "novum" else DISTRIBUTIONS[name]) / name

    own = {path for path in built[name].wheel if ".dist-info/" not in path} - set(BROUGHT)

    files = [path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert own == {path.relative_to(package.parent).as_posix() for path in files}
    assert f"{name}/py.typed" in own


def test_a_wheel_brings_its_licence_and_says_what_it_is(built: dict[str, Built], name: str) -> None:
    about = email.message_from_string(built[name].metadata("METADATA"))

    assert about["Name"].replace("-", "_") == name
    assert about["License-Expression"] == "Apache-2.0"
    assert about["Requires-Python"] == ">=3.11"
    assert about["Summary"]
    assert built[name].metadata("licenses/LICENSE") == (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert about.get_payload()


def test_every_entry_point_names_something_in_its_own_wheel(built: dict[str, Built], name: str) -> None:
    points = ConfigParser(delimiters=("=",))
    points.optionxform = str  # type: ignore[assignment, method-assign]
    points.read_string(built[name].metadata("entry_points.txt"))

    targets = {f"{group}: {each}": points[group][each] for group in points.sections() for each in points[group]}

    assert targets
    for target in targets.values():
        module, _, thing = target.partition(" [")[0].partition(":")  # an extra stands in brackets
        base = module.replace(".", "/")
        source = built[name].wheel.get(f"{base}.py") or built[name].wheel[f"{base}/__init__.py"]
        made = (f"class {thing}", f"def {thing}", f"\n{thing} = ")  # a rule is a record
        assert any(each in source.decode() for each in made), target


def test_the_plugins_bring_their_tasks_and_models(built: dict[str, Built]) -> None:
    told = {name: built[name].metadata("entry_points.txt") for name in DISTRIBUTIONS}

    assert "novum = novum.cli:main" in told["novum"]
    assert "text-classification = " in told["novum_text"] and "bag = " in told["novum_text"]
    assert "image-classification = " in told["novum_vision"] and "timm = " in told["novum_vision"]
    assert "gym = " in told["novum_rl"] and "ppo = " in told["novum_rl"]


def test_the_core_brings_the_migrations_the_quick_start_and_the_page_of_contracts(built: dict[str, Built]) -> None:
    wheel = built["novum"].wheel

    here = (ROOT / "core" / "novum" / "ledger" / "migrations" / "versions").glob("*.py")
    assert "novum/ledger/migrations/env.py" in wheel
    assert {f"novum/ledger/migrations/versions/{path.name}" for path in here} <= set(wheel)
    assert {path: wheel[path] for path in BROUGHT} == {path: (ROOT / at).read_bytes() for path, at in BROUGHT.items()}


def test_the_sources_hold_what_the_wheel_is_built_from_and_no_more(built: dict[str, Built], name: str) -> None:
    top = {path.split("/")[0] for path in built[name].sources}

    assert {"LICENSE", "README.md", "pyproject.toml"} <= top
    folders = {"core" if name == "novum" else name} | BESIDE.get(name, set())
    assert {each for each in top if any(path.startswith(f"{each}/") for path in built[name].sources)} == folders
    outside = {path for path in built[name].sources if path.startswith(("experiments/", "docs/"))}
    assert outside == (set(BROUGHT.values()) if name == "novum" else set())


def test_the_demo_of_an_installed_wheel_finds_its_claim(
    built: dict[str, Built], process: Callable[..., Any], tmp_path: Path
) -> None:
    for path, content in built["novum"].wheel.items():
        (tmp_path / "site" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "site" / path).write_bytes(content)
    program = (
        "import novum\nfrom novum.claimfile import load\nfrom novum.cli.app import quickstart\n"
        "print(quickstart())\nprint(len(load(quickstart()).tasks))"
    )

    said = process(sys.executable, "-c", program, cwd=tmp_path, PYTHONPATH=str(tmp_path / "site"))

    assert said.code == 0, said.err
    assert said.out.splitlines() == [str(tmp_path / "site" / "novum" / "quickstart" / "claim.toml"), "3"]
