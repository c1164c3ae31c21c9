"""The figures of a tokenizer's run, redrawn at every evaluation."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array

from vqvae_jax.data import DataSource, take
from vqvae_jax.models import AudioTokenizer, Tokenizer, has_images
from vqvae_jax.pixels import centered
from vqvae_jax.report import figures
from vqvae_jax.report.alone import alone
from vqvae_jax.report.spectrograms import spectrograms
from vqvae_jax.values import to_values

_IMAGES = 64
_CODE_MAPS = 8
_CODES_ALONE = 64
_RECORDINGS, _SAMPLES = 32, 2**20  # at most so many, and of so many samples together


@nnx.jit
def _reconstructed(model: Tokenizer, codes: Array) -> Array:
    """Returns the images reconstructed from codes."""
    images = model.likelihood.reconstruct(model.decoded_codes(codes), jax.random.key(0))
    return centered(images, model.value_range)


@nnx.jit
def _encoded(model: Tokenizer, images: Array) -> Array:
    return model.encode(images)


def _tiles(model: Tokenizer, code_counts: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Returns what the most used codes of the first codebook give by themselves."""
    counts = np.atleast_2d(code_counts)
    most_used = np.argsort(-counts[0], kind="stable")[:_CODES_ALONE]

    def decode(maps: np.ndarray) -> np.ndarray:
        given = maps if code_counts.ndim == 2 else maps[..., 0]
        return np.asarray(_reconstructed(model, jnp.asarray(given)))

    return alone(decode, most_used, shape, len(counts))


@nnx.jit
def _passed(model: AudioTokenizer, signals: Array) -> Array:
    """Returns signals as the whole model gives them back."""
    return model.likelihood.reconstruct(model(signals).reconstruction, jax.random.key(0))


def _of_recordings(
    model: AudioTokenizer, held_out: DataSource, entry: str, code_counts: np.ndarray, title: str
) -> dict[str, bytes]:
    """Draws reconstructions.png, of spectrograms, and codebook.png, the use of the codes."""
    number = min(_RECORDINGS, max(1, _SAMPLES // held_out.spec[entry].shape[0]), len(held_out))
    shown = to_values(jnp.asarray(take(held_out, np.arange(number))[entry]), model.value_range)
    both = spectrograms(np.concatenate([shown, _passed(model, shown)]))
    kind = f"{model.likelihood.reconstruction} (spectrograms)"
    return {
        "reconstructions.png": figures.reconstructions(both[:number], both[number:], title, kind),
        "codebook.png": figures.usage(code_counts, title),
    }


def tokenizer_figures(
    model: Tokenizer,
    held_out: DataSource,
    entry: str,
    code_counts: np.ndarray,
    records: list[dict[str, Any]],
    title: str,
) -> dict[str, bytes]:
    """Draws training.png and, of images and audio, reconstructions.png and codebook.png.

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
    if isinstance(model, AudioTokenizer):
        drawn = _of_recordings(model, held_out, entry, code_counts, title)
        return {**drawn, "training.png": training}
    if not has_images(model):
        return {"training.png": training}
    first = take(held_out, np.arange(min(_IMAGES, len(held_out))))
    shown = to_values(jnp.asarray(first[entry]), model.value_range)
    codes = _encoded(model, shown)
    reconstructed = np.asarray(_reconstructed(model, codes))
    tiles = _tiles(model, code_counts, (codes.shape[1], codes.shape[2]))
    originals = np.asarray(centered(shown, model.value_range))
    maps = np.asarray(codes[:_CODE_MAPS])
    kind = model.likelihood.reconstruction
    return {
        "reconstructions.png": figures.reconstructions(originals, reconstructed, title, kind),
        "codebook.png": figures.codebook(code_counts, tiles, originals[:_CODE_MAPS], maps, title),
        "training.png": training,
    }
