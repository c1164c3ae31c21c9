"""Image files that a user names, one by one or by their folders."""

import dataclasses
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from vqvae_jax.data.decoding import read_image
from vqvae_jax.data.image_folder import SUFFIXES
from vqvae_jax.data.listing import list_files
from vqvae_jax.data.reading import reading
from vqvae_jax.errors import DataError


def image_files(given: Sequence[Path]) -> dict[str, Path]:
    """Returns files, and those in folders, by their path below what all of them lie in.

    Args:
        given: files, as they are, and folders, searched by `list_files`.

    Raises:
        DataError: a folder holds no images.
        OSError: a folder cannot be listed.
    """
    given = [Path(os.path.abspath(path)) for path in given]
    common = Path(os.path.commonpath([path if path.is_dir() else path.parent for path in given]))
    found: dict[str, Path] = {}
    for path in given:
        files = [path / name for name in list_files(path, SUFFIXES)] if path.is_dir() else [path]
        if not files:
            raise DataError(f"{path} holds no images")
        found |= {file.relative_to(common).as_posix(): file for file in files}
    return found


@dataclasses.dataclass(frozen=True)
class _Decoded:
    files: list[Path]
    channels: int
    shorter_side: int

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int, /) -> np.ndarray | DataError:
        try:
            return read_image(self.files[index], self.channels, self.shorter_side)
        except DataError as error:
            return error


def read_images(
    files: dict[str, Path], channels: int, shorter_side: int
) -> Iterator[tuple[str, np.ndarray | DataError]]:
    """Yields the names of files and their images, or why one cannot be decoded.

    Args:
        files: from `image_files`.
        channels: as for `read_image`.
        shorter_side: likewise.
    """
    with reading(_Decoded([*files.values()], channels, shorter_side)) as images:
        yield from zip(files, images, strict=True)
