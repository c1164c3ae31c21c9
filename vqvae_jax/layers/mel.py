"""Spectrograms of signals, on the frequency scale of hearing."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from vqvae_jax.checks import check_integer

_LINEAR_HZ = 1000.0  # up to here, 15 mels are 1 kHz; above, 27 mels are a factor of 6.4
_MELS_PER_HZ = 15 / _LINEAR_HZ
_MELS_PER_LOG = 27 / np.log(6.4)
_LEAST_POWER = 1e-20  # whose root still has a gradient
_LEAST = 1e-5  # of what a logarithm is taken of


@dataclasses.dataclass(frozen=True)
class MelSpectrogram:
    """Amplitudes of a signal over time and frequency, in bands that are even on the mel scale.

        M[t, m] = sum over f of W[f, m] |X[t, f]|

    X is the short-time Fourier transform `stft`. W are triangles between neighboring center
    frequencies, from 0 to sample_rate / 2, each of area 1 over the frequency in Hz; the mel scale
    is Slaney's: linear up to 1 kHz, logarithmic above. Equal to librosa.feature.melspectrogram with
    power=1. A band narrower than the distance of two frequencies of X may be empty: always 0.

    Args:
        sample_rate: samples per second, at least 1.
        window: samples in a window, at least 2.
        hop: samples from one window to the next, at least 1.
        num_mels: bands, at least 1.

    Raises:
        ValueError: an argument is out of its range.
    """

    sample_rate: int
    window: int
    hop: int
    num_mels: int

    def __post_init__(self) -> None:
        check_integer("sample_rate", self.sample_rate)
        check_integer("window", self.window, 2)
        check_integer("hop", self.hop)
        check_integer("num_mels", self.num_mels)

    def __call__(self, x: Float[Array, "*shape t"]) -> Float[Array, "*shape frames mels"]:
        """Returns the amplitudes of signals [..., T], T at least 1: [..., frames, num_mels]."""
        spectrum = stft(x, self.window, self.hop)
        power = spectrum.real**2 + spectrum.imag**2
        amplitudes = jnp.sqrt(jnp.maximum(power, _LEAST_POWER))
        filters = mel_filters(self.sample_rate, self.window, self.num_mels)
        return jnp.matmul(
            amplitudes, jnp.asarray(filters, x.dtype), precision=jax.lax.Precision.HIGHEST
        )

    def log(self, x: Float[Array, "*shape t"]) -> Float[Array, "*shape frames mels"]:
        """Returns the natural logarithms of the amplitudes, those below 1e-5 taken as 1e-5."""
        return jnp.log(jnp.maximum(self(x), _LEAST))


def stft(x: Float[Array, "*shape t"], window: int, hop: int) -> Complex[Array, "*shape frames f"]:
    """Returns the short-time Fourier transform of signals [..., T], T at least 1.

        X[t, f] = sum over n < N of h[n] x[t hop + n - N // 2] exp(-2 pi i f n / N)

    N is the window, and h Hann's: (1 - cos(2 pi n / N)) / 2. Signals are reflected beyond their
    ends, so there are 1 + T // hop frames for an even window, and N // 2 + 1 frequencies.

    Args:
        x: the signals.
        window: N, samples in a window, at least 2.
        hop: samples from one window to the next, at least 1.
    """
    half = window // 2
    frames = 1 + (x.shape[-1] + 2 * half - window) // hop
    parts = -(-window // hop)
    beside = [(0, 0)] * (x.ndim - 1)
    if x.shape[-1] > half:
        x = jnp.pad(x, [*beside, (half, half)], mode="reflect")
    else:  # reflected more than once, which jnp.pad does in as many steps
        x = x[..., np.pad(np.arange(x.shape[-1]), half, mode="reflect")]
    length = (frames + parts - 1) * hop
    x = jnp.pad(x, [*beside, (0, max(0, length - x.shape[-1]))])[..., :length]
    blocks = x.reshape(*x.shape[:-1], frames + parts - 1, hop)
    windows = jnp.concatenate([blocks[..., i : i + frames, :] for i in range(parts)], -1)
    windows = windows[..., :window]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    return jnp.fft.rfft(windows * jnp.broadcast_to(hann.astype(x.dtype), windows.shape))


@functools.cache
def mel_filters(sample_rate: int, window: int, num_mels: int) -> Float[np.ndarray, "f mels"]:
    """Returns W of `MelSpectrogram`, [window // 2 + 1, num_mels]."""
    frequencies = np.arange(window // 2 + 1) * (sample_rate / window)
    lowest, highest = _mels(np.array([0, sample_rate / 2]))
    edges = _hertz(np.linspace(lowest, highest, num_mels + 2))
    low, center, high = edges[:-2], edges[1:-1], edges[2:]
    rising = (frequencies[:, None] - low) / (center - low)
    falling = (high - frequencies[:, None]) / (high - center)
    return np.maximum(0, np.minimum(rising, falling)) * (2 / (high - low))


def _mels(hertz: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    above = np.log(np.maximum(hertz, _LINEAR_HZ) / _LINEAR_HZ)
    return np.minimum(hertz, _LINEAR_HZ) * _MELS_PER_HZ + above * _MELS_PER_LOG


def _hertz(mels: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    linear = _LINEAR_HZ * _MELS_PER_HZ
    above = np.exp(np.maximum(mels - linear, 0) / _MELS_PER_LOG)
    return np.minimum(mels, linear) / _MELS_PER_HZ * above
