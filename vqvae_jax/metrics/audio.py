"""Metrics that compare signals with their reconstructions, one number per signal."""

import math
from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float

from vqvae_jax.checks import check_integer
from vqvae_jax.layers.mel import MelSpectrogram
from vqvae_jax.metrics.base import Metric
from vqvae_jax.pixels import centered

_LEAST = 1e-10  # of a mean square: about the noise of 16 bits


class AudioMetric(Metric):
    """A number per signal in [-1, 1] that says how well another signal reconstructs it."""

    def takes(self, shape: Sequence[int]) -> bool:
        """See `Metric.takes`: signals, [T, C]."""
        return len(shape) == 2

    def scaled(
        self, values: Float[Array, "b t c"], value_range: tuple[float, float]
    ) -> Float[Array, "b t c"]:
        """See `Metric.scaled`: to [-1, 1], not clipped."""
        return 2 * centered(values, value_range)


class SISDR(AudioMetric):
    """Scale-invariant signal-to-distortion ratio of each signal in dB, the mean over channels.

        SI-SDR = 10 log10((|a x|^2 / T + c) / (|a x - y|^2 / T + c)),    a = y.x / |x|^2

    As in Le Roux et al. 2019 (arXiv:1811.02508, equations 4 and 5), of signals x and their
    reconstructions y without their means. c = 1e-10, about the noise of 16 bits, makes it finite
    for silence: 0 dB if the reconstruction is silent too.
    """

    name = "si_sdr"

    def __call__(
        self, x: Float[Array, "b t c"], others: Float[Array, "b t c"]
    ) -> Float[Array, " b"]:
        """See `Metric`."""
        x, others = (of - jnp.mean(of, axis=1, keepdims=True) for of in (x, others))
        square = jnp.mean(x**2, axis=1, keepdims=True)
        product = jnp.mean(x * others, axis=1, keepdims=True)
        target = jnp.where(square > 0, product / jnp.where(square > 0, square, 1), 0) * x
        signal, distortion = (jnp.mean(of**2, axis=1) + _LEAST for of in (target, target - others))
        return jnp.mean(10 * jnp.log10(signal / distortion), axis=1)


class MelDistance(AudioMetric):
    """Mean absolute difference of log-mel spectrograms in dB, 20 log10 M; lower is better.

    M are the amplitudes of a `MelSpectrogram`; those below 1e-5 are taken as 1e-5.

    Args:
        sample_rate: samples per second, at least 1.
        window: samples in a window, at least 4; a hop is a quarter of it.
        num_mels: bands, at least 1.

    Raises:
        ValueError: an argument is out of its range.
    """

    name = "mel_distance"

    def __init__(self, sample_rate: int, window: int = 1024, num_mels: int = 80):
        check_integer("window", window, 4)
        self.mel = MelSpectrogram(sample_rate, window, window // 4, num_mels)

    def __call__(
        self, x: Float[Array, "b t c"], others: Float[Array, "b t c"]
    ) -> Float[Array, " b"]:
        """See `Metric`."""
        logs = (self.mel.log(of.transpose(0, 2, 1)) for of in (x, others))
        return 20 / math.log(10) * jnp.mean(abs(jnp.subtract(*logs)), axis=(1, 2, 3))
