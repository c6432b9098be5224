"""The façade for scripts, notebooks and the command line: a folder with one ledger, its weights and reports."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from novum import plugins
from novum.arm import Arm
from novum.errors import ConfigError, StudyError
from novum.folder import chosen, interruptible, locked, make
from novum.hypothesize import Hypothesis
from novum.lab import Lab, Lines, Listener, local_code
from novum.readiness import check_names, preload
from novum.run import Run

if TYPE_CHECKING:
    import pandas as pd

    from novum.executors import Executor
    from novum.experiment import Experiment
    from novum.goal import Goal
    from novum.ledger import Ledger
    from novum.lineage import Lineage
    from novum.loop import Seen
    from novum.preview import Preview
    from novum.repair import Repair
    from novum.session import Session
    from novum.validate import Verdict

DEFAULT_FOLDER = "novum-study"
URL = "ledger.url"
"""The file in a study's folder that remembers the place of a ledger on a server."""


class Study:
    """A study. Creating one touches nothing; the folder is made when something is first run.

    Everything is safe to interrupt and to repeat: the same call goes on where the last one stopped, and what is
    done is not done again.
    """

    def __init__(
        self,
        folder: str | Path | None = None,
        *,
        executor: str = "local",
        workers: int | None = None,
        tracker: str = "jsonl",
        listener: Listener | None = None,
        debug: bool = False,
        timeout: float | None = None,
        ledger: str | None = None,
    ) -> None:
        """folder: default $NOVUM_STUDY, else ./novum-study. executor: "local" (a process per trial) or "inline".

        workers: trials at a time; default as many as cores, or GPUs. listener: who hears of progress; default: lines
        on standard error (`novum.lab.Listener()` is silent). debug: errors of inline trials are raised where they
        happen. timeout: seconds that one trial may take before it is stopped and tried again; default: twenty times
        what its rehearsal lets expect, and at least ten minutes.

        ledger: where the record is, for several machines to work on one study, each with a folder of its own:
        "postgresql://user@host/database?study=NAME" (default $NOVUM_LEDGER, else the one that the folder remembers,
        else a file in the folder).
        """
        if timeout is not None and not (math.isfinite(timeout) and timeout > 0):
            raise ConfigError(f"timeout: received {timeout!r}; allowed: a positive number of seconds, or None.")
        self.folder = chosen(folder or os.environ.get("NOVUM_STUDY") or DEFAULT_FOLDER)
        self._executor_name = executor
        self._workers = workers
        self._tracker = tracker
        self._listener = listener if listener is not None else Lines()
        self._debug = debug
        self._timeout = timeout
        self._ledger = ledger or os.environ.get("NOVUM_LEDGER") or None
        self._executor: Executor | None = None

    # ------------------------------------------------------------------------------------------------ doing things

    def run(self, hypothesis: Hypothesis, *, new: bool = False, pairs: int | None = None) -> Verdict:
        """Register, run and validate a claim; the same call again resumes it, or returns its recorded verdict.

        pairs: for a claim with no declared maximum: stop for now once each task has so many. What it returns then is
        undecided (`verdict.ended` is False) and not recorded, and the same call with more pairs goes on.

        new: register it anew, as a child of itself, on fresh seeds. Raises InputError or PluginError for what cannot
        run (then nothing is registered) and StudyError when the study cannot go on.
        """
        from novum import loop

        plugins.refuse_within_worker()
        if pairs is not None and (hypothesis.max_seeds is not None or pairs < 3):
            raise ConfigError(
                f"pairs: received {pairs!r}; it pauses a claim with max_seeds=None, from 3 pairs on; this one declares "
                f"max_seeds={hypothesis.max_seeds!r}. Leave it out: interrupting is safe, and the same call goes on."
            )
        hypothesis = self._revised(hypothesis) if new else hypothesis
        recorded = self._recorded(hypothesis)
        if recorded is not None:
            self._listener.say(f"{recorded.hypothesis} has its verdict already; nothing is run again.")
            return recorded
        with self._working(*_arms(hypothesis)) as lab:
            pause = pairs if hypothesis.max_seeds is None else None
            question = loop.Question.of(hypothesis)
            verdict = loop.resume(hypothesis, lab, pause) or loop.cycle(question, lab, lambda seen: hypothesis, pause)
            assert verdict is not None
            return verdict

    def run_all(
        self, hypotheses: Sequence[Hypothesis], *, new: bool = False, pairs: int | None = None
    ) -> list[Verdict]:
        """Run the treatments of one claim (see `novum.load_all`): registered together, sharing the control's trials.

        Raises what `run` raises; a treatment that cannot run leaves none registered.
        """
        from novum import loop

        if len(hypotheses) == 1:
            return [self.run(hypotheses[0], new=new, pairs=pairs)]
        plugins.refuse_within_worker()
        family = [self._revised(each) for each in hypotheses] if new else list(hypotheses)
        recorded = [self._recorded(each) for each in family]
        known = [each for each in recorded if each is not None]
        if len(known) == len(family):
            self._listener.say("Every treatment has its verdict already; nothing is run again.")
            return known
        with self._working(*(arm for each in family for arm in _arms(each))) as lab:
            return loop.family(family, lab, pairs if family[0].max_seeds is None else None)

    def loop(self, goal: Goal) -> Lineage:
        """Work on a goal, round after round, until its target, its budget or a stall; the same call again goes on, or
        gives what came of it.

        Raises InputError or PluginError for a goal that cannot be worked on, RegistrationError where this study has a
        loop of that name with other tasks or error control, and StudyError when it cannot go on.
        """
        from novum.climb import check, climb
        from novum.lineage import Lineage

        plugins.refuse_within_worker()
        check(goal)  # before any folder is made
        with self._working(*(start.arm for start in goal.tasks.values())) as lab:
            climb(goal, lab)
        with self.reading() as ledger:
            return Lineage.read(ledger, goal.name)

    def loops(self) -> list[Lineage]:
        """What came of every loop of this study so far."""
        from novum import story
        from novum.lineage import Lineage

        with self.reading() as ledger:
            return [Lineage.read(ledger, name) for name in story.names(ledger)]

    def plan(self, hypothesis: Hypothesis, *, noise: int = 0) -> Preview:
        """Check a claim, rehearse its arms, and say what it may take and could see; registers nothing.

        noise: so many seeds (at least 3) of control against control, and of the treatment beside it, are trained
        first to measure the noise floor; exploratory, and never evidence. Raises what `run` raises for what cannot run.
        """
        from novum import loop, streams
        from novum import noise as floors
        from novum.design import design
        from novum.preview import preview
        from novum.rehearse import estimate, rehearse

        if noise and noise < 3:
            raise ConfigError(f"noise: received {noise!r}; allowed: 0 (not measured), or seeds from 3 on.")
        with self._working(*_arms(hypothesis)) as lab:
            seen = rehearse(lab, loop.observe(loop.Question.of(hypothesis), lab))
            stream = streams.spend(lab.ledger, hypothesis)

            workers = lab.executor.describe()["workers"]

            def designed() -> Experiment:
                return design(hypothesis, seen.resolved, seen.observations, lab.ledger, stream, workers)

            plan = designed()
            line = estimate(lab, plan, seen)
            measured = {}
            if noise:
                floors.train(lab, plan, noise)
                measured = {name: floors.floor(lab, plan, name, noise) for name in plan.tasks}
                plan = designed()  # its power now stands on what was measured
            return preview(lab, plan, line, loop.announced(plan.record, hypothesis), measured)

    def train(self, arm: Arm, *, seed: int = 0, test: bool = False) -> Run:
        """Train one arm, unregistered: exploratory, and never evidence. See `train_seeds`."""
        return self.train_seeds(arm, seeds=(seed,), test=test)[0]

    def train_seeds(self, arm: Arm, *, seeds: Sequence[int] = (0,), test: bool = False) -> list[Run]:
        """Train one arm at some seeds of the exploratory block, side by side; what was trained before is read.

        test: also score on `test`, which is counted as an opening.
        """
        from novum import run as runs

        with self._working(arm) as lab:
            return runs.explore(lab, arm, seeds, test)

    def observe(self, arm: Arm) -> dict[str, Any]:
        """Facts and scale of an arm's task: {"facts": [...], "scale": {...} or None}."""
        with self._working(arm) as lab:
            return dict(self._seen(lab, arm).observations["task"])

    # ------------------------------------------------------------------------------------------------ reading things

    def verdict(self, hypothesis: str, *, recompute: bool = False) -> Verdict:
        """The recorded verdict of a hypothesis, by id or the beginning of one; or recomputed from the stored rows.

        Raises StudyError where the record is damaged.
        """
        from novum import loop, validate

        with self.reading() as ledger:
            ledger.verify()
            row = self._known(ledger, hypothesis)
            if recompute:
                return validate.recompute(ledger, loop.registered(ledger, row["id"]))
            return validate.stored(ledger, row["id"])

    def hypotheses(self) -> list[dict[str, Any]]:
        """Every registered hypothesis, oldest first."""
        with self.reading() as ledger:
            return ledger.hypotheses()

    def next(self) -> Hypothesis | None:
        """What the follow-up proposer would test now; None when nothing promising is left."""
        from novum.loop import Question, Seen, history

        with self.reading() as ledger:
            seen = Seen(Question("", {}), {}, {}, history(ledger))
        proposed: Hypothesis | None = plugins.create("proposer", "follow-up", {}).propose(seen)
        return proposed

    def status(self) -> dict[str, Any]:
        """What the study does now and holds, as plain JSON (see `novum.status.status`). Disturbs nobody who works."""
        from novum import status

        with self.reading() as ledger:
            return status.status(ledger, self.folder)

    def report(self, hypothesis: str) -> Path:
        """Write the report of a hypothesis, one self-contained HTML file, and return its path."""
        from novum import report

        with self.reading() as ledger:
            ledger.verify()
            return report.write(ledger, self.folder, self._known(ledger, hypothesis)["id"])

    def loop_report(self, name: str) -> Path:
        """Write the report of a loop, one self-contained HTML file, and return its path."""
        from novum import report
        from novum.lineage import Lineage

        with self.reading() as ledger:
            ledger.verify()
            return report.write_loop(Lineage.read(ledger, name), self.folder)

    def rows(self) -> list[dict[str, Any]]:
        """Every trial as a flat row: task, side, seed, state, seconds, units, and its metrics on dev and test."""
        from novum.run import flat

        with self.reading() as ledger:
            return flat(ledger)

    def trials(self) -> pd.DataFrame:
        """Every trial as a data frame (needs pandas: the extra `frames`); columns as `rows` has them."""
        try:
            import pandas as pd
        except ImportError:
            raise StudyError("a data frame needs pandas: pip install 'novum[frames]'; or use study.rows().") from None
        return pd.DataFrame(self.rows())

    def repair(self) -> Repair:
        """Rebuild a damaged ledger from what of it can be trusted and from the results kept beside it.

        Nothing is changed where nothing is wrong. Raises StudyError where another process works in the study, or where
        there is nothing to rebuild from.
        """
        from novum import repair

        if not self.folder.is_dir():
            raise StudyError(f"no study at {self.folder}; correct the path.")
        if self._url() is not None:
            raise StudyError("the ledger is on a server, which keeps it whole; restore a copy there (pg_restore).")
        with locked(self.folder):
            return repair.repair(self.folder)

    @contextmanager
    def reading(self) -> Iterator[Ledger]:
        """The ledger, open to read. Raises StudyError where there is no study."""
        from novum import archive
        from novum.ledger import Ledger

        url = self._url()
        if url is None:
            archive.refuse_headless(self.folder)
        with Ledger.open(self.folder, url=url, create=False, read_only=True) as ledger:
            yield ledger

    # -------------------------------------------------------------------------------------------------- how it works

    def close(self) -> None:
        """End the workers. They also end by themselves with this process."""
        if self._executor is not None:
            self._executor.close()
            self._executor = None

    def __enter__(self) -> Study:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Study({str(self.folder)!r})"

    def _repr_html_(self) -> str:
        from novum.report.html import study_table

        return study_table(self.status() if self._begun() else None, str(self.folder))

    @contextmanager
    def opened(self) -> Iterator[tuple[Ledger, Session]]:
        """The ledger, open to write, checked, and this process as a session in it; the folder is locked against others.

        Raises StudyError where another process works in the folder, and where the record is damaged.
        """
        from novum import archive
        from novum.ledger import Ledger
        from novum.session import Session

        plugins.refuse_within_worker()
        url = self._url()
        make(self.folder, network=url is not None)
        if url is None:
            archive.refuse_headless(self.folder)
        with locked(self.folder), interruptible(), Ledger.open(self.folder, url=url) as ledger:
            if url is not None:
                (self.folder / URL).write_text(Ledger.remembered(url) + "\n")
            ledger.verify()  # no verdict ever rests on a damaged record
            lacking = archive.behind(ledger, self.folder)
            if lacking:
                raise StudyError(
                    f"the ledger in {self.folder} has lost its end: {', '.join(lacking)} stand beside it in kept/. "
                    "Nothing was changed. `novum repair` rebuilds it; or restore a copy of the whole folder."
                )
            with Session(ledger, self.folder, self._executor_name) as session:
                yield ledger, session

    @contextmanager
    def _working(self, *arms: Arm) -> Iterator[Lab]:
        """The lab, with what an earlier run left taken in, and interrupted trials back in the plan."""
        from novum import archive, trials

        plugins.refuse_within_worker()
        executor = self._start(arms)
        with self.opened() as (ledger, session):
            lab = Lab(self.folder, ledger, executor, self._listener, self._tracker, session, self._timeout)
            trials.recover(lab)
            archive.sync(ledger, self.folder)
            yield lab

    def _start(self, arms: Sequence[Arm]) -> Executor:
        check_names(arms, self._tracker)
        code = [local_code(arm.to_json()) for arm in arms]
        name = self._executor_name
        if name != "inline" and any(each["file"] is None for found in code for _, each in found):
            self._listener.say("A class from a notebook cell or a prompt cannot travel to a worker: running inline.")
            name = "inline"
        if self._executor is not None and self._executor.describe()["kind"] != name:
            self.close()
        if self._executor is None:
            options: dict[str, Any] = {"debug": self._debug} if name == "inline" else {}
            make_executor = plugins.load("executor", name)
            executor: Executor = make_executor(self.folder, workers=self._workers, preload=preload(arms), **options)
            self._executor = executor
        return self._executor

    def _seen(self, lab: Lab, arm: Arm) -> Seen:
        from novum import loop

        return loop.observe(loop.Question("", {"task": {"arm": arm}}), lab)

    def registered(self, hypothesis: Hypothesis) -> bool:
        """Whether this very claim stands in the study's ledger."""
        if not self._begun():
            return False
        with self.reading() as ledger:
            return ledger.hypothesis_by_fingerprint(hypothesis.fingerprint) is not None

    def _begun(self) -> bool:
        from novum import archive

        url = self._url()
        if url is None:
            archive.refuse_headless(self.folder)
            if not (self.folder / "ledger.sqlite").exists():
                return False
        from novum.ledger import Ledger

        return Ledger.begun(self.folder, url)

    def _url(self) -> str | None:
        """Where the ledger is; None for the file in the folder. Raises ConfigError where two places are named."""
        known = self.folder / URL
        kept = known.read_text().strip() if known.is_file() else None
        if self._ledger is None:
            return kept
        from novum.ledger import Ledger

        asked = Ledger.remembered(self._ledger)
        if (self.folder / "ledger.sqlite").exists() or kept not in (None, asked):
            raise ConfigError(
                f"the ledger of {self.folder} is {kept or 'the file in it'}, and now {asked} is named; a study has "
                "one: leave --ledger (or $NOVUM_LEDGER) out, or use another folder."
            )
        return self._ledger

    def _recorded(self, hypothesis: Hypothesis) -> Verdict | None:
        from novum.validate import Verdict

        if not self._begun():
            return None
        with self.reading() as ledger:
            known = ledger.hypothesis_by_fingerprint(hypothesis.fingerprint)
            text = None if known is None else ledger.verdict(known["id"])
            if text is not None:
                ledger.verify()
        return None if text is None else Verdict(text)

    def _revised(self, hypothesis: Hypothesis) -> Hypothesis:
        if not self._begun():
            return hypothesis
        with self.reading() as ledger:
            while (known := ledger.hypothesis_by_fingerprint(hypothesis.fingerprint)) is not None:
                hypothesis = replace(hypothesis, revision=hypothesis.revision + 1, parent=known["id"])
        return hypothesis

    def _known(self, ledger: Ledger, hypothesis: str) -> dict[str, Any]:
        row = ledger.hypothesis(hypothesis)
        if row is None:
            known = ", ".join(each["id"] for each in ledger.hypotheses()) or "none yet"
            raise StudyError(f"no hypothesis {hypothesis!r} in {self.folder}; registered: {known}.")
        return row


def _arms(hypothesis: Hypothesis) -> list[Arm]:
    return [arm for each in hypothesis.tasks.values() for arm in each.arms.values()]
