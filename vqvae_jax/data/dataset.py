"""A data set: its two splits, and what identifies it; and the settings that say which."""

import abc
import dataclasses
import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

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
        train: the examples to train on: "image", uint8 [H, W, C], and if there are labels "label",
            uint8 or int32 [].
        test: the held-out examples, likewise.
        variance: population variance of the training pixels of x / 255.
        digest: SHA-256 of the pixels and labels.
        folder: the user's folder or file with the data; None if there was none.
        data_dir: TFDS's data folder in which it was searched; None if it was not.
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

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """H, W and C."""
        height, width, channels = self.train.spec["image"].shape
        return height, width, channels


class DataConfig(abc.ABC):
    """Settings that say which data a run is on: a frozen dataclass, whose fields are set.

    A config names a subclass by `data.kind`; one of your own by its import path.
    """

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


def held_out(names: Sequence[str], fraction: float, where: object) -> np.ndarray:
    """Returns which of the images are held out, by a hash of their names: bool [N].

    Args:
        names: the images' names, which do not change.
        fraction: fraction of them held out.
        where: what holds them, for errors.

    Raises:
        DataError: it is all of them, or none.
    """
    digests = (hashlib.sha256(os.fsencode(name)).digest()[:7] for name in names)
    chosen = np.array([int.from_bytes(digest, "big") < fraction * 2**56 for digest in digests])
    if chosen.all() or not chosen.any():
        raise DataError(
            f"{where} holds {counted(len(names), 'image')}, of which data.test_fraction, now "
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
