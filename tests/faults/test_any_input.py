"""Anything at all as a file, an option, a word, an id or a name: its plain meaning, or one clear refusal."""

from __future__ import annotations

import copy
import io
import tomllib
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from novum import ConfigError, toml
from novum.claimfile import ClaimFile, hypotheses, load_all
from novum.cli import record
from novum.cli.app import parse_arm
from novum.errors import DataError, InputError, PluginError, StudyError
from novum.executors import Job, spool
from novum.ledger import Ledger
from novum.readiness import check_names
from novum.recipe import Recipe

MANY = settings(max_examples=150)
LONGEST_MESSAGE = 3000
HEAD = 'claim = "seeing helps"\nmax_seeds = 3\n'
BODY = """
[treatments.longer]
recipe.learning_rate = 2e-3
[tasks.pole]
task = { plugin = "gym", env = "CartPole-v1" }
model = { plugin = "ppo" }
recipe = { budget = "1_000 steps" }
"""
CLAIM = tomllib.loads(HEAD + BODY)


def tree(folder: Path) -> dict[str, bytes | None]:
    """Everything in a folder: path → content, None for what is no file."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


# --------------------------------------------------------------------------------------------------- property: files

SHALLOW = (
    *("a='''x''''", 'b="""x\\\\"""""', "c=''", 'd="[[\\\\"', '"e"."f"=1', "g=1.5 # '''", "h=[1.5, 2.5]"),
    *(
        "[i.j]",
        'k="""\n[[{\n"""',
        'l={m=\'"""\'}',
        "n=['{', '#']",
        "[[o]]",
        "p='''''''",
        'q="""""\\""""',
        "r=1 # [{\"'",
    ),
)
TOMLISH = st.text(alphabet="[]{}\"'.=\n\t# ab1\\-+_e:nifT,\0\x1b\x7fé", max_size=80)


def told_briefly(error: Exception) -> None:
    assert len(str(error)) < LONGEST_MESSAGE
    assert all(line.isprintable() for line in str(error).split("\n")), ascii(str(error))


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("written") / "claim.toml"


@MANY
@given(content=st.binary(max_size=300) | st.text(max_size=100).map(str.encode) | TOMLISH.map(str.encode))
def test_row_21_any_bytes_are_a_claim_or_one_clear_error(file: Path, content: bytes) -> None:
    file.write_bytes(content)

    try:
        load_all(file)
    except InputError as error:
        told_briefly(error)


@MANY
@given(extra=TOMLISH, at=st.integers(0, len(HEAD + BODY)))
def test_row_21_a_claim_with_any_text_typed_into_it_is_a_claim_or_one_clear_error(
    file: Path, extra: str, at: int
) -> None:
    text = HEAD + BODY
    file.write_bytes((text[:at] + extra + text[at:]).encode())

    try:
        load_all(file)
    except InputError as error:
        told_briefly(error)


@MANY
@given(text=TOMLISH | st.lists(st.sampled_from(SHALLOW), max_size=4).map("\n".join))
def test_row_21_the_look_before_the_parser_refuses_nothing_that_a_shallow_file_holds(file: Path, text: str) -> None:
    file.write_bytes(text.encode())
    try:
        expected = tomllib.loads(text)
    except ValueError:
        expected = None

    if expected is None:
        with pytest.raises(ConfigError, match="not valid TOML"):
            toml.read(file)
    else:
        assert repr(toml.read(file)) == repr(expected)  # NaN differs from itself


@given(depth=st.integers(1, 200), opener=st.sampled_from([("[", "]"), ("{a=", "}"), ("{a.b=", "}")]), data=st.data())
def test_row_21_depth_is_refused_beyond_32_and_read_up_to_it(
    file: Path, depth: int, opener: tuple[str, str], data: st.DataObject
) -> None:
    quoted = data.draw(st.sampled_from(["", "'[[[['", '"{{{{"', "'''\n[[['''", '"""\\"[[["""']))
    inner = quoted or "1"
    text = f"# [[[[[\nx = '{'[' * 40}'\na = " + opener[0] * depth + inner + opener[1] * depth
    file.write_text(text)

    if depth > toml.DEEPEST:
        with pytest.raises(ConfigError, match="lies more than 32 levels deep"):
            toml.read(file)
    else:
        assert set(toml.read(file)) == {"x", "a"}


# -------------------------------------------------------------------------------------- property: values at any option


def paths() -> Iterator[tuple[str, ...]]:
    """Where an option of a claim stands, or could."""
    yield from ((name,) for name in ClaimFile.model_fields)
    parts = (
        "task",
        "model",
        "evaluator",
        "recipe",
        "start_from",
        "control",
        "treatments",
        "metric",
        "plugin",
        "nothing",
    )
    for owner in (("control",), ("treatments", "longer"), ("tasks", "pole"), ("tasks", "pole", "control")):
        yield from ((*owner, part) for part in parts)
        yield from ((*owner, "recipe", name) for name in Recipe.model_fields)
    options = {"task": ("plugin", "env", "physics", "episodes"), "model": ("plugin", "discount", "hidden", "_target_")}
    yield from (("tasks", "pole", part, name) for part, names in options.items() for name in names)


LEAF = (
    st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=8)
    | st.dates()
    | st.datetimes()
    | st.times()
    | st.builds(lambda: 10**5000)
    | st.sampled_from(
        ["open", "5 parsecs", "at_least(9999)", "at_least(²)", "nan", "../x", "\x1b[2J", "9" * 400, "9" * 9999]
    )
)
KEYS = st.text(max_size=5) | st.sampled_from(["plugin", "start_from", "recipe", "budget", "_target_", "longer"])
VALUES = st.recursive(LEAF, lambda of: st.lists(of, max_size=3) | st.dictionaries(KEYS, of, max_size=3), max_leaves=8)


