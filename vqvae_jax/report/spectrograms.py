"""Spectrograms of signals, as images."""

from typing import Any

import numpy as np
from jaxtyping import Float

from vqvae_jax.models import Tokenizer
from vqvae_jax.report.samples import draw_examples

_WINDOW, _HOP = 256, 64  # samples
_COLUMNS = 128
DECIBELS = 80  # from white down to black


def spectrograms(signals: Float[np.ndarray, "n t c"]) -> Float[np.ndarray, "n f columns 1"]:
    """Returns the power over frequency, highest first, and time, in decibels.

    White is the loudest of all signals, black 80 dB less.

    Args:
        signals: [N, T, C]; the mean of the channels is shown, in 128 columns at most.

    Returns:
        Images in [-0.5, 0.5], as high as there are frequencies, 128.
    """
    mono = signals.mean(axis=-1, dtype=np.float64)
    mono = np.pad(mono, ((0, 0), (0, max(0, _WINDOW - mono.shape[1]))))
    frames = np.lib.stride_tricks.sliding_window_view(mono, _WINDOW, axis=1)[:, ::_HOP]
    parts = np.array_split(frames, min(_COLUMNS, frames.shape[1]), axis=1)
    window = np.hanning(_WINDOW)
    columns = [(np.abs(np.fft.rfft(part * window)) ** 2).mean(axis=1) for part in parts]
    power = np.stack(columns, axis=-1)[:, :0:-1]  # without the mean of each window
    floor = power.max(initial=1e-12) * 10 ** (-DECIBELS / 10)
    return 10 * np.log10(np.maximum(power, floor) / floor)[..., None] / DECIBELS - 0.5


def draw_spectrograms(tokenizer: Tokenizer, *given: Any, **options: Any) -> np.ndarray:
    """Draws signals as `draw_examples` does, and returns their spectrograms."""
    return spectrograms(draw_examples(tokenizer, *given, **options))
