"""Conversion of signals between files, 16-bit integers, and models."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int16

_STEPS = 2**15  # of 16 bits, from 0 to 1


def to_signal(
    samples: Int16[Array, "*shape"], value_range: tuple[float, float] = (-1.0, 1.0)
) -> Float[Array, "*shape"]:
    """Converts samples to a model's scale, x / 2^15 by default: float32 in `value_range`."""
    low, high = value_range
    return samples.astype(jnp.float32) * ((high - low) / 2 / _STEPS) + (low + high) / 2


def to_pcm(signal: Float[np.ndarray, "*shape"]) -> Int16[np.ndarray, "*shape"]:
    """Inverts `to_signal` with its default: int16, rounded and clipped to its range."""
    return np.clip(np.round(signal * _STEPS), -_STEPS, _STEPS - 1).astype(np.int16)
