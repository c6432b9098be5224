"""Loops on real tasks from weak baselines: what each method accepts, how much of it is true, and what it gains on test.

    OMP_NUM_THREADS=1 python experiments/loop/real.py --to docs/loop-results.md

Every method has the same trials on the same task and space. Novum's loop proposes by `search`. *greedy* draws one or
two options at random, trains one trial a change, and keeps what scored above the best so far. *random search* and
*Optuna* (TPE) train one trial a configuration and give the best of them. Afterwards everything that was accepted is
measured anew: before and after at fresh seeds, on test. Equal calls give equal numbers.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import itertools
import math
import shutil
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import novum
import optuna
from novum import lab, scouting, space

BEGIN, END = "<!-- real: begin -->", "<!-- real: end -->"
TRIALS, FRESH = 60, 10
SPACE: dict[str, Any] = {
    "recipe.learning_rate": {"low": 1e-5, "high": 1e-1, "log": True},
    "recipe.schedule": ["constant", "cosine", "one-cycle"],
    "recipe.warmup": {"low": 0.0, "high": 0.3},
    "recipe.weight_decay": {"low": 0.0, "high": 0.1},
    "recipe.clip": {"low": 0.0, "high": 1.0},
    "recipe.averaging": ["none", "ema"],
    "model.dropout": {"low": 0.0, "high": 0.5},
    "model.label_smoothing": {"low": 0.0, "high": 0.2},
}
ARMS = {
    "digits": novum.arm("image-classification", "mlp", budget="2 epochs", learning_rate=1e-3),
    "stdlib-docs": novum.arm(
        novum.task("text-classification", per_class=40), "bag", budget="2 epochs", learning_rate=5e-3
    ),
}
"""Baselines that are weak, and not so weak that every change helps."""
METHODS = ("Novum", "greedy", "random search", "Optuna")


@dataclass(frozen=True)
class Found:
    """What one loop came to: the arms that it accepted in order, from its first on, and what it said they gain."""

    arms: tuple[novum.Arm, ...]
    claimed: float
    trials: int


def drawn(draw: Any, options: space.Space, count: int) -> dict[str, Any]:
    """Values of so many options, drawn at random."""
    found = {}
    for path in draw.permutation(sorted(options))[:count]:
        option = options[str(path)]
        if option.choices:
            found[str(path)] = option.choices[int(draw.integers(len(option.choices)))]
        elif option.log:
            found[str(path)] = option.nearest(math.exp(draw.uniform(math.log(option.low), math.log(option.high))))
        else:
            found[str(path)] = option.nearest(draw.uniform(option.low, option.high))
    return found


class Bench:
    """A study in which one method works on one task."""

    def __init__(self, task: str, seed: int, folder: Path) -> None:
        self.task, self.seed = task, seed
        self.study = novum.Study(folder, listener=lab.Listener())
        self.first = ARMS[task]
        (self.space,) = space.spaces(SPACE, {task: {}}, {task: self.first}).values()
        self.draw = novum.Seed(seed, ("real", task)).numpy()
        self.lab: lab.Lab | None = None

    def score(self, arm: novum.Arm, seed: int) -> float:
        """Accuracy on dev of one exploratory trial; 0 where it diverged."""
        assert self.lab is not None
        (value,) = scouting.scout(self.lab, {"": (self.task, arm)}, (seed,))[""].values("accuracy")
        return value or 0.0

    def novum(self) -> Found:
        """The closed loop."""
        goal = novum.Goal(
            "real", {self.task: self.first}, TRIALS, space=SPACE, proposers=("search",), seed=self.seed, worth=3
        )
        found = self.study.loop(goal)
        arms, claimed = [self.first], 0.0
        for step in found.adopted:
            arms.append(space.applied(arms[-1], step.options))
            claimed += float(step.effect[self.task]["mean"])
        return Found(tuple(arms), claimed, TRIALS)

    def greedy(self) -> Found:
        """Keep what scored better."""
        arms, best = [self.first], self.score(self.first, 0)
        start = best
        for at in range(1, TRIALS):
            arm = space.applied(arms[-1], drawn(self.draw, self.space, 1 + int(self.draw.integers(2))))
            value = self.score(arm, at)
            if value > best:
                arms.append(arm)
                best = value
        return Found(tuple(arms), best - start, TRIALS)

    def random(self) -> Found:
        """The best of configurations that were drawn at random."""
        start, best, arm = self.score(self.first, 0), -1.0, self.first
        for at in range(1, TRIALS):
            tried = space.applied(self.first, drawn(self.draw, self.space, len(self.space)))
            value = self.score(tried, at)
            if value > best:
                best, arm = value, tried
        return Found((self.first, arm), best - start, TRIALS)

    def tpe(self) -> Found:
        """The best of configurations that Optuna's TPE drew."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=self.seed))
        start, at = self.score(self.first, 0), iter(range(1, TRIALS))

        def asked(trial: optuna.Trial) -> float:
            options = {
                path: trial.suggest_categorical(path, option.choices)
                if option.choices
                else trial.suggest_float(path, option.low, option.high, log=option.log)
                for path, option in self.space.items()
            }
            return self.score(space.applied(self.first, options), next(at))

        study.optimize(asked, n_trials=TRIALS - 1)
        return Found((self.first, space.applied(self.first, study.best_params)), study.best_value - start, TRIALS)

    def true(self, arms: tuple[novum.Arm, ...]) -> list[float]:
        """The accuracy of each arm on test, a mean over fresh seeds, the same for all."""
        with self.study._working(self.first) as at:
            named = {str(place): (self.task, arm) for place, arm in enumerate(arms)}
            found = scouting.scout(at, named, range(FRESH), block="truth", root=self.seed)
            means = []
            for place in named:
                scores = scouting.scored(at, found[place], "test")
                values = [
                    float(scores[key]["metrics"]["accuracy"]) if key in scores else 0.0 for key in found[place].keys
                ]
                means.append(sum(values) / FRESH)
        return means


