"""Conversion of data as it is in files to a model's scale."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from vqvae_jax.pixels import to_floats
from vqvae_jax.signals import to_signal


def to_values(
    data: Num[Array, "*shape"], value_range: tuple[float, float]
) -> Float[Array, "*shape"]:
    """Converts pixels by `to_floats`, 16-bit samples by `to_signal`; floats stay as they are."""
    if data.dtype == jnp.uint8:
        return to_floats(data, value_range)
    return to_signal(data, value_range) if data.dtype == jnp.int16 else data
