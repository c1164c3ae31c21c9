"""Data sets that exist already: prepared by TFDS, and in the cache."""

import contextlib
import dataclasses
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np

from vqvae_jax.data import cache, layout
from vqvae_jax.data.idx import Splits
from vqvae_jax.errors import DamagedError

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set in its canonical order.

    Attributes:
        name: mnist, or mnist_sample if the sample stands in for it.
        source: where it came from, in words.
        archives: SHA-256 of the archives it was prepared from, by name; empty if unknown.
        train_images: uint8 [N, H, W, C].
        train_labels: uint8 [N], or int32 [N] if some are negative or above 255.
        test_images: uint8 [M, H, W, C].
        test_labels: likewise [M].
        variance: population variance of the training pixels of x / 255.
        digest: SHA-256 of the pixels and labels.
        folder: the user's folder with the archives; None if there was none.
        data_dir: TFDS's data folder in which it was searched; None if it was not.
    """

    name: str
    source: str
    archives: dict[str, str]
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    variance: float
    digest: str
    folder: str | None = None
    data_dir: str | None = None


def dataset_of(name: str, root: Path, splits: Splits, description: dict[str, Any]) -> Dataset:
    """Makes a data set from the result of `cache.describe`.

    Args:
        name: its name.
        root: the data folder.
        splits: in canonical order.
        description: the splits' description.
    """
    return Dataset(
        name=name,
        source=description["source"],
        archives=description["archives"],
        train_images=splits["train"].images,
        train_labels=splits["train"].labels,
        test_images=splits["test"].images,
        test_labels=splits["test"].labels,
        variance=description["variance"],
        digest=description["digest"],
        folder=description.get("folder"),
        data_dir=str(root),
    )


def data_folder(data_dir: str | None) -> Path:
    """Returns TFDS's data folder, for the argument of `load_dataset`."""
    given = data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    return Path(given).expanduser().absolute()


def open_prepared(name: str, root: Path) -> Dataset | None:
    """Returns the set prepared under a data folder, from the cache if that is up to date.

    It is decoded again if it has changed since.

    Raises:
        DamagedError: it is damaged, and not in the cache.
        DataError: it cannot be read.
    """
    folder = cache.folder_of(name, root)
    cached, prepared = cache.read(folder), layout.find_prepared(name, root)
    origin = None if prepared is None else layout.fingerprint(prepared)
    if cached is not None and origin in (None, cached[1].get("prepared")):
        return dataset_of(name, root, *cached)
    if prepared is None:
        return None
    from vqvae_jax.data import tfds_store

    _log.info("decoding %s from %s", name, prepared)
    if prepared != (newest := layout.prepared_folders(name, root)[0]):
        _log.warning("reading %s needs TensorFlow: it is skipped", newest)
    try:
        splits, description = tfds_store.read(prepared)
    except DamagedError as error:
        if cached is None:
            raise
        _log.warning("WARNING: %s; it is read from %s", error, folder)
        return dataset_of(name, root, *cached)
    decoded = splits, description | {"prepared": origin}
    try:
        if cached is not None and cached[1]["digest"] != description["digest"]:
            with contextlib.suppress(OSError):  # a copy exists already
                folder.rename(cache.folder_of(name, root, cached[1]["digest"]))
        cache.write(folder, *decoded)
    except OSError as error:
        _log.warning("%s is not cached: %s", name, error)
    else:
        decoded = cache.read(folder) or decoded
    return dataset_of(name, root, *decoded)
