import sys
from typing import Any

import pytest
from novum import ConfigError, DataError, PluginError, Recipe, Seed, Split
from novum_text import corpus

from .conftest import task

TEXTS = [f"text {at}" for at in range(20)]


@pytest.fixture(autouse=True)
def _fresh() -> Any:
    corpus._load.cache_clear()
    yield
    corpus._load.cache_clear()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """`datasets.load_dataset` answers with what a test puts here under "whole"; its arguments come back as "asked"."""
    datasets = pytest.importorskip("datasets")
    state: dict[str, Any] = {}

    def load_dataset(*args: Any, **kwargs: Any) -> Any:
        state["asked"] = (*args, kwargs)
        if isinstance(state["whole"], Exception):
            raise state["whole"]
        return datasets.DatasetDict(state["whole"])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return state


def part(labels: list[int]) -> Any:
    import datasets

    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])})
    return datasets.Dataset.from_dict({"text": TEXTS[: len(labels)], "label": labels}, features=features)


def test_a_hub_data_set_brings_its_class_names_and_its_validation_split(hub: dict[str, Any]) -> None:
    hub["whole"] = {"train": part([0, 1] * 10), "validation": part([0, 1]), "test": part([1, 0, 1])}

    one = task(data="hf:owner/name:config@abc")

    sizes = [one.source(split, Seed(0), Recipe()).size for split in Split]
    assert one.signature().outputs.names == ("no", "yes")
    assert sizes == [20, 2, 3]
    assert hub["asked"] == ("owner/name", "config", {"revision": "abc"})


def test_a_test_split_with_hidden_labels_is_replaced_by_a_share_of_train(hub: dict[str, Any]) -> None:
    hub["whole"] = {"train": part([0, 1] * 10), "validation": part([0, 1]), "test": part([-1, -1, -1])}

    sizes = [task(data="hf:glue").source(split, Seed(0), Recipe()).size for split in Split]

    assert sizes == [16, 2, 4]


def test_a_hub_data_set_without_train_is_refused(hub: dict[str, Any]) -> None:
    hub["whole"] = {"test": part([0, 1])}

    with pytest.raises(DataError, match="no labelled split 'train'; it has: test"):
        task(data="hf:x").signature()


def test_a_failing_download_says_what_to_do(hub: dict[str, Any]) -> None:
    hub["whole"] = ConnectionError("no route")

    with pytest.raises(DataError, match=r"'hf:x' could not be loaded .ConnectionError: no route.*HF_HUB_OFFLINE"):
        task(data="hf:x").signature()


def test_without_datasets_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)

    with pytest.raises(PluginError, match=r"pip install 'novum-text\[hub\]'"):
        task(data="hf:x").signature()


def test_a_malformed_name_is_refused() -> None:
    with pytest.raises(ConfigError, match="'hf:a:b:c' is malformed"):
        task(data="hf:a:b:c").signature()
