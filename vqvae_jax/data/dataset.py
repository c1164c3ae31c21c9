"""A data set: its two splits, and what identifies it; and the settings that say which."""

import abc
import dataclasses
import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from vqvae_jax.data.source import ArraySource, DataSource, Splits
from vqvae_jax.errors import DataError
from vqvae_jax.words import counted


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set in its canonical order.

    Attributes:
        name: mnist, or mnist_sample if the sample stands in for it; or that of a folder.
        source: where it came from, in words.
        archives: SHA-256 of the archives it was read from, by name; empty if unknown.
        train: the examples to train on: "image", uint8 [H, W, C], or "audio", int16 [T, C], and if
            there are labels "label", uint8 or int32 [].
        test: the held-out examples, likewise.
        variance: population variance of the training data on a scale of length 1: of x / 255 for
            pixels, of x / 65536 for 16-bit samples.
        digest: SHA-256 of the data and labels.
        folder: the user's folder or file with the data; None if there was none.
        data_dir: TFDS's data folder in which it was searched; None if it was not.
        sample_rate: samples per second of audio; None: the examples are images.
    """

    name: str
    source: str
    archives: dict[str, str]
    train: DataSource
    test: DataSource
    variance: float
    digest: str
    folder: str | None = None
    data_dir: str | None = None
    sample_rate: int | None = None

    @property
    def entry(self) -> str:
        """The name of the examples in the sources: image or audio."""
        return "image" if self.sample_rate is None else "audio"

    @property
    def noun(self) -> str:
        """The word for an example: image or recording."""
        return "image" if self.sample_rate is None else "recording"

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of an example: H, W and C, or T and C."""
        return tuple(self.train.spec[self.entry].shape)


class DataConfig(abc.ABC):
    """Settings that say which data a run is on: a frozen dataclass, whose fields are set.

    A config names a subclass by `data.kind`; one of your own by its import path.

    Attributes:
        value_range: the lowest and the highest value that models see by default.
    """

    value_range: ClassVar[tuple[float, float]] = (-0.5, 0.5)

    @abc.abstractmethod
    def load(self) -> Dataset:
        """Loads the data, and prepares them first if necessary.

        Raises:
            DataError: they cannot be found, or what is found cannot be used.
            OSError: a folder cannot be read, or written.
        """

    def recall(self, run: Mapping[str, Any]) -> Dataset:
        """Loads the data that a run was trained on.

        Args:
            run: its description, as in run.json.

        Returns:
            The run's data; or other data, if the settings have changed since: callers must compare
            the digest.

        Raises:
            DataError, OSError: as `load`.
        """
        del run
        return self.load()


def held_out(
    names: Sequence[str], fraction: float, where: object, noun: str = "image"
) -> np.ndarray:
    """Returns which of the files are held out, by a hash of their names: bool [N].

    Args:
        names: the files' names, which do not change.
        fraction: fraction of them held out.
        where: what holds them, for errors.
        noun: what they are, likewise.

    Raises:
        DataError: it is all of them, or none.
    """
    digests = (hashlib.sha256(os.fsencode(name)).digest()[:7] for name in names)
    chosen = np.array([int.from_bytes(digest, "big") < fraction * 2**56 for digest in digests])
    if chosen.all() or not chosen.any():
        raise DataError(
            f"{where} holds {counted(len(names), noun)}, of which data.test_fraction, now "
            f"{fraction}, holds out {chosen.sum()}; both splits must have some"
        )
    return chosen


def dataset_of(name: str, root: Path, splits: Splits, description: dict[str, Any]) -> Dataset:
    """Makes a data set from the result of `cache.describe`.

    Args:
        name: its name.
        root: the data folder.
        splits: in canonical order.
        description: the splits' description.
    """
    digest = description["digest"]
    train, test = (ArraySource(splits[of], f"{digest} {of}") for of in ("train", "test"))
    return Dataset(
        name=name,
        source=description["source"],
        archives=description["archives"],
        train=train,
        test=test,
        variance=description["variance"],
        digest=digest,
        folder=description.get("folder"),
        data_dir=str(root),
    )
