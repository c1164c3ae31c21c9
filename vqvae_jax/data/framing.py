"""The contract of what makes examples of one size of files of any size."""

import abc
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from jaxtyping import Num

from vqvae_jax.errors import DataError


class Framing(abc.ABC):
    """How files become examples [*spatial, C] of one size: a frozen dataclass of settings.

    Attributes:
        entry: the name of the examples in a data source.
        noun: what a file holds, in a word.
        sizing: the setting that gives examples one size.
        dtype: the type of the examples, an integer type.
        channels: C.
    """

    entry: ClassVar[str]
    noun: ClassVar[str]
    sizing: ClassVar[str]
    dtype: ClassVar[np.dtype]
    channels: int

    @property
    def samples_per_second(self) -> int | None:
        """The sample rate of audio; None: the examples are of another kind."""
        return None

    @property
    @abc.abstractmethod
    def spatial(self) -> tuple[int, ...] | None:
        """The size of an example along its axes but the last; None: the files' own, one for all."""

    @property
    @abc.abstractmethod
    def is_random(self) -> bool:
        """Whether an example changes from epoch to epoch."""

    @property
    @abc.abstractmethod
    def held_out(self) -> "Framing":
        """The framing of held-out files, in which nothing is random."""

    @property
    @abc.abstractmethod
    def reading(self) -> str:
        """The settings that decide what `read` returns."""

    @property
    @abc.abstractmethod
    def reader(self) -> str:
        """The version of what decodes the files."""

    @abc.abstractmethod
    def read(self, file: Path) -> Num[np.ndarray, "n *spatial c"]:
        """Decodes a file into the examples that it holds; with random crops, into all of it.

        Raises:
            DataError: it cannot be decoded.
        """

    @abc.abstractmethod
    def center(self, whole: Num[np.ndarray, "*spatial c"]) -> Num[np.ndarray, "*spatial_out c"]:
        """Returns the center, of the examples' size, of what `read` returned."""

    @abc.abstractmethod
    def draw(
        self, whole: Num[np.ndarray, "*spatial c"], random: np.random.RandomState
    ) -> Num[np.ndarray, "*spatial_out c"]:
        """Returns an example of what `read` returned, with what is random in it drawn."""

    @abc.abstractmethod
    def described(self, spatial: Sequence[int]) -> str:
        """Returns the size of what a file holds, in words."""


def one_size(framing: Framing, shapes: np.ndarray, names: Sequence[str]) -> tuple[int, ...]:
    """Returns the size of examples that all have the same.

    Args:
        framing: that of the examples.
        shapes: integers [N, rank], the size of each along its axes but the last.
        names: their files.

    Raises:
        DataError: they have not.
    """
    others = np.flatnonzero(np.any(shapes != shapes[0], axis=1))
    if len(others):
        first, other = (framing.described(shapes[place].tolist()) for place in (0, others[0]))
        raise DataError(
            f"{names[0]} has {first}, {names[others[0]]} {other}; data.{framing.sizing} gives them "
            "one size"
        )
    return tuple(shapes[0].tolist())
