"""Files of named arrays, in the safetensors format, with digests of all their content.

Such a file holds no code and is read without pickle; its header is JSON, and whatever it declares
must lie within the file. The digests detect what safetensors does not: a flipped bit.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from vqvae_jax.errors import DamagedError
from vqvae_jax.files import naming, write_atomically

_FORMAT = "vqvae_jax 1"

# Errors that reading a foreign header can raise.
_UNREADABLE = (
    FileNotFoundError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    RecursionError,
    safetensors.SafetensorError,
)


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray], description: Any) -> None:
    """Writes a file, whole or not at all.

    Args:
        path: the file; its folder exists.
        arrays: arrays by name.
        description: JSON values, stored with them.

    Raises:
        OSError: it cannot be written.
    """
    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    text = json.dumps(description)
    digests = {name: array_digest(array) for name, array in arrays.items()}
    metadata = {
        "format": _FORMAT,
        "description": text,
        "digests": json.dumps(digests),
        "checksum": _checksum(text, digests),
    }
    write_atomically(path, safetensors.numpy.save(arrays, metadata))


def read_description(path: Path) -> Any:
    """Returns the description in a file, without reading the arrays.

    Raises:
        DamagedError: it differs from what was written.
    """
    return _read(path, with_arrays=False)[1]


def read_arrays(path: Path) -> tuple[dict[str, np.ndarray], Any]:
    """Returns the arrays and the description in a file.

    Raises:
        DamagedError: something in it differs from what was written, or it is missing.
        OSError: it cannot be read.
    """
    return _read(path, with_arrays=True)


def array_digest(array: np.ndarray) -> str:
    """Returns the SHA-256 of an array's type, shape and elements."""
    digest = hashlib.sha256(repr((array.dtype.name, array.shape)).encode())
    digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _read(path: Path, *, with_arrays: bool) -> tuple[dict[str, np.ndarray], Any]:
    try:
        with naming(path), safetensors.safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != _FORMAT:
                raise DamagedError(f"{path} is damaged: its header does not say {_FORMAT!r}")
            digests = json.loads(metadata["digests"])
            description = json.loads(metadata["description"])
            if metadata["checksum"] != _checksum(metadata["description"], digests):
                raise DamagedError(f"{path} is damaged: its description has another digest")
            if digests.keys() != {*file.keys()}:
                raise DamagedError(f"{path} is damaged: it holds other arrays than it says")
            arrays = {name: file.get_tensor(name) for name in digests} if with_arrays else {}
    except DamagedError:
        raise
    except _UNREADABLE as error:
        reason = str(error).partition("\n")[0]
        raise DamagedError(f"{path} cannot be read: {reason}") from error
    for name, array in arrays.items():
        if array_digest(array) != digests[name]:
            raise DamagedError(f"{path} is damaged: {name} has another digest")
    return arrays, description


def _checksum(description: str, digests: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps([description, digests], sort_keys=True).encode()).hexdigest()
