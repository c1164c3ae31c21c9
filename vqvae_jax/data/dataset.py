"""`load_dataset`: from a name to arrays, wherever they have to come from."""

import dataclasses
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np

from vqvae_jax.data import cache, idx, sources
from vqvae_jax.data.idx import Splits
from vqvae_jax.errors import DamagedError, DataError

_log = logging.getLogger(__name__)
_SAMPLE = "mnist_sample"


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set in its canonical order.

    Attributes:
        name: mnist, or mnist_sample where the sample stands in for it.
        source: where it came from, in words.
        archives: SHA-256 of the archives it was prepared from, by their names; empty if unknown.
        train_images: uint8 [N, H, W, 1].
        train_labels: uint8 [N].
        test_images: uint8 [M, H, W, 1].
        test_labels: uint8 [M].
        variance: population variance of the training pixels of x / 255.
        digest: SHA-256 of the pixels and labels.
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


def load_dataset(
    name: str,
    *,
    archives: str | None = None,
    data_dir: str | None = None,
    allow_sample: bool = True,
) -> Dataset:
    """Loads a data set, preparing it first where that has not been done yet.

    Looks, in this order, for: the set prepared under data_dir; the four archives in `archives`, or
    in data_dir/downloads/manual/<name>; the download; for mnist, the embedded sample, with a
    warning.

    Args:
        name: mnist, fashion_mnist, kmnist, or any name for archives of your own.
        archives: a folder with the four archives, or None.
        data_dir: TFDS's data folder; None for TFDS_DATA_DIR or ~/tensorflow_datasets.
        allow_sample: whether the sample may stand in for mnist.

    Returns:
        The data set, its pixels mapped into memory.

    Raises:
        DataError: it cannot be found, or something found is broken or is another data set. What
            was prepared from archives that are still there is prepared anew where it is damaged.
        OSError: data_dir cannot be written.
    """
    root = Path(data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()
    folder = None if archives is None else Path(archives).expanduser()
    if folder is not None and (missing := idx.missing_archives(folder)):
        raise DataError(f"data.archives is {archives}, which does not hold {', '.join(missing)}")

    if name == _SAMPLE:
        raise DataError(
            f"data.name is {name}, which stands for the embedded sample; choose another"
        )
    damage = None
    try:
        dataset = _open(name, root)
    except DamagedError as error:
        dataset, damage = None, error
    if dataset is not None:
        if folder is not None:
            _check_same(dataset, folder, root)
        return dataset
    try:
        paths, source = _find_archives(name, folder, root)
    except DataError as error:
        if damage is not None:
            raise damage from error
        if name != "mnist" or not allow_sample:
            raise
        _log.warning(
            "WARNING: training on a SAMPLE of 5,000 MNIST images, not on the 70,000: %s.", error
        )
        return _open(_SAMPLE, root) or _prepare(_SAMPLE, root, *sources.sample())
    splits, provenance = sources.from_archives(name, paths, source)
    if damage is not None:
        _log.warning("WARNING: %s; it is prepared anew, the damaged one set aside", damage)
    return _prepare(name, root, splits, provenance)


def _open(name: str, root: Path) -> Dataset | None:
    """The set from its cache, else from what TFDS has prepared, which is then cached."""
    folder = root / "vqvae_jax" / name
    cached = cache.read(folder)
    if cached is None:
        from vqvae_jax.data import tfds_store

        prepared = tfds_store.find(name, root)
        if prepared is None:
            return None
        _log.info("decoding %s from %s", name, prepared)
        cached = tfds_store.read(prepared)
        try:
            cache.write(folder, *cached)
        except OSError as error:
            _log.warning("%s is not cached: %s", name, error)
        else:
            cached = cache.read(folder) or cached
    splits, description = cached
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
    )


def _check_same(dataset: Dataset, folder: Path, root: Path) -> None:
    """Refuses archives that are not those of the set already prepared under the same name."""
    expected = dataset.archives or sources.registered_digests(dataset.name)
    for archive in idx.ARCHIVE_NAMES:
        if idx.file_sha256(folder / archive) != expected.get(archive):
            raise DataError(
                f"{folder / archive} is not known to be what {dataset.name} was prepared from "
                f"(under {root}; cached in {root / 'vqvae_jax' / dataset.name}); "
                "choose another --config.data.name or --config.data.data_dir"
            )


def _find_archives(name: str, folder: Path | None, root: Path) -> tuple[dict[str, Path], str]:
    """The four archives by their names, and in words where they were found."""
    manual = root / "downloads" / "manual" / name
    if folder is None and not idx.missing_archives(manual):
        folder = manual
    if folder is not None:
        return {archive: folder / archive for archive in idx.ARCHIVE_NAMES}, f"archives in {folder}"
    try:
        return sources.download(name, root), "download"
    except DataError as error:
        raise DataError(
            f"{name} is not prepared as array_record under {root}, its archives are not in "
            f"{manual}, and {error}; name a folder that holds its four archives with "
            "--config.data.archives=FOLDER"
        ) from error


def _prepare(name: str, root: Path, splits: Splits, provenance: dict[str, Any]) -> Dataset:
    """Hands the set to TFDS, and takes it back from there."""
    from vqvae_jax.data import tfds_store

    _log.info("preparing %s under %s", name, root)
    tfds_store.set_damaged_aside(name, root)
    tfds_store.write(name, *cache.describe(splits, provenance), root)
    dataset = _open(name, root)
    if dataset is None:
        raise DataError(f"{name} was prepared under {root} but is not found there")
    return dataset
