"""The sample plugin as a stranger installs it: from wheels, into an environment that holds nothing of this checkout."""

from __future__ import annotations

import json
import os
import sysconfig
import tomllib
import venv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "docs" / "examples" / "novum-tabular"
INSTALLED = (ROOT, ROOT / "plugins" / "vision", SAMPLE)


@dataclass(frozen=True)
class Environment:
    """A virtual environment. run: a program of it, in a folder."""

    home: Path
    process: Callable[..., Any]

    def run(self, program: str, *words: object, cwd: Path) -> Any:
        return self.process(
            self.home / "bin" / program, *words, cwd=cwd, PIP_CONFIG_FILE=os.devnull, PYTHONPATH="", NOVUM_STUDY=""
        )


@pytest.fixture(scope="module")
def fresh(
    process: Callable[..., Any], packed: Callable[[Path], Path], tmp_path_factory: pytest.TempPathFactory
) -> Environment:
    """The core, the image plugin and the sample from their wheels. What they depend on is lent by the environment of
    the tests, which has some gigabytes of it: all of its packages but Novum's own.
    """
    folder = tmp_path_factory.mktemp("fresh")
    environment = Environment(folder / "venv", process)
    venv.create(environment.home, with_pip=True)
    (lent := folder / "lent").mkdir()
    for site in {sysconfig.get_path(name) for name in ("purelib", "platlib")}:
        for path in Path(site).iterdir():
            if "novum" not in path.name and path.suffix != ".pth":
                (lent / path.name).symlink_to(path)
    pip = ("-m", "pip", "--isolated", "--disable-pip-version-check")
    environment.run(
        "python", *pip, "uninstall", "--quiet", "--yes", "setuptools", cwd=folder
    )  # would hide the lent one
    (own,) = environment.home.glob("lib/python3*/site-packages")
    (own / "lent.pth").write_text(f"{lent}\n")
    wheels = [next(packed(home).glob("*.whl")) for home in INSTALLED]
    said = environment.run("python", *pip, "install", "--quiet", "--no-index", *wheels, cwd=folder)
    assert said.code == 0, said.out + said.err
    return environment


def test_nothing_of_the_checkout_is_imported(fresh: Environment, tmp_path: Path) -> None:
    said = fresh.run(
        "python", "-c", "import novum, novum_tabular.tabular as it; print(novum.__file__, it.__file__)", cwd=tmp_path
    )

    assert said.code == 0, said.err
    assert all(Path(file).is_relative_to(fresh.home) for file in said.out.split())


def test_what_it_brings_is_listed_with_its_distribution(fresh: Environment, tmp_path: Path) -> None:
    said = fresh.run("novum", "plugins", "list", "--json", cwd=tmp_path)

    own = {(row["kind"], row["name"]) for row in json.loads(said.out) if row["distribution"] == "novum-tabular"}
    assert own == {("task", "tabular"), ("model", "binned"), ("evaluator", "brier")}


def test_its_data_are_read_without_scikit_learn_or_torch(fresh: Environment, tmp_path: Path) -> None:
    program = (
        "import sys, novum\nfrom novum_tabular.tabular import Tabular\n"
        "print(Tabular(Tabular.Config()).source(novum.Split.TRAIN, novum.Seed(0), novum.Recipe()).size)\n"
        "print(sorted({'sklearn', 'torch', 'scipy'} & set(sys.modules)))"
    )

    said = fresh.run("python", "-c", program, cwd=tmp_path)

    assert said.out.splitlines() == ["343", "[]"], said.err


def test_a_failure_points_to_a_page_that_was_installed(fresh: Environment, tmp_path: Path) -> None:
    program = "from novum.testing import laws; print(laws.known()['it_loads'].told('nothing'))"

    said = fresh.run("python", "-c", program, cwd=tmp_path)

    place = said.out.splitlines()[-1].removeprefix("see: ")
    page, _, heading = place.partition("#")
    assert heading == "it-loads" and Path(page).is_relative_to(fresh.home)
    assert "### it loads" in Path(page).read_text(encoding="utf-8")


def test_its_claim_fits_the_schema_that_editors_get(fresh: Environment, tmp_path: Path) -> None:
    said = fresh.run("novum", "plugins", "describe", "--schema", cwd=tmp_path)

    claim = tomllib.loads((SAMPLE / "claim.toml").read_text(encoding="utf-8"))
    schema = Draft7Validator(json.loads(said.out))
    assert list(schema.iter_errors(claim)) == []
    claim["tasks"]["tumours"]["task"]["plugin"] = "tabluar"
    assert [error.instance for error in schema.iter_errors(claim)] == ["tabluar"]


def test_its_contracts_and_its_own_tests_pass(fresh: Environment, tmp_path: Path) -> None:
    for path in (SAMPLE / "tests").glob("*.py"):
        (tmp_path / path.name).write_text(path.read_text(encoding="utf-8"), encoding="utf-8")

    words = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "-rs", tmp_path)
    said = fresh.run("python", *words, cwd=tmp_path)

    assert said.code == 0, said.out + said.err
    assert " passed" in said.out


def test_the_command_line_finds_no_fault_with_its_task(fresh: Environment, tmp_path: Path) -> None:
    said = fresh.run("novum", "plugins", "check", "tabular", cwd=tmp_path)

    assert said.code == 0, said.out + said.err


def test_a_claim_that_spans_it_and_images_is_decided(fresh: Environment, tmp_path: Path) -> None:
    said = fresh.run("novum", "run", SAMPLE / "claim.toml", "--json", cwd=tmp_path)
    again = fresh.run("novum", "verdict", "--recompute", "--study", "novum-study", cwd=tmp_path)

    assert said.code == 0, said.err
    verdict = json.loads(said.out)["verdict"]
    tasks = verdict["tasks"]
    assert verdict["outcome"] == "supported"
    assert {name: task["metric"] for name, task in tasks.items()} == {"tumours": "brier", "digits": "accuracy"}
    assert again.code == 0, again.err
