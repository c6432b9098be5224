"""What the tests share."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # begun in the background by a shell; tests send it to others
    signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is first imported
settings.register_profile("novum", max_examples=25, deadline=None, derandomize=True, database=None)
settings.load_profile("novum")

SKIPS = (
    "NOVUM_DATA",  # the folder of real data sets is not there
    "root may write anywhere",
    "looks at processes through Linux's /proc",
    "mounting needs a namespace",
    "no PostgreSQL server is installed",
    "no C++ compiler is installed",
    "the tools of `make docs` are not installed",
    "not for this plugin",  # a check of novum.testing that says nothing about this one, with why
)
"""Why a test may be skipped: its reason holds one of these. Any other skip is a failure."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Turn a skip whose reason is not on the list into a failure."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and not any(each in str(report.longrepr) for each in SKIPS):
        report.outcome = "failed"
        report.longrepr = f"skipped for a reason that tests/conftest.py does not list: {report.longrepr}"
    return report


@pytest.fixture(scope="module", autouse=True)
def _adoptions_end_with_their_module() -> Iterator[None]:
    """A class that a fixture of a whole module hands in is no plugin of the next module."""
    from novum.plugins import own

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(own, "_adopted", dict(own._adopted))
        yield


@pytest.fixture(autouse=True)
def _adoptions_end_with_their_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """A class that one test hands in is no plugin of the next."""
    from novum.plugins import own

    monkeypatch.setattr(own, "_adopted", dict(own._adopted))


@pytest.fixture(scope="session")
def toy() -> Any:
    """The module tests/toy.py."""
    return _by_path("toy")


@pytest.fixture(scope="session")
def ranked() -> Any:
    """The module tests/ranked.py."""
    return _by_path("ranked")


@pytest.fixture(scope="session")
def replicas() -> Any:
    """The module tests/replicas.py."""
    return _by_path("replicas")


def _by_path(name: str) -> Any:
    """A module of this folder, loaded by path, so that its classes have a file as those of a person's script have."""
    spec = importlib.util.spec_from_file_location(f"novum_tests_{name}", Path(__file__).parent / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def postgres() -> Iterator[Any]:
    """A PostgreSQL server of tests/postgres.py: `postgres.url()` is the url of a new study."""
    spec = importlib.util.spec_from_file_location("novum_tests_postgres", Path(__file__).parent / "postgres.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if module.programs() is None:
        pytest.skip("no PostgreSQL server is installed (Debian's package postgresql has one)")
    server = module.Server()
    yield server
    server.remove()


@pytest.fixture(scope="session")
def arm(toy: Any) -> Callable[..., Any]:
    """Makes an arm of the toy task and model: options of the model by name, the task's as `size` and `noise`."""
    import novum

    def make(*, task: dict[str, Any] | None = None, model: dict[str, Any] | None = None, **recipe: Any) -> novum.Arm:
        return novum.arm(novum.task(toy.Blobs, **(task or {})), novum.model(toy.Linear, **(model or {})), **recipe)

    return make


@pytest.fixture(scope="session")
def claim(arm: Any) -> Callable[..., Any]:
    """Makes a claim that the toy supports: seeing the inputs beats not seeing them. Its parts can be replaced."""
    import novum

    def make(sentence: str = "seeing helps", **parts: Any) -> novum.Hypothesis:
        base = arm(task={"size": 60, "noise": 0.4}, model={"spread": 0.0, "dropout": 0.5})
        written = {
            "control": base.but(model=base.model.but(blind=True)),
            "treatment": base,
            "max_seeds": 3,
            "minimum_effect": 0.02,
        }
        return novum.Hypothesis(sentence, **(written | parts))

    return make


@pytest.fixture
def study(tmp_path: Path) -> Iterator[Any]:
    """A study in this process."""
    import novum

    with novum.Study(tmp_path / "study", executor="inline") as opened:
        yield opened


@pytest.fixture
def meddling() -> Callable[..., str]:
    """Makes an inline executor whose results pass through `meddle(result) -> result`; returns the name it goes by."""
    from novum import plugins
    from novum.executors import InlineExecutor

    def make(meddle: Callable[[Any], Any]) -> str:
        class Meddling(InlineExecutor):
            def run(self, jobs: Any) -> Iterator[Any]:
                for result in super().run(jobs):
                    yield meddle(result)

        return plugins.adopt("executor", Meddling)

    return make


@pytest.fixture(scope="session")
def lost() -> Callable[[Any], Any]:
    """Turns a result into that of a job whose process was killed."""

    def turn(result: Any) -> Any:
        from novum.executors import Failure

        return replace(result, value=None, error=Failure("Lost", "the process was ended by SIGKILL"), lost=True)

    return turn
