"""What is told of installed plugins without importing them, and which of them may load."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from novum import CONTRACT, PluginError, plugins
from novum.cli import catalogue
from novum.data import Numbers, Signature, Text
from novum.plugins import installed
from novum.plugins import tried as tried_module
from novum.plugins.aside import aside
from novum.plugins.tried import tried

FINE = "import pathlib\npathlib.Path(__file__ + '.imported').touch()\nclass Model:\n    inputs = outputs = ()\n"


def distribution(site: Path, name: str, points: str, metadata: str = "", version: str = "1.0", **modules: str) -> None:
    """A distribution as pip leaves it; a module "pack__sub" stands in the package "pack"."""
    info = site / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{metadata}")
    (info / "entry_points.txt").write_text(points)
    for module, text in modules.items():
        path = site / f"{module.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path, whose distributions count as installed from now on."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.delenv(plugins.LIMIT, raising=False)
    monkeypatch.syspath_prepend(folder)
    _forget()
    yield folder
    _forget()


def _forget() -> None:
    installed._installed.cache_clear()
    installed._points.cache_clear()
    installed._faults.cache_clear()
    plugins._load.cache_clear()


def state(name: str, kind: str = "model") -> plugins.State:
    _forget()
    return plugins.state(next(one for one in installed.installed(kind) if one.name == name))


EXTRA = "Provides-Extra: far\nRequires-Dist: a-library-of-nobody>=2; extra == 'far'\n"
STATES: dict[str, tuple[dict[str, str], str, str]] = {
    "fine": ({"fine_one": FINE}, "[novum.models]\nx = fine_one:Model\n", "ok"),
    "in a package": (
        {"pack_one____init__": "1 / 0\n", "pack_one__deep": FINE},
        "[novum.models]\nx = pack_one.deep:M\n",
        "ok",
    ),
    "no module": ({}, "[novum.models]\nx = nowhere_one:M\n", "broken: the module nowhere_one is missing"),
    "no submodule": (
        {"pack_two____init__": ""},
        "[novum.models]\nx = pack_two.deep.er:M\n",
        "broken: the module pack_two.deep is missing",
    ),
    "no python": (
        {"bad_one": "def (:\n"},
        "[novum.models]\nx = bad_one:M\n",
        "broken: bad_one.py: line 1: invalid syntax",
    ),
    "an extra": (
        {"fine_two": FINE},
        "[novum.models]\nx = fine_two:Model [far]\n",
        "needs extra: far: a-library-of-nobody missing, pip install 'made-up[far]'",
    ),
    "an extra that is not asked for": ({"fine_three": FINE}, "[novum.models]\nx = fine_three:Model\n", "ok"),
    "another contract": (
        {"fine_four": FINE},
        "[novum.models]\nx = fine_four:Model\n[novum.contract]\nv99 = fine_four\n",
        "other contract: built for v99 of the plugin contract (entry point 'novum.contract'), and this Novum has "
        f"v{CONTRACT}",
    ),
    "several contracts": (
        {"fine_five": FINE},
        f"[novum.models]\nx = fine_five:Model\n[novum.contract]\nv99 = fine_five\nv{CONTRACT} = fine_five\n",
        "ok",
    ),
}


@pytest.mark.parametrize("case", STATES)
def test_the_state_of_a_plugin_is_told_from_metadata_and_its_file_without_importing_it(case: str, site: Path) -> None:
    modules, points, told = STATES[case]
    distribution(site, "made-up", points, EXTRA, **modules)

    found = state("x")

    assert str(found) == told
    assert not list(site.rglob("*.imported"))


def test_a_requirement_that_is_not_installed_breaks_a_plugin_and_a_conditional_one_does_not(site: Path) -> None:
    distribution(
        site, "lacks", "[novum.models]\nx = lacks_it:Model\n", "Requires-Dist: not-there-at-all\n", lacks_it=FINE
    )
    distribution(
        site,
        "may-lack",
        "[novum.models]\ny = may_lack:Model\n",
        "Requires-Dist: z; sys_platform == 'x'\n",
        may_lack=FINE,
    )

    assert str(state("x")) == "broken: lacks requires not-there-at-all, not installed"
    assert state("y").word == "ok"


def test_a_duplicate_names_both_distributions_in_the_list_and_when_it_is_used(site: Path) -> None:
    for name in ("one-twin", "other-twin"):
        module = name.replace("-", "_")
        distribution(site, name, f"[novum.models]\ntwin = {module}:Model\n", **{module: FINE})

    found = state("twin")

    assert found.word == "duplicate"
    assert "other-twin 1.0 (other_twin:Model) has the same name" in found.because
    with pytest.raises(PluginError, match=r"brought by one-twin 1\.0 .* and other-twin 1\.0 .*uninstall one of them"):
        plugins.load("model", "twin")


def test_naming_one_of_two_distributions_settles_a_duplicate(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one-twin", "other-twin"):
        module = f"settled_{name.replace('-', '_')}"
        distribution(site, name, f"[novum.models]\ntwin = {module}:Model\n", **{module: FINE})
    monkeypatch.setenv(plugins.LIMIT, "Other_Twin")

    loaded = plugins.load("model", "twin")

    assert loaded.__module__ == "settled_other_twin"
    assert [path.name for path in site.rglob("*.imported")] == ["settled_other_twin.py.imported"]


def test_a_plugin_for_another_version_of_the_contract_is_refused_before_its_import(site: Path) -> None:
    distribution(site, "old", "[novum.models]\nx = old_one:Model\n[novum.contract]\nv0 = old_one\n", old_one=FINE)

    with pytest.raises(
        PluginError, match=rf"the model 'x' of old 1\.0 was built for v0 .* this Novum has v{CONTRACT}\. Install"
    ):
        plugins.load("model", "x")
    assert not list(site.rglob("*.imported"))


def test_an_import_that_fails_for_want_of_an_extra_says_how_to_install_it(site: Path) -> None:
    distribution(
        site, "made-up", "[novum.models]\nx = wants_far:Model [far]\n", EXTRA, wants_far="import a_library_of_nobody\n"
    )

    with pytest.raises(PluginError, match=r"cannot be imported: ModuleNotFoundError.*pip install 'made-up\[far\]'"):
        plugins.load("model", "x")


# ------------------------------------------------------------------------------------------------- NOVUM_PLUGINS


@pytest.fixture
def two(site: Path) -> Path:
    distribution(
        site, "first-one", "[novum.models]\nalpha = limit_a:Model\nbeta = limit_b:Model\n", limit_a=FINE, limit_b=FINE
    )
    distribution(site, "second-one", "[novum.models]\ngamma = limit_c:Model\n", limit_c=FINE)
    return site


@pytest.mark.parametrize(
    ("limit", "left"),
    [
        ("", {"alpha", "beta", "gamma", "mlp"}),
        (" , ", {"alpha", "beta", "gamma", "mlp"}),
        ("first-one", {"alpha", "beta", "mlp"}),
        ("First_One, gamma", {"alpha", "beta", "gamma", "mlp"}),
        ("beta", {"beta", "mlp"}),
        ("novum", {"mlp"}),
        ("nothing-like-it", {"mlp"}),
    ],
)
def test_the_environment_limits_plugins_by_distribution_or_name_and_never_the_cores_own(
    two: Path, monkeypatch: pytest.MonkeyPatch, limit: str, left: set[str]
) -> None:
    monkeypatch.setenv(plugins.LIMIT, limit)

    assert set(plugins.names("model")) & {"alpha", "beta", "gamma", "mlp"} == left


def test_what_is_left_out_is_listed_as_such_and_told_when_it_is_used(
    two: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(plugins.LIMIT, "first-one,frist-one")

    assert str(state("gamma")) == "left out: NOVUM_PLUGINS=first-one,frist-one names neither it nor its distribution"
    assert installed.idle_names() == ["frist-one"]
    with pytest.raises(
        PluginError, match=r"'gamma' of second-one is installed, but NOVUM_PLUGINS=.* leaves it out; add"
    ):
        plugins.load("model", "gamma")


# -------------------------------------------------------------------------------------- what is broken harms no other


def test_metadata_that_cannot_be_read_hide_no_other_plugin_and_are_named(site: Path) -> None:
    distribution(site, "garbled", "[novum.models]\nthis line names nothing\n")
    distribution(site, "sound", "[novum.models]\nx = sound_one:Model\n", sound_one=FINE)

    found = state("x")

    assert found.word == "ok"
    assert "mlp" in plugins.names("model")
    ((name, why),) = installed.unreadable()
    assert name == "garbled" and "entry_points.txt cannot be read" in why


@pytest.fixture
def ask(site: Path, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(Path(sys.executable).parent / "novum"), *words],
            env=os.environ | {"PYTHONPATH": str(site)} | environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


def test_the_list_tells_every_state_and_why_and_imports_nothing(ask: Any, site: Path) -> None:
    distribution(
        site, "sleepy", "[novum.models]\nsleeps = sleeps:Model\n", sleeps=FINE + "import time\ntime.sleep(3600)\n"
    )
    distribution(site, "lost", "[novum.models]\nlost = lost_one:Model\n")
    distribution(site, "old", "[novum.models]\nold = old_one:Model\n[novum.contract]\nv0 = old_one\n", old_one=FINE)

    said = ask("plugins", "list", "--kind", "model", "--json")
    told = ask("plugins", "list", "--kind", "model")

    rows = {row["name"]: (row["distribution"], row["version"], row["state"]) for row in json.loads(said.stdout)}
    assert rows["sleeps"] == ("sleepy", "1.0", "ok")
    assert rows["lost"] == ("lost", "1.0", "broken")
    assert rows["old"] == ("old", "1.0", "other contract")
    assert "model lost  broken: the module lost_one is missing." in told.stdout
    assert not list(site.rglob("*.imported"))


def test_a_slow_model_is_not_imported_to_observe_a_task_that_the_core_has_a_model_for(ask: Any, site: Path) -> None:
    task = (
        "import novum\nimport numpy as np\nclass Task(novum.Task):\n"
        "    def signature(self):\n        return novum.Signature(novum.Vector((2,)), novum.Classes(('a', 'b')))\n"
        "    def observe(self):\n        return novum.Observation((novum.Fact('x', 1.0),))\n"
        "    def source(self, split, seed, recipe):\n"
        "        ids = [f'{split}-{row}' for row in range(4)]\n"
        "        return novum.Examples(np.eye(4, 2, dtype='float32'), [0, 1, 0, 1], ids, seed=seed, batch_size=2)\n"
        "    def fingerprint(self):\n        return 'f'\n"
    )
    distribution(site, "small", "[novum.tasks]\nsmall = small_task:Task\n", small_task=task)
    distribution(
        site, "sleepy", "[novum.models]\nasleep = asleep_one:Model\n", asleep_one="import time\ntime.sleep(3600)\n"
    )

    said = ask("observe", "small", "--executor", "inline", "--json", OMP_NUM_THREADS="1")

    assert said.returncode == 0, said.stderr
    assert '"id": "x"' in said.stdout


HANGS = "import time\ntime.sleep(3600)\n"
DIES = "import ctypes\nctypes.string_at(0)\n"


@pytest.fixture
def strangers(site: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Two models of other people's: one that hangs and one that ends the process when it is imported."""
    points = "[novum.models]\naaa = strange_hangs:Model\nbbb = strange_dies:Model\nzzz = strange_fine:Model\n"
    fine = "class Model:\n    inputs, outputs = ('text',), ('numbers',)\n"
    distribution(site, "strange", points, strange_hangs=HANGS, strange_dies=DIES, strange_fine=fine)
    monkeypatch.setattr(tried_module, "PATIENCE", 4.0)
    return ["aaa", "bbb"]


