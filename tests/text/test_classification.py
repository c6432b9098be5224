import itertools
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from novum import ConfigError, DataError, Examples, Recipe, Seed, Split
from novum.config import parse
from novum_text.classification import TextClassification
from novum_text.corpus import load
from novum_text.stdlib_docs import MODULES

from .conftest import CHINESE, ROWS, task
from .training import no_model

Write = Callable[..., str]


def opened(one: TextClassification, split: Split = Split.TRAIN, seed: int = 0) -> Examples:
    return one.source(split, Seed(seed), Recipe(batch_size=7))


def texts(one: TextClassification, split: Split) -> list[str]:
    return list(opened(one, split).inputs)


def labels(source: Examples) -> list[int]:
    assert source.targets is not None
    return [int(target) for target in source.targets]


# ------------------------------------------------------------------------------------------------- stdlib-docs


def test_the_standard_library_gives_about_four_thousand_paragraphs_of_twelve_modules() -> None:
    docs = task()

    found = [text for split in Split for text in texts(docs, split)]

    assert docs.signature().outputs.names == tuple(sorted(MODULES))
    assert 3_900 < len(found) < 4_600
    assert len(set(found)) == len(found)
    assert {30 <= len(text) <= 600 for text in found} == {True}


def test_the_shares_of_the_standard_library_are_a_tenth_and_a_fifth() -> None:
    sizes = {split: opened(task(), split).size for split in Split}

    assert sizes[Split.DEV] / sum(sizes.values()) == pytest.approx(0.1, abs=0.01)
    assert sizes[Split.TEST] / sum(sizes.values()) == pytest.approx(0.2, abs=0.01)


def test_all_paragraphs_of_a_docstring_stay_in_one_split() -> None:
    parts = load(task().config).parts

    groups = {split: set(part.groups or ()) for split, part in parts.items()}

    assert len(parts[Split.TRAIN].texts) > len(groups[Split.TRAIN]) > 1_000
    assert not groups[Split.TRAIN] & (groups[Split.DEV] | groups[Split.TEST])
    assert not groups[Split.DEV] & groups[Split.TEST]


