"""What a step of training costs: Novum's runner and what else people train with, side by side.

    OMP_NUM_THREADS=1 python experiments/benchmarks/step_overhead.py
    OMP_NUM_THREADS=1 python experiments/benchmarks/step_overhead.py --rounds 3 --only raw,novum --json

Every way trains the same network (an MLP 32-64-2) from the same weights on the same batches of 32 in the same order,
with one recipe: AdamW (fused), gradients clipped to a norm of 1, a cosine over the budget after a linear warm-up, one
thread. How far its weights end from those of the bare loop is shown, so that nobody was spared a part of the work.

The bare loop, "raw", indexes tensors in memory with rows that were drawn beforehand, sets the rate by hand, adds up the
loss, and asks whether the sum is finite every 50 steps; it never waits for a loss. "raw, tuned by hand" also clips
without asking which gradients belong together, and drops them without torch's zero_grad, as Novum does. Frameworks are
used as their documentation says, with what logs, saves or draws a progress bar switched off.

Each way has a process of its own, for some imports slow down every step of a process. They take turns in every round,
each round begins with another one, and what is shown are medians over the rounds:

CPU, wall   microseconds a step, by the CPU seconds of its process and by the clock
ratio       of the CPU time to that of the bare loop in the same round, with the smallest and the largest

Steps begin to count after the first ten. Peers take part where they can be imported:

    uv sync --group benchmarks --all-packages --all-extras
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import logging
import os
import platform
import statistics
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

BAR = 1.15
"""Most of Novum's CPU time a step, to that of the bare loop."""
THREADS = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
SAYS = "step_overhead: "
"""How a worker's own lines begin."""


