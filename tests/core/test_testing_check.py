"""Checks without pytest: each in a process of its own, so that the worst plugin harms nothing."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from novum import ConfigError, PluginError, testing
from novum.testing import laws
from novum.testing.subject import Subject

HERE = Path(__file__).parent
MODULES = {
    "early": "import torch\n",
    "loud": "print('hello')\n",
    "seeding": "import random\nrandom.seed(3)\n",
    "leaving": "import threading, time\nthreading.Thread(target=time.sleep, args=(9,), daemon=True).start()\n",
    "writing": "from pathlib import Path\nPath(__file__).with_name('trace.txt').write_text('x')\n",
    "raising": "raise RuntimeError('no such device')\n",
}
EVALUATOR = "from hostile_fixture import SoundEvaluator\n\n\nclass Counted(SoundEvaluator):\n    pass\n"
CRASHES = """

class Crashes(Sound):
    def fingerprint(self):
        import ctypes

        return ctypes.string_at(0)
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the path with hostile plugins, installed as pip leaves them."""
    folder = tmp_path / "site"
    info = folder / "hostile_plugins-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: hostile-plugins\nVersion: 1.0\n")
    tasks = ("Sound", "Hangs", "Exits", "Crashes", "PrintsMegabytesBelowPython", "SharesIds")
    (info / "entry_points.txt").write_text(
        "[novum.tasks]\n"
        + "".join(f"x-{name.lower()} = hostile_fixture:{name}\n" for name in tasks)
        + "[novum.evaluators]\n"
        + "".join(f"x-{name} = hostile_{name}:Counted\n" for name in MODULES)
    )
    shutil.copy(HERE / "hostile_fixture.py", folder)
    with (folder / "hostile_fixture.py").open("a") as file:
        file.write(CRASHES)
    for name, text in MODULES.items():
        (folder / f"hostile_{name}.py").write_text(text + EVALUATOR)
    monkeypatch.syspath_prepend(str(folder))
    return folder


@pytest.fixture
def told(site: Path) -> Callable[..., dict[str, tuple[str, str]]]:
    """Runs some checks of an installed plugin: check → (state, what was told)."""

    def run(kind: str, name: str, *only: str, **more: Any) -> dict[str, tuple[str, str]]:
        found = testing.check(kind, name, only=only or None, **more)
        return {each.check: (each.state, each.told) for each in found}

    return run


@pytest.mark.parametrize(
    ("name", "check", "word"),
    [
        ("x-hangs", "training_never_ends", "it had not ended after 2 s and was stopped"),
        ("x-exits", "fingerprint_follows_the_data", "it ended the process with status 7"),
        ("x-crashes", "fingerprint_follows_the_data", "it ended the process by SIGSEGV"),
        ("x-printsmegabytesbelowpython", "it_is_quiet", "print 2,000,000 bytes"),
    ],
)
def test_a_plugin_that_harms_its_process_fails_its_own_check_and_no_other(
    told: Callable[..., dict[str, tuple[str, str]]], capfd: Any, name: str, check: str, word: str
) -> None:
    found = told(
        "task", name, "options_are_described", check, "signature_is_stable", limit=2.0 if "hang" in name else 60
    )

    assert found[check][0] == "failed"
    assert word in found[check][1]
    assert found["options_are_described"][0] == found["signature_is_stable"][0] == "passed"
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("early", "imports torch; import inside the methods"),
        ("loud", "prints 6 bytes ('hello"),
        ("seeding", "seeds the global generator of Python"),
        ("leaving", "leaves the thread 'Thread-1"),
        ("writing", "trace.txt"),
        ("raising", "RuntimeError: no such device"),
    ],
)
def test_what_an_import_does_beside_defining_is_told(site: Path, tmp_path: Path, name: str, word: str) -> None:
    subject = Subject("evaluator", f"x-{name}", tmp_path)

    with pytest.raises(laws.Broken) as caught:
        laws.known()["nothing_is_imported_early"].run(subject)

    assert word in str(caught.value)


def test_what_is_not_there_is_refused_with_the_closest_name(site: Path) -> None:
    with pytest.raises(PluginError, match=r"no task is called 'x-sond'; did you mean 'x-sound'"):
        testing.check("task", "x-sond")
    with pytest.raises(ConfigError, match=r"unknown kind of plugin 'taks'; did you mean 'task'"):
        testing.check("taks", "x-sound")
    with pytest.raises(ConfigError, match=r"no check of a task is called 'it_lods'; did you mean 'it_loads'"):
        testing.check("task", "x-sound", only=["it_lods"])


def command(site: Path, *words: str) -> subprocess.CompletedProcess[str]:
    code = f"import sys; sys.path.insert(0, {str(site)!r}); from novum.cli import main; main()"
    return subprocess.run([sys.executable, "-c", code, "plugins", "check", *words], capture_output=True, text=True)


def test_the_command_runs_the_whole_contract_of_a_sound_plugin_and_exits_0(site: Path) -> None:
    done = command(site, "x-sound", "size=30", "--json")

    found = json.loads(done.stdout)
    assert done.returncode == 0, found
    assert [each["check"] for each in found] == [each.name for each in laws.of("task")]
    assert {each["state"] for each in found} == {"passed"}


def test_the_command_tells_contract_sight_and_place_of_a_fault_and_exits_2(site: Path) -> None:
    done = command(site, "x-sharesids", "--only", "splits_share_no_unit")

    assert done.returncode == 2
    assert "FAILED  splits share no unit" in done.stdout
    assert "the contract: no unit stands in two splits, by its id" in done.stdout
    assert "seen: 60 units stand in train and in dev, such as ['train-0']" in done.stdout
    assert "to mend: Divide with `novum.split(ids, …)`" in done.stdout
    assert "see: docs/contract.md#splits-share-no-unit" in done.stdout
    assert "1 failed." in done.stdout


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("sise=30",), "task 'x-sound': unknown option 'sise' (value 30); did you mean 'size'?"),
        (("size=many",), "task 'x-sound': option 'size' received 'many'"),
        (("--with", "mpl"), "no model is called 'mpl'; did you mean 'mlp'?"),
        (("--with", "bag"), "the task 'x-sound' does not fit 'bag': the task has vector inputs and classes outputs."),
        (("--limit", "0"), "--limit 0: a check may take 1 second or more; give a number from 1 on."),
        (("--only", "it_lods"), "no check of a task is called 'it_lods'; did you mean 'it_loads'?"),
        (("--kind", "taks"), "--kind 'taks': no such kind of plugin; did you mean 'task'?"),
        (("--kind", "model"), "no model is called 'x-sound'"),
    ],
)
def test_what_a_person_gave_wrongly_is_refused_once_and_is_no_fault_of_the_plugin(
    site: Path, words: tuple[str, ...], why: str
) -> None:
    done = command(site, "x-sound", *words)

    assert done.returncode == 2
    assert why in " ".join(done.stderr.split())
    assert "FAILED" not in done.stdout


def test_a_plugin_that_is_left_out_is_no_unknown_one(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOVUM_PLUGINS", "novum-text")

    done = command(site, "x-sound")

    assert "the task 'x-sound' of hostile-plugins is installed, but NOVUM_PLUGINS=novum-text leaves it" in done.stderr


def test_one_that_does_not_load_fails_one_check_and_no_other_is_tried(site: Path) -> None:
    done = command(site, "x-raising")

    assert done.returncode == 2
    assert done.stdout.count("FAILED") == 1
    assert "the evaluator 'x-raising' of hostile-plugins cannot be imported: RuntimeError: no such device" in (
        " ".join(done.stdout.split())
    )
    assert f"1 failed, {len(laws.of('evaluator')) - 1} not tried, for it does not load." in done.stdout


def test_one_whose_import_hangs_costs_one_limit_and_not_one_for_each_check(site: Path) -> None:
    (site / "hostile_raising.py").write_text("import time\ntime.sleep(3600)\n")

    found = testing.check("evaluator", "x-raising", limit=1.0)

    states = [each.state for each in found]
    assert (found[0].check, states) == ("it_loads", ["failed", *["untried"] * (len(states) - 1)])
    assert "it had not ended after 1 s and was stopped" in found[0].told


def test_a_check_is_named_as_it_is_printed_and_runs_for_the_kinds_that_have_it(site: Path) -> None:
    points = (site / "hostile_plugins-1.0.dist-info" / "entry_points.txt").read_text()
    points = points.replace("[novum.evaluators]\n", "[novum.evaluators]\nx-sound = hostile_fixture:SoundEvaluator\n")
    (site / "hostile_plugins-1.0.dist-info" / "entry_points.txt").write_text(points)

    done = command(site, "x-sound", "--only", "metrics are sound", "--json")

    assert [(each["kind"], each["check"]) for each in json.loads(done.stdout)] == [("evaluator", "metrics_are_sound")]


def test_a_subclass_and_a_fixture_make_the_suite(site: Path) -> None:
    (site / "test_own.py").write_text(
        "import pytest\nfrom novum.testing import TaskContract\n\n\n"
        "class TestOwn(TaskContract):\n    @pytest.fixture\n    def plugin(self):\n        return 'x-sharesids'\n"
    )

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_own.py", "-k", "split or signature"],
        cwd=site,
        env={"PYTHONPATH": str(site), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )

    assert "FAILED test_own.py::TestOwn::test_splits_share_no_unit" in done.stdout
    assert "see: docs/contract.md#splits-share-no-unit" in done.stdout
    assert "1 failed, 3 passed" in done.stdout


def test_the_classes_hold_the_very_checks_of_their_kind() -> None:
    contracts = [each for name, each in vars(testing).items() if name.endswith("Contract")]

    assert len(contracts) == 9
    for each in contracts:
        methods = [name.removeprefix("test_") for name in vars(each) if name.startswith("test_")]
        assert methods == [check.name for check in laws.of(each.kind)]
