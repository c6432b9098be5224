"""The commands that run things: demo, run, plan, train, observe; the others are added from the modules beside."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from novum.arm import Arm
from novum.cli import catalogue, doctor, record, scaffold, status
from novum.cli.follow import Follow
from novum.cli.preview import print_preview
from novum.cli.terminal import Curve, Terminal, rows_table, show
from novum.cli.terminal import console as make_console
from novum.cli.verdict import print_verdict
from novum.config import LONGEST, shown
from novum.errors import ConfigError, DataError, closest
from novum.lab import Listener
from novum.recipe import Recipe
from novum.study import Study

if TYPE_CHECKING:
    pass

app = typer.Typer(
    name="novum",
    help="Did it really help? Registered, paired, recomputable verdicts for machine-learning ideas in any domain.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)
console = make_console()

Folder = Annotated[
    str | None, typer.Option("--study", help="The study's folder [default: $NOVUM_STUDY or ./novum-study]")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON value and nothing else.")]
Where = Annotated[
    str, typer.Option("--executor", help="local (a process per trial), inline (this process) or ray (a cluster).")
]
Workers = Annotated[int | None, typer.Option("--workers", min=1, help="Trials at a time [default: one per core].")]
Timeout = Annotated[
    float | None,
    typer.Option("--timeout", help="Seconds after which a trial is stopped and tried again [default: by rehearsal]."),
]
Server = Annotated[
    str | None,
    typer.Option(
        "--ledger", help="postgresql://user@host/db?study=NAME, for several machines [default: a file in the folder]."
    ),
]
Tracker = Annotated[str, typer.Option("--tracker", help="Where curves are written live: jsonl or tensorboard.")]
Noise = Annotated[
    int, typer.Option("--noise", help="Seeds (3 or more) on which to measure the noise floor first [default: off].")
]
Overrides = Annotated[
    list[str] | None, typer.Argument(help="Changes to the claim: tasks.digits.recipe.learning_rate=1e-3 …")
]

EXITS = {"supported": 0, "refuted": 10, "equivalent": 11, "inconclusive": 12, "invalid": 13}


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks; may stand anywhere in a command.")] = False,
    load: Annotated[
        list[str] | None,
        typer.Option("--load", help="A .py file of your own whose ideas this command may name; before the command."),
    ] = None,
) -> None:
    """Did it really help?"""
    from novum import plugins

    for path in load or []:
        plugins.read(path)


def open_study(
    folder: str | None,
    executor: str = "local",
    workers: int | None = None,
    tracker: str = "jsonl",
    quiet: bool = False,
    **more: Any,
) -> Study:
    """The study that a command works on, told to this terminal unless quiet."""
    listener = Listener() if quiet else Terminal(console)
    debug = bool(os.environ.get("NOVUM_DEBUG"))
    return Study(folder, executor=executor, workers=workers, tracker=tracker, listener=listener, debug=debug, **more)


def emit(value: Any) -> None:
    """One JSON value on standard output."""
    typer.echo(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False))


def quickstart(folder: str = "quickstart", file: str = "claim.toml") -> Path:
    """A file that comes with Novum: beside the package in a wheel, in experiments/ in a checkout."""
    import novum

    home = Path(novum.__file__).parent
    for path in (home / "quickstart" / file, home.parents[1] / "experiments" / folder / file):
        if path.is_file():
            return path
    raise DataError(f"the quick start's {file} is missing from this installation; install novum again.")


@app.command()
def demo(study: Folder = None, as_json: Json = False, executor: Where = "local", workers: Workers = None) -> None:
    """The quick start: one claim on images, text and control, in two or three minutes."""
    folder = study or os.environ.get("NOVUM_STUDY") or "studies/quickstart"
    if not as_json:
        console.print("[bold]Did it really help?[/]  Novum tests one idea on three real problems and gives a verdict.")
        _tell_noise(quickstart(), folder, executor, workers)
    _run_claim(quickstart(), [], open_study(folder, executor, workers, quiet=as_json), as_json)
    if not as_json:
        console.print(
            "\nThe loop goes on by itself with `novum loop`: weak baselines on digits and docs, about two minutes."
        )


NOISE = 3
"""Seeds of the demo's noise floor: the fewest that tell a spread."""


