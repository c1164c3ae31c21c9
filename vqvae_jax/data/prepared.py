"""Data sets that exist already: prepared by TFDS, and in the cache."""

import contextlib
import logging
import os
from pathlib import Path
from typing import Any

from vqvae_jax.data import cache, layout
from vqvae_jax.data.dataset import Dataset, dataset_of
from vqvae_jax.data.source import Splits
from vqvae_jax.errors import DamagedError

_log = logging.getLogger(__name__)


def data_folder(data_dir: str | None) -> Path:
    """Returns TFDS's data folder, for the argument of `load_dataset`."""
    given = data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    return Path(given).expanduser().absolute()


def open_prepared(name: str, root: Path) -> Dataset | None:
    """Returns the cached set, or the one that TFDS prepared if the cache is missing or older.

    Returns:
        The set; None if there is neither.

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
    if cached is not None and cached[1]["digest"] != description["digest"]:
        with contextlib.suppress(OSError):  # a copy exists already
            folder.rename(cache.folder_of(name, root, cached[1]["digest"]))
    return keep(name, root, splits, description | {"prepared": origin})


def keep(name: str, root: Path, splits: Splits, description: dict[str, Any]) -> Dataset:
    """Writes the result of `cache.describe` to the cache, if that is possible, and returns it."""
    folder = cache.folder_of(name, root)
    try:
        cache.write(folder, splits, description)
    except OSError as error:
        _log.warning("%s is not cached: %s", name, error)
        return dataset_of(name, root, splits, description)
    stored = cache.read(folder)
    if stored is None or stored[1]["digest"] != description["digest"]:  # another process's data
        return dataset_of(name, root, splits, description)
    return dataset_of(name, root, *stored)
