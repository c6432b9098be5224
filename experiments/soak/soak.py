"""Kill workers, loops and fork servers at random, for as long as asked, and count what was lost: nothing may be.

    python experiments/soak/soak.py --kills 1000 --page docs/soak.md

Every study is the same claim (loop.py) with a stand-in for training (trainer.py) around the real loop, executor and
ledger. After each kill of a loop the same command is given again. What is counted:

    lost        results that the ledger had acknowledged before a kill and lacks, or has otherwise, after it
    doubled     trials with two accepted results
    orphans     processes of a killed loop that still run 5 s later
    changed     verdicts, or rows that they rest on, that differ from those of a study that nothing disturbed
    recovery    seconds from the same command until a trial trains again, interpreter start included
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import novum
from novum.ledger import Ledger

LOOP = Path(__file__).with_name("loop.py")
WORDS = ("--seeds", "30", "--skill", "0.016", "--quiet")
SECONDS = {"SOAK_SECONDS": "0.08"}
GRACE = 5.0
"""Seconds after which a process of a killed loop is an orphan."""


@dataclass
class Tally:
    """What a soak saw."""

    kills: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    studies: int = 0
    trials: int = 0
    acknowledged: int = 0
    recovery: list[float] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    def fault(self, kind: str, what: str) -> None:
        """Count one, and keep what it was."""
        self.faults[kind] += 1
        self.told.append(f"{kind}: {what}")


def begin(folder: Path) -> subprocess.Popen[str]:
    """Give the command."""
    return subprocess.Popen(
        [sys.executable, str(LOOP), str(folder), *WORDS],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **SECONDS},
    )


def noted(folder: Path) -> list[dict[str, Any]]:
    """Processes on the leases of a study: servers and jobs."""
    found = []
    for path in (folder / "leases").glob("*.lease"):
        with suppress(OSError):
            for line in path.read_text().splitlines():
                with suppress(ValueError):
                    found.append(json.loads(line))
    return found


def alive(pid: int) -> bool:
    """Whether it runs; a zombie does not."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def acknowledged(folder: Path) -> dict[str, str]:
    """What the ledger holds of trials that ended: key → result and scores, as text."""
    if not (folder / "ledger.sqlite").exists():
        return {}
    with suppress(novum.StudyError), Ledger.open(folder, create=False, read_only=True) as ledger:
        rows = [row for row in ledger.trials() if row["state"] in ("done", "diverged", "failed")]
        keys = [row["key"] for row in rows]
        scores = {split: ledger.scores(keys, split) for split in ("dev", "test")}
        return {
            row["key"]: json.dumps([row["state"], row["result"], *(scores[split].get(row["key"]) for split in scores)])
            for row in rows
        }
    return {}


def measured(text: str) -> Any:
    """A verdict without what a clock measured."""
    record = json.loads(text)
    for part in [record, *record["tasks"].values(), *(task["new_data"] or {} for task in record["tasks"].values())]:
        part.pop("cost", None)
        part.pop("saved", None)
    return record


def rows(folder: Path) -> dict[str, Any]:
    """Numbers of the trials that ended, by key."""
    return {
        row["trial"]: (row["state"], row.get("dev.accuracy"), row.get("test.accuracy"), row["seed"])
        for row in novum.Study(folder).rows()
        if row["state"] in ("done", "diverged", "failed")
    }


def study(folder: Path, draw: random.Random, tally: Tally, most: int) -> str:
    """One study to its verdict, through at most `most` kills; returns what it printed."""
    held: dict[str, str] = {}
    kills = 0
    process, began, resumed = begin(folder), time.monotonic(), False
    losses: Counter[str] = Counter()
    pause = draw.uniform(0.05, 0.6)
    while process.poll() is None:
        time.sleep(0.01)
        jobs = [each for each in noted(folder) if each["job"] and alive(each["pid"])]
        if not resumed and any(len(each["job"]) == 32 for each in jobs):  # a trial's key; rehearsals have other names
            tally.recovery.append(time.monotonic() - began)
            resumed = True
        if kills >= most or time.monotonic() - began < pause:
            continue
        pause = time.monotonic() - began + draw.uniform(0.05, 0.6)
        kind = draw.choices(("worker", "loop", "server"), (5, 4, 1))[0]
        if kind == "worker":
            able = [each for each in jobs if losses[each["job"]] < 2]  # a third loss fails a trial, as it should
            if able:
                hit = draw.choice(able)
                losses[hit["job"]] += 1
                with suppress(ProcessLookupError):
                    os.killpg(hit["pid"], signal.SIGKILL)
                    kills += 1
                    tally.kills["worker"] += 1
            continue
        before = acknowledged(folder)
        check(before, held, tally, folder)
        held = before
        processes = noted(folder)
        if kind == "server":
            servers = [each["pid"] for each in processes if not each["job"] and alive(each["pid"])]
            if not servers:
                continue
            with suppress(ProcessLookupError):
                os.kill(servers[0], signal.SIGKILL)
            process.wait()  # the loop says that its workers died, and ends
        else:
            process.kill()
            process.communicate()
        tally.kills[kind] += 1
        kills += 1
        bury(processes, tally, folder)
        after = acknowledged(folder)
        check(after, held, tally, folder)
        tally.acknowledged += len(before)
        process, began, resumed = begin(folder), time.monotonic(), False
        losses.clear()
        pause = draw.uniform(0.05, 1.5)
    out, err = process.communicate()
    if process.returncode not in (0, 3):
        tally.fault("changed", f"{folder.name}: status {process.returncode}: {err[-400:]}")
    return out


