"""The IDX files that MNIST and its relatives come in: read, and checked to the last byte.

An IDX file is two zero bytes, a type (8: unsigned bytes), the number of axes, the sizes as 32-bit
big-endian integers, and the elements. A data set is four of them, each in gzip.
"""

import dataclasses
import gzip
import hashlib
import math
import zlib
from pathlib import Path

import numpy as np

from vqvae_jax.errors import DataError
from vqvae_jax.files import write_atomically

ARCHIVES = {
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}
ARCHIVE_NAMES = [name for names in ARCHIVES.values() for name in names]
_MAX_BYTES = 2**30
_PIECE_BYTES = 2**20


@dataclasses.dataclass(frozen=True)
class Split:
    """Images and their labels.

    Attributes:
        images: uint8 [N, H, W, 1].
        labels: uint8 [N].
    """

    images: np.ndarray
    labels: np.ndarray


Splits = dict[str, Split]


def read_idx(path: Path, axes: int) -> np.ndarray:
    """The array in one gzipped IDX file of unsigned bytes.

    Reads no more than the header declares, whatever the archive would expand to.

    Args:
        path: the file.
        axes: how many axes the array must have.

    Returns:
        uint8, of the shape that the header declares.

    Raises:
        DataError: the file is missing, is not gzip, is not such an IDX file, or is shorter or
            longer than its header says.
    """
    try:
        with gzip.open(path, "rb") as file:
            header = file.read(4 + 4 * axes)
            if header[:4] != bytes([0, 0, 8, axes]) or len(header) < 4 + 4 * axes:
                raise DataError(
                    f"{path} does not begin like an IDX file of unsigned bytes with {axes} axes: "
                    f"{header[:4].hex(' ') or 'it is empty'}, not 00 00 08 {axes:02x}"
                )
            shape = [int(size) for size in np.frombuffer(header, ">u4", offset=4)]
            if math.prod(max(length, 1) for length in shape) > _MAX_BYTES:  # NumPy's count, too
                sizes = " x ".join(map(str, shape))
                raise DataError(f"{path} declares {sizes} bytes; at most {_MAX_BYTES} are read")
            size = math.prod(shape)
            elements = np.empty(size, np.uint8)  # the system gives memory as it is written to
            filled = 0
            # In pieces: Python would take as much memory again as it is asked for.
            while piece := file.readinto(elements[filled : filled + _PIECE_BYTES].data):
                filled += piece
            if filled < size or file.read(1):
                given = filled if filled < size else "more"
                raise DataError(f"{path} declares {size} bytes of elements and holds {given}")
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path} is not a whole gzip file: {error}") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    return elements.reshape(shape)


def write_idx(path: Path, array: np.ndarray) -> None:
    """Writes unsigned bytes as a gzipped IDX file, whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    write_atomically(path, gzip.compress(header + array.tobytes(), mtime=0))


def missing_archives(folder: Path) -> list[str]:
    """The names of those of the four archives that `folder` does not hold."""
    return [name for name in ARCHIVE_NAMES if not (folder / name).is_file()]


def read_archives(paths: dict[str, Path], num_classes: int | None) -> Splits:
    """The two splits of a data set.

    Args:
        paths: the four files, by the archives' names.
        num_classes: labels must be below it; None: as many as the training labels have.

    Returns:
        {"train": Split, "test": Split}.

    Raises:
        DataError: a file is broken, or the four do not belong together.
    """
    splits = {}
    for split, (image_name, label_name) in ARCHIVES.items():
        images, labels = read_idx(paths[image_name], axes=3), read_idx(paths[label_name], axes=1)
        if len(images) == 0 or 0 in images.shape:
            raise DataError(f"{paths[image_name]} holds no images: its shape is {images.shape}")
        if len(images) != len(labels):
            raise DataError(
                f"{paths[label_name]} holds {len(labels)} labels, but {image_name} "
                f"holds {len(images)} images"
            )
        splits[split] = Split(images[..., None], labels)
    classes = num_classes or int(splits["train"].labels.max()) + 1
    for split, (image_name, label_name) in ARCHIVES.items():
        largest = int(splits[split].labels.max())
        if largest >= classes:
            raise DataError(
                f"{paths[label_name]} holds the label {largest}; labels are from 0 to {classes - 1}"
            )
        size = splits[split].images.shape[1:3]
        if size != splits["train"].images.shape[1:3]:
            raise DataError(
                f"{paths[image_name]} holds images of {size}, unlike the training images"
            )
    return splits


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
