"""Checks without pytest, each in a process of its own with a time limit, so that a broken plugin harms nothing.

A server (this module, run) imports what is slow once and forks a process per check; what the plugin prints, leaves
running or destroys ends with that process.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from novum import plugins
from novum.errors import ConfigError, MismatchError, PluginError, closest
from novum.testing.laws import Check, Inapplicable, failure, known, of
from novum.testing.outcome import Outcome
from novum.testing.subject import Subject

LIMIT = 60.0
"""Seconds that one check may take."""
FEW = 3
"""Checks, at most, for which nothing is made ready."""
GRACE = 30.0
"""Seconds beyond all limits after which the server itself is given up."""
LOADS = "it_loads"
"""The check without which no other is tried."""
REFUSALS = {each.__name__: each for each in (ConfigError, MismatchError, PluginError)}
KINDS = ("task", "model", "evaluator", "proposer", "executor", "technique", "optimizer", "schedule", "tracker", "rule")


def check(
    kind: str,
    name: str,
    options: Mapping[str, Any] | None = None,
    *,
    partner: Mapping[str, Any] | str | None = None,
    own_splits: bool = False,
    only: Sequence[str] | None = None,
    limit: float = LIMIT,
    heard: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Run the contract of a plugin, and return how each check ended, in order.

    kind, name: of an installed plugin, or of code that a person loaded. options: of its Config. partner: what it is
    tried with: a model for a task, a task for a model or an evaluator, by name or as {"plugin": name, **options}.
    own_splits: see `TaskContract`. only: names of the checks to run; None runs all. limit: seconds per check. heard: is
    told each outcome as it comes.

    Raises ConfigError for an unknown kind or check and for options that the plugin does not have, PluginError for a
    name that is not installed, and MismatchError for a partner that does not fit. What the plugin itself does wrong is
    an outcome.
    """
    if kind not in KINDS:
        raise ConfigError(f"unknown kind of plugin {kind!r}; {closest(kind, KINDS)}.")
    plugins.kinds_of(name, [kind])
    wanted = of(kind) if only is None else chosen(only, [kind])[kind]
    code = [[which, dataclasses.asdict(each)] for which, each in plugins.offered()]
    request = {
        "subject": {"kind": kind, "plugin": name, "options": dict(options or {}), "partner": partner},
        "own_splits": own_splits,
        "checks": [each.name for each in wanted],
        "limit": limit,
        "code": code,
        "path": [each or os.getcwd() for each in sys.path],  # noqa: PTH109 - the path as Python would take it
    }
    found: list[Outcome] = []
    for outcome in _served(request, wanted):
        found.append(outcome)
        heard(outcome)
    return found


def chosen(only: Sequence[str], kinds: Sequence[str]) -> dict[str, list[Check]]:
    """The checks of these names, by the kinds that have any, in order. A name may have spaces or dashes, as on the
    page. Raises ConfigError for one that no kind has.
    """
    names = [each.strip().lower().replace(" ", "_").replace("-", "_") for each in only]
    every = sorted({check.name for kind in kinds for check in of(kind)})
    for name in names:
        if name not in every:
            raise ConfigError(f"no check of a {' or '.join(kinds)} is called {name!r}; {closest(name, every)}.")
    found = {kind: [check for check in of(kind) if check.name in names] for kind in kinds}
    return {kind: checks for kind, checks in found.items() if checks}


def _served(request: dict[str, Any], wanted: Sequence[Check]) -> Iterator[Outcome]:
    """Outcomes as the server tells them; those that it owes when it ends have failed."""
    folder = Path(tempfile.mkdtemp(prefix="novum-check-"))
    told, deadline = 0, time.monotonic() + GRACE + len(wanted) * (request["limit"] + 1)
    (folder / "request.json").write_text(json.dumps(request))
    (folder / "outcomes.jsonl").touch()
    with (folder / "server.txt").open("wb") as complaints:
        server = subprocess.Popen(
            [sys.executable, "-c", STARTS, str(folder)],
            env=os.environ | {"OMP_NUM_THREADS": "1", "NOVUM_KIT_PATH": json.dumps(request["path"])},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=complaints,
            start_new_session=True,
        )
    try:
        while told < len(wanted):
            if (folder / "refused.json").exists():
                name, message = json.loads((folder / "refused.json").read_text())
                raise REFUSALS[name](message)
            running = server.poll() is None and time.monotonic() < deadline  # asked before reading: no line is missed
            lines = (folder / "outcomes.jsonl").read_text().split("\n")[:-1]
            for line in lines[told:]:
                yield Outcome(**json.loads(line))
            told = len(lines)
            if not running:
                break
            time.sleep(0.02)
        why = (folder / "server.txt").read_text(errors="replace").strip()[-600:]
        for each in wanted[told:]:
            seen = f"the process that runs the checks ended (status {server.poll()}): {why}"
            yield each.outcome("failed", seen, 0.0)
    finally:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()
        shutil.rmtree(folder, ignore_errors=True)


