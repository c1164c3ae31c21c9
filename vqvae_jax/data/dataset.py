"""`load_dataset`: from a name to arrays, from whatever source has them."""

import functools
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vqvae_jax.data import cache, idx, layout, sources
from vqvae_jax.data.idx import Splits
from vqvae_jax.data.prepared import Dataset, data_folder, open_prepared
from vqvae_jax.errors import DamagedError, DataError

_log = logging.getLogger(__name__)
_SAMPLE = "mnist_sample"


def load_dataset(
    name: str,
    *,
    archives: str | None = None,
    data_dir: str | None = None,
    allow_sample: bool = True,
) -> Dataset:
    """Loads a data set, and prepares it first if necessary.

    It tries, in this order: the set prepared under data_dir; the four archives in `archives`, or in
    data_dir/downloads/manual/<name>; the download; for mnist, the embedded sample, with a warning.

    Args:
        name: mnist, fashion_mnist, kmnist, or any name for archives of your own; mnist_sample for
            the embedded sample.
        archives: a folder with the four archives, in gzip or unpacked, or None.
        data_dir: TFDS's data folder; None for TFDS_DATA_DIR or ~/tensorflow_datasets.
        allow_sample: whether the sample may stand in for mnist.

    Returns:
        The data set, with memory-mapped pixels.

    Raises:
        DataError: it cannot be found, or something found is broken, not supported, or another data
            set. A damaged prepared set is rebuilt if its archives are still there.
        OSError: data_dir cannot be written.
    """
    root, damage = data_folder(data_dir), None
    if name == _SAMPLE and archives is not None:
        raise DataError(
            f"data.name is {name}, the embedded sample; data.archives must not be "
            f"given with it, but is {archives}"
        )
    paths = {} if archives is None else archives_in(archives, name)
    try:
        dataset = open_prepared(name, root)
    except DamagedError as error:
        dataset, damage = None, error
    if dataset is not None:
        if archives is not None:
            _check_same(dataset, archives, paths, root)
        return dataset
    try:
        read = _unprepared(name, archives, paths, root)
    except DataError as error:
        if damage is not None:
            raise damage from error
        if name != "mnist" or not allow_sample:
            raise
        _log.warning(
            "WARNING: training on a SAMPLE of 5,000 MNIST images, not on the 70,000: %s.", error
        )
        return load_dataset(_SAMPLE, data_dir=data_dir)
    return _prepare(name, root, *read(), damage)


def archives_in(archives: str, name: str) -> dict[str, Path]:
    """Returns the four files in the folder data.archives, by the archives' names.

    Raises:
        DataError: some of them are missing.
    """
    folder = Path(archives).expanduser()
    paths = idx.find_archives(folder, name)
    if not paths:
        missing = ", ".join(idx.missing_archives(folder))
        raise DataError(f"data.archives is {archives}, which does not hold {missing}")
    return paths


def _check_same(dataset: Dataset, archives: str, paths: dict[str, Path], root: Path) -> None:
    """Refuses archives that differ from the set already prepared under the same name."""
    expected = dataset.archives or sources.registered_digests(dataset.name)
    if {archive: idx.file_sha256(path) for archive, path in paths.items()} == expected:
        return
    _, description = cache.describe(idx.read_archives(paths, None), {})
    if description["digest"] != dataset.digest:
        raise DataError(
            f"{archives} does not hold what {dataset.name} was prepared from "
            f"(under {root}; cached in {cache.folder_of(dataset.name, root)}); "
            "choose another --config.data.name or --config.data.data_dir"
        )


def _unprepared(
    name: str, archives: str | None, paths: dict[str, Path], root: Path
) -> Callable[[], tuple[Splits, dict[str, Any]]]:
    """Returns what reads a set that is not prepared: from the given archives, or those found."""
    if name == _SAMPLE:
        return sources.sample
    manual = root / "downloads" / "manual" / name
    if archives is None and (found := idx.find_archives(manual, name)):
        archives, paths = str(manual), found
    if archives is not None:
        folder = Path(archives).expanduser()
        return functools.partial(sources.from_archives, name, paths, folder)
    try:
        paths = sources.download(name, root)
    except DataError as error:
        others = "".join(
            f" (reading what is in {folder} needs TensorFlow)"
            for folder in layout.prepared_folders(name, root)[:1]
        )
        raise DataError(
            f"{name} is not prepared as array_record under {root}{others}, its archives are not in "
            f"{manual}, and {error}; name a folder that holds its four archives with "
            "--config.data.archives=FOLDER"
        ) from error
    return functools.partial(sources.from_archives, name, paths, None)


def _prepare(
    name: str,
    root: Path,
    splits: Splits,
    provenance: dict[str, Any],
    damage: DamagedError | None,
) -> Dataset:
    """Writes the set through TFDS, and reads it back."""
    from vqvae_jax.data import tfds_store

    if damage is not None:
        if layout.find_prepared(name, root) not in tfds_store.own_folders(name, root):
            raise damage  # it would be found before a new one
        _log.warning("WARNING: %s; it is prepared again, the damaged one set aside", damage)
    _log.info("preparing %s under %s", name, root)
    tfds_store.set_damaged_aside(name, root)
    splits, description = cache.describe(splits, provenance)
    tfds_store.write(name, splits, description, root)
    dataset = open_prepared(name, root)
    if dataset is None or dataset.digest != description["digest"]:
        raise DataError(f"{name} was prepared under {root} but is not found there")
    return dataset
