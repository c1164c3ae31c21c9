"""Images drawn from a prior and the VQ-VAE of its codes."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array

from vqvae_jax.models import VQVAE
from vqvae_jax.priors import Prior, sample_codes


def draw_images(
    vqvae: VQVAE,
    prior: Prior,
    number: int,
    shape: tuple[int, int],
    *,
    key: jax.Array,
    labels: np.ndarray | None = None,
    **options: Any,
) -> np.ndarray:
    """Draws codes from the prior, and decodes them.

    Args:
        vqvae: decodes the codes.
        prior: over its codes.
        number: N, how many images, at least 1.
        shape: h and w of the code maps.
        key: draws the codes, and the pixels where the VQ-VAE has a head.
        labels: int [N], the classes; None: of no class.
        **options: temperature, top_k, top_p and guidance of `sample_codes`.

    Returns:
        Floats [N, H, W, C] in [-0.5, 0.5], not clipped.

    Raises:
        ValueError: as `sample_codes`.
    """
    codes_key, pixels_key = jax.random.split(key)
    classes = None if labels is None else jnp.asarray(labels, jnp.int32)
    codes = sample_codes(prior, number, shape, key=codes_key, labels=classes, **options)
    return np.asarray(_decode(vqvae, codes, pixels_key))


def classes_in_turn(prior: Prior, number: int) -> np.ndarray | None:
    """As many labels [N] of each class, class after class; None where there are no classes."""
    if prior.num_classes is None:
        return None
    return np.arange(number) * prior.num_classes // number


@nnx.jit
def _decode(vqvae: VQVAE, codes: Array, key: jax.Array) -> Array:
    return vqvae.decode(codes, key=key)
