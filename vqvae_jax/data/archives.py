"""The four archives of a data set: found in a folder, and checked for whose they are."""

import logging
import urllib.parse
from pathlib import Path
from typing import Any

from vqvae_jax.data import idx
from vqvae_jax.data.source import Splits
from vqvae_jax.errors import DataError

_log = logging.getLogger(__name__)

# The sets that TFDS knows.
KNOWN = ("mnist", "fashion_mnist", "kmnist")

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


def in_folder(archives: str, name: str) -> dict[str, Path]:
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


def read(name: str, paths: dict[str, Path], folder: Path | None) -> tuple[Splits, dict[str, Any]]:
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
    for name in KNOWN:
        for known in (registered_digests(name), _CONTENT.get(name, {})):
            for archive, digest in known.items():
                if digest in digests:
                    return f"{name}'s {archive}"
    return None


def registered_digests(name: str) -> dict[str, str]:
    """Returns the SHA-256 of each archive of `name`, as TFDS records it; empty if it has none."""
    builder = _stock_builder(name)
    return {archive: builder.url_infos[url].checksum for archive, url in urls(name).items()}


def urls(name: str) -> dict[str, str]:
    """Returns the URL of each archive of `name`; empty for sets that TFDS does not know."""
    builder = _stock_builder(name)
    if builder is None:
        return {}
    return {archive: urllib.parse.urljoin(builder.URL, archive) for archive in idx.ARCHIVE_NAMES}


def _stock_builder(name: str) -> Any:
    """Returns TFDS's builder class of `name`, with its URL and digests; None if there is none."""
    if name not in KNOWN:
        return None
    from vqvae_jax.data import tfds_store  # takes a second to import

    return tfds_store.STOCK_BUILDERS[name]
