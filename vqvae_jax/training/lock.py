"""One process at a time in a run's folder."""

import contextlib
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from vqvae_jax.errors import BusyError

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

_log = logging.getLogger(__name__)


@contextlib.contextmanager
def locked(workdir: Path) -> Iterator[None]:
    """Keeps other processes out of a folder for as long as this one lives.

    The kernel holds the lock, on the file <workdir>/lock: it is released when the process dies,
    however it dies. The file names its process for the others.

    Args:
        workdir: an existing folder.

    Raises:
        BusyError: another process holds it.
        OSError: the file cannot be written.
    """
    with (workdir / "lock").open("a+") as file:
        try:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            owner = file.read().strip() or "another process"
            raise BusyError(
                f"{workdir} is in use by {owner}; wait for it, stop it, or use another --workdir"
            ) from None
        except OSError as error:  # some network file systems have no locks
            _log.warning("WARNING: %s cannot be locked (%s)", workdir, error.strerror)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield
