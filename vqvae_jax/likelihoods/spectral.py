"""The error of a reconstructed signal, as it is heard: in time and in frequency."""

import math
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from vqvae_jax.checks import check_at_least_zero, check_integer
from vqvae_jax.layers.mel import MelSpectrogram
from vqvae_jax.likelihoods.pointwise import PointwiseError
from vqvae_jax.means import mean


class SpectralError(PointwiseError):
    """The error of signals in the time domain, and of their mel spectrograms at several scales.

        loss = waveform_weight mean(|decoded - x|) / sqrt(data_variance)
             + mel_weight (1 / S) sum over scales s of mean(|log M_s(decoded) - log M_s(x)|)

    M_s is a `MelSpectrogram` with its own window, a hop of a quarter of it, and its own number of
    bands; amplitudes below 1e-5 are taken as 1e-5. The scales are those of DAC (Kumar et al. 2023,
    arXiv:2306.06546, section 3.4), which uses mel spectrograms alone, beside discriminators.
    Without these, the waveform's error is what tells the phase.

    Args:
        out_dim: C, channels of the data, at least 1.
        data_variance: variance of the training data; finite and above 0.
        sample_rate: samples per second, at least 1.
        waveform_weight: of the error in the time domain, at least 0.
        mel_weight: of the error of the mel spectrograms, at least 0.
        windows: samples in a window of each scale, each at least 4.
        num_mels: bands of each scale, each at least 1.

    Raises:
        ValueError: an argument out of its range, or not as many num_mels as windows.
    """

    monitor = "spectral_error"

    def __init__(
        self,
        out_dim: int,
        data_variance: float,
        sample_rate: int,
        waveform_weight: float = 1.0,
        mel_weight: float = 0.3,
        windows: Sequence[int] = (32, 64, 128, 256, 512, 1024, 2048),
        num_mels: Sequence[int] = (5, 10, 20, 40, 80, 160, 320),
    ):
        super().__init__(out_dim, data_variance)
        self.sample_rate = check_integer("sample_rate", sample_rate)
        self.waveform_weight = check_at_least_zero("waveform_weight", waveform_weight)
        self.mel_weight = check_at_least_zero("mel_weight", mel_weight)
        self.windows = tuple(check_integer("windows", window, 4) for window in windows)
        self.num_mels = tuple(check_integer("num_mels", number) for number in num_mels)
        if not 0 < len(self.windows) == len(self.num_mels):
            raise ValueError(
                f"num_mels is {num_mels}; it must have as many numbers as windows, {windows}, "
                "at least one"
            )

    def loss(
        self,
        decoded: Float[Array, "b t c"],
        x: Float[Array, "b t c"],
        mask: Bool[Array, "b t"] | None = None,
    ) -> Float[Array, ""]:
        """See `Likelihood.loss`.

        What the mask drops is silence in both signals. A window counts if its center does.

        Raises:
            ValueError: x is not [B, T, C].
        """
        if x.ndim != 3:
            raise ValueError(f"x has shape {x.shape}; a SpectralError takes signals [B, T, C]")
        x = x.astype(decoded.dtype)
        if mask is not None:
            decoded, x = (jnp.where(mask[..., None], of, 0) for of in (decoded, x))
        error = mean(abs(decoded - x), mask) / math.sqrt(self.data_variance)
        scales = zip(self.windows, self.num_mels, strict=True)
        distance = sum(
            _distance(
                MelSpectrogram(self.sample_rate, window, window // 4, bands), decoded, x, mask
            )
            for window, bands in scales
        ) / len(self.windows)
        return self.waveform_weight * error + self.mel_weight * distance

    def metrics(self, loss: float) -> dict[str, float]:
        """See `Likelihood.metrics`: spectral_error, the loss."""
        return {"spectral_error": loss}


def _distance(
    mel: MelSpectrogram,
    decoded: Float[Array, "b t c"],
    x: Float[Array, "b t c"],
    mask: Bool[Array, "b t"] | None,
) -> Float[Array, ""]:
    """Returns the mean absolute difference of logarithms, of windows whose center counts."""
    logs = (mel.log(of.transpose(0, 2, 1)) for of in (decoded, x))
    errors = abs(jnp.subtract(*logs))
    if mask is not None:
        centers = np.minimum(np.arange(errors.shape[2]) * mel.hop, mask.shape[1] - 1)
        mask = jnp.broadcast_to(mask[:, None, centers], errors.shape[:-1])
    return mean(errors, mask)
