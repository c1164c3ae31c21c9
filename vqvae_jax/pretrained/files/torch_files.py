"""Files that torch.save has written: zip archives, and what it wrote before PyTorch 1.6."""

import io
import mmap
import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import Any, BinaryIO

import numpy as np

from vqvae_jax.errors import DamagedError, UnsupportedError
from vqvae_jax.pretrained.files.pickles import unpickle
from vqvae_jax.pretrained.files.torch_tensors import CALLS, Storage, storage

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_PIECE = 2**20

Read = Callable[[str], np.ndarray]


def open_archive(file: BinaryIO) -> tuple[Any, Read]:
    """Returns what a zip archive of PyTorch holds.

    Args:
        file: stays open while storages are read.

    Returns:
        The value of its pickle, and a function that reads the storage of a key.

    Raises:
        DamagedError: it is no such archive.
        UnsupportedError: its form is not supported.
        Exception: it is no such archive either.
    """
    archive = zipfile.ZipFile(file)
    entries = _entries(archive, os.fstat(file.fileno()).st_size)
    pickles = [name for name in entries if PurePosixPath(name).parts[1:] == ("data.pkl",)]
    if len(pickles) != 1:
        raise UnsupportedError(f"a zip archive of PyTorch has one data.pkl; it has {len(pickles)}")
    folder = pickles[0].removesuffix("data.pkl")
    if order := entries.get(f"{folder}byteorder"):
        _check_order(_content(archive, order).tobytes() == b"little")

    def read(key: str) -> np.ndarray:
        if (name := f"{folder}data/{key}") not in entries:
            raise DamagedError(f"it lacks the storage {name!r:.100}")
        return _content(archive, entries[name])

    pickle = io.BytesIO(_content(archive, entries[pickles[0]]).tobytes())
    storages = _Storages()
    value = unpickle(pickle, CALLS, storages.persistent)
    return value, lambda key: storages.checked(key, read(key))


def open_legacy(file: BinaryIO) -> tuple[Any, Read]:
    """Returns what a file of a PyTorch before 1.6 holds: as `open_archive` does."""
    size = os.fstat(file.fileno()).st_size
    storages = _Storages()
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:

        def load() -> Any:
            return unpickle(content, CALLS, storages.persistent)

        if load() != _MAGIC or load() != _PROTOCOL:
            raise UnsupportedError("it is a pickle, but not one that torch.save has written")
        system = load()
        _check_order(isinstance(system, dict) and system.get("little_endian") is True)
        value, keys = load(), load()
        position = content.tell()
    starts = {}
    for key in keys:
        if not isinstance(key, str) or key not in storages.sizes:
            raise DamagedError("it has a storage of which no tensor is a view")
        starts[key] = position + 8  # after the number of elements
        position += 8 + storages.sizes[key]
    if position != size:
        raise DamagedError(f"its storages end at byte {position}; it has {size}")

    def read(key: str) -> np.ndarray:
        if key not in starts:
            raise DamagedError(f"it lacks the storage {key!r:.100}")
        file.seek(starts[key])
        return _filled(file, storages.sizes[key])

    return value, read


def _check_order(is_little: bool) -> None:
    if not is_little:
        raise UnsupportedError("its numbers are big-endian; they must be little-endian")


class _Storages:
    """The storages that a pickle names, each of one size."""

    def __init__(self) -> None:
        self.sizes: dict[str, int] = {}

    def persistent(self, identifier: Any) -> Any:
        value = storage(identifier)
        if not isinstance(value, Storage):
            return value
        if self.sizes.setdefault(value.key, value.size) != value.size:
            raise DamagedError(f"the storage {value.key!r:.100} has two sizes")
        return value

    def checked(self, key: str, content: np.ndarray) -> np.ndarray:
        if content.nbytes != self.sizes[key]:
            raise DamagedError(
                f"the storage {key!r:.100} has {content.nbytes} bytes; the pickle says "
                f"{self.sizes[key]}"
            )
        return content


def _entries(archive: zipfile.ZipFile, size: int) -> Mapping[str, zipfile.ZipInfo]:
    """The entries by name, of which none is compressed or reaches beyond the file."""
    entries: dict[str, zipfile.ZipInfo] = {}
    for entry in archive.infolist():
        name = entry.filename
        if name in entries:
            raise DamagedError(f"it has two entries {name!r:.100}")
        if name.startswith("/") or ".." in name.split("/"):
            raise DamagedError(f"its entry {name!r:.100} lies outside the archive")
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
            raise UnsupportedError(f"its entry {name!r:.100} is compressed; PyTorch's are not")
        if entry.header_offset < 0 or entry.header_offset + entry.file_size > size:
            raise DamagedError(f"its entry {name!r:.100} of {entry.file_size} bytes is cut off")
        entries[name] = entry
    return entries


def _content(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(entry) as file:
        return _filled(file, entry.file_size)


def _filled(file: Any, size: int) -> np.ndarray:
    """The next bytes of a file, read in pieces so that they are not held twice."""
    content = np.empty(size, np.uint8)
    for start in range(0, size, _PIECE):
        piece = content[start : start + _PIECE]
        if file.readinto(piece) != piece.nbytes:
            raise DamagedError("it ends within a storage")
    return content