def _tell_noise(claim: Path, folder: str, executor: str, workers: int | None) -> None:
    """Measure how much seeds alone move the scores, once, and say what the claim can see."""
    from novum.claimfile import load

    hypothesis = load(claim)
    with open_study(folder, executor, workers, quiet=True) as study:
        if study.registered(hypothesis):
            return
        console.print(
            f"\n[bold cyan]0 plan[/]  How much do seeds alone move the scores? {NOISE} of each arm, exploratory, never "
            "evidence."
        )
        found = study.plan(hypothesis, noise=NOISE).record["tasks"]
    for name, task in found.items():
        power, unit = task["power"], task["unit"]
        console.print(
            f"  {escape(name)}: a pair's difference has a spread of {show(power['sd'])} {escape(unit)} over seeds; an "
            f"effect from {show(power['detectable'])} on has an 80 % chance. {power['label'].capitalize()}: "
            f"{escape(power['because'])}."
        )


@app.command()
def run(
    claim: Annotated[Path, typer.Argument(help="A claim file (TOML).")],
    overrides: Overrides = None,
    study: Folder = None,
    as_json: Json = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check and rehearse; register nothing.")] = False,
    new: Annotated[bool, typer.Option("--new", help="Register the claim anew, as a child, on fresh seeds.")] = False,
    pairs: Annotated[
        int | None, typer.Option("--pairs", min=3, help='Pause a claim with max_seeds = "open" at so many pairs.')
    ] = None,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="0 supported, 10 refuted, 11 equivalent, 12 inconclusive, 13 invalid.")
    ] = False,
    executor: Where = "local",
    workers: Workers = None,
    tracker: Tracker = "jsonl",
    timeout: Timeout = None,
    ledger: Server = None,
) -> None:
    """Register a claim, run its trials and give the verdict; the same command again resumes."""
    opened = open_study(study, executor, workers, tracker, quiet=as_json, timeout=timeout, ledger=ledger)
    if dry_run:
        _plan(claim, overrides or [], opened, as_json)
        return
    outcomes = _run_claim(claim, overrides or [], opened, as_json, new, pairs)
    if exit_code:
        raise typer.Exit(max(EXITS[outcome] for outcome in outcomes))


@app.command()
def loop(
    goal: Annotated[Path | None, typer.Argument(help="A goal file (TOML) [default: the quick start's].")] = None,
    overrides: Annotated[list[str] | None, typer.Argument(help="Changes to the goal: budget.trials=100 …")] = None,
    study: Folder = None,
    as_json: Json = False,
    executor: Where = "local",
    workers: Workers = None,
    tracker: Tracker = "jsonl",
    timeout: Timeout = None,
    ledger: Server = None,
) -> None:
    """The closed loop: find what helps, claim it, adopt what holds, until the target, the budget or a stall."""
    from novum.cli.climb import run_loop

    opened = open_study(study, executor, workers, tracker, quiet=as_json, timeout=timeout, ledger=ledger)
    run_loop(goal or quickstart("loop", "goal.toml"), overrides or [], opened, console, emit, as_json)


@app.command()
def plan(
    claim: Annotated[Path, typer.Argument(help="A claim file (TOML).")],
    overrides: Overrides = None,
    noise: Noise = 0,
    study: Folder = None,
    as_json: Json = False,
    executor: Where = "local",
    workers: Workers = None,
) -> None:
    """Check a claim, rehearse its arms, and say what it may cost and could see; registers nothing."""
    _plan(claim, overrides or [], open_study(study, executor, workers, quiet=as_json), as_json, noise)


def _plan(claim: Path, overrides: list[str], study: Study, as_json: bool, noise: int = 0) -> None:
    from novum.claimfile import load_all

    told: dict[str, Any] = {}
    for hypothesis in load_all(claim, overrides):
        found = study.plan(hypothesis, noise=noise)
        told[hypothesis.name] = {"line": found.line, "said": list(found.said), "record": found.record}
        if not as_json:
            print_preview(console, hypothesis.name, found)
    if as_json:
        emit(told)
    study.close()


