"""A data set: its two splits, and what identifies it."""

import dataclasses
from pathlib import Path
from typing import Any

from vqvae_jax.data.source import ArraySource, Splits


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set in its canonical order.

    Attributes:
        name: mnist, or mnist_sample if the sample stands in for it.
        source: where it came from, in words.
        archives: SHA-256 of the archives it was read from, by name; empty if unknown.
        train: the examples to train on: "image", uint8 [H, W, C], and "label", uint8 or int32 [].
        test: the held-out examples, likewise.
        variance: population variance of the training pixels of x / 255.
        digest: SHA-256 of the pixels and labels.
        folder: the user's folder with the archives; None if there was none.
        data_dir: TFDS's data folder in which it was searched; None if it was not.
    """

    name: str
    source: str
    archives: dict[str, str]
    train: ArraySource
    test: ArraySource
    variance: float
    digest: str
    folder: str | None = None
    data_dir: str | None = None

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """H, W and C."""
        height, width, channels = self.train.spec["image"].shape
        return height, width, channels


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
