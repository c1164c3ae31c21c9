"""The pictures of a run, drawn anew at every evaluation."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array

from vqvae_jax.evaluation import figures
from vqvae_jax.files import write_atomically
from vqvae_jax.models import VQVAE
from vqvae_jax.pixels import to_floats

_IMAGES = 64
_CODE_MAPS = 8


@nnx.jit
def _reconstructed(model: VQVAE, images: Array) -> tuple[Array, Array]:
    """The codes of images, and the images of the codes."""
    codes = model.encode(images)
    if model.head is None:
        return codes, model.decode(codes)
    features = model.decoder(model.quantizer.lookup(codes))
    return codes, model.head.reconstruct(features, jax.random.key(0)) / 255 - 0.5


def draw(
    workdir: Path,
    model: VQVAE,
    images: np.ndarray,
    code_counts: np.ndarray,
    records: list[dict[str, Any]],
    goal: str,
    title: str,
) -> None:
    """Writes reconstructions.png, codebook.png and training.png, each whole or not at all.

    Args:
        workdir: the run's folder.
        model: as it is now.
        images: the held-out split, uint8 [N, H, W, C]; its first images are shown.
        code_counts: int [K] or [num_codebooks, K], uses of each code over the split.
        records: the run's log.
        goal: the held-out metric that the run lowers.
        title: one line that says of what and when.

    Raises:
        OSError: a picture cannot be written.
    """
    shown = to_floats(jnp.asarray(images[:_IMAGES]))
    codes, reconstructed = jax.device_get(_reconstructed(model, shown))
    originals = np.asarray(shown)
    codes = codes[:_CODE_MAPS]
    kind = "reconstruction" if model.head is None else model.head.reconstruction
    pictures = {
        "reconstructions": figures.reconstructions(originals, reconstructed, title, kind),
        "codebook": figures.codebook(code_counts, originals[:_CODE_MAPS], codes, title),
        "training": figures.training(records, ["loss", goal], model.quantizer.num_codes),
    }
    for name, png in pictures.items():
        write_atomically(workdir / f"{name}.png", png)