def measured(task: str, method: str, seed: int) -> dict[str, float]:
    """One loop, and the truth about what it accepted."""
    folder = Path(tempfile.mkdtemp())
    try:
        bench = Bench(task, seed, folder)
        began = time.perf_counter()
        found = bench.novum() if method == "Novum" else None
        with bench.study._working(bench.first) as bench.lab:
            if found is None:
                found = {"greedy": bench.greedy, "random search": bench.random, "Optuna": bench.tpe}[method]()
            seconds = time.perf_counter() - began
            means = bench.true(found.arms)
        bench.study.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    steps = [b - a for a, b in itertools.pairwise(means)]
    true = sum(each > 0 for each in steps)
    gain = means[-1] - means[0]
    return {"accepted": len(steps), "true": true, "gain": gain, "claimed": found.claimed, "seconds": seconds}


def told(values: list[float]) -> str:
    """A mean with its standard error."""
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return f"{statistics.fmean(values):+.3f} ± {error:.3f}"


def page(rows: dict[tuple[str, str], list[dict[str, float]]], loops: int, seconds: float) -> str:
    """The part of the page."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("novum", "torch", "optuna"))
    lines = [
        "## Real tasks",
        "",
        f"{loops} loops of {TRIALS} trials for each method and task, in {seconds / 60:.0f} minutes ({versions}):",
        "",
        "```sh\nOMP_NUM_THREADS=1 python experiments/loop/real.py --to docs/loop-results.md\n```",
        "",
        "Baselines are an `mlp` on digits and a `bag` on 40 texts a class of stdlib-docs, with eight options that",
        f"may change. What a method accepted is measured anew at {FRESH} fresh seeds on test, each step against the",
        "one before it: a step is true where that mean gains. `Novum` pays for observing and for the comparison at",
        "its end out of the same trials. Gains are in accuracy, means ± one standard error over loops. The data are",
        "the same in all loops, so the spread is that of seeds and draws alone.",
        "",
        "| task | method | accepted | of these true | claimed gain | true gain on test |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for (task, method), found in rows.items():
        accepted, true = sum(int(each["accepted"]) for each in found), sum(int(each["true"]) for each in found)
        share = f"{true} ({true / accepted:.0%})" if accepted else "–"
        claimed, gain = told([each["claimed"] for each in found]), told([each["gain"] for each in found])
        lines.append(f"| {task} | {method} | {accepted} | {share} | {claimed} | {gain} |")
    return "\n".join(lines) + "\n"


def put(to: Path, text: str) -> None:
    """Write the part between its marks."""
    old = to.read_text(encoding="utf-8")
    if BEGIN not in old:
        old += f"\n{BEGIN}\n{END}\n"
    before, after = old.split(BEGIN, 1)[0], old.split(END, 1)[1]
    to.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{after}", encoding="utf-8")


def main() -> None:
    """Run every loop and write the page."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--to", type=Path, help="the Markdown file whose part is written; default: print it")
    words.add_argument("--loops", type=int, default=4, help="loops for each method and task")
    given = words.parse_args()
    began = time.perf_counter()
    rows: dict[tuple[str, str], list[dict[str, float]]] = {(t, m): [] for t in ARMS for m in METHODS}
    text = ""
    for seed in range(given.loops):
        for task, method in rows:
            rows[task, method].append(measured(task, method, seed))
            print(seed, task, method, rows[task, method][-1], flush=True)
        text = page(rows, seed + 1, time.perf_counter() - began)
        if given.to is not None:
            put(given.to, text)  # what is done stands, should the rest be cut short
    print(text)


if __name__ == "__main__":
    main()
