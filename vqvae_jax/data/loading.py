"""`load_dataset`: from a name to arrays, from whatever source has them."""

import logging
from pathlib import Path
from typing import Any

from vqvae_jax.data import archives as archives_of
from vqvae_jax.data import cache, idx, layout, sample
from vqvae_jax.data.dataset import Dataset
from vqvae_jax.data.download import download
from vqvae_jax.data.prepared import data_folder, keep, open_prepared
from vqvae_jax.data.source import Splits
from vqvae_jax.errors import DamagedError, DataError

_log = logging.getLogger(__name__)


def load_dataset(
    name: str,
    *,
    archives: str | None = None,
    data_dir: str | None = None,
    allow_sample: bool = True,
) -> Dataset:
    """Loads a data set, and prepares it first if necessary.

    It tries, in this order: the set prepared under data_dir or cached there; the four archives in
    `archives`, or in data_dir/downloads/manual/<name>; the download; for mnist, the embedded
    sample, with a warning.

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
            set; or a set that TFDS knows cannot be prepared under data_dir. A damaged cache, and a
            damaged prepared set that TFDS knows, are rebuilt if the archives are still there.
        OSError: data_dir cannot be listed.
    """
    root, damage = data_folder(data_dir), None
    if name == sample.NAME and archives is not None:
        raise DataError(
            f"data.name is {name}, the embedded sample; data.archives must not be "
            f"given with it, but is {archives}"
        )
    paths = {} if archives is None else archives_of.in_folder(archives, name)
    try:
        dataset = open_prepared(name, root)
    except DamagedError as error:
        if name not in archives_of.KNOWN:
            raise
        dataset, damage = None, error
    if dataset is not None:
        if archives is not None:
            _check_same(dataset, archives, paths, root)
        return dataset
    if name == sample.NAME:
        return keep(name, root, *cache.describe(*sample.read()))
    try:
        found = _find(name, archives, paths, root)
    except DataError as error:
        if damage is not None:
            raise damage from error
        if name != "mnist" or not allow_sample or isinstance(error, DamagedError):
            raise
        _log.warning(
            "WARNING: training on a SAMPLE of 5,000 MNIST images, not on the 70,000: %s.", error
        )
        return load_dataset(sample.NAME, data_dir=data_dir)
    splits, description = cache.describe(*archives_of.read(name, *found))
    _check_replaces(cache.folder_of(name, root), description)
    if name not in archives_of.KNOWN:
        return keep(name, root, splits, description)
    return _prepare(name, root, splits, description, damage)


def _check_same(dataset: Dataset, archives: str, paths: dict[str, Path], root: Path) -> None:
    """Refuses archives that differ from the set already prepared under the same name."""
    expected = dataset.archives or archives_of.registered_digests(dataset.name)
    if {archive: idx.file_sha256(path) for archive, path in paths.items()} == expected:
        return
    _, description = cache.describe(idx.read_archives(paths, None), {})
    if description["digest"] != dataset.digest:
        raise DataError(
            f"{archives} does not hold what {dataset.name} was read from before "
            f"(under {root}; cached in {cache.folder_of(dataset.name, root)}); "
            "choose another --config.data.name or --config.data.data_dir"
        )


def _check_replaces(cached: Path, description: dict[str, Any]) -> None:
    """Refuses to replace a damaged set in the cache, or one that has come since, by another."""
    if not cached.is_dir():
        return
    known = cache.read_description(cached)  # the pixels alone may be damaged
    if known is not None and known["digest"] != description["digest"]:
        raise DamagedError(
            f"what is cached in {cached} was read from {known['source']}, and the data of "
            f"{description['source']} are not the same; delete that folder to have it replaced"
        )
    _log.warning(
        "WARNING: what is cached in %s cannot be read; it is replaced from %s",
        cached,
        description["source"],
    )


def _find(
    name: str, archives: str | None, paths: dict[str, Path], root: Path
) -> tuple[dict[str, Path], Path | None]:
    """Returns a set's archives, and the folder they are in: given, found, or downloaded."""
    manual, cached = root / "downloads" / "manual" / name, cache.folder_of(name, root)
    if archives is not None:
        return paths, Path(archives).expanduser()
    for folder in (_archives_behind(name, cached), manual):
        if folder is not None and (found := idx.find_archives(folder, name)):
            return found, folder
    try:
        return download(name, root), None
    except DataError as error:
        advice = "name a folder that holds its four archives with --config.data.archives=FOLDER"
        if cached.is_dir():
            raise DamagedError(
                f"what is cached in {cached} cannot be read, the archives of {name} are not in "
                f"{manual}, and {error}; {advice}"
            ) from error
        others = "".join(
            f" (reading what is in {folder} needs TensorFlow)"
            for folder in layout.prepared_folders(name, root)[:1]
        )
        raise DataError(
            f"{name} is not prepared as array_record under {root}{others}, its archives are not in "
            f"{manual}, and {error}; {advice}"
        ) from error


def _archives_behind(name: str, cached: Path) -> Path | None:
    """Returns the folder that a set in the cache was read from, if its archives are still there.

    So damaged pixels are read again.
    """
    description = cache.read_description(cached)
    if description is None or not description.get("folder"):
        return None
    folder = Path(description["folder"])
    paths = idx.find_archives(folder, name)
    held = {archive: idx.file_sha256(path) for archive, path in paths.items()}
    return folder if paths and held == description["archives"] else None


def _prepare(
    name: str,
    root: Path,
    splits: Splits,
    description: dict[str, Any],
    damage: DamagedError | None,
) -> Dataset:
    """Keeps a set that TFDS knows as its own builder would, and in the cache."""
    from vqvae_jax.data import tfds_store

    if damage is not None:
        if layout.find_prepared(name, root) not in tfds_store.own_folders(name, root):
            raise damage  # it would be found before a new one
        _log.warning("WARNING: %s; it is prepared again, the damaged one set aside", damage)
    _log.info("preparing %s under %s", name, root)
    tfds_store.set_damaged_aside(name, root)
    folder = tfds_store.write(name, splits, description, root)
    return keep(name, root, splits, description | {"prepared": layout.fingerprint(folder)})
