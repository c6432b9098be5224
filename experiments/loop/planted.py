"""Loops on planted levers: how much of what a loop adopts is false, what it promises, and what it gains.

    OMP_NUM_THREADS=1 python experiments/loop/planted.py --to docs/loop-results.md

Without --to the page is printed. `--quick` simulates a tenth of the loops; `--no-optuna` leaves Optuna out, which is
the only one that needs more than Novum (pip install optuna). Equal calls give equal numbers, whatever the number of
processes. In a file that is there already, only the part between the marks of this page is replaced.
"""

from __future__ import annotations

import argparse
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path
from typing import Any

import planted_page
from climbers import Pace
from family import FAMILIES, Family
from measures import OTHERS, PACES, Cell, measure

LOOPS = 2000
BUDGETS = (200, 400)
OPTUNA = 8
"""Loops of Optuna, each of which takes seconds, at the smaller budget alone."""

Asked = tuple[str, Family, int, int, "Pace | None"]


def planned(tenth: bool, optuna: bool) -> dict[tuple[Any, ...], Asked]:
    """Every cell of the page by its key."""
    loops = LOOPS // (10 if tenth else 1)
    found: dict[tuple[Any, ...], Asked] = {}
    for budget in BUDGETS:
        for family in FAMILIES:
            for method in (*PACES, *OTHERS):
                if method != "Optuna":
                    found["main", budget, family.name, method] = (method, family, budget, loops, None)
    small = BUDGETS[0]
    for family in FAMILIES:
        if optuna:
            few = max(2, OPTUNA // (10 if tenth else 1))
            found["main", small, family.name, "Optuna"] = ("Optuna", family, small, few, None)
        for label, other in planted_page.elsewhere(family).items():
            for method in planted_page.ELSEWHERE:
                found["elsewhere", label, family.name, method] = (method, other, small, loops, None)
        for label, changes in planted_page.CHANGES.items():
            pace = replace(PACES["search, gives up"], **changes)
            found["pace", label, family.name] = ("search", family, small, loops // 2, pace)
    return found


def _one(asked: Asked) -> tuple[Cell, float]:
    start = time.perf_counter()
    return measure(*asked), time.perf_counter() - start


def simulated(asked: dict[tuple[Any, ...], Asked], processes: int) -> dict[tuple[Any, ...], Cell]:
    """Every cell, in as many processes."""
    with ProcessPoolExecutor(processes) as pool:
        waiting = {pool.submit(_one, each): key for key, each in asked.items()}
        found: dict[tuple[Any, ...], Cell] = {}
        for done in as_completed(waiting):
            found[waiting[done]], seconds = done.result()
            print(f"{len(found)}/{len(asked)} {waiting[done]} {seconds:.0f} s", flush=True)
    return {key: found[key] for key in asked}


def main() -> None:
    """Simulate every cell and write the page."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--to", type=Path, help="the Markdown file whose part is written; default: print it")
    words.add_argument("--quick", action="store_true", help="a tenth of the loops")
    words.add_argument("--no-optuna", action="store_true", help="leave Optuna out")
    words.add_argument("--processes", type=int, default=2, help="how many cells are simulated at once")
    given = words.parse_args()
    start = time.perf_counter()
    found = simulated(planned(given.quick, not given.no_optuna), given.processes)
    text = planted_page.write(found, time.perf_counter() - start, given.processes, given.quick)
    print(planted_page.table(found, BUDGETS[0]))
    if given.to is None:
        print(text)
    else:
        planted_page.put(given.to, text)


if __name__ == "__main__":
    main()
