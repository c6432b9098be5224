"""What a trial costs beside its training: Novum and what else people start trials with, side by side.

    OMP_NUM_THREADS=1 python experiments/benchmarks/trial_overhead.py
    OMP_NUM_THREADS=1 python experiments/benchmarks/trial_overhead.py --repeats 1 --only novum,pool --json

A trial is a training loop of so many steps as take one second in one thread of this machine, which is measured first.
"torch" trains a small network; "libraries" trains one of timm and one of transformers in turn, so that both are
imported. All ways do the same trials with the same number of workers, are repeated in turn, so that a busy machine
slows them alike, and show medians:

start       seconds until the first trial can begin: processes, imports, clusters
trials      seconds from then until the last result is in
to ideal    trials / (number × seconds of a trial / workers)
overhead    milliseconds a trial beyond the ideal
apart       the same beyond what the loops themselves took, which is more than one second where cores are shared

"process" says how long a process lives: for one trial, or for all that it is given (then one trial's leaks, threads and
random states are the next one's, too). Peers take part where they can be imported:

    uv pip install optuna 'ray[tune]'

"empty" is a job that returns at once, on a server that has imported timm and transformers.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import importlib
import importlib.metadata
import importlib.util
import json
import multiprocessing
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
PRELOAD = ("timm", "transformers", "transformers.models.bert.modeling_bert")
EMPTY = 200
BARS = {"seconds": 12.5, "overhead": 60.0}
"""For 20 trials of one second on two cores: seconds after the start, and milliseconds a trial."""
THREADS = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


# ------------------------------------------------------------------------------------------------------- the trials


def train(work: str, steps: int) -> float:
    """One trial: imports what it needs, builds, and trains. Returns the seconds of its loop, after one first step."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    step = libraries() if work == "libraries" else mlp()
    step()
    before = time.perf_counter()
    for _ in range(steps):
        step()
    return time.perf_counter() - before


def mlp() -> Callable[[], object]:
    """A step of a small network of torch alone."""
    import torch
    from torch import nn

    net = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10))
    x, y = torch.randn(64, 64), torch.randint(0, 10, (64,))
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)

    def step() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()

    return step


def libraries() -> Callable[[], object]:
    """A step of a network of timm and one of a network of transformers."""
    import timm
    import torch
    from torch import nn
    from transformers.models.bert.modeling_bert import BertConfig, BertForSequenceClassification

    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
    seeing = timm.create_model("test_vit", num_classes=10, img_size=64)
    reading = BertForSequenceClassification(BertConfig(vocab_size=1000, num_labels=10, **sizes))
    images, words, y = torch.randn(8, 3, 64, 64), torch.randint(0, 1000, (8, 32)), torch.randint(0, 10, (8,))
    optimizer = torch.optim.AdamW([*seeing.parameters(), *reading.parameters()], lr=1e-3)

    def step() -> None:
        optimizer.zero_grad()
        both = seeing(images), reading(input_ids=words).logits
        sum(nn.functional.cross_entropy(each, y) for each in both).backward()  # type: ignore[union-attr]
        optimizer.step()

    return step


def perform(kind: str, payload: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The same as a job of Novum."""
    return {"seconds": train(payload["work"], payload["steps"])} if kind == "train" else {}


def warm(work: str) -> int:
    """Have all imported that a trial needs."""
    train(work, 0)
    return os.getpid()


def calibrate(work: str) -> tuple[int, float]:
    """(steps, seconds) of a loop that takes about one second in a process of its own."""
    code = f"import trial_overhead as t; n = {{}}; s = t.train({work!r}, n); print(s)"
    steps, seconds = 20, 0.0
    for _ in range(6):
        seconds = float(python("-c", code.format(steps)).stdout)
        if 0.97 < seconds < 1.03:
            break
        steps = max(1, round(steps / max(seconds, 1e-3) * (1 if seconds > 0.2 else 0.5)))
    return steps, statistics.median([seconds, *(float(python("-c", code.format(steps)).stdout) for _ in range(4))])


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run another interpreter that finds this module."""
    environment = {**os.environ, **THREADS, "PYTHONPATH": str(HERE.parent)}
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=environment)
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])
    return done


