"""Studies that go through a real ledger, for the tests of the report. They load this file by path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from novum import streams
from novum.arm import arm, canonical, model, task
from novum.decide import decide
from novum.design import design
from novum.evidence import evidence
from novum.experiment import Experiment, Trial
from novum.hypothesize import Comparison, Hypothesis
from novum.ledger import Ledger, Score

Value = float | str | dict[str, str] | None
"""A score; "diverged", "failed"; "stopped" by the decision; {"undefined": why}; None for a trial that never ran."""
Pairs = Sequence[tuple[Value, Value]]

ACCURACY = {"name": "accuracy", "direction": "max", "worst": 0.0, "unit": "", "low": 0.0, "high": 1.0, "kind": "score"}
RETURN = ACCURACY | {"name": "return", "unit": "reward", "low": None, "high": None}
METRICS = {"digits": ACCURACY | {"per_unit": True}, "docs": ACCURACY | {"per_unit": True}}
METRICS["cartpole"] = RETURN | {"per_unit": False}
SCALES = {
    "digits": {"metric": "accuracy", "chance": 0.102, "reference": 1.0},
    "docs": {"metric": "accuracy", "chance": 0.125, "reference": 1.0},
    "cartpole": {"metric": "return", "chance": 22.0, "reference": 475.0},
}
HELPED: dict[str, Pairs] = {
    "digits": [(0.942, 0.983), (0.951, 0.989), (0.939, 0.972), (0.957, 0.986), (0.948, 0.981)],
    "docs": [(0.711, 0.782), (0.724, 0.776), (0.698, 0.771), (0.719, 0.769), (0.731, 0.802)],
    "cartpole": [(318.2, 441.5), (352.9, 463.0), (287.4, 398.8), (341.0, 471.3), (309.6, 402.7)],
}
CONFIRMED: dict[str, Pairs] = {
    "digits": [(0.938, 0.977), (0.947, 0.981), (0.941, 0.969), (0.949, 0.983), (0.944, 0.972)],
    "docs": [(0.706, 0.771), (0.713, 0.769), (0.701, 0.762), (0.722, 0.774), (0.725, 0.793)],
    "cartpole": [(325.7, 436.1), (344.2, 458.8), (291.3, 402.4), (336.5, 465.9), (314.1, 409.0)],
}
UNSCORED = {"undefined": "no class was predicted"}
MIXED: dict[str, Pairs] = {
    "digits": [(0.961, 0.963), (0.958, 0.961), (0.964, 0.962), (0.959, 0.962), (0.962, 0.964)],
    "docs": [(0.711, 0.742), (0.724, 0.706), (0.698, UNSCORED), (0.719, 0.739), (0.7, 0.712)],
    "cartpole": [(318.2, 305.0), (352.9, 331.3), (287.4, "diverged"), (341.0, 322.8), (309.6, 287.1)],
}
HOSTILE = "<script>alert(\"1\")</script> & 'cosine' beats <b>constant</b>"


# -------------------------------------------------------------------------------------------------- making studies


def code(name: str) -> dict[str, Any]:
    own = {"distribution": name, "version": "0.1.0", "sources": "c0de" * 16, "requires": {"torch": "2.15.0"}}
    core = {"distribution": "novum", "version": "0.1.0", "sources": "", "requires": {}}
    return {"runner": "feed" * 16, "torch": "2.15.0", "numpy": "2.4.1", "task": own, "model": own, "evaluator": core}


def resolved(name: str, schedule: str, pretrained: bool = False) -> dict[str, Any]:
    image = {"plugin": "image-classification", "data": name, "seed": None}
    recipe = {"budget": "6 epochs", "batch_size": 64, "learning_rate": 0.002, "schedule": schedule, "clip": 0.0}
    arms = {
        "digits": (image, {"plugin": "timm", "name": "test_resnet"}, "classification", 7500),
        "docs": ({"plugin": "text-classification", "data": name}, {"plugin": "bag"}, "classification", 21000),
        "cartpole": ({"plugin": "gym", "env": "CartPole-v1"}, {"plugin": "ppo"}, "episodes", 50000),
    }
    asked, learner, judge, units = arms[name]
    if name == "cartpole":
        recipe["budget"] = "50_000 steps"
    plan = {
        "arm": {"task": asked, "model": learner, "evaluator": {"plugin": judge}, "recipe": recipe},
        "units": units,
        "data": "da7a" * 8,
        "checkpoint": "",
        "code": code(f"novum-{name}"),
        "device": "cpu",
        "precision": "fp32",
        "how": {"layout": "contiguous", "compile": "none", "mode": "separate"},
        "start_from": resolved(name, "constant")["plan"] if pretrained else None,
    }
    return {"plan": plan, "metrics": [METRICS[name]], "signature": {}}


def observed(name: str) -> dict[str, Any]:
    facts: list[dict[str, Any]] = [
        {"id": "train.size", "value": 1257, "unit": "units", "about": "Units in train."},
        {"id": "dev.size", "value": 180, "unit": "units", "about": "Units in dev."},
        {"id": "test.size", "value": 360, "unit": "units", "about": "Units in test."},
        {"id": "noise", "value": {"undefined": "labels come once"}, "unit": "", "about": "Share of wrong labels."},
    ]
    return {"facts": facts, "scale": SCALES[name], "task": name}


def study(
    folder: Path,
    dev: Mapping[str, Pairs],
    test: Mapping[str, Pairs] | None = None,
    *,
    claim: str = "Cosine decay beats a constant learning rate at the same budget",
    decided: bool = True,
    pretrained: bool = False,
    schedule: str = "cosine",
    bar: float | None = None,
    **asked: Any,
) -> tuple[Ledger, str]:
    """A ledger in `folder` that holds one hypothesis with these scores, and the hypothesis' id.

    bar: a number in place of every control.
    """
    sides = {"control": "constant", "treatment": schedule}
    arms = {
        side: {name: arm(task("t", data=name), model("m"), schedule=word) for name in dev}
        for side, word in sides.items()
    }
    comparisons = {
        name: Comparison(arms["control"][name] if bar is None else bar, arms["treatment"][name]) for name in dev
    }
    count = len(next(iter(dev.values())))
    options: dict[str, Any] = {"minimum_effect": 0.02, "max_seeds": count, "name": "cosine"} | asked
    hypothesis = Hypothesis(claim, tasks=comparisons, **options)
    ledger = Ledger.open(folder)
    found = {
        f"{name}/{side}": resolved(name, word, pretrained and side == "treatment")
        for name in dev
        for side, word in sides.items()
        if bar is None or side == "treatment"
    }
    stream = streams.spend(ledger, hypothesis)
    plan = design(hypothesis, found, {name: observed(name) for name in dev}, ledger, stream)
    for name in dev:
        ledger.record_observation(f"o-{name}", observed(name))
    record = hypothesis.to_json() | {"id": hypothesis.id, "fingerprint": hypothesis.fingerprint}
    record["observations"] = {name: f"o-{name}" for name in dev}
    record |= {} if stream is None else {"stream": stream}
    ledger.register([(record, {"id": plan.id, "hypothesis": hypothesis.id, "plan": plan.record})])
    planned = [trial for trial in plan.trials() if trial.index < len(dev[trial.task])]
    for trial in planned:
        if trial.parent is not None:
            run(ledger, trial.parent, 0.5, plan)
        run(ledger, trial, dev[trial.task][trial.index][trial.side == "treatment"], plan)
    if test is not None:
        if plan.record["confirm"] == "fresh-seeds":
            first = len(plan.record["seeds"]["indices"])
            planned = [trial for trial in plan.confirming() if trial.index - first < len(test[trial.task])]
            for trial in planned:
                run(ledger, trial, test[trial.task][trial.index - first][trial.side == "treatment"], plan)
        confirm(ledger, hypothesis.id, planned, test, plan)
    if decided:
        rows = evidence(ledger, plan, "dev").rows
        again = None if test is None else evidence(ledger, plan, "test").rows
        verdict = decide(plan.record, rows, again)
        assert verdict["ended"]
        ledger.record_verdict(hypothesis.id, canonical(verdict))
    return ledger, hypothesis.id


def run(ledger: Ledger, trial: Trial, value: Value, plan: Experiment) -> None:
    ledger.plan_trials([trial.to_json()])
    known = ledger.trial(trial.key)
    if value is None or known is None or known["state"] != "planned":  # a control may be the treatment's parent
        return
    if trial.index == 1 and trial.side == "treatment" and trial.task == "docs":
        ledger.start(trial.key)
        ledger.release(trial.key, "its process was ended by SIGKILL")
    attempt = ledger.start(trial.key)
    if value == "stopped":
        ledger.release(trial.key, "stopped: the decision came first")
        return
    metric = plan.tasks[trial.task]["metric"]["name"]
    end = value if isinstance(value, float) else plan.tasks[trial.task]["scale"]["chance"] * 1.5
    low = plan.tasks[trial.task]["scale"]["chance"]
    shares = [0.2, 0.4] if value == "diverged" else [0.2, 0.4, 0.6, 0.8, 1.0]
    curve = [
        {
            "units": round(trial.plan["units"] * share),
            "share": share,
            "seconds": 8 * share,
            "losses": {"loss": 1 - share / 2},
            "metrics": {metric: low + (end - low) * (1 - (1 - share) ** 2) if share < 1 else value},
        }
        for share in shares
    ]
    why = "a loss or weight was not finite after 20000 of 50000 units" if value == "diverged" else None
    result = {
        "units": curve[-1]["units"],
        "seconds": 8.125 + 0.25 * trial.index + 0.5 * (trial.side == "treatment"),
        "curve": curve,
        "diverged": why,
        "start": None if trial.parent is None else {"loaded": 12, "fresh": ["head.weight", "head.bias"]},
        "weights": trial.key[::-1] * 2,
        "bytes": 1000,
        "memory": {"bytes": 400_000_000 + 1_000_000 * (trial.side == "treatment"), "what": "process"},
    }
    if value == "failed":
        ledger.finish(trial.key, attempt, "failed", {"failed": "ValueError: wrong shape", "seconds": 1.0}, {})
    elif value == "diverged":
        ledger.finish(trial.key, attempt, "diverged", result, {})
    else:
        ledger.finish(trial.key, attempt, "done", result, {"dev": Score({metric: value}, {}, {"id": ["u"]}, 8.0)})


def confirm(ledger: Ledger, name: str, trials: Sequence[Trial], test: Mapping[str, Pairs], plan: Experiment) -> None:
    most = len(plan.record["seeds"]["indices"])
    trials = [trial for trial in trials if trial.index % most < len(test[trial.task])]
    ledger.open_split(name, "test", [trial.key for trial in trials], "confirm")
    for trial in trials:
        key, metric = f"{trial.key}-test", plan.tasks[trial.task]["metric"]["name"]
        ledger.plan_trials([{**trial.to_json(), "key": key, "kind": "score", "of": trial.key}])
        value = test[trial.task][trial.index % most][trial.side == "treatment"]
        ledger.finish(key, ledger.start(key), "done", {}, {"test": Score({metric: value}, {}, {"id": ["u"]}, 0.75)})


class Page(HTMLParser):
    """Reads a page: refuses tags that do not balance, keeps every tag with its attributes, and the text shown."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == [], f"never closed: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "br"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self._open or self._open[-1] != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.texts).split())

    def count(self, tag: str, kind: str) -> int:
        return sum(name == tag and kind in (found.get("class") or "").split() for name, found in self.tags)
