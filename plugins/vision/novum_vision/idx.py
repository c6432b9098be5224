"""IDX files, as MNIST and its relatives come (format: the foot of Yann LeCun's page on MNIST).

A big-endian header: two zero bytes, the type (8: unsigned bytes), the number of dimensions, one 32-bit length per
dimension; then the values.
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
from novum import DataError

from novum_vision.images import Images

FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


def holds(folder: Path) -> bool:
    """Whether a folder has any of the four files, packed by gzip or not."""
    return any(_find(folder, name) is not None for names in FILES.values() for name in names)


def read(folder: Path) -> tuple[tuple[str, ...], dict[str, Images]]:
    """Class names (the labels' numbers) and the splits "train" and "test".

    Raises DataError for a file that is missing, damaged, of another type, or that does not match its partner.
    """
    raw = {part: (_array(folder, images, 3), _array(folder, labels, 1)) for part, (images, labels) in FILES.items()}
    for part, (pixels, labels) in raw.items():
        if len(pixels) != len(labels):
            raise DataError(
                f"{folder}: {len(pixels)} images in {FILES[part][0]}, but {len(labels)} labels in {FILES[part][1]}; "
                "the two files do not belong together: fetch them again."
            )
        if pixels.size == 0:
            raise DataError(f"{folder / FILES[part][0]} holds no pixels (shape {pixels.shape}); fetch it again.")
    shapes = {part: pixels.shape[1:] for part, (pixels, _) in raw.items()}
    if shapes["train"] != shapes["test"]:
        raise DataError(f"{folder}: training images are {shapes['train']}, test images {shapes['test']} pixels.")
    present = np.unique(np.concatenate([labels for _, labels in raw.values()]))
    found = {}
    for part, (pixels, labels) in raw.items():
        prefix = "train" if part == "train" else "t10k"
        ids = tuple(f"{prefix}-{row:06}" for row in range(len(pixels)))
        stored = np.tile(np.array(pixels.shape[1:], dtype=np.int64), (len(pixels), 1))
        found[part] = Images(pixels[:, None], np.searchsorted(present, labels).astype(np.int64), ids, stored)
    return tuple(str(label) for label in present.tolist()), found


def _find(folder: Path, name: str) -> Path | None:
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def _array(folder: Path, name: str, dimensions: int) -> np.ndarray:
    path = _find(folder, name)
    if path is None:
        raise DataError(f"{folder} holds IDX files, but neither {name} nor {name}.gz; all four files are needed.")
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read ({type(error).__name__}: {error}); fetch it again.") from error
    start = 4 + 4 * dimensions
    magic = bytes([0, 0, 8, dimensions])
    if data[:4] != magic or len(data) < start:
        raise DataError(
            f"{path} is no IDX file of unsigned bytes with {dimensions} dimensions: it begins with "
            f"{data[:4].hex() or 'nothing'} instead of {magic.hex()}; fetch it again."
        )
    shape = tuple(int(length) for length in np.frombuffer(data, dtype=">u4", count=dimensions, offset=4))
    if len(data) - start != math.prod(shape):
        raise DataError(
            f"{path} promises {' × '.join(map(str, shape))} = {math.prod(shape)} values and holds "
            f"{len(data) - start}; it was cut short or padded: fetch it again."
        )
    return np.frombuffer(data, dtype=np.uint8, offset=start).reshape(shape)
