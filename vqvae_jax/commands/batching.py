"""Examples of any size in batches of one size."""

import dataclasses
import math
from collections.abc import Iterable, Iterator

import numpy as np

# Positions of a batch together, and of all that waits for others of its size.
_PER_BATCH = 2**18
_WAITING = 2**24


@dataclasses.dataclass(frozen=True)
class Sized:
    """An array with its name, and its true size if it was padded.

    Attributes:
        name: the file's name.
        array: [*spatial, ...].
        size: its lengths along the spatial axes before the padding; of codes, those of the data.
    """

    name: str
    array: np.ndarray
    size: tuple[int, ...]


def in_batches(arrays: Iterable[Sized], positions: int = 1) -> Iterator[list[Sized]]:
    """Yields arrays together that have the same shape; a few at a time, so memory stays bounded.

    Args:
        arrays: the arrays [*spatial, ...].
        positions: how many positions of the data, such as pixels, each of theirs stands for.
    """
    waiting: dict[tuple[int, ...], list[Sized]] = {}
    total = 0
    for one in arrays:
        group = waiting.setdefault(one.array.shape, [])
        group.append(one)
        total += _positions(one) * positions
        full = (len(group) + 1) * _positions(one) * positions > _PER_BATCH
        while full or total > _WAITING:
            shape = one.array.shape if full else next(iter(waiting))
            batch = waiting.pop(shape)
            total -= sum(map(_positions, batch)) * positions
            full = False
            yield batch
    yield from waiting.values()


def cut(array: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Returns an array [*spatial, ...] without its padding."""
    return array[tuple(map(slice, size))]


def _positions(one: Sized) -> int:
    return math.prod(one.array.shape[: len(one.size)])
