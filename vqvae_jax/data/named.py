"""Data sets by name: those of TFDS, and archives of one's own."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from vqvae_jax.checks import check_flag, check_path
from vqvae_jax.data.dataset import DataConfig, Dataset
from vqvae_jax.data.loading import load_dataset
from vqvae_jax.data.recall import recall_dataset


@dataclasses.dataclass(frozen=True, kw_only=True)
class NamedDataset(DataConfig):
    """A data set that TFDS has prepared, or in four IDX archives; see `load_dataset`.

    Args:
        name: the data set: mnist, fashion_mnist, kmnist, any other that TFDS has prepared, or any
            name for your own archives; mnist_sample for the embedded images.
        archives: a folder with its four IDX files; None to look in the usual places.
        data_dir: TFDS's folder for prepared data; None for TFDS_DATA_DIR or ~/tensorflow_datasets.
        allow_sample: whether 5,000 embedded images may stand in for MNIST if it cannot be obtained.

    Raises:
        ValueError: an argument out of its range.
    """

    name: str
    archives: str | None = None
    data_dir: str | None = None
    allow_sample: bool = True

    def __post_init__(self) -> None:
        if not (isinstance(self.name, str) and re.fullmatch("[a-z][a-z0-9_]{0,99}", self.name)):
            raise ValueError(
                f"name is {self.name!r}; it must be lower-case letters, digits and underscores, "
                "starting with a letter"
            )
        for name in ("archives", "data_dir"):
            if getattr(self, name) is not None:
                check_path(name, getattr(self, name))
        check_flag("allow_sample", self.allow_sample)

    def load(self) -> Dataset:
        """See `DataConfig.load`."""
        return load_dataset(**vars(self))

    def recall(self, run: Mapping[str, Any]) -> Dataset:
        """See `DataConfig.recall`: wherever they can still be found."""
        return recall_dataset(dict(run), **vars(self))