@MANY
@given(changes=st.lists(st.tuples(st.sampled_from(sorted(set(paths()))), VALUES), min_size=1, max_size=3))
def test_row_21_any_value_at_any_option_is_used_or_is_one_clear_error(
    changes: list[tuple[tuple[str, ...], Any]],
) -> None:
    data = copy.deepcopy(CLAIM)
    for path, value in changes:
        place: Any = data
        for part in path[:-1]:
            place = place.setdefault(part, {}) if isinstance(place, dict) else {}
        if isinstance(place, dict):
            place[path[-1]] = value

    try:
        found = hypotheses(data, "claim")
        check_names([arm for each in found for task in each.tasks.values() for arm in task.arms.values()], "jsonl")
    except (InputError, PluginError) as error:
        told_briefly(error)


WORDS = st.text(max_size=30) | st.builds(
    "{}={}".format,
    st.sampled_from(["task", "model", "evaluator", "budget", "clip", "task.data", "model.a.b", "recipe", "task.plugin"])
    | st.text(alphabet="ab.", max_size=8),
    st.text(max_size=20) | st.sampled_from(["gym", "nan", "[" * 2000, "{a=1}", "1\nb=2", "9" * 5000, "\udcff", "'''"]),
)


@MANY
@given(words=st.lists(WORDS, max_size=5))
def test_row_21_any_words_are_an_arm_or_one_clear_error(words: list[str]) -> None:
    try:
        parse_arm(words)
    except InputError as error:
        told_briefly(error)


@MANY
@given(words=st.lists(WORDS, min_size=1, max_size=3))
def test_row_21_any_words_after_a_claim_file_change_it_or_are_one_clear_error(file: Path, words: list[str]) -> None:
    file.write_text(HEAD + BODY)

    try:
        load_all(file, words)
    except InputError as error:
        told_briefly(error)


def test_row_21_one_word_gives_one_option() -> None:
    arm = parse_arm(["task=gym", "model=ppo", 'task.note=1\nevil = "x"'])

    assert arm.task.options == {"note": '1\nevil = "x"'}


# ------------------------------------------------------------------------------------------- property: ids and prefixes

IDS = ("h-0123456789", "h-0123abcdef", "h-01%3456789", "h-01_3456789", "H-0123456789", "h-' OR 1=1 --")
ATTACKS = (
    *("", "%", "%%%%", "____", "h-%%", "h-__", "h-01_", "h-01%", "H-01", "H-012", "h-0123\0", "h-0123"),
    *("' OR 1=1", "' OR '1'='1", 'h-"', "h-' O", "h-' OR 1=1 --", "h-01\\%"),
)