# --------------------------------------------------------------------------------------------------------- the ways


@dataclass(frozen=True)
class Plan:
    """What is to be done."""

    work: str
    steps: int
    trials: int
    workers: int


@dataclass(frozen=True)
class Took:
    """Seconds until the first trial could begin, from then to the last result, and of each loop."""

    start: float
    trials: float
    loops: list[float]


def executor(make: Callable[..., Any], plan: Plan, **options: Any) -> Took:
    """Novum's executors, each trial acknowledged as a study does."""
    from novum.executors import Job

    payload = {"work": plan.work, "steps": plan.steps}
    with tempfile.TemporaryDirectory() as folder:
        before = time.perf_counter()
        preload = PRELOAD if plan.work == "libraries" else ()
        with make(Path(folder), workers=plan.workers, preload=preload, perform="trial_overhead:perform") as made:
            if hasattr(made, "hello"):
                refused = made.hello()["not_preloaded"]
                assert not refused, refused
            else:  # a cluster has a server for each worker once each has had a job
                for result in made.run([Job(f"warm{at}", "empty", {}) for at in range(2 * plan.workers)]):
                    made.acknowledge(result.job)
            ready = time.perf_counter()
            loops = []
            for result in made.run([Job(f"t{at}", "train", payload) for at in range(plan.trials)]):
                assert result.value is not None, result.error
                made.acknowledge(result.job)
                loops.append(result.value["seconds"])
            return Took(ready - before, time.perf_counter() - ready, loops)


def novum(plan: Plan) -> Took:
    """Novum, executor local."""
    from novum.executors import LocalExecutor

    return executor(LocalExecutor, plan)


def novum_ray(plan: Plan) -> Took:
    """Novum, executor ray."""
    from novum.executors.ray import RayExecutor

    return executor(RayExecutor, plan)


def pool(plan: Plan) -> Took:
    """ProcessPoolExecutor of the standard library, spawned."""
    before = time.perf_counter()
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(plan.workers, mp_context=context) as made:
        pids: set[int] = set()
        while len(pids) < plan.workers:
            pids |= set(made.map(warm, [plan.work] * plan.workers))
        ready = time.perf_counter()
        loops = list(made.map(train, [plan.work] * plan.trials, [plan.steps] * plan.trials))
        return Took(ready - before, time.perf_counter() - ready, loops)


def processes(plan: Plan) -> Took:
    """A new interpreter for each trial."""
    code = f"import trial_overhead as t; print(t.train({plan.work!r}, {plan.steps}))"
    before = time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(plan.workers) as threads:
        loops = [float(done.stdout) for done in threads.map(lambda _: python("-c", code), range(plan.trials))]
    return Took(0.0, time.perf_counter() - before, loops)


def optuna(plan: Plan) -> Took:
    """Optuna, a process for each worker, one SQLite storage."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = [f"sqlite:///{folder}/study.sqlite", plan.work, str(plan.steps)]
        python("-c", f"import optuna; optuna.create_study(storage={arguments[0]!r}, study_name='s')")
        shares = [plan.trials // plan.workers + (at < plan.trials % plan.workers) for at in range(plan.workers)]
        before = time.perf_counter()
        started = [
            subprocess.Popen(
                [sys.executable, str(HERE), "--optuna-worker", *arguments, str(share)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                env={**os.environ, **THREADS},
            )
            for share in shares
        ]
        for each in started:
            assert each.stdout is not None and each.stdout.readline() == "ready\n"
        ready = time.perf_counter()
        for each in started:
            assert each.stdin is not None
            each.stdin.write("go\n")
            each.stdin.flush()
        told = [each.communicate()[0] for each in started]
        return Took(ready - before, time.perf_counter() - ready, [loop for text in told for loop in json.loads(text)])


def optuna_worker(storage: str, work: str, steps: int, trials: int) -> None:
    """One of Optuna's processes: says "ready", waits for a line, and prints its loops."""
    optuna: Any = importlib.import_module("optuna")
    warm(work)
    loops = []

    def objective(trial: Any) -> float:
        trial.suggest_float("x", 0.0, 1.0)
        loops.append(train(work, steps))
        return loops[-1]

    study = optuna.load_study(storage=storage, study_name="s")
    print("ready", flush=True)
    input()
    study.optimize(objective, n_trials=trials)
    print(json.dumps(loops))


