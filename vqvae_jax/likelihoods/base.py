"""The contract of what a decoder's output says of the data."""

import abc

import jax
from flax import nnx
from jaxtyping import Array, Bool, Float


class Likelihood(nnx.Module):
    """What the decoder's output [B, *spatial, F] says of the data x [B, *spatial, C].

    Attributes:
        in_dim: F, channels of the decoder's output.
        out_dim: C, channels of the data.
        monitor: the metric of `metrics` by which held-out examples are judged; the lower the
            better.
        reconstruction: the kind of image that `reconstruct` gives, in a few words.
    """

    in_dim: int
    out_dim: int
    monitor: str
    reconstruction: str = "reconstruction"

    @abc.abstractmethod
    def loss(
        self,
        decoded: Float[Array, "b *spatial f"],
        x: Float[Array, "b *spatial c"],
        mask: Bool[Array, " b *spatial"] | None = None,
    ) -> Float[Array, ""]:
        """The reconstruction loss: a mean over every number of x that the mask keeps.

        Args:
            decoded: the decoder's output.
            x: the data, on the model's scale.
            mask: True for what counts; None: all of it. 0 comes out where nothing counts.
        """

    @abc.abstractmethod
    def metrics(self, loss: float) -> dict[str, float]:
        """What the mean loss of held-out examples amounts to, in numbers that can be compared."""

    @abc.abstractmethod
    def decode(
        self, decoded: Float[Array, "b *spatial f"], key: jax.Array | None
    ) -> Float[Array, "b *spatial c"]:
        """Data [B, *spatial, C], on the model's scale: drawn from the distribution if there is one.

        Raises:
            ValueError: there is a distribution to draw from, and key is None.
        """

    @abc.abstractmethod
    def reconstruct(
        self, decoded: Float[Array, "b *spatial f"], key: jax.Array
    ) -> Float[Array, "b *spatial c"]:
        """The data that the output stands for, on the model's scale: the best single guess.

        Args:
            decoded: the decoder's output.
            key: draws them, where there is nothing better than a draw.
        """
