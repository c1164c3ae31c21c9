"""Signals to listen to: a player and a spectrogram of each, small enough for one page."""

import base64
import dataclasses
import io
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from vqvae_jax.extras import extra
from vqvae_jax.pixels import pixels_of
from vqvae_jax.report.html.page import png
from vqvae_jax.report.spectrograms import DECIBELS, spectrograms
from vqvae_jax.signals import to_signal

_SAMPLES = 3 * 2**20  # at most, of all signals and channels together
_AS_WAV = 2**19  # at most; more are compressed
_BLOCK = 2**14


@dataclasses.dataclass(frozen=True)
class Sound:
    """A signal as embedded files.

    Attributes:
        player: the address of an audio file.
        spectrogram: the address of a picture.
    """

    player: str
    spectrogram: str


def sounds(
    groups: Mapping[Any, np.ndarray], sample_rate: int
) -> tuple[dict[Any, list[Sound]], str]:
    """Returns the sounds of signals, and in words what their spectrograms show.

    They are WAV, or Ogg Vorbis if that would be large; of long signals, their first seconds.

    Args:
        groups: signals int16 [N, T, C] by any keys, of the same T and C.
        sample_rate: samples per second.
    """
    signals = np.concatenate([*groups.values()])
    count, length, channels = signals.shape
    signals = signals[:, : max(1, _SAMPLES // (count * channels))]
    pictures = pixels_of(spectrograms(np.asarray(to_signal(jnp.asarray(signals)))))
    as_wav = signals.size <= _AS_WAV
    made = [
        Sound(_player(signal, sample_rate, as_wav), png(picture))
        for signal, picture in zip(signals, pictures, strict=True)
    ]
    ends = np.cumsum([len(of) for of in groups.values()])
    by_key = {
        key: made[end - len(of) : end] for (key, of), end in zip(groups.items(), ends, strict=True)
    }
    shown = f"{signals.shape[1] / sample_rate:.3g} s"
    axes = (
        f"Spectrograms show {shown if signals.shape[1] == length else f'the first {shown}'} from "
        f"left to right and 0 to {sample_rate / 2000:g} kHz from bottom to top. They share one "
        f"scale: white is the loudest, black {DECIBELS} dB less."
    )
    return by_key, axes


def _player(signal: np.ndarray, sample_rate: int, as_wav: bool) -> str:
    """Returns a signal int16 [T, C] as the address of an embedded audio file."""
    with extra("audio"):
        import soundfile

    container, subtype, media = ("WAV", "PCM_16", "wav") if as_wav else ("OGG", "VORBIS", "ogg")
    buffer = io.BytesIO()
    given = sample_rate, signal.shape[1], subtype, None, container
    with soundfile.SoundFile(buffer, "w", *given) as file:
        for start in range(0, len(signal), _BLOCK):  # Vorbis takes its memory from the stack
            file.write(signal[start : start + _BLOCK])
    return f"data:audio/{media};base64,{base64.b64encode(buffer.getvalue()).decode()}"