def versions() -> dict[str, str]:
    """Of everything that has a part in it."""
    found = {"python": platform.python_version()}
    for name in ("novum", "torch", "numpy", "accelerate", "lightning", "transformers"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def machine() -> str:
    """The processor and how many of its cores this process may use."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{names[0] if names else platform.processor() or platform.machine()}, {cores} cores"


def busy() -> float | None:
    """Seconds that all cores together were busy since the machine started; None where nobody counts them."""
    stat = Path("/proc/stat")
    if not stat.exists():
        return None
    user, nice, system, _, _, irq, soft, *_ = map(int, stat.read_text().splitlines()[0].split()[1:])
    return (user + nice + system + irq + soft) / os.sysconf("SC_CLK_TCK")


class Worker:
    """A process of its own for one way: importing Lightning, for one, slows down every step in its process."""

    def __init__(self, name: str, steps: int) -> None:
        environment = {**os.environ, **THREADS}
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).resolve()), "--worker", name, str(steps)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
        self._hear()  # it is ready

    def turn(self) -> dict[str, Any]:
        """What the next round of this way took."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        return self._hear()

    def end(self) -> None:
        self._process.communicate()

    def _hear(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        for line in self._process.stdout:  # some frameworks print lines of their own
            if line.startswith(SAYS):
                told: dict[str, Any] = json.loads(line.removeprefix(SAYS))
                return told
        raise RuntimeError(f"{self._process.args} ended; run it to see why.")


def work(name: str, steps: int) -> None:
    """One worker: says when it is ready, and answers each line with what a round took."""
    import step_ways
    import torch

    torch.set_num_threads(1)
    way = step_ways.WAYS[name][1]
    way(step_ways.job(2 * step_ways.SKIPPED))  # imports, and what is made once in a process
    job = step_ways.job(steps)
    print(SAYS + "{}", flush=True)
    for _ in sys.stdin:
        before = time.process_time()
        cpu, wall, net = way(job)
        weights = torch.cat([param.detach().flatten() for param in net.parameters()]).tolist()
        print(SAYS + json.dumps({"cpu": cpu, "wall": wall, "weights": weights, "own": time.process_time() - before}))
        sys.stdout.flush()


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Everything, as JSON."""
    import step_ways

    wanted = given.only.split(",") if given.only else list(step_ways.WAYS)
    missing = {
        name: [each for each in step_ways.WAYS[name][2] if importlib.util.find_spec(each) is None] for name in wanted
    }
    workers = {name: Worker(name, given.steps) for name in wanted if not missing[name]}
    ways = list(workers)
    before = busy(), time.perf_counter()
    taken: dict[str, list[dict[str, Any]]] = {name: [] for name in ways}
    for turn in range(given.rounds):
        at = turn % len(ways)
        for name in ways[at:] + ways[:at]:
            taken[name].append(workers[name].turn())
    after = busy(), time.perf_counter()
    for worker in workers.values():
        worker.end()
    load = None
    if before[0] is not None and after[0] is not None:
        own = sum(each["own"] for rounds in taken.values() for each in rounds)
        load = max(0.0, (after[0] - before[0] - own) / (after[1] - before[1]))
    return {
        "rounds": given.rounds,
        "steps": given.steps,
        "machine": machine(),
        "foreign_load_cores": load,
        "versions": versions(),
        "ways": [summary(step_ways.WAYS[name][0], taken[name], taken["raw"]) for name in ways],
        "missing": {step_ways.WAYS[name][0]: each for name, each in missing.items() if each},
    }


def summary(shown: str, taken: list[dict[str, Any]], bare: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians over rounds, and the largest difference of a weight from the bare loop's at the end."""
    ratios = [own["cpu"] / other["cpu"] for own, other in zip(taken, bare, strict=True)]
    pairs = zip(taken[-1]["weights"], bare[-1]["weights"], strict=True)
    return {
        "way": shown,
        "cpu_us": 1e6 * statistics.median(each["cpu"] for each in taken),
        "wall_us": 1e6 * statistics.median(each["wall"] for each in taken),
        "ratio": statistics.median(ratios),
        "least": min(ratios),
        "most": max(ratios),
        "weights_apart": max(abs(own - other) for own, other in pairs),
    }


def show(found: dict[str, Any]) -> None:
    """A Markdown table."""
    load = found["foreign_load_cores"]
    print(
        f"{found['steps']} steps, medians of {found['rounds']} rounds, one thread of {found['machine']}; others kept "
        f"{'an unknown number of' if load is None else format(load, '.1f')} cores busy.\n"
    )
    print("| way | CPU, µs | wall, µs | ratio | of all rounds | weights apart |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for row in found["ways"]:
        took = f"{row['cpu_us']:.0f} | {row['wall_us']:.0f} | {row['ratio']:.2f}"
        print(f"| {row['way']} | {took} | {row['least']:.2f} … {row['most']:.2f} | {row['weights_apart']:.1g} |")
    for name, lacks in found["missing"].items():
        print(f"| {name} | not installed: {', '.join(lacks)} | | | | |")
    print("\n" + ", ".join(f"{name} {each}" for name, each in found["versions"].items()) + ".")
    for row in found["ways"]:
        if row["way"] == "Novum":
            kept = "kept" if row["ratio"] <= BAR else "missed"
            print(f"Bar for Novum, {BAR:g} times the bare loop: {row['ratio']:.2f}, {kept}.")


def main() -> None:
    """Measure and print."""
    if sys.argv[1:2] == ["--worker"]:
        warnings.simplefilter("ignore")  # of frameworks, on data loaders of one process and the like
        logging.disable(logging.WARNING)
        return work(sys.argv[2], int(sys.argv[3]))
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=1000, help="of each way in each round, above 20")
    parser.add_argument("--only", default="", help="names, separated by commas, raw among them")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    given = parser.parse_args()
    if given.steps <= 20 or given.rounds < 1 or (given.only and "raw" not in given.only.split(",")):
        parser.error("give at least 1 round of more than 20 steps, and raw among the ways.")
    found = measure(given)
    if given.json:
        print(json.dumps(found, indent=1))
    else:
        show(found)
    return None


if __name__ == "__main__":
    os.environ.update(THREADS)  # before numpy and torch are imported
    main()
