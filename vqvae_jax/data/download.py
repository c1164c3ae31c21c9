"""The download of a data set's archives, through TFDS."""

import threading
import urllib.parse
import urllib.request
from pathlib import Path

from vqvae_jax.data import archives
from vqvae_jax.errors import DataError
from vqvae_jax.extras import extra

_PROBE_SECONDS = 4.0


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
    served = archives.urls(name)
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
