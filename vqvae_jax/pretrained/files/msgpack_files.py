"""Files that flax.serialization has written, in the msgpack format."""

import mmap
from typing import Any, BinaryIO

import jax.numpy as jnp
import numpy as np
from flax import serialization

from vqvae_jax.errors import DamagedError, UnsupportedError


def read_msgpack(file: BinaryIO) -> Any:
    """Returns what a file holds: nested dictionaries, and arrays.

    Raises:
        Exception: it is no such file.
    """
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return serialization.msgpack_restore(content)  # type: ignore[arg-type]


def flatten(content: Any) -> dict[str, np.ndarray]:
    """Returns the arrays of nested dictionaries, their names joined by "/".

    Raises:
        DamagedError: two arrays have the same name.
        UnsupportedError: an array is not of numbers.
    """
    found: dict[str, np.ndarray] = {}
    todo = [("", content)]
    while todo:
        name, value = todo.pop()
        if isinstance(value, dict):
            prefix = f"{name}/" if name else ""
            todo += reversed([(f"{prefix}{key}", inner) for key, inner in value.items()])
        elif isinstance(value, np.ndarray | np.generic):
            if name in found:
                raise DamagedError(f"it has two arrays {name!r:.100}")
            if not (jnp.issubdtype(value.dtype, jnp.number) or value.dtype == np.bool_):
                raise UnsupportedError(f"{name!r:.100} has the type {value.dtype}")
            found[name] = np.asarray(value)
    return found
