"""Image folders: one folder per class, either at once or under train/, dev/ (or val/) and test/."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from novum import DataError

from novum_vision.images import Images

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = frozenset(
    {".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"}
)
_PARTS = {"train": ("train",), "dev": ("dev", "val"), "test": ("test",)}


def read(folder: Path, size: int, channels: int) -> tuple[tuple[str, ...], dict[str, Images]]:
    """Class names (sorted folder names) and the splits that the folder gives; "train" alone if it has no splits.

    size: height and width to which each image is resized, whatever its proportions (antialiased bilinear).
    channels: 3 for colour, 1 for grey. Files count as images by suffix (`SUFFIXES`), at any depth below their
    class; hidden ones and others are passed over. An id is the path within `folder`.

    Raises DataError when there are no images, or one cannot be decoded (the message names it).
    """
    roots = {"train": folder}
    if (folder / "train").is_dir():
        roots = {part: root for part in _PARTS if (root := _root(folder, part)) is not None}
    found = {part: {each.name: _files(each) for each in _folders(root)} for part, root in roots.items()}
    for part, classes in found.items():
        if not any(classes.values()):
            raise DataError(
                f"{roots[part]} has no images: it needs one folder per class with files of the kinds "
                f"{', '.join(sorted(SUFFIXES))}; it has {len(classes)} folders."
            )
    names = tuple(sorted({name for classes in found.values() for name in classes}))
    return names, {part: _images(folder, names, classes, size, channels) for part, classes in found.items()}


def _root(folder: Path, part: str) -> Path | None:
    there = [folder / name for name in _PARTS[part] if (folder / name).is_dir()]
    if len(there) > 1:
        raise DataError(f"{folder} has both dev/ and val/, which mean the same; keep one of them.")
    return there[0] if there else None


def _folders(root: Path) -> list[Path]:
    return sorted(each for each in root.iterdir() if each.is_dir() and not each.name.startswith("."))


def _files(folder: Path) -> list[Path]:
    files = (each for each in folder.rglob("*") if each.suffix.lower() in SUFFIXES and not each.name.startswith("."))
    return sorted(each for each in files if each.is_file())


def _images(folder: Path, names: tuple[str, ...], classes: dict[str, list[Path]], size: int, channels: int) -> Images:
    files = [(path, names.index(name)) for name in names for path in classes.get(name, [])]
    pixels = np.empty((len(files), channels, size, size), dtype=np.uint8)
    stored = np.empty((len(files), 2), dtype=np.int64)
    for row, (path, _) in enumerate(files):
        pixels[row], stored[row] = _decode(path, size, channels)
    ids = tuple(path.relative_to(folder).as_posix() for path, _ in files)
    return Images(pixels, np.array([label for _, label in files], dtype=np.int64), ids, stored)


def _decode(path: Path, size: int, channels: int) -> tuple[np.ndarray, tuple[int, int]]:
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as file:
            image: Any = ImageOps.exif_transpose(file)  # cameras store turned pixels and say so
            stored = (image.height, image.width)
            image = _eight_bits(image).convert("RGB" if channels == 3 else "L")
            image = image.resize((size, size), Image.Resampling.BILINEAR)
            array = np.asarray(image, dtype=np.uint8)
    except Exception as error:  # decoders raise whatever they like on damaged bytes
        raise DataError(
            f"the image {path} cannot be decoded ({type(error).__name__}: {error}); repair it or remove it."
        ) from error
    return array.reshape(size, size, channels).transpose(2, 0, 1), stored


def _eight_bits(image: Image) -> Image:
    from PIL import Image

    if image.mode.startswith("I;16"):  # Pillow would clip at 255 instead of scaling
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError(f"its mode {image.mode!r} has 32 bits a value and no fixed range; store it with 8 or 16")
    return image.convert("RGBA") if "transparency" in image.info else image
