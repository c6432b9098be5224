"""The task `image-classification`: reading, dividing, drawing, observing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from novum import ConfigError, DataError, Examples, Recipe, Seed, Split, SplitClosed, Undefined, split
from novum.config import parse
from novum.task import only
from novum_vision.classification import ImageClassification
from novum_vision.images import Dataset, Images, moments
from PIL import Image

RECIPE = Recipe(batch_size=8)
DATA = os.environ.get("NOVUM_DATA")
needs_data = pytest.mark.skipif(DATA is None, reason="NOVUM_DATA, the folder of real data sets, is not set")


def task(**options: Any) -> ImageClassification:
    return ImageClassification(parse(ImageClassification.Config, options, "task 'image-classification'"))


def opened(which: ImageClassification, part: Split = Split.TRAIN, seed: int = 0) -> Examples:
    source = which.source(part, Seed(seed), RECIPE)
    assert isinstance(source, Examples)
    return source


def save(path: Path, value: int = 0, *, shape: tuple[int, int] = (6, 4)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(value).integers(0, 256, size=(*shape, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three classes of ten images each, at once below the folder."""
    for label, name in enumerate(("ant", "bee", "cat")):
        for each in range(10):
            save(tmp_path / "images" / name / f"{each}.png", 100 * label + each)
    return tmp_path / "images"


# ------------------------------------------------------------------------------------------------------ reading


def test_digits_are_1797_grey_images_of_8_by_8_over_the_whole_range_of_bytes() -> None:
    which = task()

    sources = [opened(which, part) for part in Split]

    signature = which.signature()
    assert (signature.inputs.channels, signature.inputs.height, signature.inputs.width) == (1, 8, 8)
    assert signature.outputs.names == tuple("0123456789")
    assert [source.size for source in sources] == [1259, 179, 359]
    assert all(source.inputs.dtype == np.uint8 and source.inputs.shape[1:] == (1, 8, 8) for source in sources)
    assert (sources[0].inputs.min(), sources[0].inputs.max()) == (0, 255)
    assert sources[0].targets is not None and sources[0].targets.dtype == np.int64


def test_splits_are_disjoint_and_complete(folder: Path) -> None:
    which = task(data=str(folder), split={"dev": 0.2, "test": 0.3})

    ids = [set(opened(which, part).ids) for part in Split]

    assert [len(each) for each in ids] == [15, 6, 9]
    assert len(set.union(*ids)) == 30
    assert "ant/0.png" in set.union(*ids)


