"""Means that are 0, not NaN, if there is nothing to average."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def mean(
    values: Float[Array, "*shape c"], mask: Bool[Array, "*shape"] | None = None
) -> Float[Array, ""]:
    """Returns the mean of [..., C] over every element, or over those that `mask` keeps.

    Args:
        values: numbers [..., C].
        mask: True [...] for what counts; None: all of it.

    Returns:
        A scalar; 0 if nothing counts.
    """
    if mask is not None:
        counted = jnp.sum(mask, dtype=values.dtype) * values.shape[-1]
        return jnp.sum(jnp.where(mask[..., None], values, 0)) / jnp.maximum(counted, 1)
    return jnp.zeros((), values.dtype) if values.size == 0 else jnp.mean(values)
