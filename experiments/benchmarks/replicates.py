"""What many seeds of one arm cost: one after the other, in two processes, together in one, and together in two.

    python experiments/benchmarks/replicates.py [--steps 200] [--rounds 5] [--seeds 16] [--json FILE]

Every way trains the same arm of Novum at the same seeds: AdamW, clipping, a cosine schedule, batches of 32, digits. The
ways take turns, round by round, so that another load falls on all of them; medians of the rounds and their ratios are
told. CPU seconds are those of the processes themselves. Building the networks, and the tracing of the joint step, are
within the times of `--whole` and outside of the steps' times.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

BATCH = 32
CASES: dict[str, dict[str, Any]] = {
    "mlp 64-64-64-10": {"plugin": "mlp", "layers": 2, "width": 64},
    "mlp 64-512-512-10": {"plugin": "mlp", "layers": 2, "width": 512},
    "linear 64-10": {"plugin": "linear"},
    "cnn 16-32 on 8 x 8": {"plugin": "local-cnn"},
}


def arm(case: str) -> Any:
    """The parts of a case's arm."""
    import novum
    import torch
    from novum import plugins
    from novum.mlp import Standard
    from novum.runner.parts import Parts

    class Cnn(novum.Model):
        """Two convolutions and a linear layer."""

        preparation = Standard
        inputs, outputs = ("image",), ("classes",)

        def recipe(self, signature: Any) -> Any:
            return novum.Recipe()

        def prepare(self, signature: Any, train: Any) -> Any:
            return Standard.fit(train)

        def build(self, signature: Any, preparation: Any, seed: Any, start: Any) -> Any:
            nn = torch.nn
            layers = [
                nn.Unflatten(1, (1, 8, 8)),
                nn.Conv2d(1, 16, 3, padding=1),
                nn.ReLU(),
                nn.Conv2d(16, 32, 3),
                nn.ReLU(),
            ]
            return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))

        def losses(self, net: Any, batch: Any) -> Any:
            yield novum.Loss(self.cross_entropy, (batch.inputs, batch.targets))

        def cross_entropy(self, net: Any, inputs: Any, targets: Any) -> Any:
            return torch.nn.functional.cross_entropy(net(inputs), targets)

        def act(self, net: Any, inputs: Any, explore: bool) -> Any:
            probabilities = net(inputs).softmax(-1)
            return novum.Prediction(probabilities.argmax(-1), probabilities)

    model = dict(CASES[case])
    if model["plugin"] == "local-cnn":
        model["plugin"] = plugins.adopt("model", Cnn)
    recipe = {"batch_size": BATCH, "learning_rate": 1e-3, "clip": 1.0, "schedule": "cosine", "budget": "1000 epochs"}
    task = {"plugin": "image-classification", "data": "digits"}
    return Parts.of({"task": task, "model": model, "recipe": recipe})


def apart(case: str, seeds: list[int]) -> Callable[[int], None]:
    """One seed after the other: steps of each."""
    from novum.runner.train import Trainer
    from novum.seeds import trial_seed

    made = arm(case)
    trainers = [
        Trainer(made, trial_seed(0, "benchmark", seed), units=10**7, device_kind="cpu", precision="fp32")
        for seed in seeds
    ]

    def run(steps: int) -> None:
        for trainer in trainers:
            trainer.stretch(0, steps * BATCH)

    return run


def together(case: str, seeds: list[int]) -> Callable[[int], None]:
    """All seeds as one: steps of all."""
    from novum.runner.joint import Joint
    from novum.seeds import trial_seed

    joint = Joint(
        arm(case),
        [trial_seed(0, "benchmark", seed) for seed in seeds],
        units=10**7,
        device_kind="cpu",
        precision="fp32",
    )

    def run(steps: int) -> None:
        joint.stretch(joint.used + steps * BATCH)

    return run


WAYS = {
    "apart": (apart, 1),
    "apart, 2 processes": (apart, 2),
    "together": (together, 1),
    "together, 2 processes": (together, 2),
}


def worker(case: str, way: str, seeds: list[int], pipe: Any) -> None:
    """Build, then take so many steps whenever asked, and tell the CPU seconds."""
    import torch

    torch.set_num_threads(1)
    run = WAYS[way][0](case, seeds)
    run(3)
    pipe.send("ready")
    while (steps := pipe.recv()) is not None:
        began = time.process_time()
        run(steps)
        pipe.send(time.process_time() - began)


def measure(case: str, seeds: int, steps: int, rounds: int) -> dict[str, dict[str, float]]:
    """Milliseconds per seed and step of every way, of CPU and of the wall."""
    context = multiprocessing.get_context("spawn")
    pools: dict[str, list[tuple[Any, Any]]] = {}
    for way, (_, processes) in WAYS.items():
        pools[way] = []
        for part in range(processes):
            here, there = context.Pipe()
            own = list(range(seeds))[part::processes]
            process = context.Process(target=worker, args=(case, way, own, there), daemon=True)
            process.start()
            assert here.recv() == "ready"
            pools[way].append((process, here))
    found: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
    for _ in range(rounds):
        for way, pool in pools.items():
            began = time.perf_counter()
            for _, pipe in pool:
                pipe.send(steps)
            spent = sum(pipe.recv() for _, pipe in pool)
            found[way].append((spent, time.perf_counter() - began))
    for pool in pools.values():
        for process, pipe in pool:
            pipe.send(None)
            process.join()
    per = 1000 / (seeds * steps)
    return {
        way: {
            "cpu": per * statistics.median(each[0] for each in told),
            "wall": per * statistics.median(each[1] for each in told),
        }
        for way, told in found.items()
    }


def main() -> None:
    """Parse, measure, tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=16)
    parser.add_argument("--case", action="append", choices=list(CASES), help="only these")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    import torch
    from novum.runner import suits

    about = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "seeds": options.seeds,
        "steps": options.steps,
    }
    print(", ".join(f"{name} {value}" for name, value in about.items()))
    torch.set_num_threads(1)
    told = {}
    for case in options.case or CASES:
        rows = measure(case, options.seeds, options.steps, options.rounds)
        made = arm(case)
        chosen, why = suits.mode_of(made, {"units": 10**7, "device": "cpu", "precision": "fp32"})
        told[case] = {"ways": rows, "probe": {"mode": chosen, **why}}
        print(f"\n{case}: the probe chooses {chosen} {why}")
        first, plan = rows["apart"], rows["apart, 2 processes"]
        for way, row in rows.items():
            print(
                f"  {way:24} {row['cpu']:7.3f} ms CPU, {row['wall']:7.3f} ms wall per seed and step; CPU "
                f"{first['cpu'] / row['cpu']:5.2f} x, wall {first['wall'] / row['wall']:5.2f} x one after the "
                f"other, {plan['wall'] / row['wall']:5.2f} x two processes"
            )
    if options.json:
        options.json.write_text(json.dumps({"about": about, "cases": told}, indent=2))


if __name__ == "__main__":
    main()
