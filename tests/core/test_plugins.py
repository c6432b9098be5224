from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import novum
import pytest
from novum import ConfigError, PluginError, plugins
from novum.data import Classes, Signature, Text, Vector

HEAVY = ("torch", "numpy", "timm", "transformers", "gymnasium", "sklearn", "scipy", "sqlalchemy", "typer")


def install(site: Path, distribution: str, modules: dict[str, str], points: str) -> None:
    """A distribution as pip leaves it: modules and a dist-info folder."""
    info = site / f"{distribution.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(points)
    for name, text in modules.items():
        (site / name).write_text(text)


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a fresh process is told where some plugins are broken, and two bring the same name."""
    site = tmp_path_factory.mktemp("site")
    trace = "import pathlib; pathlib.Path(__file__ + '.imported').touch()\n"
    install(
        site,
        "broken-plugins",
        {
            "raises.py": trace + "raise RuntimeError('no such device')\n",
            "quits.py": trace + "import sys; sys.exit(3)\n",
            "lacks.py": trace + "import a_package_that_is_not_there\n",
            "fine.py": trace + "class Fine:\n    inputs = ('vector',)\n    outputs = ('classes',)\n",
        },
        "[novum.models]\nraises = raises:Model\nquits = quits:Model\nlacks = lacks:Model\n"
        "nameless = fine:Missing\nfine = fine:Fine\ntwice = fine:Fine\n",
    )
    install(site, "rival-plugins", {"rival.py": trace}, "[novum.models]\ntwice = rival:Model\n")
    code = f"""
import json, pathlib, sys
from novum import plugins
from novum.data import Classes, Signature, Vector
told = {{"before": [(one.name, one.distribution, one.version) for one in plugins.listings("model")]}}
told["names"] = plugins.names("model")
told["heavy"] = [name for name in {HEAVY!r} if name in sys.modules]
told["imported"] = sorted(path.name for path in pathlib.Path({str(site)!r}).glob("*.imported"))
for name in ("raises", "quits", "lacks", "nameless", "twice", "fien"):
    try:
        plugins.load("model", name)
    except plugins.PluginError as error:
        told[name] = str(error)
told["fine"] = plugins.load("model", "fine").__name__
told["evaluator"] = plugins.load("evaluator", "classification").__name__
told["fitting"] = plugins.fitting(Signature(Vector((4,)), Classes(("a", "b"))))
print(json.dumps(told))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(json.loads(done.stdout))


def test_listing_plugins_imports_none_of_them_and_nothing_heavy(asked: dict[str, Any]) -> None:
    assert ["raises", "broken-plugins", "1.0"] in asked["before"]
    assert {"raises", "quits", "lacks", "fine", "twice"} <= set(asked["names"])
    assert asked["imported"] == []
    assert asked["heavy"] == []


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("raises", "RuntimeError: no such device"),
        ("quits", "SystemExit: 3"),
        ("lacks", "ModuleNotFoundError: No module named 'a_package_that_is_not_there'"),
        ("nameless", "AttributeError"),
    ],
)
def test_a_broken_plugin_is_named_with_its_distribution_and_its_fault(
    asked: dict[str, Any], name: str, why: str
) -> None:
    assert f"the model '{name}' of broken-plugins cannot be imported: {why}" in asked[name]


def test_a_broken_plugin_breaks_only_itself(asked: dict[str, Any]) -> None:
    assert (asked["fine"], asked["evaluator"]) == ("Fine", "Classification")
    assert "fine" in asked["fitting"]
    assert not {"raises", "quits", "lacks", "nameless", "twice"} & set(asked["fitting"])


def test_a_name_brought_twice_is_an_error_that_names_both(asked: dict[str, Any]) -> None:
    assert "broken-plugins 1.0 (fine:Fine)" in asked["twice"]
    assert "rival-plugins 1.0 (rival:Model)" in asked["twice"]


def test_an_unknown_name_comes_with_the_closest_one_and_all_others(asked: dict[str, Any]) -> None:
    assert "no model is called 'fien'; did you mean 'fine'? allowed: " in asked["fien"]
    assert "raises" in asked["fien"]


def test_every_kind_that_needs_two_implementations_has_two() -> None:
    for kind in ("proposer", "executor", "tracker", "optimizer", "schedule"):
        assert len(plugins.names(kind)) >= 2, kind


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ConfigError, match="unknown kind of plugin 'modle'; did you mean 'model'"):
        plugins.names("modle")


