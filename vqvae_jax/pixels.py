"""Conversion of pixels between files, integers in [0, 255], and models."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8


def to_floats(
    images: UInt8[Array, "*shape"], value_range: tuple[float, float] = (-0.5, 0.5)
) -> Float[Array, "*shape"]:
    """Converts pixels to a model's scale, x / 255 - 0.5 by default: float32 in `value_range`."""
    low, high = value_range
    return images.astype(jnp.float32) / 255.0 * (high - low) + low


def to_integers(
    images: Float[Array, "*shape"], value_range: tuple[float, float] = (-0.5, 0.5)
) -> UInt8[Array, "*shape"]:
    """Inverts `to_floats`: uint8, rounded and clipped to [0, 255]."""
    low, high = value_range
    return jnp.clip(jnp.round((images - low) / (high - low) * 255.0), 0, 255).astype(jnp.uint8)


def pixels_of(
    images: Float[np.ndarray, "*shape"], value_range: tuple[float, float] = (-0.5, 0.5)
) -> UInt8[np.ndarray, "*shape"]:
    """Returns `to_integers` of an array of NumPy, as one of NumPy."""
    return np.asarray(to_integers(jnp.asarray(images), value_range))


def centered(
    images: Float[Array, "*shape"], value_range: tuple[float, float]
) -> Float[Array, "*shape"]:
    """Converts images on a model's scale to that of pictures, [-0.5, 0.5]."""
    low, high = value_range
    return (images - (low + high) / 2) / (high - low)
