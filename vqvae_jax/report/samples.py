"""Draws images or other data from a prior and the tokenizer of its codes."""

from collections.abc import Sequence
from typing import Any, SupportsIndex

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array

from vqvae_jax.checks import check_integer
from vqvae_jax.models import Tokenizer
from vqvae_jax.pixels import centered
from vqvae_jax.priors import Prior, sample_codes
from vqvae_jax.priors.base import Labels


def draw_examples(
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
        number: N, how many examples, at least 1.
        shape: the spatial shape of the code maps.
        key: draws the codes, and the pixels if the likelihood is a distribution.
        labels: integers [N], the classes; None: no class.
        **options: temperature, top_k, top_p and guidance of `sample_codes`.

    Returns:
        Floats [N, *spatial, C] on the tokenizer's scale, not clipped.

    Raises:
        ValueError: as `sample_codes`.
    """
    codes_key, values_key = jax.random.split(key)
    codes = sample_codes(prior, number, shape, key=codes_key, labels=labels, **options)
    return np.asarray(_decode(tokenizer, codes, values_key))


def draw_images(tokenizer: Tokenizer, *given: Any, **options: Any) -> np.ndarray:
    """Draws images [N, H, W, C] as `draw_examples` does, in [-0.5, 0.5], not clipped."""
    images = draw_examples(tokenizer, *given, **options)
    return np.asarray(centered(jnp.asarray(images), tokenizer.value_range))


def classes_in_turn(prior: Prior, number: SupportsIndex) -> np.ndarray | None:
    """Returns labels [N], equally many per class, in order; None if there are no classes.

    Raises:
        ValueError: number is not an integer of at least 1.
    """
    count = check_integer("number", number)
    return None if prior.num_classes is None else np.arange(count) * prior.num_classes // count


@nnx.jit
def _decode(tokenizer: Tokenizer, codes: Array, key: jax.Array) -> Array:
    return tokenizer.decode(codes, key=key)
