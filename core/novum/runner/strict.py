"""What an evaluator gives, held to its contract: real numbers, or `Undefined` with a reason.

A metric that is missing or is no number is the evaluator's mistake and breaks the trial. NaN and infinity are
numbers that could not be measured, and pass: they are undefined in the record.
"""

from __future__ import annotations

import numbers
from typing import Any

from novum.data import Metric, Scores, Undefined

ALLOWED = "a real number (int, float, a numpy scalar, a tensor without dimensions) or novum.Undefined with a reason"
SHOWN = 60
"""Characters of a wrong value that a message repeats."""


def scores(given: Any, metrics: tuple[Metric, ...], evaluator: str) -> Scores:
    """The same scores with every metric and every cell of a table as a float or an Undefined.

    Columns of units hold numbers, strings (an id, a class) and Undefined; in a column that is named like one of the
    evaluator's metrics, strings have no place.

    Raises TypeError for a value of a wrong type, and ValueError for a metric that is missing, a number that no float
    can hold or columns of different lengths. Neither is a NovumError: it is the evaluator that is broken, not what a
    person wrote.
    """
    if not isinstance(given, Scores):
        raise TypeError(f"the evaluator {evaluator!r} returned {_shown(given)}; its `score` must return novum.Scores.")
    declared = {metric.name for metric in metrics}
    missing = [metric.name for metric in metrics if metric.name not in given.metrics]
    if missing:
        raise ValueError(
            f"the evaluator {evaluator!r} declares the metric {missing[0]!r}, but its scores have only "
            f"{', '.join(map(repr, given.metrics)) or 'none'}; give each, as novum.Undefined where it has no value."
        )
    lengths = {name: len(column) for name, column in given.units.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(
            f"the evaluator {evaluator!r} gave columns of different lengths, {lengths}; a row is one unit."
        )
    return Scores(
        units={
            name: [
                _cell(cell, f"{evaluator}: units[{name!r}][{at}]", name in declared) for at, cell in enumerate(column)
            ]
            for name, column in given.units.items()
        },
        metrics={name: _number(value, f"{evaluator}: metrics[{name!r}]") for name, value in given.metrics.items()},
        tables={
            table: {
                row: {
                    name: _number(value, f"{evaluator}: tables[{table!r}][{row!r}][{name!r}]")
                    for name, value in cells.items()
                }
                for row, cells in rows.items()
            }
            for table, rows in given.tables.items()
        },
    )


def _number(value: Any, where: str, allowed: str = ALLOWED) -> float | Undefined:
    if isinstance(value, Undefined):
        return value
    plain = _plain(value)
    if isinstance(plain, bool) or not isinstance(plain, numbers.Real):
        raise TypeError(f"{where} is {_shown(value)}; allowed is {allowed}.")
    try:
        return float(plain)
    except OverflowError:
        raise ValueError(f"{where} is {_shown(value)}, which no float can hold; allowed is {allowed}.") from None


def _cell(value: Any, where: str, metric: bool) -> Any:
    """A unit's cell. Integers and truth values stay what they are; None stands for no value, as "" does."""
    plain = _plain(value)
    if isinstance(plain, bool) or (not metric and (plain is None or isinstance(plain, str))):
        return plain
    if isinstance(plain, int) and abs(plain) < 1 << 63:
        return plain
    return _number(value, where, ALLOWED if metric else f"{ALLOWED}, or a string")


def _plain(value: Any) -> Any:
    """A numpy scalar or a tensor without dimensions as the Python number that it holds; anything else as it is."""
    return value.item() if hasattr(value, "item") and getattr(value, "shape", None) == () else value


def _shown(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 1000:
        return f"an int of {value.bit_length()} bits"  # Python refuses to write out the longest
    text = repr(value)
    return f"{text if len(text) <= SHOWN else text[:SHOWN] + '…'} ({type(value).__name__})"
