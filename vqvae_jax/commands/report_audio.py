"""Listens to a run of signals for its report."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array

from vqvae_jax.commands.audio_model import audio_metrics
from vqvae_jax.commands.common import described_sizes
from vqvae_jax.data import DataSource, take
from vqvae_jax.models import AudioTokenizer
from vqvae_jax.pixels import centered
from vqvae_jax.report.html import DrawnSignals, Heard
from vqvae_jax.report.samples import draw_examples
from vqvae_jax.signals import to_pcm, to_signal
from vqvae_jax.training.saved import SavedRun
from vqvae_jax.values import to_values

_NUMBERS = 2**23  # of all recordings together
_BATCH, _BATCH_NUMBERS = 16, 2**19
_SAMPLES, _ALL = 2, 8  # of each class, and without classes


def heard(run: SavedRun, source: DataSource, most: int) -> Heard:
    """Has a run's tokenizer listen to the first held-out recordings, `most` at most."""
    model: AudioTokenizer = run.model
    quantizer = model.quantizer
    shape = source.spec["audio"].shape
    numbers = math.prod(shape)
    count = min(len(source), most, max(16, _NUMBERS // numbers))
    size = max(1, min(_BATCH, _BATCH_NUMBERS // numbers))
    signals = take(source, np.arange(count))["audio"]
    metrics = audio_metrics(model.sample_rate)
    compare = jax.jit(lambda x, back: [metric(x, back) for metric in metrics])

    def decode(codes: np.ndarray) -> Array:
        given = codes if quantizer.num_codebooks is not None else codes[..., 0]
        return _decoded(model, jnp.asarray(given))[:, : shape[0]]

    codes, decoded, compared = [], [], []
    for start in range(0, count, size):
        batch = jnp.asarray(signals[start : start + size])
        indices = np.asarray(_encoded(model, batch))
        codes.append(indices if quantizer.num_codebooks is not None else indices[..., None])
        back = decode(codes[-1])
        compared.append(np.asarray(compare(to_signal(batch), back)))
        decoded.append(to_pcm(np.asarray(back)))
    si_sdr, mel_distance = np.concatenate(compared, axis=1)
    return Heard(
        signals=signals,
        codes=np.concatenate(codes),
        reconstructions=np.concatenate(decoded),
        si_sdr=si_sdr,
        mel_distance=mel_distance,
        sample_rate=model.sample_rate,
        frame_rate=model.sample_rate / model.downsampling[0],
        codebook_sizes=quantizer.codebook_sizes,
        decode=lambda codes: to_pcm(np.asarray(decode(codes))),
    )


def drawn(
    prior_run: SavedRun,
    tokenizer_run: SavedRun,
    labels: Sequence[int] | None,
    guidances: Sequence[float],
) -> DrawnSignals:
    """Draws a row of signals for each class, or a single row without, with each guidance."""
    tokenizer: AudioTokenizer = tokenizer_run.model
    rows, each = (1, _ALL) if labels is None else (len(labels), _SAMPLES)

    def samples(guidance: float) -> np.ndarray:
        values = draw_examples(
            tokenizer,
            prior_run.model,
            rows * each,
            described_sizes(prior_run, "codes", "maps", "shape"),
            key=jax.random.key(0),
            labels=None if labels is None else np.repeat(labels, each),
            guidance=guidance,
        )
        signals = to_pcm(2 * np.asarray(centered(jnp.asarray(values), tokenizer.value_range)))
        return signals.reshape(rows, each, *signals.shape[1:])

    of_guidance = {guidance: samples(guidance) for guidance in guidances}
    return DrawnSignals(labels, of_guidance, tokenizer.sample_rate)


@nnx.jit
def _encoded(model: AudioTokenizer, samples: Array) -> Array:
    return model.encode(to_values(samples, model.value_range))


@nnx.jit
def _decoded(model: AudioTokenizer, codes: Array) -> Array:
    """Returns the likelihood's best guess of the signals of codes, in [-1, 1], not clipped."""
    best = model.likelihood.reconstruct(model.decoded_codes(codes), jax.random.key(0))
    return 2 * centered(best, model.value_range)