def tune(plan: Plan) -> Took:
    """Ray Tune on a cluster of this machine."""
    arguments = [plan.work, plan.steps, plan.trials, plan.workers]
    told = python(str(HERE), "--tune-worker", *map(str, arguments)).stdout
    return Took(**json.loads(told.strip().splitlines()[-1]))


def tune_worker(work: str, steps: int, trials: int, workers: int) -> None:
    """Print what `tune` returns, as JSON in the last line."""
    before = time.perf_counter()
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray: Any = importlib.import_module("ray")
    from ray import tune

    def trial(config: dict[str, Any]) -> None:
        import trial_overhead

        tune.report({"loop": trial_overhead.train(work, steps)})

    with tempfile.TemporaryDirectory() as folder:
        ray.init(address="local", num_cpus=workers, include_dashboard=False, log_to_driver=False)
        ready = time.perf_counter()
        results = tune.Tuner(
            tune.with_resources(trial, {"cpu": 1}),
            tune_config=tune.TuneConfig(num_samples=trials, max_concurrent_trials=workers),
            run_config=tune.RunConfig(storage_path=folder, verbose=0),
        ).fit()
        took = time.perf_counter() - ready
        loops = [each.metrics["loop"] for each in results]
        ray.shutdown()
    print("\n" + json.dumps({"start": ready - before, "trials": took, "loops": loops}))


WAYS: dict[str, tuple[str, str, Callable[[Plan], Took], tuple[str, ...]]] = {
    # name      shown as                    a process lives for  how      needs
    "novum": ("Novum, local", "one trial", novum, ()),
    "novum-ray": ("Novum, ray", "one trial", novum_ray, ("ray",)),
    "pool": ("ProcessPoolExecutor, spawn", "all", pool, ()),
    "processes": ("a new interpreter each", "one trial", processes, ()),
    "optuna": ("Optuna, SQLite", "all", optuna, ("optuna",)),
    "tune": ("Ray Tune", "one trial", tune, ("ray", "tensorboardX", "pandas", "pyarrow")),
}


def empty(workers: int) -> tuple[float, float]:
    """Seconds that the server took to start, and milliseconds from one empty job's result to the next."""
    from novum.executors import Job, LocalExecutor

    with tempfile.TemporaryDirectory() as folder:
        before = time.perf_counter()
        options: dict[str, Any] = {"preload": PRELOAD, "perform": "trial_overhead:perform"}
        with LocalExecutor(Path(folder), workers=workers, **options) as made:
            made.hello()
            ready = time.perf_counter()
            for result in made.run([Job(f"e{at}", "empty", {}) for at in range(EMPTY)]):
                made.acknowledge(result.job)
            return ready - before, (time.perf_counter() - ready) / EMPTY * 1e3


# -------------------------------------------------------------------------------------------------------- the table