def test_options_are_checked_before_a_plugin_is_constructed(toy: Any) -> None:
    name = plugins.adopt("task", toy.Blobs)

    with pytest.raises(ConfigError, match=r"task 'local:Blobs': unknown option 'sise'.*did you mean 'size'"):
        plugins.create("task", name, {"sise": 3})
    assert plugins.create("task", name, {"size": 3}).config.size == 3


def test_a_model_fits_by_the_kinds_of_inputs_and_outputs(toy: Any) -> None:
    assert plugins.fits(toy.Linear, Signature(Vector((4,)), Classes(("a",))))
    assert not plugins.fits(toy.Linear, Signature(Text(), Classes(("a",))))


# ------------------------------------------------------------------------------------------ classes of one's own


@pytest.fixture
def script(tmp_path: Path) -> Callable[..., Any]:
    """Writes and imports a script with a Task class in it."""

    def write(colour: str = "red", name: str = "idea.py") -> Any:
        path = tmp_path / name
        path.write_text(f"class Idea:\n    colour = {colour!r}\n    class Inner:\n        pass\n")
        spec = importlib.util.spec_from_file_location(f"novum_tests_{name[:-3]}", path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        return module

    return write


def test_a_class_of_a_file_travels_as_its_path_its_name_and_a_hash(script: Any, tmp_path: Path) -> None:
    name = plugins.adopt("task", script().Idea)

    code = plugins.local_code("task", name)

    assert code is not None
    assert (name, code.qualname, code.file) == ("local:Idea", "Idea", str(tmp_path / "idea.py"))
    assert len(code.sha256) == 64


def test_a_changed_file_gives_another_hash(script: Any) -> None:
    hashes = []
    for colour in ("red", "blue"):
        name = plugins.adopt("task", script(colour).Idea)
        hashes.append(plugins.provenance("task", name)["sources"])

    assert hashes[0] != hashes[1]


def test_a_class_without_a_file_stays_in_this_process() -> None:
    class Here:
        pass

    code = plugins.local_code("task", plugins.adopt("task", Here))

    assert code is not None
    assert code.file is None
    with pytest.raises(PluginError, match=r"has no file.*use the executor 'inline'"):
        plugins.receive("task", dataclasses.asdict(code) | {"name": "local:Elsewhere"})


def test_a_worker_receives_the_class_from_its_file(script: Any) -> None:
    module = script(name="travels.py")
    code = plugins.local_code("task", plugins.adopt("task", module.Idea))
    assert code is not None

    plugins.receive("task", dataclasses.asdict(code) | {"name": "local:Received"})

    received = plugins.load("task", "local:Received")
    assert received is not module.Idea
    assert received.colour == "red"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("class Idea:\n    colour = 'green'\n", "changed while the study ran"),
        (None, "cannot be imported by a worker: ZeroDivisionError"),
        ("", "does not define Idea"),
    ],
)
def test_a_worker_refuses_a_file_that_is_not_what_it_was(
    script: Any, tmp_path: Path, text: str | None, told: str
) -> None:
    import hashlib

    code = plugins.local_code("task", plugins.adopt("task", script().Idea))
    assert code is not None
    path = tmp_path / "idea.py"
    path.write_text("1 / 0\n" if text is None else text)
    digest = code.sha256 if told.startswith("changed") else hashlib.sha256(path.read_bytes()).hexdigest()

    with pytest.raises(PluginError, match=told):
        plugins.receive("task", dataclasses.asdict(code) | {"name": "local:Unknown", "sha256": digest})


def test_the_provenance_of_an_installed_plugin_names_distribution_version_and_sources() -> None:
    found = plugins.provenance("task", "text-classification")

    assert found["distribution"] == "novum-text"
    assert found["version"]
    assert len(found["sources"]) == 64
    assert "novum" in found["requires"]


def test_the_hash_of_a_package_changes_with_any_of_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "a_little_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "part.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(tmp_path)

    hashes = []
    for text in ("x = 1\n", "x = 2\n", "x = 1\n"):
        (package / "part.py").write_text(text)
        hashes.append(plugins.package_hash.__wrapped__("a_little_package"))

    assert hashes[0] == hashes[2] != hashes[1]
    assert plugins.package_hash.__wrapped__("a_little_package", ("__init__",)) not in hashes


def test_a_claim_file_cannot_name_code_that_no_script_handed_in() -> None:
    with pytest.raises(PluginError, match="no task is called 'local:Nobody'"):
        plugins.load("task", "local:Nobody")
    assert novum.arm("local:Nobody", "m").task.name == "local:Nobody"
