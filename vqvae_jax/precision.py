"""Precision: layers that compute in a narrow type, and what stays in float32 regardless."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, DTypeLike, Float


def compute_in(dtype: DTypeLike | None, module: nnx.Module, *arrays: Any) -> Any:
    """Applies a module to arrays, computing in a type.

    Args:
        dtype: the type of the computation; None: the module's own.
        module: called with the arrays; changes to its own state are lost.
        arrays: its arguments; floating ones are converted.

    Returns:
        The module's output. The gradient of its parameters is in their own type.
    """
    if dtype is None:
        return module(*arrays)
    graphdef, state = nnx.split(module)
    narrow, given = converted(state, dtype), converted(arrays, dtype)
    return nnx.merge(graphdef, narrow)(*given)


def converted(tree: Any, dtype: DTypeLike) -> Any:
    """Converts a pytree's floating arrays to a type."""
    return jax.tree.map(
        lambda leaf: leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf, tree
    )


def wide(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Converts numbers to float32, or keeps their type if that is wider."""
    return x.astype(np.promote_types(x.dtype, np.float32))