def versions() -> dict[str, str]:
    """Of everything that has a part in it."""
    found = {"python": platform.python_version()}
    for name in ("novum", "torch", "timm", "transformers", "optuna", "ray"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def summary(plan: Plan, seconds: float, taken: list[Took]) -> dict[str, float]:
    """Medians over repeats."""
    ideal = plan.trials * seconds / plan.workers
    rows = [
        {
            "start": each.start,
            "trials": each.trials,
            "to_ideal": each.trials / ideal,
            "overhead_ms": (each.trials - ideal) / plan.trials * 1e3,
            "apart_ms": (each.trials - sum(each.loops) / plan.workers) / plan.trials * 1e3,
            "loop": statistics.median(each.loops),
        }
        for each in taken
    ]
    return {name: statistics.median(row[name] for row in rows) for name in rows[0]}


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Everything, as JSON."""
    wanted = {name: WAYS[name] for name in given.only.split(",")} if given.only else WAYS
    missing = {
        name: [each for each in way[3] if importlib.util.find_spec(each) is None] for name, way in wanted.items()
    }
    plans, seconds = {}, {}
    for work in ("torch", "libraries"):
        steps, seconds[work] = calibrate(work)
        plans[work] = Plan(work, steps, given.trials, given.workers)
    everywhere = ("torch", "libraries") if given.libraries else ("torch",)
    todo = [(name, work) for work in plans for name in wanted if work in everywhere or name == "novum"]
    taken: dict[tuple[str, str], list[Took]] = {each: [] for each in todo if not missing[each[0]]}
    empties = []
    for _ in range(given.repeats):
        for name, work in taken:
            taken[name, work].append(wanted[name][2](plans[work]))
        empties.append(empty(given.workers))
    ways = [
        {"way": name, "work": work, "process": WAYS[name][1]} | summary(plans[work], seconds[work], each)
        for (name, work), each in taken.items()
    ]
    return {
        "trials": given.trials,
        "workers": given.workers,
        "repeats": given.repeats,
        "seconds_of_a_trial": seconds,
        "steps_of_a_trial": {work: plan.steps for work, plan in plans.items()},
        "versions": versions(),
        "ways": ways,
        "missing": {name: each for name, each in missing.items() if each},
        "preload_seconds": statistics.median(each[0] for each in empties),
        "empty_ms": statistics.median(each[1] for each in empties),
    }


def show(found: dict[str, Any]) -> None:
    """A Markdown table."""
    one, work = found["seconds_of_a_trial"], ", ".join(f"{name} {each}" for name, each in found["versions"].items())
    print(
        f"{found['trials']} trials of {one['torch']:.2f} s (torch) or {one['libraries']:.2f} s (libraries), "
        f"{found['workers']} workers, medians of {found['repeats']}; {work}.\n"
    )
    print("| way | trial | process | start, s | trials, s | to ideal | overhead, ms | apart, ms | loop, s |")
    print("| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for row in found["ways"]:
        numbers = f"{row['start']:.1f} | {row['trials']:.2f} | {row['to_ideal']:.2f} | {row['overhead_ms']:.0f}"
        name = WAYS[row["way"]][0]
        print(f"| {name} | {row['work']} | {row['process']} | {numbers} | {row['apart_ms']:.0f} | {row['loop']:.2f} |")
    for name, lacks in found["missing"].items():
        print(f"\n{WAYS[name][0]} took no part: {', '.join(lacks)} cannot be imported.")
    print(
        f"\nNovum's server needs {found['preload_seconds']:.1f} s to start with {', '.join(PRELOAD)}; after that an "
        f"empty job costs {found['empty_ms']:.1f} ms."
    )
    for row in found["ways"]:
        if row["way"] == "novum" and (found["trials"], found["workers"]) == (20, 2):
            kept = row["trials"] <= BARS["seconds"] and row["overhead_ms"] <= BARS["overhead"]
            print(
                f"Bar for {row['work']} ({BARS['seconds']:g} s, {BARS['overhead']:g} ms a trial): "
                f"{row['trials']:.2f} s, {row['overhead_ms']:.0f} ms, {'kept' if kept else 'missed'}."
            )


def main() -> None:
    """Measure and print."""
    if sys.argv[1:2] == ["--optuna-worker"]:
        storage, work, *numbers = sys.argv[2:]
        return optuna_worker(storage, work, *map(int, numbers))
    if sys.argv[1:2] == ["--tune-worker"]:
        work, *numbers = sys.argv[2:]
        return tune_worker(work, *map(int, numbers))
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", default="", help=f"names, separated by commas, of {', '.join(WAYS)}")
    parser.add_argument("--libraries", action="store_true", help="peers train with timm and transformers, too")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    found = measure(parser.parse_args())
    if parser.parse_args().json:
        print(json.dumps(found, indent=1))
    else:
        show(found)
    return None


if __name__ == "__main__":
    os.environ.update(THREADS)
    main()
