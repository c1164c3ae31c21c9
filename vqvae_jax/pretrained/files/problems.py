"""Errors in weight files: each in one line that names the file."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from vqvae_jax.errors import DamagedError, DataError, UnsupportedError


@contextlib.contextmanager
def naming_file(path: Path) -> Iterator[None]:
    """Makes errors name the file, and those of parsers say that it is damaged.

    Raises:
        DamagedError: the content is not what its format allows.
        DataError: any other that was raised inside; its message continues "FILE cannot be read: ".
        OSError: the file cannot be read, as it was raised inside.
    """
    try:
        yield
    except DamagedError as error:
        raise DamagedError(f"{path} is damaged: {error}") from error
    except UnsupportedError as error:
        raise UnsupportedError(f"{path} cannot be read: {error}") from error
    except DataError as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    except (OSError, MemoryError):
        raise
    except Exception as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise DamagedError(f"{path} is damaged: {reason:.200}") from error
