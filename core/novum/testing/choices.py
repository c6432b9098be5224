"""What options do: other data have another fingerprint, and an inert option changes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from novum.errors import NovumError
from novum.task import Split
from novum.testing.batches import acts, digest, rows
from novum.testing.laws import Inapplicable, expect, law
from novum.testing.tasks import drawn, opened, scored

if TYPE_CHECKING:
    from novum.task import Task
    from novum.testing.subject import Subject


@law("the fingerprint is the same for the same data, and another for other data", "task")
def fingerprint_follows_the_data(subject: Subject) -> None:
    task = subject.make()
    found = task.fingerprint()
    expect(isinstance(found, str) and found, f"`fingerprint` gives {found!r}; give a hash of the data, as text")
    expect(found == subject.make().fingerprint(), "two tasks of the same options give other fingerprints")
    tried = 0
    plays = acts(opened(task))
    before = None if plays else _content(task, *Split)
    for told, options in _other_data(subject):
        try:
            other = subject.make(**options)
            fresh = (
                subject.changed is not None
                or told.startswith("a file")
                or (before and _content(other, Split.DEV, Split.TEST) - before)
            )
        except (NovumError, OSError, ValueError):
            continue
        if not fresh:
            continue  # an option that divides or orders the same units, or draws from `train`
        tried += 1
        expect(
            other.fingerprint() != found,
            f"with {told} the data are others, but the fingerprint is still {found[:40]!r}; hash what is read, so "
            "that no "
            "trial on old data passes for one on new",
        )
    if not tried:
        raise Inapplicable(
            "none of its options changes its data; name options that do as `changed` in the test, such as another file"
        )


def _content(task: Task, *splits: Split) -> set[tuple[str, str]]:
    """(input, target) of the units of some splits, as hashes."""
    return {row[1:] for split in splits for row in rows(scored(task, split))}


def _other_data(subject: Subject) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Options by which the data may differ, with words for them."""
    if subject.changed is not None:
        yield f"the options {dict(subject.changed)}", subject.changed
        return
    config = subject.config()
    for name, value in ((name, getattr(config, name)) for name in type(config).model_fields):
        if isinstance(value, str) and value and Path(value).is_file():
            yield f"a file of the option {name!r} changed", {name: _altered(Path(value), subject.folder)}
        elif type(value) in (int, float) and not acts(opened(subject.make())):
            for other in (value * 2, value / 2 if isinstance(value, float) else value // 2, value + 1):
                yield f"{name} = {other!r} in place of {value!r}", {name: other}


def _altered(file: Path, folder: Path) -> str:
    """A copy of a text file with its last line doubled under another content, else with its last byte changed."""
    lines = file.read_bytes().splitlines(keepends=True)
    copy = folder / f"altered-{file.name}"
    whole = b"".join(lines)
    at = max((at for at, byte in enumerate(whole) if chr(byte).isalnum()), default=0)
    byte = whole[at : at + 1]
    copy.write_bytes(whole[:at] + (b"1" if byte == b"0" else b"0") + whole[at + 1 :])
    return str(copy)


@law("an option that is inert changes nothing, and so does one written out at its default", "task")
def an_inert_option_changes_nothing(subject: Subject) -> None:
    base = digest(drawn(subject.make(), 0))
    written = subject.but(options=subject.config().model_dump(mode="json"))
    expect(
        digest(drawn(written.make(), 0)) == base,
        "its batches change when its options are written out at their defaults",
    )
    for name, value in inert(subject).items():
        expect(
            digest(drawn(subject.make(**{name: value}), 0)) == base,
            f"{name} = {value!r} changes the training batches, though {name!r} is said to be inert",
        )


def inert(subject: Subject) -> dict[str, Any]:
    """Options that decide nothing, with another value each: those that are named, and texts whose description begins
    with "Inert".
    """
    config = subject.config()
    found = {
        name: f"{getattr(config, name)} another"
        for name, field in type(config).model_fields.items()
        if (field.description or "").lower().startswith("inert") and isinstance(getattr(config, name), str)
    }
    return {**found, **subject.inert}