def check(now: dict[str, str], before: dict[str, str], tally: Tally, folder: Path) -> None:
    """Whatever was acknowledged is still there, and the same."""
    for key, text in before.items():
        if now.get(key) is None or json.loads(now[key])[:3] != json.loads(text)[:3]:
            tally.fault("lost", f"{folder.name}: {key}")


def bury(processes: list[dict[str, Any]], tally: Tally, folder: Path) -> None:
    """Wait for the end of a killed loop's processes."""
    began = time.monotonic()
    while any(alive(each["pid"]) for each in processes) and time.monotonic() - began < GRACE:
        time.sleep(0.01)
    left = [each for each in processes if alive(each["pid"])]
    tally.ends.append(time.monotonic() - began)
    for each in left:
        tally.fault("orphans", f"{folder.name}: {each}")


def judge(folder: Path, out: str, whole: tuple[Any, dict[str, Any]], tally: Tally) -> None:
    """Compare a study with the one that nothing disturbed."""
    if not out.strip() or measured(out) != whole[0]:
        tally.fault("changed", f"{folder.name}: the verdict is {out[:200]}")
        return
    found = rows(folder)
    for key, row in whole[1].items():
        if found.get(key) != row:
            tally.fault("changed", f"{folder.name}: {key} is {found.get(key)} and was {row}")
    with Ledger.open(folder, create=False) as ledger:
        ledger.verify()
        ended = Counter(event["payload"]["trial"] for event in ledger.events(kind="finished"))
        for key, times in ended.items():
            if times > 1:
                tally.fault("doubled", f"{folder.name}: {key}")
        if len(ledger.hypotheses()) != 1 or len(ledger.streams()) != 1 or len(ledger.openings()) > 1:
            tally.fault("doubled", f"{folder.name}: a claim, an account or an opening")
        hypothesis = ledger.hypotheses()[0]["id"]
    if novum.Study(folder).verdict(hypothesis, recompute=True).text != out.strip():
        tally.fault("changed", f"{folder.name}: recomputed otherwise")
    tally.trials += len(found)


def page(tally: Tally, seconds: float) -> str:
    """The table, as a page."""
    quick = statistics.quantiles(tally.recovery, n=100, method="inclusive") if len(tally.recovery) > 2 else [0.0] * 99
    kinds = ", ".join(f"{number} {kind}s" for kind, number in sorted(tally.kills.items()))
    lines = [
        "# A soak of kills",
        "",
        "Made by `experiments/soak/soak.py`. Real loops, executors and ledgers around a stand-in for training;",
        "workers, loops and fork servers are killed with SIGKILL at random moments, and the same command is given",
        "again.",
        "",
        "| what | number |",
        "|---|---|",
        f"| kills | {sum(tally.kills.values())} ({kinds}) |",
        f"| studies, trials that ended | {tally.studies}, {tally.trials} |",
        f"| acknowledged results looked at after a kill | {tally.acknowledged} |",
        f"| acknowledged results lost | {tally.faults['lost']} |",
        f"| results accepted twice | {tally.faults['doubled']} |",
        f"| orphans 5 s after a kill | {tally.faults['orphans']} |",
        f"| verdicts or rows changed | {tally.faults['changed']} |",
        f"| recovery, median | {statistics.median(tally.recovery):.2f} s |",
        f"| recovery, 99th percentile, longest | {quick[98]:.2f} s, {max(tally.recovery):.2f} s |",
        f"| processes of a killed loop ended after, median, longest | {statistics.median(tally.ends):.2f} s, "
        f"{max(tally.ends):.2f} s |",
        "",
        f"{seconds / 60:.0f} min on {os.cpu_count()} cores; Python {platform.python_version()}, novum "
        f"{novum.__version__}, {platform.system()}. Recovery is from the command to a trial that trains, with the "
        "start of the interpreter; the stand-in needs no torch, whose import adds 2 to 4 s in a real study.",
        "",
    ]
    return "\n".join([*lines, *(f"- {what}" for what in tally.told[:50])])


def main() -> None:
    """Soak, and say what came of it; status 1 where anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--minutes", type=float, help="stop then at the latest")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and kinds of kills")
    parser.add_argument("--page", type=Path, help="write the table there")
    given = parser.parse_args()
    home, began, tally = Path(tempfile.mkdtemp(prefix="novum-soak-")), time.monotonic(), Tally()
    out, err = begin(home / "whole").communicate()
    if not out:
        raise SystemExit(f"the undisturbed study has no verdict: {err}")
    first = json.loads(out)["tasks"]["Coin"]["pairs"]
    whole = measured(out), {key: row for key, row in rows(home / "whole").items() if row[3] < first}
    while sum(tally.kills.values()) < given.kills:
        if given.minutes is not None and time.monotonic() - began > 60 * given.minutes:
            break
        folder = home / f"study-{tally.studies}"
        draw = random.Random(f"{given.seed}/{tally.studies}")  # noqa: S311 - moments of kills
        out = study(folder, draw, tally, min(25, given.kills - sum(tally.kills.values())))
        tally.studies += 1
        judge(folder, out, whole, tally)
        sys.stderr.write(f"\r{sum(tally.kills.values())} kills, {tally.studies} studies, faults {dict(tally.faults)}  ")
        if not tally.told:
            shutil.rmtree(folder, ignore_errors=True)
    text = page(tally, time.monotonic() - began)
    sys.stdout.write(f"\n{text}\n")
    if given.page is not None:
        given.page.write_text(text)
    if not tally.told:
        shutil.rmtree(home, ignore_errors=True)
    raise SystemExit(1 if tally.told else 0)


if __name__ == "__main__":
    main()