STARTS = """
import json, os, sys
sys.path[:] = json.loads(os.environ["NOVUM_KIT_PATH"])
from novum.testing.isolation import serve
serve(sys.argv[1])
"""


# ------------------------------------------------------------------------------------------------------- the server


def serve(folder: str) -> None:
    """Fork a process per check of the request in `folder`, and add a line to its `outcomes.jsonl` for each."""
    import torch

    from novum import episodes, sources
    from novum.runner import checkpoint, jobs

    del episodes, sources, checkpoint, jobs  # imported here once, so that no check has to
    torch.set_num_threads(1)
    home = Path(folder)
    request = json.loads((home / "request.json").read_text())
    if request["subject"]["kind"] in ("task", "model", "optimizer") and len(request["checks"]) > FEW:
        # The first optimiser imports half of torch, which takes seconds: once, where it is likely to be needed.
        torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))])
    for which, code in request["code"]:
        plugins.receive(which, code)
    checks = known()
    subject = request["subject"]
    unloadable = _forked(home, lambda: _imports(subject, home), request["limit"])
    if unloadable is None:
        unloadable, modules = json.loads((home / "imports.json").read_text())
        _warm(modules)
    if unloadable is None:
        _forked(home, lambda: _refused(Subject(**subject, folder=home), home), request["limit"])
        if (home / "refused.json").exists():
            return
    for number, name in enumerate(request["checks"]):
        each, own = checks[name], home / str(number)
        own.mkdir()
        began = time.monotonic()
        if unloadable is not None and LOADS in request["checks"]:
            state, told = ("failed", unloadable) if name == LOADS else ("untried", "it does not load")
        else:
            made = Subject(**subject, folder=own, own_splits=request["own_splits"])
            broken = _forked(own, lambda each=each, made=made, own=own: _held(each, made, own), request["limit"])  # type: ignore[misc]
            state, told = "failed", broken or ""
            if broken is None:
                state, told = json.loads((own / "outcome.json").read_text())
        seconds = time.monotonic() - began
        if state == "failed" and name == LOADS:
            unloadable = told
        outcome = each.outcome(state, told, seconds)
        with (home / "outcomes.jsonl").open("a") as file:
            file.write(json.dumps(dataclasses.asdict(outcome)) + "\n")
        shutil.rmtree(own, ignore_errors=True)


def _held(check: Check, subject: Subject, folder: Path) -> None:
    """Run one check and keep how it ended."""
    state, told = "passed", ""
    try:
        check.run(subject)
    except Inapplicable as why:
        state, told = "skipped", str(why)
    except (Exception, SystemExit) as error:
        state, told = "failed", failure(error)
    scratch = folder / "outcome.part"
    scratch.write_text(json.dumps([state, told]))
    scratch.rename(folder / "outcome.json")


def _refused(subject: Subject, folder: Path) -> None:
    """Say what is wrong with the options and the partner that a person gave: that is no fault of the plugin's."""
    try:
        subject.look()
    except (ConfigError, MismatchError, PluginError) as error:
        scratch = folder / "refused.part"
        scratch.write_text(json.dumps([type(error).__name__, str(error)]))
        scratch.rename(folder / "refused.json")


def _imports(subject: Mapping[str, Any], folder: Path) -> None:
    """Find out whether the plugin loads, and which modules it and its declared imports are, in a process that may die
    of it.
    """
    try:
        cls = plugins.complete(subject["kind"], subject["plugin"])
    except PluginError as error:
        (folder / "imports.json").write_text(json.dumps([str(error), []]))
        return
    named = [cls.__module__, *getattr(cls, "imports", ())]
    import importlib

    from novum.executors.preloading import threads

    before = threads()
    kept = []
    for each in named:
        importlib.import_module(each)
        if threads() > before:
            break  # a fork would not have its threads
        kept.append(each)
    (folder / "imports.json").write_text(json.dumps([None, kept]))


def _warm(modules: Sequence[str]) -> None:
    """Import what was imported well before, once for all checks."""
    import importlib

    for each in modules:
        with suppress(Exception, SystemExit):
            importlib.import_module(each)


def _forked(folder: Path, work: Callable[[], None], limit: float) -> str | None:
    """Do some work in a process of its own; None where it ended by itself, else what became of it."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.setpgid(0, 0)
            with (folder / "printed.txt").open("wb") as sink:
                for number in (1, 2):
                    os.dup2(sink.fileno(), number)
            work()
            status = 0
        finally:
            os._exit(status)
    with suppress(OSError):
        os.setpgid(pid, pid)  # whichever is first
    ended, deadline = None, time.monotonic() + limit
    while ended is None and time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        ended = os.waitstatus_to_exitcode(status) if done else None
        if ended is None:
            time.sleep(0.005)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)  # with what it left running
    if ended is None:
        os.waitpid(pid, 0)
        return f"it had not ended after {limit:g} s and was stopped; look for an endless loop or a wait without a limit"
    if ended == 0:
        return None
    how = f"by {signal.Signals(-ended).name}" if ended < 0 else f"with status {ended}"
    return f"it ended the process {how}; raise an error instead"