def test_reading_the_standard_library_imports_none_of_it() -> None:
    code = (
        "import sys; from novum_text import stdlib_docs; before = set(sys.modules); stdlib_docs.read();"
        "assert '_pydecimal' not in sys.modules and 'doctest' not in sys.modules, 'imported';"
        "assert set(sys.modules) - before <= {'_sysconfigdata', *sys.stdlib_module_names} | "
        "{name for name in sys.modules if name.startswith('_sysconfigdata')}"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


def test_importing_the_plugin_loads_neither_torch_nor_transformers() -> None:
    code = (
        "import sys, novum_text.classification, novum_text.bag, novum_text.transformer;"
        "assert not {'torch', 'transformers', 'tokenizers', 'datasets'} & set(sys.modules)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("option", [{"text": "body"}, {"label": "kind"}, {"split": {"group": "file"}}])
def test_an_option_that_means_nothing_for_the_standard_library_is_refused(option: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="'stdlib-docs' has none"):
        parse(TextClassification.Config, option, "task")


# ------------------------------------------------------------------------------------------------- splits


def test_one_file_is_divided_into_disjoint_splits_by_the_shares_asked_for(write: Write) -> None:
    one = task(data=write("a.csv"), split={"dev": 0.2, "test": 0.3, "stratify": True})

    parts = {split: texts(one, split) for split in Split}

    assert {split: len(part) for split, part in parts.items()} == {"train": 60, "dev": 24, "test": 36}
    assert sorted(itertools.chain(*parts.values())) == sorted(text for text, _ in ROWS)
    assert Counter(labels(opened(one, Split.DEV))) == {0: 8, 1: 8, 2: 8}


def test_equal_texts_are_never_parted(write: Write) -> None:
    one = task(data=write("a.csv", ROWS * 3), split={"dev": 0.2, "test": 0.3})

    parts = [set(texts(one, split)) for split in Split]

    assert sum(map(len, parts)) == len(set().union(*parts)) == len(ROWS)


def test_a_group_column_keeps_its_rows_together(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("text,label,author\n" + "".join(f"{text},{label},{text[-1]}\n" for text, label in ROWS))
    one = task(data=str(file), split={"dev": 0.2, "test": 0.2, "group": "author"})

    authors = [{text[-1] for text in texts(one, split)} for split in Split]

    assert sum(map(len, authors)) == len(set().union(*authors)) == 10


def test_own_files_stay_as_they_are_and_a_missing_dev_is_taken_out_of_train(write: Write) -> None:
    files = {"train": write("train.csv", ROWS[:90]), "test": write("test.csv", ROWS[90:])}

    own = task(data={**files, "dev": write("dev.csv", ROWS[60:90])})
    taken = task(data=files, split={"dev": 0.2})

    assert [len(texts(own, split)) for split in Split] == [90, 30, 30]
    assert [len(texts(taken, split)) for split in Split] == [72, 18, 30]


def test_unit_ids_are_unique_and_the_same_in_every_opening(write: Write) -> None:
    one = task(data=write("a.csv", ROWS * 2))

    first, second = opened(one, seed=0), opened(one, seed=1)

    assert len(set(first.ids)) == first.size
    assert first.ids == second.ids


def test_chinese_texts_and_classes_come_through_unharmed(write: Write) -> None:
    one = task(data=write("a.tsv", CHINESE, ("句子", "类别")), text="句子", label="类别")

    found = [text for split in Split for text in texts(one, split)]

    assert one.signature().outputs.names == ("体育", "天气")
    assert sorted(found) == sorted(text for text, _ in CHINESE)


def test_movie_reviews_load_with_their_own_division(reviews: dict[str, str]) -> None:
    one = task(data=reviews)

    assert one.signature().outputs.names == ("negative", "positive")
    assert [opened(one, split).size for split in Split] == [8_592, 1_043, 1_027]


# ------------------------------------------------------------------------------------------------- seeds


def test_the_order_of_training_follows_from_the_seed_alone(write: Write) -> None:
    one = task(data=write("a.csv"))

    orders = [[opened(one, seed=seed).next(no_model).ids for _ in range(3)] for seed in (5, 5, 6)]

    assert orders[0] == orders[1] != orders[2]


def test_few_labels_are_drawn_from_the_seed_and_leave_dev_whole(write: Write) -> None:
    one = task(data=write("a.csv"), per_class=4)

    first, again, other = opened(one, seed=1), opened(one, seed=1), opened(one, seed=2)

    assert Counter(labels(first)) == {0: 4, 1: 4, 2: 4}
    assert first.ids == again.ids
    assert first.ids != other.ids
    assert opened(one, Split.DEV).size == 12


def test_a_smaller_draw_is_part_of_a_larger_one(write: Write) -> None:
    file = write("a.csv")

    few, more = (set(opened(task(data=file, per_class=count), seed=3).ids) for count in (2, 9))

    assert few < more


def test_classes_limits_every_split_to_the_classes_named(write: Write) -> None:
    one = task(data=write("a.csv"), classes=["plum", "apple"])

    assert one.signature().outputs.names == ("apple", "plum")
    assert sum(opened(one, split).size for split in Split) == 80


# ------------------------------------------------------------------------------------------------- fingerprint


def test_the_fingerprint_changes_with_a_text_a_label_or_the_division(write: Write) -> None:
    (text, label), *rest = ROWS
    base = task(data=write("a.csv")).fingerprint()

    others = [
        task(data=write("b.csv", [(text + "!", label), *rest])).fingerprint(),
        task(data=write("c.csv", [(text, "plum"), *rest])).fingerprint(),
        task(data=write("a.csv"), split={"dev": 0.2}).fingerprint(),
    ]

    assert len({base, *others}) == 4
    assert task(data=write("copy.csv")).fingerprint() == base


def test_a_file_that_changes_is_read_again(write: Write) -> None:
    one = task(data=write("a.csv"))
    before = one.fingerprint()

    write("a.csv", ROWS[:-1])

    assert one.fingerprint() != before


def test_the_fingerprint_of_the_standard_library_names_the_python_version(monkeypatch: pytest.MonkeyPatch) -> None:
    import platform

    from novum_text import corpus

    before = task().fingerprint()
    monkeypatch.setattr(platform, "python_version", lambda: "3.99.0")
    corpus._load.cache_clear()

    after = task().fingerprint()

    corpus._load.cache_clear()
    assert after != before


# ------------------------------------------------------------------------------------------------- errors


def test_a_class_that_train_lacks_is_named_with_its_split(write: Write) -> None:
    files = {"train": write("train.csv"), "dev": write("dev.csv", [("x", "aple")] * 2), "test": write("test.csv")}

    with pytest.raises(DataError, match=r"class 'aple' occurs 2 times in dev but never in train.*did you mean 'apple'"):
        task(data=files).signature()


def test_one_class_is_too_few(write: Write) -> None:
    with pytest.raises(DataError, match=r"has 1 class \(plum\).*at least two"):
        task(data=write("a.csv"), classes=["plum"]).signature()


def test_an_unknown_class_is_refused_with_the_closest(write: Write) -> None:
    with pytest.raises(ConfigError, match="no class 'plums'; did you mean 'plum'"):
        task(data=write("a.csv"), classes=["plums"]).signature()


def test_cleaning_that_leaves_nothing_is_said(write: Write) -> None:
    files = {"train": write("train.csv"), "dev": write("dev.csv", [(" ", "plum")]), "test": write("test.csv")}

    with pytest.raises(DataError, match=r"no text is left in 'dev'.*`clean`"):
        task(data=files, clean={"drop_empty": True}).signature()


def test_constructing_a_task_opens_nothing() -> None:
    one = task(data="nowhere.csv")

    with pytest.raises(DataError, match=r"no file 'nowhere\.csv'"):
        one.signature()


def test_targets_cannot_be_changed_by_one_trial_for_another(write: Write) -> None:
    one = task(data=write("a.csv"))
    mine = opened(one).targets
    assert mine is not None

    mine[:] = 0

    assert set(labels(opened(one))) == {0, 1, 2}
