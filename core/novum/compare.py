"""Any two functions `seed -> score`, compared pair by pair until decided: the on-ramp for other people's trainers."""

from __future__ import annotations

import functools
import hashlib
import inspect
import math
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from novum.arm import Arm, Plugin, canonical
from novum.decide import decide, progress
from novum.design import OPEN, design
from novum.errors import ConfigError, StudyError
from novum.hypothesize import Comparison, Hypothesis
from novum.spread import UNMEASURED

if TYPE_CHECKING:
    from novum.experiment import Experiment, Trial
    from novum.ledger import Ledger
    from novum.study import Study
    from novum.validate import Verdict

Scorer = Callable[[int], float]
TASK = "scores"
PLAIN = (bool, int, float, str, bytes, type(None))
REPORTED = "reported"
"""The plugin that stands for a function of the caller's: Novum knows its score and nothing else of it."""


def compare(
    control: Scorer | float,
    treatment: Scorer,
    *,
    minimum_effect: float = 0.0,
    max_seeds: int | None = 10,
    direction: Literal["max", "min"] = "max",
    claim: str = "",
    alpha: float = 0.05,
    margins: str = "strict",
    estimand: str = "mean",
    test: str = "auto",
    batch: int = 1,
    futility: float = 0.1,
    expected_effect: float | None = None,
    worst: float | None = None,
    resolution: float = 0.0,
    seed: int = 0,
    price_per_hour: float | None = None,
    study: Study | str | Path | None = None,
) -> Verdict:
    """Compare two functions from a seed to a score, on the same seeds, until the difference is decided.

    control: a function, or a number: the bar to reach. minimum_effect: the least difference that counts, in the
    score's own units. direction: whether more ("max") or less ("min") is better. max_seeds: most pairs; None: no
    declared maximum. test: the t-test, or "sign-flip" for success rates and returns of episodes. worst: what a score
    that is not finite counts as; without it such a score is an error. resolution: the step in which the score moves.
    The functions are called in this process with seed, seed + 1, …; what they raise ends the comparison. A claim that
    is registered again in a study takes fresh seeds, 1,000 further on, as what was seen is no evidence. Further
    options are as in `novum.Hypothesis`; goals and claims about several tasks need a study of arms.

    study: where given, the claim is registered there before the first call, every score is stored, marked as reported
    by the caller, and the same call again goes on where it stopped: a function is known by its name, its source and the
    plain values bound to it.

    Returns a verdict like any other, but without new data: "supported" then rests on these scores alone. Raises
    ConfigError for what is out of range.
    """
    sides = {"control": control, "treatment": treatment}
    for side, given in sides.items():
        if not (callable(given) or (side == "control" and _finite(given))):
            raise ConfigError(
                f"{side}: received {given!r}; give a function seed -> score (the control may be a number)."
            )
    if direction not in ("max", "min"):
        raise ConfigError(f"direction: received {direction!r}; allowed: 'max' (more is better) or 'min'.")
    for name, value in (("worst", worst), ("resolution", resolution)):
        if value is not None and not _finite(value):
            raise ConfigError(f"{name}: received {value!r}; give a finite number.")
    scored = {"direction": direction, "worst": worst, "resolution": resolution}
    arms = {side: _arm(side, given, scored) for side, given in sides.items() if callable(given)}
    hypothesis = Hypothesis(
        claim or f"{_name(treatment)} beats {_name(control)}",
        tasks={TASK: Comparison(arms.get("control", control), arms["treatment"])},  # type: ignore[arg-type]
        minimum_effect_raw=minimum_effect,
        max_seeds=max_seeds,
        alpha=alpha,
        margins=margins,
        estimand=estimand,
        test=test,
        batch=batch,
        futility=futility,
        expected_effect=expected_effect,
        seed=seed,
        price_per_hour=price_per_hour,
    )
    bottom = worst if worst is not None else (-math.inf if direction == "max" else math.inf)
    metric: dict[str, Any] = {"name": "score", "direction": direction, "unit": "", "low": None, "high": None}
    metric |= {"per_unit": False, "kind": "score", "worst": bottom if math.isfinite(bottom) else None}
    run = _Comparison(hypothesis, sides, metric, resolution)
    if study is None:
        return run.alone()
    from novum.study import Study

    return run.within(study if isinstance(study, Study) else Study(study))


