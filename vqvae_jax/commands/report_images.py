"""Looks at a run of images for its report."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array

from vqvae_jax.commands.common import described_sizes
from vqvae_jax.commands.image_model import ImageModel
from vqvae_jax.data import DataSource, take
from vqvae_jax.models import Tokenizer
from vqvae_jax.pixels import pixels_of, to_floats
from vqvae_jax.precision import wide
from vqvae_jax.report.html import Drawn, HeldOut
from vqvae_jax.report.samples import draw_images
from vqvae_jax.training.saved import SavedRun

_NUMBERS = 2**24  # of all images together
_BATCH = 64
_SAMPLES = 8  # in each row


def held_out(run: SavedRun, source: DataSource, most: int) -> HeldOut:
    """Has a run's tokenizer look at the first held-out images, `most` at most."""
    model = ImageModel(run)
    quantizer = model.tokenizer.quantizer
    pixels = math.prod(source.spec["image"].shape)
    count = min(len(source), most, max(16, _NUMBERS // pixels))
    images = take(source, np.arange(count))["image"]

    def decode(codes: np.ndarray) -> np.ndarray:
        given = codes if quantizer.num_codebooks is not None else codes[..., 0]
        return pixels_of(model.decode([*given]), (0.0, 1.0))

    codes, decoded, distances = [], [], []
    for start in range(0, count, _BATCH):
        batch = images[start : start + _BATCH]
        indices = model.encode([*batch])
        given = jnp.asarray(batch), jnp.asarray(indices)
        distances.append(np.asarray(_distances(model.tokenizer, *given)))
        codes.append(indices if quantizer.num_codebooks is not None else indices[..., None])
        decoded.append(decode(codes[-1]))
    return HeldOut(
        images=images,
        codes=np.concatenate(codes),
        reconstructions=np.concatenate(decoded),
        distances=np.concatenate(distances),
        num_embeddings=quantizer.num_embeddings,
        decode=decode,
    )


@nnx.jit
def _distances(model: Tokenizer, images: Array, codes: Array) -> Array:
    """Returns the squared distances [B, h, w] between latents and their codes' values."""
    latents = wide(model.latents(to_floats(images, model.value_range)))
    return jnp.sum((latents - wide(model.quantizer.lookup(codes))) ** 2, axis=-1)


def drawn(
    prior_run: SavedRun,
    tokenizer_run: SavedRun,
    labels: Sequence[int] | None,
    guidances: Sequence[float],
) -> Drawn:
    """Draws a row of images for each class, or as many rows without, with each guidance."""
    rows = _SAMPLES if labels is None else len(labels)

    def samples(guidance: float) -> np.ndarray:
        images = draw_images(
            tokenizer_run.model,
            prior_run.model,
            rows * _SAMPLES,
            described_sizes(prior_run, "codes", "maps", "shape"),
            key=jax.random.key(0),
            labels=None if labels is None else np.repeat(labels, _SAMPLES),
            guidance=guidance,
        )
        pixels = pixels_of(images)
        return pixels.reshape(rows, _SAMPLES, *pixels.shape[1:])

    return Drawn(labels, {guidance: samples(guidance) for guidance in guidances})