def _run_claim(
    claim: Path, overrides: list[str], study: Study, as_json: bool, new: bool = False, pairs: int | None = None
) -> list[str]:
    from novum.claimfile import load_all

    hypotheses = load_all(claim, overrides)
    if pairs is not None and hypotheses[0].max_seeds is not None:
        raise ConfigError(
            f'--pairs {pairs}: it pauses a claim with max_seeds = "open", and this one declares max_seeds = '
            f"{hypotheses[0].max_seeds}; leave --pairs out: Ctrl-C is safe, and the same command goes on."
        )
    found = study.run_all(hypotheses, new=new, pairs=pairs)
    verdicts: list[dict[str, Any]] = []
    for hypothesis, verdict in zip(hypotheses, found, strict=True):
        path = study.report(verdict.hypothesis)
        verdicts.append({"verdict": verdict.record, "report": str(path)})
        if not as_json:
            named = f" ({hypothesis.name})" if len(hypotheses) > 1 else ""
            print_verdict(console, verdict.record, hypothesis.claim + named)
            if not verdict.ended:
                _print_paused(claim, overrides, study, pairs or 0)
            elif verdict is found[-1]:
                _print_next(study)
            if verdict.ended:
                console.print(
                    f"\nVerdict {verdict.hypothesis}; recompute it: novum verdict {verdict.hypothesis} --recompute"
                    f" --study {_short(study.folder)}"
                )
            if verdict is found[-1]:
                console.print(
                    f"Look: novum status --study {_short(study.folder)}; novum logs TRIAL (what a trial printed)"
                )
            console.print(f"Report: {path}")
    if as_json:
        emit(verdicts if len(verdicts) > 1 else verdicts[0])
    study.close()
    return [each["verdict"]["outcome"] for each in verdicts]


def _print_paused(claim: Path, overrides: list[str], study: Study, pairs: int) -> None:
    from novum import plugins

    files = sorted({code.file for _, code in plugins.offered() if code.file is not None})
    loads = [f"--load {_short(Path(file))}" for file in files]
    words = " ".join(["novum", *loads, "run", str(claim), *overrides, f"--study {_short(study.folder)}"])
    console.print(
        f"\nUndecided so far: no verdict is recorded, and the trials are kept. Go on with\n  {escape(words)} --pairs "
        f"{2 * pairs}\nor without --pairs, until it is decided."
    )


def _print_next(study: Study) -> None:
    proposed = study.next()
    if proposed is None:
        console.print("\n[bold cyan]next[/]  Nothing follows from this verdict alone.")
        return
    tasks = ", ".join(proposed.tasks)
    most = f"at most {proposed.max_seeds} fresh seeds per arm"
    if proposed.max_seeds is None:
        most = "fresh seeds, with no declared maximum"
    console.print(f"\n[bold cyan]next[/]  What I would test now: “{escape(proposed.claim)}” ({escape(tasks)}; {most}).")


def _short(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


@app.command()
def train(
    words: Annotated[list[str], typer.Argument(help="task=… task.OPTION=… model=… model.OPTION=… budget=… …")],
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="How many seeds.")] = 1,
    test: Annotated[bool, typer.Option("--test", help="Also score on test; counted as an opening.")] = False,
    study: Folder = None,
    as_json: Json = False,
    executor: Where = "local",
    workers: Workers = None,
    tracker: Tracker = "jsonl",
    timeout: Timeout = None,
    ledger: Server = None,
) -> None:
    """Train one arm, unregistered: per-epoch train loss and dev scores. Exploratory, never evidence."""
    opened = open_study(study, executor, workers, tracker, quiet=as_json, timeout=timeout, ledger=ledger)
    arm = parse_arm(words)
    if as_json:
        runs = opened.train_seeds(arm, seeds=range(seeds), test=test)
        opened.close()
        emit([_run_json(each) for each in runs])
        return
    live = Curve(console, many=seeds > 1)
    with Follow(opened.folder, live):
        runs = opened.train_seeds(arm, seeds=range(seeds), test=test)
    opened.close()
    for each in runs:
        console.print(f"\n[bold]Seed {each.seed}[/]  {each.facts['units']} units in {each.facts['seconds']:.3g} s")
        if each.key not in live.told:  # trained before, or by another tracker
            for point in each.curve:
                live(each.key, dict(point))
        if each.diverged:
            console.print(f"It diverged: {each.diverged}.")
        if each.facts["start"]:
            start = each.facts["start"]
            console.print(f"Started from its parent: {start['loaded']} tensors loaded, {len(start['fresh'])} fresh.")
        for split, metrics, tables in _tables(each):
            console.print(f"{split}: " + ", ".join(f"{name} {show(value)}" for name, value in metrics.items()))
            for table, rows in tables.items():
                flat = [{table: name, **cells} for name, cells in rows.items()]
                if flat and split == "test":
                    console.print(rows_table(flat, list(flat[0])))
        console.print(f"Weights and preparation: {each.weights}")
    console.print("\nExploratory: these numbers are no evidence for a claim; `novum run CLAIM` gives a verdict.")


