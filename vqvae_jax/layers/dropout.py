"""Dropout with a key per example, so that the dropped numbers do not depend on the batch."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

_LEVELS = 256


def dropout(
    x: Float[Array, "b ..."], rate: float, keys: Key[Array, " b"] | None, site: int
) -> Float[Array, "b ..."]:
    """Sets a fraction of the numbers to 0, and divides the others by 1 - rate.

    Srivastava et al. 2014, "Dropout: A Simple Way to Prevent Neural Networks from Overfitting".

    Args:
        x: [B, ...].
        rate: in [0, 1); rounded to a multiple of 1 / 256, at most 255 / 256.
        keys: one per example; None: x is returned unchanged.
        site: number of this place in the network; each has its own draws.
    """
    level = min(round(rate * _LEVELS), _LEVELS - 1)
    if keys is None or level == 0:
        return x
    size = math.prod(x.shape[1:])

    def kept(key: jax.Array) -> Array:
        words = jax.random.bits(jax.random.fold_in(key, site), (-(-size // 4),))
        draws = jax.lax.bitcast_convert_type(words, jnp.uint8).reshape(-1)[:size]  # four a word
        return draws >= level

    mask = jax.vmap(kept)(keys).reshape(x.shape)
    return jnp.where(mask, x / (1 - level / _LEVELS), jnp.zeros((), x.dtype))
