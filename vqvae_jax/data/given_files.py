"""Files that a user names, one by one or by their folders."""

import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from vqvae_jax.data.listing import list_files
from vqvae_jax.data.reading import reading
from vqvae_jax.errors import DataError

Read = Callable[[Path], np.ndarray]


def given_files(given: Sequence[Path], suffixes: Sequence[str], noun: str) -> dict[str, Path]:
    """Returns files, and those in folders, by their path below what all of them lie in.

    Args:
        given: files, as they are, and folders, searched by `list_files`.
        suffixes: as `list_files` takes them.
        noun: what a file holds, for errors.

    Raises:
        DataError: a folder holds no such files.
        OSError: a folder cannot be listed.
    """
    given = [Path(os.path.abspath(path)) for path in given]
    common = Path(os.path.commonpath([path if path.is_dir() else path.parent for path in given]))
    found: dict[str, Path] = {}
    for path in given:
        files = [path / name for name in list_files(path, suffixes)] if path.is_dir() else [path]
        if not files:
            raise DataError(f"{path} holds no {noun}s")
        found |= {file.relative_to(common).as_posix(): file for file in files}
    return found


@dataclasses.dataclass(frozen=True)
class _Decoded:
    files: list[Path]
    read: Read

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int, /) -> np.ndarray | DataError:
        try:
            return self.read(self.files[index])
        except DataError as error:
            return error


def read_files(files: dict[str, Path], read: Read) -> Iterator[tuple[str, np.ndarray | DataError]]:
    """Yields the names of files and what they hold, or why one cannot be decoded.

    Args:
        files: from `given_files`.
        read: decodes a file; raises DataError if it cannot.
    """
    with reading(_Decoded([*files.values()], read)) as decoded:
        yield from zip(files, decoded, strict=True)
