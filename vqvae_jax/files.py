"""Files that are written whole or not at all, and files that lock."""

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from vqvae_jax.errors import ConfigError

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

_DRAFT = ".draft"


def write_atomically(path: Path, content: bytes) -> None:
    """Replaces a file in one move, after its new content has reached the disk.

    Args:
        path: the file; its folder exists.
        content: its new content.

    Raises:
        OSError: it cannot be written; the old file is unchanged.
    """
    with naming(path):
        handle, draft = tempfile.mkstemp(prefix=f".{path.name}.", suffix=_DRAFT, dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            umask = os.umask(0)
            os.umask(umask)
            os.chmod(draft, 0o666 & ~umask)
            os.replace(draft, path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(draft)
            raise
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # so that the move survives a crash too
        finally:
            os.close(folder)


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Makes system errors, such as that of a full disk, name the file they are about."""
    try:
        yield
    except OSError as error:
        error.filename = str(path)
        raise


def check_folder(name: str, folder: Path) -> None:
    """Raises ConfigError if the folder of the setting `name` is a file or would lie in one."""
    there = next((place for place in (folder, *folder.parents) if place.exists()), folder)
    if there.is_file():
        raise ConfigError(f"{name} is {folder}; {there} is a file, not a folder")


def check_parent(file: Path) -> None:
    """Raises FileNotFoundError if the folder of a file to be written is missing."""
    if not file.absolute().parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "No such folder", str(file.absolute().parent))


def remove_drafts(folder: Path) -> None:
    """Removes what killed writers left in a folder; no other writer may be active there."""
    for draft in folder.glob(f".*{_DRAFT}"):
        draft.unlink(missing_ok=True)


@contextlib.contextmanager
def exclusively(lock: Path) -> Iterator[None]:
    """Waits until no other process is in here with the same file, which is created if missing.

    Where files cannot be locked, or not be written, there is no waiting.
    """
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            lock.parent.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(lock.open("a"))
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX)
        yield
