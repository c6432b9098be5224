"""A loop that is killed, by SIGKILL, once at every boundary of events in its ledger, and started again each time.

Run as a script: `climbing.py FOLDER SEEN`. Each start is a fork of a process that has imported everything. SEEN is a
file that lists the boundaries at which one was killed already; "-" kills nobody. No test of its own.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

import novum
from novum.ledger.database import Database
from novum.ledger.journal import Change

MOST = 2000
"""Starts after which something is wrong."""


def goal(toy: Any) -> novum.Goal:
    """A change that helps, and one that does not. A loop that ends by a stall."""
    arm = novum.arm(
        novum.task(toy.Blobs, noise=0.3), novum.model(toy.Linear, dropout=0.0), learning_rate=1e-4, budget="80 samples"
    )
    changes = [{"recipe.learning_rate": 0.3}, {"model.dropout": 0.9}]
    return novum.Goal(
        "toy",
        tasks={"blobs": arm},
        budget=100,
        space={"recipe.learning_rate": {"low": 1e-5, "high": 1.0}, "model.dropout": {"low": 0.0, "high": 0.95}},
        proposers=({"plugin": "declared", "changes": changes},),
        max_seeds=6,
        seeds=2,
        worth=3,
    )


def told(folder: Path) -> dict[str, Any]:
    """What came of the loop, without times: its lineage, its verdicts, its proposals, and the trials by key."""
    study = novum.Study(folder)
    (lineage,) = study.loops()
    plain = lineage.to_json()
    del plain["worked"]
    plain["facts"] = {
        task: [fact for fact in facts if not fact["id"].endswith(("seconds", "throughput", "memory"))]
        for task, facts in plain["facts"].items()
    }
    plain["worth"] = {name: each for name, each in plain["worth"].items() if name != "worked"}
    with study.reading() as ledger:
        ledger.verify()
        events = [row["record"] for row in ledger.observations("loop/toy/")]
        trials = sorted((row["key"], row["state"]) for row in ledger.trials() if row["kind"] == "train")
        openings = [(row["hypothesis"], row["purpose"]) for row in ledger.openings()]
        verdicts = {row["id"]: json.loads(str(ledger.verdict(row["id"]))) for row in ledger.hypotheses()}
    outcomes = {id: [each["outcome"], each["effect"], each["interval"]] for id, each in verdicts.items()}
    proposals = [each["hypothesis"] for each in events if each["kind"] == "proposed"]
    kinds = [each["kind"] for each in events]
    return {
        "lineage": plain,
        "verdicts": outcomes,
        "proposals": proposals,
        "events": kinds,
        "trials": trials,
        "openings": openings,
    }


def mortal(seen: Path) -> None:
    """Let this process be killed after the first transaction whose event no process before was killed after."""
    last: list[str] = []
    event, changing = Change.event, Database._changing

    def noted(self: Change, kind: str, payload: Any) -> None:
        event(self, kind, payload)
        words = {name: value for name, value in payload.items() if name not in ("session", "attempt", "reason")}
        if kind != "session":
            last.append(json.dumps([kind, words], sort_keys=True))

    class Watched:
        def __init__(self, inner: Any) -> None:
            self.inner = inner

        def __enter__(self) -> Any:
            return self.inner.__enter__()

        def __exit__(self, *error: Any) -> Any:
            done = self.inner.__exit__(*error)
            known = set(seen.read_text().splitlines())
            new = [each for each in last if each not in known]
            last.clear()
            if error[0] is None and new:
                seen.write_text("\n".join([*sorted(known), *new]))
                os.kill(os.getpid(), signal.SIGKILL)
            return done

    Change.event = noted  # type: ignore[method-assign]
    Database._changing = lambda self, kind: Watched(changing(self, kind))  # type: ignore[method-assign, assignment, return-value]


def main(folder: str, seen: str) -> None:
    """Start the loop until it ends by itself; print how often it was killed and what came of it."""
    import torch

    torch.set_num_threads(1)
    spec = importlib.util.spec_from_file_location("toy", Path(__file__).parents[1] / "toy.py")
    assert spec is not None and spec.loader is not None
    toy = importlib.util.module_from_spec(spec)
    sys.modules["toy"] = toy
    spec.loader.exec_module(toy)
    asked = goal(toy)
    novum.session.environment = dict  # type: ignore[attr-defined]  # it reads the metadata of all packages
    novum.Study(f"{folder}-warm", executor="inline", listener=novum.lab.Listener()).loop(asked)  # type: ignore[attr-defined]
    if seen != "-":
        Path(seen).write_text("")
    kills = 0
    for _ in range(MOST):
        child = os.fork()
        if child == 0:
            try:
                if seen != "-":
                    mortal(Path(seen))
                novum.Study(folder, executor="inline", listener=novum.lab.Listener()).loop(asked)  # type: ignore[attr-defined]
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            break
        kills += 1
    else:
        raise SystemExit("it never came to an end")
    if os.waitstatus_to_exitcode(status) != 0:
        raise SystemExit(1)
    sys.stdout.write(json.dumps({"kills": kills, **told(Path(folder))}))


if __name__ == "__main__":
    import novum.lab
    import novum.session

    main(*sys.argv[1:])
