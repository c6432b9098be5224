"""Exploratory training: one arm, unregistered; and trials as flat rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from novum.data import Number
from novum.errors import StudyError
from novum.experiment import Trial
from novum.recipe import amount
from novum.validate import number

if TYPE_CHECKING:
    from torch import nn

    from novum.arm import Arm
    from novum.data import Prediction
    from novum.lab import Lab
    from novum.ledger import Ledger

BLOCK = "explore"
"""The block of seeds of exploratory runs: no claim ever uses it."""
MOST_POINTS = 50


@dataclass(frozen=True)
class Run:
    """One trained arm. Exploratory: it can never support a claim.

    metrics, tables: on dev, after training. curve: points {"units", "share", "seconds", "losses", "metrics"}.
    test: {"metrics", "tables"} where it was asked for, else None. diverged: why training broke off, else None.
    facts: {"units", "seconds", "bytes", "start", "memory", "stopped"}; "memory" is the peak while it trained, {"bytes",
        "what"} ("process": resident memory of the process; "cuda": tensors on the GPU) and what else packing needs, or
        {"undefined": why}; "stopped" is None, or where training stopped early.
    """

    key: str
    seed: int
    metrics: Mapping[str, Number]
    tables: Mapping[str, Any]
    curve: tuple[Mapping[str, Any], ...]
    test: Mapping[str, Any] | None
    diverged: str | None
    facts: Mapping[str, Any]
    plan: Mapping[str, Any]
    weights: Path

    def load(self) -> nn.Module:
        """The trained network, on the CPU, in evaluation mode. Imports torch."""
        return self._restored()[1]

    def predict(self, inputs: Any) -> Prediction:
        """The model's answer for raw inputs, as the task's source gives them: a list of texts, uint8 images of shape
        (B, channels, height, width), observations (B, …). Without exploring; on the CPU.
        """
        import torch

        from novum.runner.parts import Actor, Encoder

        parts, net, preparation = self._restored()
        return Actor(parts.model, net, Encoder(preparation, torch.device("cpu")))(inputs)

    def classes(self) -> tuple[str, ...]:
        """Names of the classes that `predict` answers with positions of; empty where outputs are no classes."""
        from novum.runner.parts import Parts

        return tuple(getattr(Parts.of(self.plan["arm"]).signature.outputs, "names", ()))

    def report(self) -> str:
        """A plain-text report: metrics and tables (such as precision, recall and F1 of each class) on test where it
        was asked for, else on dev.
        """
        split, metrics, tables = "dev", {name: show(value) for name, value in self.metrics.items()}, self.tables
        if self.test is not None:
            split, tables = "test", self.test["tables"]
            metrics = {name: show(number(self.test["metrics"][name])) for name in self.metrics}
        lines = [f"{split}, seed {self.seed}, {self.facts.get('stopped') or str(self.facts['units']) + ' units'}"]
        lines += [f"  {name:20s} {value}" for name, value in metrics.items()]
        for title, rows in tables.items():
            columns = list(dict.fromkeys(name for cells in rows.values() for name in cells))
            width = max(len(name) for name in [title, *rows])
            lines.append(f"\n{title:{width}s}  " + "  ".join(f"{name:>10s}" for name in columns))
            for row, cells in rows.items():
                shown = [show(number(cells[name])) if name in cells else "" for name in columns]
                lines.append(f"{row:{width}s}  " + "  ".join(f"{value:>10s}" for value in shown))
        return "\n".join(lines)

    def _restored(self) -> tuple[Any, nn.Module, Any]:
        from novum.runner import jobs
        from novum.runner.parts import Parts

        parts = Parts.of(self.plan["arm"])
        weights, preparation = jobs.stored(parts, self.weights.parent.parent, self.weights.name)
        return parts, jobs.restore(parts, preparation, weights).eval(), preparation

    def _repr_html_(self) -> str:
        from html import escape

        rows = "".join(
            f"<tr><th style='text-align:left'>{escape(name)}</th><td>{escape(show(value))}</td></tr>"
            for name, value in self.metrics.items()
        )
        return f"<p>exploratory run, seed {self.seed}, on dev</p><table>{rows}</table>"


def show(value: Any) -> str:
    """A metric for a person: four significant digits, or why there is none."""
    return f"{value:.4g}" if isinstance(value, int | float) else str(value)


def explore(lab: Lab, arm: Arm, seeds: Sequence[int], test: bool) -> list[Run]:
    """Train an arm at some seeds of the exploratory block and read the runs back.

    Raises the trial's own error when it breaks; a trial that diverged gives a run that says so.
    """
    from novum import archive, pieces, rehearse, trials
    from novum.lab import local_code

    written = arm.to_json()
    resolved = lab.one("resolve", {"arms": {"arm": written}, "local": local_code(written)}, arm.task.name)
    plan = rehearse.explored(lab, arm.task.name, resolved["arms"]["arm"])
    planned = [Trial.of(arm.task.name, "arm", seed, plan, _seed(seed)) for seed in seeds]
    batches = math.ceil(plan["units"] / plan["arm"]["recipe"]["batch_size"])  # a point between two has nothing to say
    trials.train(lab, planned, points=min(curve_points(plan), batches))
    keys = [trial.key for trial in planned]
    _check(lab.ledger, [each.key for trial in planned for each in trial.line()])
    for trial in planned:
        if (lab.ledger.trial(trial.key) or {}).get("state") == "done":
            pieces.weights(lab, trial)  # trained again where they were lost or deleted
    if test:
        lab.ledger.open_split(None, "test", keys, f"exploratory table of {keys[0][:12]}")
        archive.sync(lab.ledger, lab.folder)
        trials.score(lab, planned, "test")
        _check(lab.ledger, [f"{key}-test" for key in keys])
    order = [metric["name"] for metric in resolved["arms"]["arm"]["metrics"]]
    return [_read(lab, trial, test, order) for trial in planned]


def _check(ledger: Ledger, keys: Sequence[str]) -> None:
    """Raise StudyError when one of these broke: an exploratory run has no verdict that could say so."""
    for row in ledger.trials(keys=keys):
        if row["state"] == "failed":
            short = row["key"][:12]
            raise StudyError(f"the trial {short} broke: {row['result']['failed']} (`novum logs {short}`).")


def _seed(index: int) -> dict[str, Any]:
    return {"root": 0, "block": BLOCK, "index": index, "indices": None}


def curve_points(plan: Mapping[str, Any]) -> int:
    """One point an epoch where the budget counts epochs, else ten; at most fifty."""
    count, unit = amount(str(plan["arm"]["recipe"]["budget"]))
    return min(MOST_POINTS, max(1, math.ceil(count))) if unit == "epochs" else 10


def _read(lab: Lab, trial: Trial, test: bool, order: Sequence[str]) -> Run:
    row = lab.ledger.trial(trial.key)
    assert row is not None and row["result"] is not None
    dev = lab.ledger.scores([trial.key], "dev").get(trial.key, {"metrics": {}, "tables": {}})
    key = f"{trial.key}-test"
    result = row["result"]
    return Run(
        key=trial.key,
        seed=trial.index,
        metrics={name: number(dev["metrics"][name]) for name in _ordered(dev["metrics"], order)},
        tables=dev["tables"],
        curve=tuple(result["curve"]),
        test=lab.ledger.scores([key], "test").get(key) if test else None,
        diverged=result["diverged"],
        facts={name: result[name] for name in ("units", "seconds", "bytes", "start")}
        | {"memory": _memory(result), "stopped": result.get("stopped")},
        plan=trial.plan,
        weights=lab.folder / "weights" / str(result["weights"]),
    )


def _ordered(metrics: Mapping[str, Any], order: Sequence[str]) -> list[str]:
    """The evaluator's own order, the primary metric first; what it did not declare comes last."""
    return [name for name in order if name in metrics] + [name for name in metrics if name not in order]


