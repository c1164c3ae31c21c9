"""Integer indices, and lookup of table rows by them."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Integer

from vqvae_jax.meshes import split_by_batch


def as_int32(
    name: str, values: Integer[Array, "..."] | Integer[np.ndarray, "..."] | Sequence[Any]
) -> Int[Array, "..."]:
    """Converts integers of any type, in an array or in sequences, to int32.

    Values beyond int32 become its largest or smallest, since they would otherwise wrap around, as
    small types would when compared with K.

    Raises:
        ValueError: the values are not integers.
    """
    array = values if isinstance(values, jax.Array) else np.asarray(values)
    if not jnp.issubdtype(array.dtype, jnp.integer):
        raise ValueError(f"{name} have type {array.dtype}; they must be integers")
    widest, own = jnp.iinfo(jnp.int32), jnp.iinfo(array.dtype)
    if own.max > widest.max:
        array = array.clip(max(own.min, widest.min), widest.max)
    return jnp.asarray(array, jnp.int32)


def lookup(
    codebook: Float[Array, "k d"], indices: Integer[Array, "*shape"]
) -> Float[Array, "*shape d"]:
    """Returns the codes at `indices`: 0 where an index is negative (masked), NaN where K or more.

    Args:
        codebook: codes [K, D].
        indices: integers [...].

    Returns:
        [..., D]. The gradient reaches the chosen codes.

    Raises:
        ValueError: the codebook does not have two axes, or the indices are not integers.
    """
    if codebook.ndim != 2:
        raise ValueError(f"codebook has shape {codebook.shape}; it must be [K, D]")
    return split_by_batch(_rows, as_int32("indices", indices), codebook)


def _rows(indices: Array, codebook: Array) -> Array:
    codes = codebook.at[indices].get(mode="fill", fill_value=jnp.nan)
    return jnp.where(indices[..., None] >= 0, codes, jnp.zeros((), codes.dtype))
