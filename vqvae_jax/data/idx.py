"""The IDX files of MNIST and its relatives: reading, with checks to the last byte, and writing.

An IDX file is two zero bytes, a type (8: unsigned bytes), the number of axes, the sizes as 32-bit
big-endian integers, and the elements. A data set is four of them, each gzipped or plain; the
content decides which, whatever the file's name.
"""

import gzip
import hashlib
import math
import zlib
from io import BufferedIOBase
from pathlib import Path

import numpy as np

from vqvae_jax.data.source import Splits
from vqvae_jax.errors import DataError
from vqvae_jax.files import write_atomically

ARCHIVES = {
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}
ARCHIVE_NAMES = [name for names in ARCHIVES.values() for name in names]
_GZIP = b"\x1f\x8b"
_MAX_BYTES = 2**30
_PIECE_BYTES = 2**20


def read_idx(path: Path, axes: int) -> np.ndarray:
    """Returns the array in one IDX file of unsigned bytes, gzipped or plain.

    Reads no more than the header declares, whatever an archive would expand to.

    Args:
        path: the file.
        axes: how many axes the array must have.

    Returns:
        uint8, with the shape that the header declares.

    Raises:
        DataError: the file is missing, is not such an IDX file, is incomplete, or is longer than
            its header says.
    """
    try:
        with path.open("rb") as file:
            if file.peek(2)[:2] != _GZIP:
                return _elements(file, path, axes)
            with gzip.GzipFile(fileobj=file) as unpacked:
                return _elements(unpacked, path, axes)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path} is not a complete gzip file: {error}") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error


def _elements(file: BufferedIOBase, path: Path, axes: int) -> np.ndarray:
    header = file.read(4 + 4 * axes)
    if header[:4] != bytes([0, 0, 8, axes]) or len(header) < 4 + 4 * axes:
        raise DataError(
            f"{path} does not begin like an IDX file of unsigned bytes with {axes} axes: "
            f"{header[:4].hex(' ') or 'it is empty'}, not 00 00 08 {axes:02x}"
        )
    shape = [int(size) for size in np.frombuffer(header, ">u4", offset=4)]
    if math.prod(max(length, 1) for length in shape) > _MAX_BYTES:  # as NumPy counts too
        sizes = " x ".join(map(str, shape))
        raise DataError(f"{path} declares {sizes} bytes; at most {_MAX_BYTES} are read")
    size = math.prod(shape)
    elements = np.empty(size, np.uint8)  # the system allocates memory on first write
    filled = 0
    # In pieces, since one read would take the same memory again.
    while piece := file.readinto(elements[filled : filled + _PIECE_BYTES].data):
        filled += piece
    if filled < size or file.read(1):
        given = filled if filled < size else "more"
        raise DataError(f"{path} declares {size} bytes of elements and holds {given}")
    return elements.reshape(shape)


def write_idx(path: Path, array: np.ndarray) -> None:
    """Writes unsigned bytes as an IDX file, whole or not at all; gzipped if its name ends in .gz.

    Raises:
        OSError: it cannot be written.
    """
    content = _header(array) + array.tobytes()
    write_atomically(
        path, gzip.compress(content, mtime=0) if path.suffix.lower() == ".gz" else content
    )


def _header(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()


def missing_archives(folder: Path) -> list[str]:
    """Returns the names of those of the four archives that are missing in `folder`."""
    return [name for name in ARCHIVE_NAMES if _file_in(folder, name) is None]


def find_archives(folder: Path, name: str) -> dict[str, Path]:
    """Returns a data set's files in a folder, by the archives' names; empty if one is missing.

    They may be unpacked, or where torchvision puts them: in raw/, or under the data set's name in
    any case, such as FashionMNIST/raw/.

    Args:
        folder: where to look.
        name: the data set's name.
    """
    of_name = [
        child / "raw"
        for child in (sorted(folder.iterdir()) if folder.is_dir() else [])
        if child.name.lower() == name.replace("_", "")
    ]
    for place in (folder, folder / "raw", *of_name):
        found = {archive: _file_in(place, archive) for archive in ARCHIVE_NAMES}
        paths = {archive: path for archive, path in found.items() if path is not None}
        if paths.keys() == found.keys():
            return paths
    return {}


def _file_in(folder: Path, archive: str) -> Path | None:
    unpacked = archive.removesuffix(".gz")
    dotted = unpacked.replace("-idx", ".idx")  # the name recorded in the gzip file
    names = (archive, unpacked, f"{dotted}.gz", dotted)
    return next((folder / name for name in names if (folder / name).is_file()), None)


def read_archives(paths: dict[str, Path], num_classes: int | None) -> Splits:
    """Reads the two splits of a data set.

    Args:
        paths: the four files, by the archives' names.
        num_classes: labels must be below it; None: the number in the training labels.

    Returns:
        Of "train" and "test", the images uint8 [N, H, W, 1] and labels uint8 [N].

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
        splits[split] = {"image": images[..., None], "label": labels}
    classes = num_classes or int(splits["train"]["label"].max()) + 1
    for split, (image_name, label_name) in ARCHIVES.items():
        largest = int(splits[split]["label"].max())
        if largest >= classes:
            raise DataError(
                f"{paths[label_name]} holds the label {largest}; labels are from 0 to {classes - 1}"
            )
        size = splits[split]["image"].shape[1:3]
        if size != splits["train"]["image"].shape[1:3]:
            raise DataError(
                f"{paths[image_name]} holds images of {size}, unlike the training images"
            )
    return splits


def content_digests(splits: Splits) -> dict[str, str]:
    """Returns the SHA-256 of the four unpacked files, by the archives' names."""
    digests = {}
    for split, archives in ARCHIVES.items():
        arrays = (splits[split]["image"][..., 0], splits[split]["label"])
        for archive, array in zip(archives, arrays, strict=True):
            digest = hashlib.sha256(_header(array))
            digest.update(np.ascontiguousarray(array).data)
            digests[archive] = digest.hexdigest()
    return digests


def file_sha256(path: Path) -> str:
    """Returns the SHA-256 of a file, in hexadecimal.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
