"""The contract of likelihoods: how a decoder's output models the data."""

import abc

import jax
from flax import nnx
from jaxtyping import Array, Bool, Float


class Likelihood(nnx.Module):
    """The likelihood of data x [B, *spatial, C] given the decoder's output [B, *spatial, F].

    Attributes:
        in_dim: F, channels of the decoder's output.
        out_dim: C, channels of the data.
        monitor: the metric of `metrics` that evaluations of held-out examples compare; lower is
            better.
        reconstruction: the kind of image that `reconstruct` returns, in a few words.
        value_range: the lowest and the highest value that the data may have; None: any.
    """

    in_dim: int
    out_dim: int
    monitor: str
    reconstruction: str = "reconstruction"
    value_range: tuple[float, float] | None = None

    @abc.abstractmethod
    def loss(
        self,
        decoded: Float[Array, "b *spatial f"],
        x: Float[Array, "b *spatial c"],
        mask: Bool[Array, " b *spatial"] | None = None,
    ) -> Float[Array, ""]:
        """Returns the reconstruction loss: a mean over every number of x that the mask keeps.

        Args:
            decoded: the decoder's output.
            x: the data, on the model's scale.
            mask: True for what counts; None: all of it. The loss is 0 if nothing counts.
        """

    @abc.abstractmethod
    def metrics(self, loss: float) -> dict[str, float]:
        """Converts the mean loss of held-out examples to metrics that can be compared."""

    @abc.abstractmethod
    def decode(
        self, decoded: Float[Array, "b *spatial f"], key: jax.Array | None
    ) -> Float[Array, "b *spatial c"]:
        """Returns data [B, *spatial, C] on the model's scale, drawn from the distribution if any.

        Raises:
            ValueError: there is a distribution to draw from, and key is None.
        """

    @abc.abstractmethod
    def reconstruct(
        self, decoded: Float[Array, "b *spatial f"], key: jax.Array
    ) -> Float[Array, "b *spatial c"]:
        """Returns the best single guess of the data, on the model's scale.

        Args:
            decoded: the decoder's output.
            key: draws the data, if nothing better than a draw is available.
        """
