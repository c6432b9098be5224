import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from novum_text.classification import TextClassification

ROWS = [(f"{word} number {at}", word) for at in range(40) for word in ("apple", "pear", "plum")]
CHINESE = [
    *((f"今天的天气很好，气温{at}度，下午有雨。", "天气") for at in range(20)),
    *((f"球队以{at}比零赢得了比赛，球迷很高兴。", "体育") for at in range(20)),
]


def task(**options: Any) -> TextClassification:
    return TextClassification(TextClassification.Config.model_validate(options))


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    """Write rows of (text, label) as a file with a header, CSV or TSV by its name."""

    def written(name: str, rows: list[tuple[str, str]] = ROWS, header: tuple[str, str] = ("text", "label")) -> str:
        mark = "\t" if name.endswith(".tsv") else ","
        file = tmp_path / name
        file.write_text("".join(f"{text}{mark}{label}\n" for text, label in [header, *rows]), encoding="utf-8")
        return str(file)

    return written


@pytest.fixture
def reviews() -> dict[str, str]:
    root = os.environ.get("NOVUM_DATA")
    if not root:
        pytest.skip("NOVUM_DATA is unset: it names the folder of the shared test data sets")
    return {split: str(Path(root, "text_classification", "mr", f"{split}.tsv")) for split in ("train", "dev", "test")}