def _tables(run: Any) -> list[tuple[str, Any, Any]]:
    from novum.validate import number

    found = [("dev", {name: _plain(value) for name, value in run.metrics.items()}, run.tables)]
    if run.test is not None:
        metrics = {
            name: _plain(number(run.test["metrics"][name])) for name in run.metrics if name in run.test["metrics"]
        }
        found.append(("test", metrics, run.test["tables"]))
    return found


def _plain(value: Any) -> Any:
    return value if isinstance(value, float) else {"undefined": value.because}


def _run_json(run: Any) -> dict[str, Any]:
    return {
        "trial": run.key,
        "seed": run.seed,
        "metrics": {name: _plain(value) for name, value in run.metrics.items()},
        "tables": run.tables,
        "curve": list(run.curve),
        "test": run.test,
        "diverged": run.diverged,
        "weights": str(run.weights),
        **run.facts,
    }


@app.command()
def observe(
    words: Annotated[
        list[str], typer.Argument(help="task=… task.OPTION=… (or the task's name alone); or a goal file of a loop")
    ],
    study: Folder = None,
    as_json: Json = False,
    executor: Where = "local",
) -> None:
    """Facts and scale of a task; of a goal's loop, also what was tried."""
    from novum import plugins

    if words[0].endswith(".toml"):
        from novum.cli.climb import print_facts

        print_facts(Path(words[0]), words[1:], open_study(study, executor, quiet=True), console, emit, as_json)
        return
    words = [f"task={words[0]}" if "=" not in words[0] else words[0], *words[1:]]
    if not any(word.startswith("model=") for word in words):
        task = parse_arm([*words, "model=any"]).task
        words.append(f"model={_any_model(plugins, task)}")
    opened = open_study(study, executor, quiet=True)
    seen = opened.observe(parse_arm(words))
    opened.close()
    if as_json:
        emit(seen)
        return
    console.print(rows_table(seen["facts"], ["id", "value", "unit", "about"]))
    scale = seen["scale"]
    console.print(
        f"\nScale on {scale['metric']}: 0 is {show(scale['chance'])} (chance), 1 is {show(scale['reference'])}."
        if scale
        else "\nIt states no scale; a claim on it needs minimum_effect_raw."
    )


def _any_model(plugins: Any, task: Any) -> str:
    """Observing needs no model, but an arm has one: the first that fits."""
    signature = plugins.create("task", task.name, task.options).signature()
    fitting = plugins.any_fitting(signature)
    if fitting is None:
        raise ConfigError(f"no installed model fits the task {task.name!r}; name one with model=….")
    return str(fitting)


def parse_arm(words: list[str]) -> Arm:
    """An arm from KEY=VALUE words. Raises ConfigError for a word that is no such pair, or an unknown key."""
    from novum.toml import put, sound, value_of

    parts: dict[str, dict[str, Any]] = {"task": {}, "model": {}, "evaluator": {}, "recipe": {}}
    for word in words:
        key, equals, value = word.partition("=")
        kind, dot, _ = key.partition(".")
        if not equals:
            raise ConfigError(
                f"{shown(word)}: write KEY=VALUE, such as task=gym, task.env=CartPole-v1 or budget='6 epochs'."
            )
        if dot and kind in parts:
            put(parts, word)
        elif dot and kind == "techniques":
            put(parts["recipe"], word)
        elif kind in ("task", "model", "evaluator"):
            parts[kind]["plugin"] = value
        elif key in Recipe.model_fields:
            parts["recipe"][key] = value_of(value)
        else:
            allowed = ["task", "model", "evaluator", *Recipe.model_fields]
            near = closest(key[:LONGEST], allowed)
            raise ConfigError(
                f"{shown(word)}: unknown key {shown(key)}; {near} (or task.OPTION, model.OPTION, techniques.NAME)."
            )
    sound(parts, "the words of the arm")
    for kind in ("task", "model", "evaluator"):
        named = parts[kind].get("plugin", "")
        if not isinstance(named, str):
            raise ConfigError(f"{kind}.plugin: received {shown(named)}; give a plugin's name: {kind}=NAME.")
        if not named and kind != "evaluator":
            raise ConfigError(f"no {kind} is named; add {kind}=NAME (`novum plugins list --kind {kind}` shows them).")
    if parts["evaluator"] and not parts["evaluator"].get("plugin"):
        raise ConfigError(
            f"evaluator options {shown(parts['evaluator'])}, but no evaluator is named; add evaluator=NAME."
        )
    return Arm.from_json({**parts, "evaluator": parts["evaluator"] or None, "start_from": None})


status.add(app)
record.add(app)
catalogue.add(app)
scaffold.add(catalogue.plugins)
doctor.add(app)
