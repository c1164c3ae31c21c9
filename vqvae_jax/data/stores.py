"""Stores of what files hold: in memory, in one file, or decoded from the files each time."""

import abc
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Num

from vqvae_jax.data.framing import Framing
from vqvae_jax.data.survey import example_digest
from vqvae_jax.errors import DataError


class Store(abc.ABC):
    """Random access to arrays [*spatial, C] of any sizes.

    Attributes:
        are_decoded: whether access is no more than a copy.
    """

    are_decoded = False

    @abc.abstractmethod
    def __getitem__(self, index: int, /) -> Num[np.ndarray, "*spatial c"]:
        """Returns the array at an index.

        Raises:
            DataError: it cannot be used.
        """


class FlatStore(Store):
    """Arrays one after the other in another one, which may be memory-mapped.

    Args:
        flat: the values of all of them; or the file that holds them.
        shapes: integers [N, rank], the size of each along its axes but the last.
        framing: says their channels and their type.
    """

    are_decoded = True

    def __init__(self, flat: np.ndarray | Path, shapes: np.ndarray, framing: Framing):
        self._file = flat if isinstance(flat, Path) else None
        self._shapes, self._channels, self._dtype = shapes, framing.channels, framing.dtype
        self._ends = np.cumsum(shapes.astype(np.int64).prod(axis=1) * framing.channels)
        self.flat = self._mapped(flat) if isinstance(flat, Path) else flat

    def __getitem__(self, index: int, /) -> Num[np.ndarray, "*spatial c"]:
        """See `Store`."""
        start = int(self._ends[index - 1]) if index else 0
        values = self.flat[start : int(self._ends[index])]
        return values.reshape(*self._shapes[index], self._channels)

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
        num_bytes = size * self._dtype.itemsize
        if file.stat().st_size != num_bytes:
            raise DataError(f"{file} has {file.stat().st_size} bytes; it must have {num_bytes}")
        return np.memmap(file, self._dtype, "r", shape=(size,))


@dataclasses.dataclass(frozen=True)
class FileStore(Store):
    """Arrays decoded from their files each time.

    Attributes:
        root: the folder of the files.
        names: the files, relative to it.
        files: integers [N], the place in `names` of each example's file.
        digests: uint8 [N, 16], `survey.example_digest` of each example.
        framing: how the files are decoded.
    """

    root: Path
    names: list[str]
    files: np.ndarray
    digests: np.ndarray
    framing: Framing

    def __getitem__(self, index: int, /) -> Num[np.ndarray, "*spatial c"]:
        """See `Store`.

        Raises:
            DataError: its file cannot be decoded, or has changed.
        """
        place = int(self.files[index])
        file = self.root / self.names[place]
        parts = self.framing.read(file)
        part = index - int(np.searchsorted(self.files, place))
        digest = example_digest(parts[part]) if part < len(parts) else b""
        if digest != self.digests[index].tobytes():
            raise DataError(f"{file} has changed since the run began")
        return parts[part]
