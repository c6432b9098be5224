"""A claim file or a word that cannot be used: one clear refusal, soon, and nothing written."""

from __future__ import annotations

import copy
import io
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from novum import ConfigError, toml
from novum.claimfile import hypotheses, load_all
from novum.cli import main

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


@pytest.fixture
def refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Runs a command in `tmp_path` that must be refused as bad input; returns its message."""

    def run(*words: str) -> str:
        before = tree(tmp_path)
        out, err = io.StringIO(), io.StringIO()
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("NOVUM_STUDY", str(tmp_path / "study"))
        monkeypatch.setattr(sys, "argv", ["novum", *words])

        with pytest.raises(SystemExit) as end, redirect_stdout(out), redirect_stderr(err):
            main()

        said = err.getvalue()
        assert end.value.code == 2, said
        assert said.startswith("error: ") and said.endswith(".\n")
        assert all(line.isprintable() for line in said.splitlines()), ascii(said)
        assert len(said) < LONGEST_MESSAGE
        assert tree(tmp_path) == before
        return said

    return run


# ------------------------------------------------------------------------------------------------- files that are none

FILES = [
    (b"x" * 2_000_000, "2000000 bytes; a claim file has at most 1000000"),
    (b"a = " + b"[" * 10_000, "claim.toml: not valid TOML: line 1 lies more than 32 levels deep"),
    (b"\n\na = " + b"[" * 33 + b"]" * 33, "line 3 lies more than 32 levels deep"),
    (b"a = " + b"{a=" * 10_000, "line 1 lies more than 32 levels deep"),
    (b"a" + b".a" * 400_000 + b" = 1", "line 1 lies more than 32 levels deep"),
    (b"[a" + b' . "a"' * 10_000 + b"]", "line 1 lies more than 32 levels deep"),
    (b"[" + b"a." * 20 + b"a]\nb = " + b"[" * 15 + b"]" * 15, "lies more than 32 levels deep; write flatter tables"),
    (b'claim = "x\x00y"', "a NUL byte at offset 10 (line 1)"),
    (b'#\n#\nclaim = "\xe4"', "byte 0xe4 at offset 13 (line 3) is not UTF-8; save the file as UTF-8"),
    ("claim = 'x'".encode("utf-16"), "byte 0xff at offset 0 (line 1) is not UTF-8"),
    (b'claim = "x\x1b[2Jy"', "not valid TOML: Illegal character '\\x1b'"),
    (b'claim = "\\ud800"', "not valid TOML: "),
    (b'claim = "x"\nclaim = "y"\n', "not valid TOML: Cannot overwrite a value (at line 2,"),
    (b"seed = " + b"9" * 5000, "it holds a number of thousands of digits"),
    (b"seed = 0x" + b"f" * 5000, "seed: received <int, too large to show>; a whole number has at most 64 bits"),
    (b"seed = 9223372036854775808", "seed: received 9223372036854775808; a whole number has at most 64 bits"),
    (b"".join(b"k%d=1\n" % at for at in range(100_000)), "words and signs, many more than a claim"),
    (b"a = [" + b"[]," * 25_000 + b"]", "more than 20000 values"),
    (b"k" * 201 + b" = 1", "is longer than 200 characters; shorten it"),
    (b'claim = "' + b"x" * 100_000 + b'"', "… (100002 characters); a text has at most 10000 characters"),
    (b'claim = "' + b"x" * 1001 + b'"' + BODY.encode(), "1001 characters; allowed: one sentence on one line"),
    (
        HEAD.encode() + b"".join(b"[treatments.t%d]\n" % at for at in range(1001)) + BODY.encode(),
        "1 tasks with 1002 treatments are 1002 comparisons",
    ),
]


@pytest.mark.parametrize(("content", "told"), FILES, ids=[told[:40] for _, told in FILES])
def test_row_21_a_file_that_no_person_wrote_is_refused_in_a_few_words(
    refused: Callable[..., str], tmp_path: Path, content: bytes, told: str
) -> None:
    (tmp_path / "claim.toml").write_bytes(content)

    message = refused("run", "claim.toml")

    assert "claim.toml: " in message
    assert told in message


def test_row_21_a_sparse_file_of_64_gigabytes_is_refused_unread(refused: Callable[..., str], tmp_path: Path) -> None:
    with (tmp_path / "claim.toml").open("wb") as file:
        file.truncate(1 << 36)
    size = (tmp_path / "claim.toml").stat().st_size

    with pytest.raises(ConfigError, match=f"{size} bytes; a claim file has at most 1000000"):
        load_all(tmp_path / "claim.toml")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="looks at processes through Linux's /proc")
def test_row_21_a_file_that_says_it_is_empty_is_read_no_further_than_the_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toml, "MAX_BYTES", 100)

    with pytest.raises(ConfigError, match="/proc/self/status: too large; a claim file has at most 100 bytes"):
        load_all("/proc/self/status")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("folder", "is a folder, no claim file"),
        ("link-to-folder", "is a folder, no claim file"),
        ("/dev/zero", "is a device, a pipe or a socket, no claim file"),
        ("dangling", "no claim file at 'dangling'"),
        ("claim.toml/x", "no claim file at"),
        ("n" * 5000, "(5002 characters) cannot be read: File name too long"),
        ("a\x1b[2Jb", "no claim file at 'a\\x1b[2Jb'"),
        ("circle", "cannot be read: Too many levels of symbolic links"),
    ],
)
def test_row_21_what_is_no_file_is_told_as_what_it_is(
    refused: Callable[..., str], tmp_path: Path, name: str, told: str
) -> None:
    (tmp_path / "claim.toml").write_text(HEAD + BODY)
    (tmp_path / "folder").mkdir()
    for link, target in (("link-to-folder", "folder"), ("dangling", "nowhere"), ("circle", "circle")):
        (tmp_path / link).symlink_to(target)

    assert told in refused("run", name)


SCRIPT = """
import sys
from novum.cli import main
for path in sys.argv[1:]:
    sys.argv = ["novum", "run", path]
    try:
        main()
    except SystemExit as end:
        print(end.code)
