"""Stores of images' pixels: in memory, in a file, or decoded from the images' files each time."""

import abc
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from vqvae_jax.data.framing import Framing
from vqvae_jax.data.survey import image_digest
from vqvae_jax.errors import DataError


class Pixels(abc.ABC):
    """Random access to images of any sizes.

    Attributes:
        are_decoded: whether access is no more than a copy.
    """

    are_decoded = False

    @abc.abstractmethod
    def __getitem__(self, index: int, /) -> UInt8[np.ndarray, "h w c"]:
        """Returns the image at an index.

        Raises:
            DataError: it cannot be used.
        """


class FlatPixels(Pixels):
    """Images one after the other in an array, which may be memory-mapped.

    Args:
        flat: uint8, the pixels of all images; or the file that holds them.
        shapes: integers [N, 2], height and width of each.
        channels: C.
    """

    are_decoded = True

    def __init__(self, flat: np.ndarray | Path, shapes: np.ndarray, channels: int):
        self._file = flat if isinstance(flat, Path) else None
        self._shapes, self._channels = shapes, channels
        self._ends = np.cumsum(shapes.astype(np.int64).prod(axis=1) * channels)
        self.flat = self._mapped(flat) if isinstance(flat, Path) else flat

    def __getitem__(self, index: int, /) -> UInt8[np.ndarray, "h w c"]:
        """See `Pixels`."""
        start = int(self._ends[index - 1]) if index else 0
        image = self.flat[start : int(self._ends[index])]
        return image.reshape(*self._shapes[index], self._channels)

    def __getstate__(self) -> dict[str, Any]:
        """Leaves out what a file holds, so that other processes map the file themselves."""
        state = vars(self).copy()
        if self._file is not None:
            del state["flat"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        if self._file is not None:
            self.flat = self._mapped(self._file)

    def _mapped(self, file: Path) -> np.ndarray:
        size = int(self._ends[-1])
        if file.stat().st_size != size:
            raise DataError(f"{file} has {file.stat().st_size} bytes; it must have {size}")
        return np.memmap(file, np.uint8, "r", shape=(size,))


@dataclasses.dataclass(frozen=True)
class FilePixels(Pixels):
    """Images decoded from their files each time.

    Attributes:
        root: the folder of the files.
        names: the files, relative to it.
        files: integers [N], the place in `names` of each example's file.
        digests: uint8 [N, 16], `survey.image_digest` of each example.
        framing: how the files are decoded.
    """

    root: Path
    names: list[str]
    files: np.ndarray
    digests: np.ndarray
    framing: Framing

    def __getitem__(self, index: int, /) -> UInt8[np.ndarray, "h w c"]:
        """See `Pixels`.

        Raises:
            DataError: its file cannot be decoded, or has changed.
        """
        place = int(self.files[index])
        file = self.root / self.names[place]
        parts = self.framing.read(file)
        part = index - int(np.searchsorted(self.files, place))
        digest = image_digest(parts[part]) if part < len(parts) else b""
        if digest != self.digests[index].tobytes():
            raise DataError(f"{file} has changed since the run began")
        return parts[part]
