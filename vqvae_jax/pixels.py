"""Conversion of pixels between files, integers in [0, 255], and models."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num, UInt8


def to_floats(images: UInt8[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Converts pixels to the model's scale: x / 255 - 0.5, float32 in [-0.5, 0.5]."""
    return images.astype(jnp.float32) / 255.0 - 0.5


def to_integers(images: Float[Array, "*shape"]) -> UInt8[Array, "*shape"]:
    """Inverts `to_floats`: uint8, rounded and clipped to [0, 255]."""
    return jnp.clip(jnp.round((images + 0.5) * 255.0), 0, 255).astype(jnp.uint8)


def pixels_of(images: Float[np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape"]:
    """Returns `to_integers` of an array of NumPy, as one of NumPy."""
    return np.asarray(to_integers(jnp.asarray(images)))


def to_values(data: Num[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Converts data to the model's scale: pixels by `to_floats`; floats stay as they are."""
    return to_floats(data) if data.dtype == jnp.uint8 else data
