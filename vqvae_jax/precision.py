"""Precision: layers that compute in a narrow type, and what stays in float32 regardless."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, DTypeLike, Float


def compute_in(
    dtype: DTypeLike | None, module: nnx.Module, *arrays: Any, method: str = "__call__"
) -> Any:
    """Applies a module to arrays, computing in a type.

    Args:
        dtype: the type of the computation; None: the module's own.
        module: called with the arrays; changes to its own state are lost.
        arrays: its arguments, pytrees; floating arrays are converted.
        method: the name of the method to call.

    Returns:
        The module's output. The gradient of its parameters is in their own type.
    """
    if dtype is not None:
        graphdef, state = nnx.split(module)
        module = nnx.merge(graphdef, converted(state, dtype))
        arrays = converted(arrays, dtype)
    return getattr(module, method)(*arrays)


def converted(tree: Any, dtype: DTypeLike) -> Any:
    """Converts a pytree's floating arrays to a type."""
    return jax.tree.map(
        lambda leaf: leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf, tree
    )


def wide(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Converts numbers to float32, or keeps their type if that is wider."""
    return x.astype(np.promote_types(x.dtype, np.float32))
