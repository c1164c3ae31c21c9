"""Files in the safetensors format, whole or in shards.

A file is 8 bytes, the length of a header; the header, JSON; and the elements of all arrays, without
gaps. The header is checked here before anything is allocated, and bfloat16 and the 8-bit types are
read in every version of the package safetensors.
"""

import json
import math
import os
from pathlib import Path
from typing import Any, BinaryIO

import jax.numpy as jnp
import numpy as np

from vqvae_jax.errors import DamagedError, UnsupportedError
from vqvae_jax.pretrained.files.problems import naming_file

# The format's own limit.
_MAX_HEADER = 100_000_000

_DTYPES = {
    "BF16": jnp.bfloat16,
    "BOOL": np.bool_,
    "C64": np.complex64,
    "F16": np.float16,
    "F32": np.float32,
    "F64": np.float64,
    "F8_E4M3": jnp.float8_e4m3fn,
    "F8_E5M2": jnp.float8_e5m2,
    "I16": np.int16,
    "I32": np.int32,
    "I64": np.int64,
    "I8": np.int8,
    "U16": np.uint16,
    "U32": np.uint32,
    "U64": np.uint64,
    "U8": np.uint8,
}


def read_safetensors(file: BinaryIO) -> dict[str, np.ndarray]:
    """Returns the arrays in a file.

    Raises:
        DamagedError: the header does not describe the file.
        UnsupportedError: an array has a type that NumPy and JAX do not have.
        Exception: the header is not one of this format.
    """
    size = os.fstat(file.fileno()).st_size
    length = int.from_bytes(file.read(8), "little")
    if length > min(size - 8, _MAX_HEADER):
        raise DamagedError(
            f"its header would have {length} bytes; the file has {size}, and a header at most "
            f"{_MAX_HEADER}"
        )
    header = parse(file.read(length))
    header.pop("__metadata__", None)
    entries = {name: _entry(name, value) for name, value in header.items()}
    end = 0
    arrays = {}
    for name in sorted(entries, key=lambda name: entries[name][2]):
        dtype, shape, (start, stop) = entries[name]
        if start != end or stop > size - 8 - length:
            raise DamagedError(
                f"{name!r:.100} is said to lie at bytes {start} to {stop}; it must begin at {end} "
                f"and end by {size - 8 - length}"
            )
        end = stop
        arrays[name] = np.empty(shape, dtype)
        if file.readinto(arrays[name].reshape(-1).view(np.uint8)) != stop - start:  # type: ignore[attr-defined]
            raise DamagedError(f"it ends within {name!r:.100}")
    if end != size - 8 - length:
        raise DamagedError(f"its arrays end at byte {end}; {size - 8 - length} follow the header")
    return {name: arrays[name] for name in entries}


def read_shards(path: Path) -> dict[str, np.ndarray]:
    """Returns the arrays of all files that an index names.

    Args:
        path: the index, a *.safetensors.index.json; the files lie beside it.

    Raises:
        DataError: the index or a shard cannot be read, in one line that names it.
        OSError: a shard is missing.
    """
    with naming_file(path):
        if path.stat().st_size > _MAX_HEADER:
            raise DamagedError(f"an index has at most {_MAX_HEADER} bytes")
        places = parse(path.read_bytes()).get("weight_map")
        if not isinstance(places, dict):
            raise DamagedError("it has no weight_map")
        shards = {place: _shard(path, place) for place in places.values()}
    found: dict[str, np.ndarray] = {}
    for place, shard in shards.items():
        with naming_file(shard), shard.open("rb") as file:
            arrays = read_safetensors(file)
            for name in (name for name in places if places[name] == place):
                if name not in arrays:
                    raise DamagedError(f"it lacks {name!r:.100}, which {path.name} says it has")
                found[name] = arrays.pop(name)
    return {name: found[name] for name in places}


def parse(text: bytes) -> dict[str, Any]:
    """Returns a JSON object, each of whose names is there once."""
    value = json.loads(text, object_pairs_hook=_object)
    if not isinstance(value, dict):
        raise DamagedError("its header is not an object")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise DamagedError(f"it has {twice!r:.100} twice")
    return entries


def _entry(name: str, value: Any) -> tuple[np.dtype, tuple[int, ...], tuple[int, int]]:
    """The type, the shape and the bytes of an array, which agree."""
    match value:
        case {"dtype": str(kind), "shape": [*shape], "data_offsets": [start, stop]}:
            pass
        case _:
            raise DamagedError(f"{name!r:.100} lacks its dtype, shape or data_offsets")
    if not all(type(number) is int and number >= 0 for number in (*shape, start, stop)):
        raise DamagedError(f"the shape or the data_offsets of {name!r:.100} are no sizes")
    if kind not in _DTYPES:
        raise UnsupportedError(f"{name!r:.100} has the type {kind!r:.100}")
    dtype = np.dtype(_DTYPES[kind])
    if math.prod(shape) * dtype.itemsize != stop - start:
        raise DamagedError(
            f"{name!r:.100} has {stop - start} bytes, which is not {kind} of {shape!s:.100}"
        )
    return dtype, tuple(shape), (start, stop)


def _shard(index: Path, name: Any) -> Path:
    """The path of a shard: beside the index, and so where links lead (as in the hub's cache)."""
    if not isinstance(name, str) or not name or name in (".", "..") or {*name} & {*"/\\:\0"}:
        raise DamagedError(f"the shard {name!r:.100} must be the name of a file beside it")
    shard = index.parent / name
    if shard.resolve().parent not in (index.parent.resolve(), index.resolve().parent):
        raise DamagedError(f"the shard {name!r:.100} is a link to another folder")
    return shard