def test_folder_images_are_resized_in_colour_or_grey(folder: Path) -> None:
    colour = opened(task(data=str(folder)))
    grey = opened(task(data=str(folder), size=5, channels=1))

    assert colour.inputs.shape == (21, 3, 32, 32)
    assert grey.inputs.shape == (21, 1, 5, 5)
    with Image.open(folder / colour.ids[0]) as image:
        expected = np.asarray(image.resize((32, 32), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
    np.testing.assert_array_equal(colour.inputs[0], expected)


@pytest.mark.parametrize("dev", ["dev", "val", None])
def test_a_folder_may_bring_its_own_splits_and_what_is_missing_comes_from_train(folder: Path, dev: str | None) -> None:
    whole = folder.with_name("whole")
    shutil.copytree(folder, whole / "train")
    shutil.copytree(folder / "ant", whole / "test" / "ant")
    if dev is not None:
        shutil.copytree(folder / "bee", whole / dev / "bee")

    sources = {part: opened(task(data=str(whole)), part) for part in Split}

    assert {each.split("/")[0] for each in sources[Split.TRAIN].ids} == {"train"}
    assert {each.split("/")[0] for each in sources[Split.DEV].ids} == {dev or "train"}
    assert {each.split("/")[0] for each in sources[Split.TEST].ids} == {"test"}
    assert [source.size for source in sources.values()] == ([30, 10, 10] if dev else [27, 3, 10])


def test_the_orientation_that_a_camera_noted_is_applied(folder: Path) -> None:
    path = folder / "ant" / "turned.png"
    left_dark = np.zeros((4, 4), dtype=np.uint8)
    left_dark[:, 2:] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # show it turned clockwise by a quarter
    Image.fromarray(left_dark).save(path, exif=exif)

    which = task(data=str(folder), size=4, channels=1)

    sources = [opened(which, part) for part in Split]
    found = next(each.inputs[each.ids.index("ant/turned.png")] for each in sources if "ant/turned.png" in each.ids)
    np.testing.assert_array_equal(found[0], np.rot90(left_dark, -1))


def test_sixteen_bits_are_scaled_and_palettes_with_transparency_are_read_without_a_warning(tmp_path: Path) -> None:
    for name in ("deep", "palette"):
        (tmp_path / name).mkdir()
    for each in range(10):
        Image.fromarray(np.full((4, 4), 256 * (100 + each), dtype=np.uint16)).save(tmp_path / f"deep/{each}.png")
        palette = Image.new("P", (4, 4), 1)
        palette.putpalette([0, 0, 0, 50, 60, 70 + each])
        palette.save(tmp_path / f"palette/{each}.png", transparency=bytes([0, 128]))

    train = opened(task(data=str(tmp_path), size=4))

    assert train.targets is not None
    assert set(np.unique(train.inputs[train.targets == 0])) <= set(range(100, 110))
    np.testing.assert_array_equal(train.inputs[train.targets == 1][:, :2, 0, 0], [[50, 60]] * 7)


@needs_data
def test_the_sign_language_folder_is_read_as_described() -> None:
    which = task(data=f"{DATA}/image_classification/sign_language_digits")

    observation = which.observe()

    assert [opened(which, part).size for part in Split] == [270, 30, 120]
    assert which.signature().inputs.channels == 3
    assert observation["image.stored"].value == "100 x 100"
    assert observation["train.smallest_class"].value == 27


# ------------------------------------------------------------------------------------------------------- errors


def test_a_path_that_does_not_exist_is_refused_with_what_is_allowed(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere.*which is no folder; allowed: 'digits', a folder"):
        task(data=str(tmp_path / "nowhere")).signature()


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no images.*it has 0 folders"):
        task(data=str(tmp_path)).signature()


def test_an_image_that_cannot_be_decoded_is_named(folder: Path) -> None:
    whole = (folder / "bee" / "3.png").read_bytes()
    (folder / "bee" / "3.png").write_bytes(whole[: len(whole) // 2])

    with pytest.raises(DataError, match=r"bee/3\.png cannot be decoded"):
        task(data=str(folder)).signature()


def test_an_image_without_a_fixed_range_is_named(folder: Path) -> None:
    Image.fromarray(np.ones((4, 4), dtype=np.float32)).save(folder / "ant" / "real.tiff")

    with pytest.raises(DataError, match=r"real\.tiff cannot be decoded.*32 bits"):
        task(data=str(folder)).signature()


def test_a_class_without_training_images_is_refused_unless_it_is_left_out(folder: Path) -> None:
    whole = folder.with_name("whole")
    shutil.copytree(folder, whole / "train")
    shutil.copytree(folder, whole / "test")
    shutil.rmtree(whole / "train" / "bee")

    with pytest.raises(DataError, match="class 'bee' has no training image"):
        task(data=str(whole)).signature()
    assert task(data=str(whole), classes=["ant", "cat"]).signature().outputs.names == ("ant", "cat")


def test_a_single_class_is_refused(folder: Path) -> None:
    for name in ("bee", "cat"):
        shutil.rmtree(folder / name)

    with pytest.raises(DataError, match=r"1 class \(ant\)"):
        task(data=str(folder)).signature()


def test_both_dev_and_val_are_refused(folder: Path) -> None:
    whole = folder.with_name("whole")
    for part in ("train", "dev", "val"):
        shutil.copytree(folder, whole / part)

    with pytest.raises(DataError, match="both dev/ and val/"):
        task(data=str(whole)).signature()


def test_an_unknown_class_is_refused_with_those_that_exist(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"'classes' names 'dog'.*allowed: ant, bee, cat"):
        task(data=str(folder), classes=["ant", "dog"]).signature()


def test_shares_that_leave_nothing_to_train_on_are_refused() -> None:
    with pytest.raises(ConfigError, match="leave nothing for train"):
        task(split={"dev": 0.5, "test": 0.5})


@pytest.mark.parametrize("options", [{"size": 16}, {"channels": 3}])
def test_options_of_folders_are_refused_for_digits(options: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="options 'size' and 'channels' are for image folders"):
        task(**options).signature()


# ---------------------------------------------------------------------------------------- classes and few labels


def test_keeping_some_classes_moves_no_image_to_another_split() -> None:
    for part in Split:
        whole, some = opened(task(), part), opened(task(classes=["7", "2"]), part)

        assert whole.targets is not None and some.targets is not None
        assert some.ids == tuple(name for name, label in zip(whole.ids, whole.targets, strict=True) if label in (2, 7))
        assert some.targets.tolist() == [int(label == 7) for label in whole.targets if label in (2, 7)]
    assert task(classes=["7", "2"]).signature().outputs.names == ("2", "7")


def test_per_class_limits_train_alone() -> None:
    few = task(per_class=4)

    train = opened(few)

    assert train.targets is not None
    assert np.bincount(train.targets).tolist() == [4] * 10
    assert opened(few, Split.DEV).ids == opened(task(), Split.DEV).ids
    assert opened(few, Split.TEST).ids == opened(task(), Split.TEST).ids
    assert opened(task(per_class=10_000)).ids == opened(task()).ids


def test_per_class_draws_the_same_for_the_same_seed_and_others_for_another() -> None:
    first, again, other = (opened(task(per_class=4), seed=seed) for seed in (1, 1, 2))

    assert first.ids == again.ids
    assert first.inputs.tobytes() == again.inputs.tobytes()
    assert first.ids != other.ids


def test_what_is_drawn_of_a_class_does_not_depend_on_the_other_classes() -> None:
    whole, some = opened(task(per_class=4)), opened(task(per_class=4, classes=["3", "5"]))

    assert set(some.ids) < set(whole.ids)
    assert len(some.ids) == 8


def test_the_seed_decides_the_order_of_training_and_not_that_of_scoring() -> None:
    def act(*given: Any, **options: Any) -> Any:
        raise AssertionError("images lie ready")

    first, again, other = (task().source(Split.TRAIN, Seed(seed), RECIPE) for seed in (1, 1, 2))

    ids = first.next(act).ids
    assert len(ids) == 8
    assert ids == again.next(act).ids
    assert ids != other.next(act).ids
    assert [batch.ids for batch in first.each(act)] == [batch.ids for batch in other.each(act)]


def test_no_trial_can_change_the_images_of_the_next() -> None:
    with pytest.raises(ValueError, match="read-only"):
        opened(task()).inputs[0] = 0


# ---------------------------------------------------------------------------------- fingerprint and observation


def test_the_fingerprint_follows_pixels_labels_and_split_and_not_the_place(folder: Path) -> None:
    moved, painted, relabelled = (folder.with_name(name) for name in ("moved", "painted", "relabelled"))
    for each in (moved, painted, relabelled):
        shutil.copytree(folder, each)
    save(painted / "ant" / "0.png", 999)
    (relabelled / "ant" / "0.png").rename(relabelled / "bee" / "new.png")

    base = task(data=str(folder)).fingerprint()

    assert task(data=str(moved)).fingerprint() == base
    assert task(data=str(folder), per_class=2).fingerprint() == base
    others = [
        task(data=str(painted)),
        task(data=str(relabelled)),
        task(data=str(folder), split={"dev": 0.2, "test": 0.2}),
        task(data=str(folder), classes=["ant", "bee"]),
        task(data=str(folder), size=16),
    ]
    assert len({base, *(each.fingerprint() for each in others)}) == 6


def test_the_fingerprint_changes_with_a_single_label() -> None:
    pixels, stored = np.zeros((2, 1, 4, 4), dtype=np.uint8), np.full((2, 2), 4)
    first, second = (Images(pixels, np.array(labels), ("x", "y"), stored) for labels in ([0, 1], [0, 0]))

    prints = [
        Dataset(("ant", "bee"), dict.fromkeys(("train", "dev", "test"), each)).fingerprint for each in (first, second)
    ]

    assert prints[0] != prints[1]


def test_observing_opens_train_alone_and_tells_its_facts() -> None:
    with only(Split.TRAIN):
        observation = task().observe()

    facts = {fact.id: fact.value for fact in observation.facts}
    train = opened(task())
    assert train.targets is not None
    assert facts["train.size"] == 1259
    assert facts["train.classes"] == 10
    assert facts["train.majority"] == np.bincount(train.targets).max() / 1259
    assert facts["train.smallest_class"] == np.bincount(train.targets).min()
    assert (facts["image.height"], facts["image.width"], facts["image.channels"]) == (8, 8, 1)
    assert facts["pixel.mean"] == pytest.approx(train.inputs.mean() / 255)
    assert facts["pixel.deviation"] == pytest.approx(train.inputs.std() / 255)
    assert 0.8 < float(facts["baseline.accuracy"]) < 0.95  # type: ignore[arg-type]
    assert observation.scale is not None
    assert (observation.scale.chance, observation.scale.reference) == (facts["train.majority"], 1.0)


def test_observing_needs_train_to_be_open() -> None:
    with only(), pytest.raises(SplitClosed):
        task().observe()


def test_sizes_before_resizing_and_exact_duplicates_are_told(folder: Path) -> None:
    for each in range(10):
        save(folder / "ant" / f"large-{each}.png", 7, shape=(20, 9))

    observation = task(data=str(folder)).observe()

    copies = sum("large" in name for name in opened(task(data=str(folder))).ids)
    assert copies > 1
    assert observation["train.duplicates"].value == copies - 1
    assert observation["image.stored"].value == "6 x 4 to 20 x 9"


@pytest.mark.filterwarnings("ignore:self.within_class_std_dev_")  # some pixels of the digits are always dark
def test_the_baseline_equals_scikit_learns_nearest_centroid() -> None:
    from sklearn.neighbors import NearestCentroid

    train = opened(task())
    assert train.targets is not None
    rows = split(train.ids, dev=0.1, test=0.0, stratify=train.targets.tolist())
    flat = train.inputs.reshape(train.size, -1).astype(np.float64)

    expected = NearestCentroid().fit(flat[rows["train"]], train.targets[rows["train"]])

    assert task().observe()["baseline.accuracy"].value == expected.score(flat[rows["dev"]], train.targets[rows["dev"]])


def test_too_few_images_leave_the_baseline_undefined() -> None:
    observation = task(per_class=2).observe()

    assert observation["train.size"].value == 20
    assert isinstance(observation["baseline.accuracy"].value, Undefined)


def test_moments_equal_numpys_channel_by_channel() -> None:
    pixels = np.random.default_rng(0).integers(0, 200, size=(2_500, 3, 4, 5), dtype=np.uint8)

    mean, deviation = moments(pixels)

    np.testing.assert_allclose(mean, pixels.mean(axis=(0, 2, 3)) / 255, rtol=1e-12)
    np.testing.assert_allclose(deviation, pixels.std(axis=(0, 2, 3)) / 255, rtol=1e-12)


def test_importing_the_plugin_loads_no_heavy_library() -> None:
    code = (
        "import sys, novum_vision.classification, novum_vision.timm; "
        "print({'torch', 'timm', 'sklearn', 'PIL'} & set(sys.modules))"
    )

    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert found.stdout.strip() == "set()"
