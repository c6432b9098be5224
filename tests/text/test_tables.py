import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from novum import DataError
from novum_text.tables import read

Write = Callable[..., str]


def test_csv_tsv_and_json_lines_of_the_same_rows_read_the_same(write: Write, tmp_path: Path) -> None:
    rows = [("one fine day", "good"), ("rain", "bad")]
    lines = tmp_path / "a.jsonl"
    lines.write_text("\n\n".join(json.dumps({"text": text, "label": label}) for text, label in rows), encoding="utf-8")

    found = [read(file, "text", "label") for file in (write("a.csv", rows), write("a.tsv", rows), str(lines))]

    assert [list(zip(each.texts, each.labels, strict=True)) for each in found] == [rows] * 3


def test_csv_texts_may_hold_commas_quotes_and_line_breaks(tmp_path: Path) -> None:
    text = 'a, "b"\nc'
    with (tmp_path / "a.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["label", "text"], ["x", text], ["y", "d" * 200_000]])

    found = read(str(tmp_path / "a.csv"), "text", "label")

    assert found.texts == (text, "d" * 200_000)
    assert csv.field_size_limit() == 131_072


def test_tsv_keeps_stray_quotes_and_unwraps_whole_quoted_cells(write: Write) -> None:
    file = write("a.tsv", [('" half open', "x"), ('say "hi" now', "x"), ('"she said ""no"""', "y")])

    found = read(file, "text", "label")

    assert found.texts == ('" half open', 'say "hi" now', 'she said "no"')


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label\none,x\n", encoding="utf-8-sig")

    assert read(str(tmp_path / "a.csv"), "text", "label").texts == ("one",)


def test_numbers_and_booleans_are_classes_by_their_json_text(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('{"text": "a", "label": 1}\n{"text": "b", "label": true}\n')

    assert read(str(file), "text", "label").labels == ("1", "true")


def test_a_missing_file_is_named_with_where_it_was_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(DataError) as caught:
        read("gone.csv", "text", "label")

    assert "'gone.csv'" in str(caught.value)
    assert str(tmp_path / "gone.csv") in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.xlsx", b"text", r"extension '\.xlsx'; allowed: \.csv, \.tsv"),
        ("a.csv", b"", "is empty"),
        ("a.tsv", b"text\tlabel\n", "is empty"),
        ("a.jsonl", b"\n", "is empty"),
        ("a.csv", b"texts,label\na,x\n", "no column 'text'.*did you mean 'texts'"),
        ("a.csv", b"text,labels\na,x\n", "no column 'label'.*did you mean 'labels'"),
        ("a.jsonl", b'{"text": "a", "lable": "x"}', "row 1.*no column 'label'.*did you mean 'lable'"),
        ("a.csv", "text,label\nok,x\ncaf\u00e9,x\n".encode("latin-1"), r"not UTF-8: byte 0xe9 at .*\(line 3\)"),
        ("a.csv", b"text,label\na,b,x\n", "row 1: 3 columns, but the header has 2"),
        ("a.csv", b'text,label\n"a,x\n', "not well-formed CSV"),
        ("a.csv", b"text,label,text\na,x,b\n", "column 'text' more than once"),
        ("a.csv", b"text,label\na,x\nb, \n", "row 2.*'label'.*needs a name"),
        ("a.jsonl", b'{"text": "a", "label": null}', "row 1.*holds None"),
        ("a.jsonl", b'{"text": 3, "label": "x"}', "row 1.*holds 3, which is no string"),
        ("a.jsonl", b'{"text": "a", "label": "x"}\n{', "line 2 is not JSON"),
        ("a.jsonl", b'["a", "x"]', "line 1 holds list"),
        ("a.jsonl", b'{"text": "\\ud800", "label": "x"}', "row 1 holds a lone surrogate"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)

    with pytest.raises(DataError, match=f"(?s){message}"):
        read(str(tmp_path / name), "text", "label")