def _memory(result: Mapping[str, Any]) -> Mapping[str, Any]:
    """A trial's peak memory; undefined where it did not train to its end, or trained before Novum measured it."""
    unmeasured = {"undefined": "no process measured it while this trial trained"}
    return result.get("memory", unmeasured)  # type: ignore[no-any-return]  # JSON as `novum.runner.memory` gives it


def flat(ledger: Ledger) -> list[dict[str, Any]]:
    """Every training trial of a study as a flat row. A number that is undefined is given as its reason."""
    rows = [row for row in ledger.trials() if row["kind"] == "train"]
    scored = {
        "dev": ledger.scores([row["key"] for row in rows], "dev"),
        "test": ledger.scores([f"{row['key']}-test" for row in rows], "test"),
    }
    found = []
    for row in rows:
        result = row["result"] or {}
        memory = _memory(result)
        line = {
            "trial": row["key"],
            "task": row["plan"]["task"],
            "side": row["plan"]["side"],
            "block": row["block"],
            "seed": row["index"],
            "state": row["state"],
            "attempts": row["attempts"],
            "units": result.get("units"),
            "seconds": result.get("seconds"),
            "memory_bytes": memory["bytes"] if "bytes" in memory else str(number(memory)),
            "deviations": "; ".join(result.get("deviations", [])),
        }
        for split, suffix in (("dev", ""), ("test", "-test")):
            metrics = scored[split].get(row["key"] + suffix, {"metrics": {}})["metrics"]
            for name, value in metrics.items():
                line[f"{split}.{name}"] = value if isinstance(value, int | float) else str(number(value))
        found.append(line)
    return found
