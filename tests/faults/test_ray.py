"""A node of a Ray cluster is lost while a study runs on it: the study ends at the verdict of an undisturbed one."""

from __future__ import annotations

import importlib.util
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import novum
import pytest
from novum.lab import Listener

STORE = 80_000_000
"""Bytes of each node's shared memory."""
PATIENCE = 120.0
"""Seconds until the test gives up waiting; how long anything takes is no test's business."""
TOY = Path(__file__).parents[1] / "toy.py"
HOLDING = """

class Held(Blobs):
    \"\"\"The first worker that begins to train while a file `hold` lies beside this one says where, and stays.\"\"\"

    def source(self, split, seed, recipe):
        import os, time
        from pathlib import Path

        here = Path(__file__).parent
        if split is Split.TRAIN:
            try:
                (here / "hold").rename(here / "holding")
            except FileNotFoundError:
                return super().source(split, seed, recipe)
            (here / "part").write_text(os.environ["RAY_RAYLET_PID"])
            (here / "part").rename(here / "raylet")
            time.sleep(300)
        return super().source(split, seed, recipe)
"""

LOOKING = """
import os

def perform(kind, payload, folder):
    return {"slot": os.environ["NOVUM_SLOT"], "gpus": os.environ["CUDA_VISIBLE_DEVICES"], "server": os.getppid()}
"""

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes through Linux's /proc")


class Holds(Listener):
    """Has the first worker stay that begins a trial; what comes before any trial is left alone."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def planned(self, total: int, done: int, workers: int) -> None:
        if not (self._folder / "holding").exists():
            (self._folder / "hold").touch()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head that runs no jobs; further nodes are processes of this machine, too."""
    haste = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 4}
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray's own, while it starts and ends
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        from ray.cluster_utils import Cluster

        head = {"num_cpus": 0, "object_store_memory": STORE, "include_dashboard": False, "_system_config": haste}
        made = Cluster(initialize_head=True, head_node_args=head)
        patch.setenv("RAY_ADDRESS", made.address)
        yield made
        made.shutdown()


def script(folder: Path) -> ModuleType:
    path = folder / "held.py"
    path.write_text(TOY.read_text() + HOLDING)
    spec = importlib.util.spec_from_file_location("novum_tests_held", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def raylet(node: Any) -> int:
    """The process id of a simulated node's own process."""
    return int(node.all_processes["raylet"][0].process.pid)


@pytest.mark.parametrize("direct", [True, False], ids=["in the folder", "by sending files"])
def test_a_node_lost_in_mid_trial_costs_time_and_nothing_else(
    tmp_path: Path, cluster: Any, tools: Any, direct: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from novum.executors.ray import RayExecutor

    if not direct:
        monkeypatch.setattr(
            RayExecutor.__init__, "__kwdefaults__", RayExecutor.__init__.__kwdefaults__ | {"direct": False}
        )
    while len(cluster.worker_nodes) < 2:
        cluster.add_node(num_cpus=1, object_store_memory=STORE)
    held = script(tmp_path)
    arm = novum.arm(novum.task(held.Held, size=60, noise=0.4), novum.model(held.Linear, spread=0.0, dropout=0.5))
    blind = arm.but(model=arm.model.but(blind=True))
    claim = novum.Hypothesis("seeing helps", control=blind, treatment=arm, max_seeds=3, minimum_effect=0.02)
    with novum.Study(tmp_path / "calm", executor="inline", listener=Listener()) as study:
        calm = study.run(claim).text
    lost: list[str] = []

    def lose() -> None:
        deadline = time.monotonic() + PATIENCE
        while not (tmp_path / "raylet").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        pid = int((tmp_path / "raylet").read_text())
        (node,) = [each for each in cluster.worker_nodes if raylet(each) == pid]
        cluster.remove_node(node, allow_graceful=False)
        lost.append(node.unique_id)

    killer = threading.Thread(target=lose)
    killer.start()
    with novum.Study(tmp_path / "stormy", executor="ray", listener=Holds(tmp_path)) as study:
        stormy = study.run(claim).text
    killer.join()

    assert len(lost) == 1
    assert tools.measured(stormy) == tools.measured(calm)
    assert tools.every(tmp_path / "stormy") == tools.every(tmp_path / "calm")
    with novum.Study(tmp_path / "stormy").reading() as ledger:
        ledger.verify()
        attempts = sorted(row["attempts"] for row in ledger.trials() if row["kind"] == "train")
        held_weights = {row["hash"] for row in ledger.weights() if row["state"] == "kept"}
    assert attempts == [1] * (len(attempts) - 1) + [2]
    assert held_weights <= {path.name for path in (tmp_path / "stormy" / "weights").iterdir()}
    assert list((tmp_path / "stormy" / "spool").glob("*.json.gz")) == []


def test_where_the_cluster_has_gpus_each_job_has_one_of_its_own_and_its_slot_is_0(
    tmp_path: Path, cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from novum.executors import Job
    from novum.executors.ray import RayExecutor

    node = cluster.add_node(num_cpus=2, num_gpus=2, object_store_memory=STORE)
    (tmp_path / "looking.py").write_text(LOOKING)
    monkeypatch.syspath_prepend(str(tmp_path))

    try:
        with RayExecutor(tmp_path / "study", perform="looking:perform", light=True) as executor:
            about = executor.describe()
            found = [result.value for result in executor.run([Job(f"j{at}", "look", {}) for at in range(6)])]
    finally:
        cluster.remove_node(node)

    seen = [value or {} for value in found]
    assert (about["workers"], about["gpus"]) == (2, 2)
    assert {each["slot"] for each in seen} == {"0"}
    assert {each["gpus"] for each in seen} <= {"0", "1"}
    assert len({each["server"] for each in seen}) <= 2
