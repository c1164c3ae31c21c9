"""The absolute error: the decoder's output is the data itself."""

import math

import jax
from jaxtyping import Array, Bool, Float

from vqvae_jax.checks import check_above_zero, check_integer
from vqvae_jax.likelihoods.base import Likelihood
from vqvae_jax.means import mean


class AbsoluteError(Likelihood):
    """mean(|decoded - x|) / sqrt(data_variance), as for a Laplace distribution of fixed width.

    Args:
        out_dim: C, channels of the data, at least 1.
        data_variance: variance of the training data; finite and above 0.

    Raises:
        ValueError: an argument out of its range.
    """

    monitor = "mae"

    def __init__(self, out_dim: int, data_variance: float):
        self.in_dim = self.out_dim = check_integer("out_dim", out_dim)
        self.data_std = math.sqrt(check_above_zero("data_variance", data_variance))

    def loss(
        self,
        decoded: Float[Array, "b *spatial c"],
        x: Float[Array, "b *spatial c"],
        mask: Bool[Array, " b *spatial"] | None = None,
    ) -> Float[Array, ""]:
        """See `Likelihood.loss`."""
        return mean(abs(decoded - x.astype(decoded.dtype)), mask) / self.data_std

    def metrics(self, loss: float) -> dict[str, float]:
        """See `Likelihood.metrics`: mae, the mean absolute error per number."""
        return {"mae": loss * self.data_std}

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
