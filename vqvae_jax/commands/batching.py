"""Images of any size in batches of one size."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

# Positions of a batch together, and of all that waits for others of its size.
_PER_BATCH = 2**18
_WAITING = 2**24


@dataclasses.dataclass(frozen=True)
class Sized:
    """An array with its name, and its true size if it was padded.

    Attributes:
        name: the file's name.
        array: [H, W, ...].
        size: height and width before the padding.
    """

    name: str
    array: np.ndarray
    size: tuple[int, int]


def padded(image: np.ndarray, multiples: Sequence[int]) -> np.ndarray:
    """Pads an image [H, W, C] to multiples of two numbers, with its last row and column."""
    ends = [-length % by for length, by in zip(image.shape[:2], multiples, strict=True)]
    return np.pad(image, [(0, end) for end in ends] + [(0, 0)], mode="edge")


def in_batches(arrays: Iterable[Sized], pixels: int = 1) -> Iterator[list[Sized]]:
    """Yields arrays together that have the same shape; a few at a time, so memory stays bounded.

    Args:
        arrays: the arrays [H, W, ...].
        pixels: how many pixels each of their positions stands for.
    """
    waiting: dict[tuple[int, ...], list[Sized]] = {}
    positions = 0
    for one in arrays:
        group = waiting.setdefault(one.array.shape, [])
        group.append(one)
        positions += _positions(one) * pixels
        full = (len(group) + 1) * _positions(one) * pixels > _PER_BATCH
        while full or positions > _WAITING:
            shape = one.array.shape if full else next(iter(waiting))
            batch = waiting.pop(shape)
            positions -= sum(map(_positions, batch)) * pixels
            full = False
            yield batch
    yield from waiting.values()


def _positions(one: Sized) -> int:
    height, width = one.array.shape[:2]
    return height * width
