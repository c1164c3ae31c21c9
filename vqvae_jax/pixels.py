"""Pixels as files hold them, integers in [0, 255], and as models take them."""

import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8


def to_floats(images: UInt8[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """Pixels as the model takes them: x / 255 - 0.5, float32 in [-0.5, 0.5]."""
    return images.astype(jnp.float32) / 255.0 - 0.5


def to_integers(images: Float[Array, "b h w c"]) -> UInt8[Array, "b h w c"]:
    """The inverse of `to_floats`: uint8, rounded and clipped to [0, 255]."""
    return jnp.clip(jnp.round((images + 0.5) * 255.0), 0, 255).astype(jnp.uint8)