def test_models_that_hang_or_die_do_not_keep_one_that_fits_from_being_found(strangers: list[str]) -> None:
    text_to_numbers = Signature(Text(), Numbers(("degrees",)))

    assert plugins.fitting(text_to_numbers) == ["zzz"]
    assert plugins.any_fitting(text_to_numbers) == "zzz"


def test_plugins_that_hang_or_die_leave_the_schema_of_all_others_whole(strangers: list[str], capsys: Any) -> None:
    catalogue._schema(None)

    said = capsys.readouterr()
    definitions = json.loads(said.out)["definitions"]
    assert {"model.mlp", "model.zzz"} & set(definitions) == {"model.mlp"}  # the third is no novum.Model
    for name, why in (("aaa", "had not ended after 4 s"), ("bbb", "ended the process by SIGSEGV")):
        assert f"model {name} is not in the schema, its options are free: its import {why}" in said.err


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        (lambda: {"a": [1]}, ({"a": [1]}, "")),
        (lambda: "x" * 1_000_000, ("x" * 1_000_000, "")),
        (lambda: time.sleep(3600), (None, "it had not ended after 0.5 s")),
        (lambda: os._exit(3), (None, "the process that looked for it ended")),
        (lambda: 1 / 0, (None, "the process that looked for it ended")),
    ],
    ids=["answers", "answers at length", "hangs", "dies", "raises"],
)
def test_what_is_asked_aside_harms_nothing_and_prints_nothing(question: Any, answer: Any, capfd: Any) -> None:
    assert aside(question, 0.5) == answer
    assert capfd.readouterr() == ("", "")


def test_plugins_that_hang_die_or_print_are_named_and_those_after_them_are_still_tried(site: Path) -> None:
    points = "".join(f"{name} = tried_{name}:Model\n" for name in ("a", "b", "c", "d", "e"))
    distribution(
        site,
        "sorts",
        f"[novum.models]\n{points}",
        tried_a="print('x' * 100_000)\nclass Model:\n    pass\n",
        tried_b="import time\ntime.sleep(3600)\n",
        tried_c="import ctypes\nctypes.string_at(0)\n",
        tried_d="import nothing_like_it\n",
        tried_e="class Model:\n    pass\n",
    )
    wanted = [one for one in installed.installed("model") if one.distribution == "sorts"]

    told = {one.name: state for one, state in tried(wanted, limit=10.0)}

    assert list(told) == ["a", "b", "c", "d", "e"]
    assert told["a"] == told["e"] == "ok"
    assert told["b"] == "its import had not ended after 10 s; report this to its authors."
    assert told["c"] == "its import ended the process by SIGSEGV; report this to its authors."
    assert "ModuleNotFoundError: No module named 'nothing_like_it'" in told["d"]
