"""Likelihoods without a distribution to draw from: the decoder's output is the data itself."""

import math
import sys

import jax
from jaxtyping import Array, Bool, Float

from vqvae_jax.checks import check_above_zero, check_integer
from vqvae_jax.likelihoods.base import Likelihood
from vqvae_jax.means import mean


class PointwiseError(Likelihood):
    """An error between each number of the decoder's output and the data.

    Args:
        out_dim: C, channels of the data, at least 1.
        data_variance: variance of the training data; finite and above 0.

    Raises:
        ValueError: an argument out of its range.
    """

    def __init__(self, out_dim: int, data_variance: float):
        self.in_dim = self.out_dim = check_integer("out_dim", out_dim)
        self.data_variance = check_above_zero("data_variance", data_variance)

    def decode(
        self, decoded: Float[Array, "b *spatial c"], key: jax.Array | None
    ) -> Float[Array, "b *spatial c"]:
        """See `Likelihood.decode`: the decoder's output, not clipped."""
        return decoded

    def reconstruct(
        self, decoded: Float[Array, "b *spatial c"], key: jax.Array
    ) -> Float[Array, "b *spatial c"]:
        """See `Likelihood.reconstruct`: the decoder's output, not clipped."""
        return decoded


class SquaredError(PointwiseError):
    """mean((decoded - x)^2) / data_variance, as for a normal distribution of fixed width.

    A model that always returns the mean has loss 1.

    Args:
        out_dim: C, channels of the data, at least 1.
        data_variance: variance of the training data; finite and above 0.
        data_range: R, the largest value of the data minus the lowest; finite and above 0.

    Raises:
        ValueError: an argument out of its range.
    """

    monitor = "nmse"

    def __init__(self, out_dim: int, data_variance: float, data_range: float = 1.0):
        super().__init__(out_dim, data_variance)
        self.data_range = check_above_zero("data_range", data_range)

    def loss(
        self,
        decoded: Float[Array, "b *spatial c"],
        x: Float[Array, "b *spatial c"],
        mask: Bool[Array, " b *spatial"] | None = None,
    ) -> Float[Array, ""]:
        """See `Likelihood.loss`."""
        return mean((decoded - x.astype(decoded.dtype)) ** 2, mask) / self.data_variance

    def metrics(self, loss: float) -> dict[str, float]:
        """See `Likelihood.metrics`.

        Returns:
            mse, the mean squared error per number, in units of R^2; nmse, divided by the data
            variance; psnr, 10 log10(1 / mse) in dB, over all data together.
        """
        mse = loss * self.data_variance / self.data_range**2
        psnr = -10.0 * math.log10(max(mse, sys.float_info.min))
        return {"mse": mse, "nmse": loss, "psnr": psnr}


class AbsoluteError(PointwiseError):
    """mean(|decoded - x|) / sqrt(data_variance), as for a Laplace distribution of fixed width.

    Args:
        out_dim: C, channels of the data, at least 1.
        data_variance: variance of the training data; finite and above 0.

    Raises:
        ValueError: an argument out of its range.
    """

    monitor = "mae"

    def loss(
        self,
        decoded: Float[Array, "b *spatial c"],
        x: Float[Array, "b *spatial c"],
        mask: Bool[Array, " b *spatial"] | None = None,
    ) -> Float[Array, ""]:
        """See `Likelihood.loss`."""
        return mean(abs(decoded - x.astype(decoded.dtype)), mask) / math.sqrt(self.data_variance)

    def metrics(self, loss: float) -> dict[str, float]:
        """See `Likelihood.metrics`: mae, the mean absolute error per number."""
        return {"mae": loss * math.sqrt(self.data_variance)}
