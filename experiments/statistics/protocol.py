"""The simulations behind the sequential tests: error rates, coverage, power, robustness, streams; as a Markdown page.

    python experiments/statistics/protocol.py --to docs/statistics-results.md

`--quick` runs a tenth of the studies. Every cell has a seed of its own, so that equal calls give equal numbers.
"""

from __future__ import annotations

import argparse
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import cells
import laws
import page
import streams

STUDIES = 20_000
FLIPS = {5: 20_000, 10: 20_000, 20: 2_000}
"""Studies of the sign-flip test by pairs: beyond 16 pairs it follows 65,536 random paths or more in every study."""
STREAMS = 1000

Cell = Callable[[], dict[str, Any]]


def seed(*what: object) -> int:
    """One seed for the data of a cell: rules that are compared see the same studies."""
    return zlib.crc32(repr(what).encode())


def planned(tenth: bool) -> dict[tuple[Any, ...], Cell]:
    """Every cell of the page by its key."""
    found: dict[tuple[Any, ...], Cell] = {}

    def ask(
        key: tuple[Any, ...], cell: Callable[..., dict[str, Any]], *given: object, studies: int, on: object
    ) -> None:
        found[key] = partial(cell, *given, studies // (10 if tenth else 1), seed(on))

    for law in page.BARRED:
        for pairs, batch in page.DESIGNS:
            on = ("errors", law, pairs)
            ask(("errors", law, pairs, batch, "t"), cells.errors, law, pairs, batch, 0.0, "t", studies=STUDIES, on=on)
    for pairs, batch in page.DESIGNS:
        for rule in ("t", "peeking"):
            given = ("normal", pairs, batch, cells.MARGIN, rule)
            ask(("margin", pairs, batch, rule), cells.errors, *given, studies=STUDIES, on=("margin", pairs))
    for law in laws.SYMMETRIC:
        for pairs, studies in FLIPS.items():
            given = (law, pairs, 1, 0.0, "sign-flip")
            ask(("flips", law, pairs), cells.errors, *given, studies=studies, on=("errors", law, pairs))
    for pairs in (5, 10, 20):
        ask(("harm", pairs), cells.harm, pairs, studies=STUDIES, on=("harm", pairs))
    for law in laws.LAWS:
        on = ("errors", law, 10)
        for rule in ("fixed", "peeking", "t", "sign-flip"):
            ask(("robust", law, rule), cells.errors, law, 10, 1, 0.0, rule, studies=STUDIES, on=on)
        ask(("robust", law, "later"), cells.later, law, 10, 5, studies=STUDIES, on=on)
    for rule in ("t", "sign-flip"):
        for law in ("normal", "bimodal"):
            given = (law, 0.005, rule, 10)
            ask(("small", law, rule), cells.small, *given, studies=STUDIES, on=("errors", law, 10))
    for pairs in (10, 20, 30):
        for effect in page.EFFECTS:
            on = ("power", pairs)
            for rule in page.RULES[pairs]:
                studies = FLIPS[pairs] if rule == "sign-flip" else STUDIES
                ask(("power", pairs, effect, rule), cells.power, rule, pairs, effect, 0.0, studies=studies, on=on)
            given = ("t 1.5", pairs, effect, 0.1)
            ask(("power", pairs, effect, "futility"), cells.power, *given, studies=STUDIES, on=on)
    for level in page.SMALL:
        for pairs in (10, 20):
            given = (level, pairs, 1.5)
            ask(("level", level, pairs), cells.small_power, *given, studies=STUDIES, on=("power", pairs))
    for effect in (0.0, 0.5, 1.0):
        ask(("zone", effect), cells.zone, 10, effect, studies=STUDIES, on=("zone",))
    for effect, true in page.STREAMS:
        for shared in (False, True):
            for rule in streams.RULES:
                on = ("streams", effect, true, shared)
                ask(
                    ("stream", effect, true, shared, rule),
                    streams.run,
                    effect,
                    true,
                    shared,
                    rule,
                    studies=STREAMS,
                    on=on,
                )
    return found


def _timed(cell: Cell) -> dict[str, Any]:
    start = time.perf_counter()
    return cell() | {"seconds": time.perf_counter() - start}


def main() -> None:
    """Run every cell and write the page."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--to", type=Path, help="the Markdown file to write; default: print it")
    words.add_argument("--quick", action="store_true", help="a tenth of the studies")
    words.add_argument("--processes", type=int, default=2, help="how many cells are simulated at once")
    given = words.parse_args()
    start = time.perf_counter()
    asked = planned(given.quick)
    with ProcessPoolExecutor(given.processes) as pool:
        found = dict(zip(asked, pool.map(_timed, asked.values()), strict=True))
    text = page.write(found, seconds=time.perf_counter() - start, processes=given.processes, quick=given.quick)
    if given.to is None:
        print(text)
    else:
        given.to.write_text(text, encoding="utf-8")
        slow = max(found, key=lambda key: found[key]["seconds"])
        print(f"{len(found)} cells in {time.perf_counter() - start:.0f} s; the slowest is {slow}")


if __name__ == "__main__":
    main()
