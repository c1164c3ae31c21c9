"""A data set: its two splits, and what identifies it; and the settings that say which."""

import abc
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vqvae_jax.data.source import ArraySource, DataSource, Splits


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
