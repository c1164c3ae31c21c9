"""The figures of a tokenizer's run, redrawn at every evaluation."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array

from vqvae_jax.data import DataSource, take
from vqvae_jax.models import Tokenizer
from vqvae_jax.pixels import to_values
from vqvae_jax.report import figures

_IMAGES = 64
_CODE_MAPS = 8


@nnx.jit
def _reconstructed(model: Tokenizer, images: Array) -> tuple[Array, Array]:
    """Returns the codes of images, and the images reconstructed from them."""
    codes = model.encode(images)
    decoded = model.decoded_codes(codes)
    return codes, model.likelihood.reconstruct(decoded, jax.random.key(0))


def tokenizer_figures(
    model: Tokenizer,
    held_out: DataSource,
    entry: str,
    code_counts: np.ndarray,
    records: list[dict[str, Any]],
    title: str,
) -> dict[str, bytes]:
    """Draws training.png and, for gray or RGB images, reconstructions.png and codebook.png.

    Args:
        model: the current model.
        held_out: the held-out examples, as the model's task takes them; the first ones are shown.
        entry: their name in the source.
        code_counts: int [K] or [num_codebooks, K], uses of each code over the split.
        records: the run's log.
        title: one line that names the run and the time.
    """
    curves = ["loss", model.likelihood.monitor]
    training = figures.training(records, curves, model.quantizer.num_codes)
    if model.spatial_rank != 2 or held_out.spec[entry].shape[-1] not in (1, 3):
        return {"training.png": training}
    first = take(held_out, np.arange(min(_IMAGES, len(held_out))))
    shown = to_values(jnp.asarray(first[entry]))
    codes, reconstructed = jax.device_get(_reconstructed(model, shown))
    originals = np.asarray(shown)
    codes = codes[:_CODE_MAPS]
    kind = model.likelihood.reconstruction
    return {
        "reconstructions.png": figures.reconstructions(originals, reconstructed, title, kind),
        "codebook.png": figures.codebook(code_counts, originals[:_CODE_MAPS], codes, title),
        "training.png": training,
    }
