"""The order of the images, and the images as the model takes them."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8


def epoch_order(seed: int, epoch: int, num_images: int) -> np.ndarray:
    """The order in which an epoch visits the images: a function of its arguments alone.

    Args:
        seed: of the run, in [0, 2^64).
        epoch: counted from 0.
        num_images: N.

    Returns:
        A permutation int64 [N]. The same on every platform and NumPy version.
    """
    generator = np.random.Philox(key=np.array([seed, epoch], np.uint64))
    return np.random.RandomState(generator).permutation(num_images)  # its stream is frozen


def to_floats(images: UInt8[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """Pixels as the model takes them: x / 255 - 0.5, float32 in [-0.5, 0.5]."""
    return images.astype(jnp.float32) / 255.0 - 0.5