print(sorted({"torch", "numpy", "scipy", "timm", "transformers", "yaml", "sqlalchemy"} & set(sys.modules)))
"""


def test_row_21_a_refusal_waits_for_no_pipe_and_imports_nothing_slow(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.toml")
    (tmp_path / "deep.toml").write_text("a = " + "[" * 10_000)
    (tmp_path / "wrong.toml").write_text(HEAD.replace("3", "nan") + BODY)
    (tmp_path / "alien.yaml").write_text("claim: x")
    names = sorted(path.name for path in tmp_path.iterdir())

    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT, *names], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )

    assert ended.stdout.splitlines() == ["2"] * 4 + ["[]"], ended.stderr
    assert ended.stderr.count("error: ") == len(ended.stderr.splitlines()) == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == names


# ---------------------------------------------------------------------------------------------- files that would do it

BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{new}: &{new} [{','.join(['*' + old] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("claim.yaml", BOMB),
        ("claim.yml", '!!python/object/apply:os.system ["touch canary"]'),
        ("claim.YAML", 'task: {_target_: os.system, command: "touch canary"}'),
        ("claim.json", '{"task": {"_target_": "os.system", "command": "touch canary"}}'),
    ],
)
def test_row_32_yaml_and_json_are_refused_with_what_to_write_instead(
    refused: Callable[..., str], tmp_path: Path, name: str, text: str
) -> None:
    (tmp_path / name).write_text(text)

    message = refused("run", name)

    assert f"{name}: a claim file is TOML" in message
    assert 'claim = "x"' in message and "[tasks.NAME]" in message


@pytest.mark.parametrize(
    "text", [BOMB, '!!python/object/apply:os.system ["touch canary"]', '{"_target_": "os.system"}']
)
def test_row_21_yaml_and_json_that_are_called_toml_are_no_toml(
    refused: Callable[..., str], tmp_path: Path, text: str
) -> None:
    (tmp_path / "claim.toml").write_text(text)

    assert "claim.toml: not valid TOML" in refused("run", "claim.toml")


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("_target_=os.system", "unknown option '_target_'"),
        ("tasks.pole._target_=os.system", "unknown option 'tasks.pole._target_'"),
        ("tasks.pole.task._target_=os.system", "task 'gym': unknown option '_target_' (value 'os.system')"),
        ("tasks.pole.model._target_=os.system", "model 'ppo': unknown option '_target_' (value 'os.system')"),
        ("tasks.pole.recipe._target_=os.system", "unknown option '_target_'"),
        ("tasks.pole.model.plugin=os:system", "no model is called 'os:system'"),
        ("tasks.pole.model.plugin=local:Model", "no model is called 'local:Model'"),
        ("tasks.pole.recipe.optimizer=../../os", "no optimizer is called '../../os'"),
    ],
)
def test_row_32_no_name_in_a_file_reaches_code_that_is_not_installed_as_a_plugin(
    refused: Callable[..., str], tmp_path: Path, word: str, told: str
) -> None:
    (tmp_path / "claim.toml").write_text(HEAD + BODY)

    assert told in refused("run", "claim.toml", word, "--executor=inline")


# ---------------------------------------------------------------------------------------------------- values and names

PLACES = [
    *(
        "alpha",
        "minimum_effect",
        "minimum_effect_raw",
        "futility",
        "expected_effect",
        "price_per_hour",
        "seed",
        "batch",
    ),
    *("control", "tasks.pole.control", "tasks.pole.minimum_effect", "tasks.pole.recipe.learning_rate"),
    *("tasks.pole.model.discount", "tasks.pole.task.physics.length", "treatments.longer.recipe.clip"),
]


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e999", "[1.0, nan]"])
@pytest.mark.parametrize("place", PLACES)
def test_row_21_a_number_that_is_none_is_refused_with_the_path_of_its_option(
    place: str, value: str, tmp_path: Path
) -> None:
    (tmp_path / "claim.toml").write_text(HEAD + BODY)

    with pytest.raises(ConfigError, match=rf"claim\.toml: {place}(\.1)?: received -?(nan|inf); .* finite number"):
        load_all(tmp_path / "claim.toml", [f"{place}={value}"])


@pytest.mark.parametrize("budget", ["5 parsecs", "5 epoch s", "-5 steps", "0 steps", "5e3 steps", "five", "1,000"])
def test_row_21_a_wrong_unit_is_refused_with_those_that_are_right(
    refused: Callable[..., str], tmp_path: Path, budget: str
) -> None:
    (tmp_path / "claim.toml").write_text(HEAD + BODY)

    message = refused("run", "claim.toml", f'tasks.pole.recipe.budget="{budget}"', "--executor=inline")

    assert f"recipe: option 'budget' received '{budget}'" in message
    assert "'6 epochs', '5_000 samples' or '100_000 steps'" in message


@pytest.mark.parametrize("value", ["2026-01-01", "12:00:00", "2026-01-01T00:00:00Z"])
def test_row_21_a_date_is_refused_where_it_stands(value: str, tmp_path: Path) -> None:
    (tmp_path / "claim.toml").write_text(HEAD + BODY)

    with pytest.raises(ConfigError, match=r"tasks\.pole\.task\.day: received .* put it between quotes"):
        load_all(tmp_path / "claim.toml", [f"tasks.pole.task.day={value}"])


UNFIT = [
    *("", " ", " x", "x ", ".", "..", "../x", "/etc/passwd", "a/b", "a\\b", ".hidden", "-x", "--study", "x" * 65),
    *("a\tb", "a\nb", "a\x1b[2Jb", "a\x00b", "a\x7fb", "a\x9bb", "a\u2028b", "a\u202eb", "a\u200bb", "\ud800"),
]


@pytest.mark.parametrize("kind", ["task", "treatment", "goal"])
@pytest.mark.parametrize("name", UNFIT, ids=ascii)
def test_row_21_a_name_that_is_a_path_or_steers_a_terminal_is_refused(kind: str, name: str) -> None:
    data = copy.deepcopy(CLAIM)
    if kind == "goal":
        data["goal"] = name
    else:
        data[f"{kind}s"] = {name: data[f"{kind}s"].popitem()[1]}

    with pytest.raises(ConfigError, match=r"^claim: ") as caught:
        hypotheses(data, "claim")

    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "name", ["digits", "stdlib-docs", "a.b", "größer (×2)", "画像", "50 %", "x" * 64, "<b>", "h'--"]
)
def test_row_21_a_name_in_any_script_is_kept_as_it_is(name: str) -> None:
    data = copy.deepcopy(CLAIM) | {"goal": name}
    data |= {"tasks": {name: data["tasks"]["pole"]}, "treatments": {name: data["treatments"]["longer"]}}

    (found,) = hypotheses(data, "claim")

    assert (list(found.tasks), found.name, found.goal) == ([name], name, name)


@pytest.mark.parametrize("sentence", ["a\x1b[2Jb", "a\nb", "a\rb", "a\tb", "a\x00b", "a\u202eb", "a\udcffb"], ids=ascii)
def test_row_21_a_sentence_that_steers_a_terminal_is_refused(sentence: str) -> None:
    with pytest.raises(ConfigError, match=r"claim: received 'a\\.*b', which h(as|olds) the") as caught:
        hypotheses(CLAIM | {"claim": sentence}, "file")

    assert str(caught.value).isprintable()


def test_row_21_a_sentence_in_any_script_is_kept_as_it_is() -> None:
    sentence = "Mehr Tiefe hilft: +2\u00a0% bei کتاب\u200cها 👩\u200d🔬"

    (found,) = hypotheses(CLAIM | {"claim": sentence}, "file")

    assert found.claim == sentence


def test_row_21_a_file_with_thousands_of_faults_tells_the_first_ten(
    refused: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "claim.toml").write_text("".join(f"option_{at} = 1\n" for at in range(5000)) + HEAD + BODY)

    lines = refused("run", "claim.toml").splitlines()

    assert [f"unknown option 'option_{at}'" in line for at, line in enumerate(lines[:10])] == [True] * 10
    assert lines[10:] == ["claim.toml: and 4990 faults more."]