PLACE = {"task": "pole", "side": "control"}


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    """A ledger whose ids look like patterns, with two trials."""
    with Ledger.open(tmp_path_factory.mktemp("ids") / "study") as opened:
        opened.register(
            [({"id": each, "fingerprint": each}, {"id": f"x{each}", "hypothesis": each, "plan": {}}) for each in IDS]
        )
        opened.plan_trials(
            [
                {"key": key, "arm": "a", "block": "b", "index": 0, "kind": "train", **PLACE}
                for key in ("ab%d-1", "abcd-2")
            ]
        )
        yield opened


@MANY
@given(
    asked=st.text(max_size=14)
    | st.sampled_from(ATTACKS)
    | st.builds(
        lambda id, cut, end: id[:cut] + end, st.sampled_from(IDS), st.integers(0, 14), st.text("%_'h0\\", max_size=2)
    )
)
def test_row_21_an_id_finds_only_the_one_hypothesis_that_begins_so(ledger: Ledger, asked: str) -> None:
    begin = [each for each in IDS if each.startswith(asked)]

    if asked not in IDS and len(asked) >= 4 and len(begin) > 1:
        with pytest.raises(StudyError, match="add characters"):
            ledger.hypothesis(asked)
        return
    found = ledger.hypothesis(asked)

    expected = asked if asked in IDS else begin[0] if len(asked) >= 4 and begin else None
    assert (found and found["id"]) == expected
    assert len(ledger.hypotheses()) == len(IDS)


NAMES = st.text(max_size=12) | st.sampled_from(
    ["..", ".", "", "a/b", "../x", "/etc/x", "a\0b", "a\n", "~", "x" * 101, "%2e%2e", "-rf", "a\\b"]
)


@given(id=NAMES | st.from_regex(r"\A[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}\Z"))
def test_row_21_a_job_is_refused_or_its_files_lie_in_their_folders(
    tmp_path_factory: pytest.TempPathFactory, id: str
) -> None:
    folder = tmp_path_factory.mktemp("jobs")
    for name in ("spool", "logs"):
        (folder / name).mkdir()

    try:
        job = Job(id, "train", {})
    except ConfigError as error:
        told_briefly(error)
        assert spool.place(folder, "a").parent == folder / "spool"
        return
    spool.write(folder, job.id, {"value": {}}, job.attempt)
    (folder / "logs" / f"{job.id}.log").write_text("")

    assert sorted(tree(folder)) == sorted(
        ["logs", f"logs/{job.id}.log", "spool", spool.place(Path(), job.id).as_posix()]
    )
    assert [each.id for each in spool.orphans(folder)] == [job.id]


@given(asked=st.text(max_size=8) | st.sampled_from(["ab", "ab%", "ab_d", "ab%d", "abcd-2", "../logs/ab", *ATTACKS]))
def test_row_21_logs_shows_the_one_trial_that_begins_so_or_names_how_many_do(ledger: Ledger, asked: str) -> None:
    begin = [key for key in ("ab%d-1", "abcd-2") if key.startswith(asked)]
    out = io.StringIO()

    if len(begin) == 1:
        with redirect_stdout(out):
            record.logs(asked, str(ledger.folder), as_json=True)
        assert f'"trial": "{begin[0]}"' in out.getvalue()
    else:
        with pytest.raises(StudyError, match=f"names {len(begin)} trials"):
            record.logs(asked, str(ledger.folder))


# NUL cannot stand in an argument of a process
TARGETS = st.text(st.characters(codec="utf-8", exclude_characters="\0/"), max_size=12)


@given(stem=TARGETS, ending=st.sampled_from([".csv", ".jsonl", ".CSV", ".json", ".html", "", ".csv/"]) | TARGETS)
def test_row_21_trials_are_written_to_the_file_that_was_named_or_nowhere(
    ledger: Ledger, tmp_path_factory: pytest.TempPathFactory, stem: str, ending: str
) -> None:
    folder = tmp_path_factory.mktemp("targets")
    target = folder / f"{stem}{ending}"

    try:
        with redirect_stdout(io.StringIO()):
            record.trials(target, str(ledger.folder))
    except (ConfigError, DataError) as error:
        told_briefly(error)
        assert tree(folder) == {}
    else:
        assert target.suffix in (".csv", ".jsonl")
        assert list(tree(folder)) == [target.name]
