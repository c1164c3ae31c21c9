"""Packages that only an extra of this package installs."""

import contextlib
from collections.abc import Iterator

from vqvae_jax.errors import MissingError


@contextlib.contextmanager
def extra(name: str) -> Iterator[None]:
    """Makes an import that fails inside name the extra with the missing package.

    Args:
        name: the extra of pyproject.toml.

    Raises:
        MissingError: a package is missing.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or str(error)).partition(".")[0]
        raise MissingError(
            f'{package} is missing; pip install "vqvae_jax[{name}]" installs it', name=package
        ) from error