class _Comparison:
    """One comparison: its claim, its functions, and what their scores are."""

    def __init__(
        self, hypothesis: Hypothesis, sides: Mapping[str, Any], metric: Mapping[str, Any], resolution: float
    ) -> None:
        self._hypothesis = hypothesis
        self._sides = sides
        self._metric = metric
        self._resolution = resolution

    def alone(self) -> Verdict:
        """Without a study: nothing is stored."""
        from novum.validate import Verdict

        experiment = self._plan(_Nothing())
        rows: dict[int, dict[str, Any]] = {}

        def known() -> dict[str, Any]:
            return {TASK: tuple(rows[index] for index in sorted(rows))}

        while (index := _next(experiment, known())) is not None:
            rows[index] = {"index": index, **{side: self._call(side, index, 0) for side in self._sides}}
        return Verdict(canonical(decide(experiment.record, known(), None)))

    def within(self, study: Study) -> Verdict:
        """In a study: registered first, every score stored before the next call."""
        from novum import archive, validate
        from novum.evidence import evidence
        from novum.experiment import check_registered
        from novum.loop import registered

        with study.opened() as (ledger, session):
            if ledger.shared:
                raise StudyError(
                    f"the study's ledger {ledger.path} is shared by several machines, and a function cannot travel to "
                    "them; give compare a study of its own."
                )
            session.take_over()
            known = ledger.hypothesis_by_fingerprint(self._hypothesis.fingerprint)
            if known is not None and ledger.verdict(known["id"]) is not None:
                return validate.stored(ledger, known["id"])
            experiment = self._register(ledger) if known is None else registered(ledger, known["id"])
            archive.sync(ledger, study.folder)
            check_registered(ledger, experiment)
            while (index := _next(experiment, evidence(ledger, experiment, "dev").rows)) is not None:
                for trial in experiment.pair(TASK, index):
                    self._store(ledger, trial)
            verdict = validate.recompute(ledger, experiment)
            ledger.record_verdict(verdict.hypothesis, verdict.text)
            return verdict

    def _register(self, ledger: Ledger) -> Experiment:
        experiment = self._plan(ledger)
        hypothesis = self._hypothesis
        about = {"id": hypothesis.id, "fingerprint": hypothesis.fingerprint, "observations": {}}
        plan = {"id": experiment.id, "hypothesis": hypothesis.id, "plan": experiment.record}
        ledger.register([(hypothesis.to_json() | about, plan)])
        return experiment

    def _plan(self, ledger: Any) -> Experiment:
        from novum.experiment import Experiment

        arms = {
            f"{TASK}/{side}": {"plan": _pseudo(arm.to_json()), "metrics": [self._metric], "signature": None}
            for side, arm in self._hypothesis.tasks[TASK].arms.items()
        }
        plan = design(self._hypothesis, arms, {TASK: {"facts": [], "scale": None}}, ledger).record
        plan["reported"] = True
        task = plan["tasks"][TASK]
        if task["power"]["because"] == UNMEASURED:
            task["power"]["because"] = "no earlier scores of both sides tell the spread over seeds"
        task["resolution"] = {"dev": self._resolution, "test": self._resolution}
        if task["test"]["method"] in ("sequential-t", "e-process"):
            task["test"]["resolution"] = self._resolution
        return Experiment(canonical(plan))

    def _store(self, ledger: Ledger, trial: Trial) -> None:
        from novum.ledger import Score

        row = ledger.trial(trial.key)
        if row is not None and row["state"] in ("done", "diverged"):
            return
        ledger.plan_trials([trial.to_json()])
        attempt = ledger.start(trial.key)
        try:
            side = self._call(trial.side, trial.index, int(trial.seed["block"]))
        except BaseException:
            ledger.release(trial.key, "its function was stopped or raised")
            raise
        diverged = side["because"] if side["state"] == "diverged" else None
        result = {"units": None, "seconds": side["seconds"], "curve": [], "diverged": diverged, "start": None}
        result |= {"weights": None, "bytes": 0, "memory": side["memory"]}
        scores = {} if diverged else {"dev": Score({"score": side["value"]}, {}, {}, 0.0)}
        ledger.finish(trial.key, attempt, "diverged" if diverged else "done", result, scores)

    def _call(self, side: str, index: int, block: int) -> dict[str, Any]:
        memory = {"undefined": "scores reported by the caller come without it"}
        given, seed = self._sides[side], self._hypothesis.seed + OPEN * block + index
        if not callable(given):
            return {"state": "given", "value": float(given), "seconds": 0.0, "memory": memory, "because": None}
        began = time.perf_counter()
        try:
            score = given(seed)
        except BaseException as error:
            error.add_note(f"novum.compare was calling the {side} with seed {seed}.")
            raise
        row = {"state": "done", "seconds": time.perf_counter() - began, "memory": memory, "because": None}
        try:
            value = float(score)
        except (TypeError, ValueError):
            value = None
        if value is None or isinstance(score, str | bytes):
            raise ConfigError(f"{side}: its score at seed {seed} is {score!r}; a score is one number.")
        if math.isfinite(value):
            return row | {"value": value}
        if self._metric["worst"] is None:
            raise ConfigError(
                f"{side}: its score at seed {seed} is {value}; give worst=…, the value that a run which diverged "
                "counts as: leaving it out would favour the arm that breaks."
            )
        return row | {"state": "diverged", "value": None, "because": f"the score came out as {value}"}


