"""Precision: layers that compute in a narrow type, and what is computed in float32 all the same."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, DTypeLike, Float


def compute_in(dtype: DTypeLike | None, module: nnx.Module, *arrays: Any) -> Any:
    """What a module makes of arrays, computed in a type.

    Args:
        dtype: of the computation; None: as the module does it by itself.
        module: called with the arrays; what its call changes in itself is lost.
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
    """A pytree whose floating arrays are converted to a type."""
    return jax.tree.map(
        lambda leaf: leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf, tree
    )


def wide(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Numbers in float32, or in their own type where that is wider."""
    return x.astype(np.promote_types(x.dtype, np.float32))
