"""Draws images from a prior and the tokenizer of its codes."""

from collections.abc import Sequence
from typing import Any, SupportsIndex

import jax
import numpy as np
from flax import nnx
from jaxtyping import Array

from vqvae_jax.checks import check_integer
from vqvae_jax.models import Tokenizer
from vqvae_jax.pixels import centered
from vqvae_jax.priors import Prior, sample_codes
from vqvae_jax.priors.base import Labels


def draw_images(
    tokenizer: Tokenizer,
    prior: Prior,
    number: SupportsIndex,
    shape: Sequence[SupportsIndex],
    *,
    key: jax.Array,
    labels: Labels | None = None,
    **options: Any,
) -> np.ndarray:
    """Draws codes from the prior and decodes them.

    Args:
        tokenizer: decodes the codes.
        prior: a prior over its codes.
        number: N, how many images, at least 1.
        shape: h and w of the code maps.
        key: draws the codes, and the pixels if the likelihood is a distribution.
        labels: integers [N], the classes; None: no class.
        **options: temperature, top_k, top_p and guidance of `sample_codes`.

    Returns:
        Floats [N, H, W, C] in [-0.5, 0.5], not clipped.

    Raises:
        ValueError: as `sample_codes`.
    """
    codes_key, pixels_key = jax.random.split(key)
    codes = sample_codes(prior, number, shape, key=codes_key, labels=labels, **options)
    return np.asarray(_decode(tokenizer, codes, pixels_key))


def classes_in_turn(prior: Prior, number: SupportsIndex) -> np.ndarray | None:
    """Returns labels [N], equally many per class, in order; None if there are no classes.

    Raises:
        ValueError: number is not an integer of at least 1.
    """
    count = check_integer("number", number)
    return None if prior.num_classes is None else np.arange(count) * prior.num_classes // count


@nnx.jit
def _decode(tokenizer: Tokenizer, codes: Array, key: jax.Array) -> Array:
    return centered(tokenizer.decode(codes, key=key), tokenizer.value_range)