class _Nothing:
    """The ledger of a comparison that is stored nowhere: no trial was run before."""

    def trials(self) -> list[Any]:
        return []

    def scores(self, keys: object, split: str) -> dict[str, Any]:
        return {}


def _next(experiment: Experiment, rows: Mapping[str, Any]) -> int | None:
    """The first pair that is still to be run; None once it is decided."""
    walk = progress(experiment.record, rows)
    if walk.outcome is not None:
        return None
    ended = {row["index"] for row in rows.get(TASK, ())}
    return next(index for index in range(len(experiment.record["seeds"]["indices"])) if index not in ended)


def _pseudo(arm: Mapping[str, Any]) -> dict[str, Any]:
    """A plan in the form of any other, for an arm of which only its scores are known."""
    parts = {name: arm[name] for name in ("task", "model")} | {"evaluator": {"plugin": REPORTED}, "recipe": {}}
    unknown = {"units": None, "data": "", "checkpoint": "", "device": "the caller's", "precision": "unknown"}
    return {"arm": parts, "code": {}, "start_from": None, **unknown}


def _arm(side: str, function: Scorer, scored: Mapping[str, Any]) -> Arm:
    source = hashlib.sha256(_source(function).encode()).hexdigest()[:16]
    options = canonical({"side": side, "source": source})
    task = Plugin("task", REPORTED, canonical(scored))
    return Arm(task, Plugin("model", _name(function), options))


def _name(function: object) -> str:
    if not callable(function):
        return f"{function:g}"
    if isinstance(function, functools.partial):
        return _name(function.func)
    return str(getattr(function, "__qualname__", type(function).__qualname__))


def _source(function: object) -> str:
    """What tells a function from another one, as far as it can be told: source or bytecode, and plain values bound to
    it. What it reads from elsewhere (globals, files, objects) is the caller's to keep.
    """
    if isinstance(function, functools.partial):
        bound = [*function.args, *(pair for item in sorted(function.keywords.items()) for pair in item)]
        return f"{_source(function.func)} {[each for each in bound if isinstance(each, PLAIN)]!r}"
    try:
        text = inspect.getsource(function)  # type: ignore[arg-type]
    except (OSError, TypeError):
        text = ""
    code = getattr(function, "__code__", None)
    if code is not None:  # two lambdas of one line have one source
        text += (
            f" {code.co_code.hex()} {[each for each in code.co_consts if isinstance(each, PLAIN)]!r} {code.co_names}"
        )
    bound = [*(getattr(function, "__defaults__", None) or ()), *_cells(function)]
    return f"{text} {[each for each in bound if isinstance(each, PLAIN)]!r}"


def _cells(function: object) -> list[Any]:
    found = []
    for cell in getattr(function, "__closure__", None) or ():
        with suppress(ValueError):  # a cell that is not filled yet
            found.append(cell.cell_contents)
    return found


def _finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
