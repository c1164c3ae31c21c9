"""The base class of quantizers whose codes lie on a fixed grid, without a codebook."""

import abc

from flax import nnx
from jaxtyping import Array, Float

from vqvae_jax.quantizers.base import Quantizer


class GridQuantizer(Quantizer):
    """Bounds vectors to the range of a fixed grid, and rounds them to it.

    Attributes:
        remainder: the range that rounding leaves, as a share of that of bounded vectors, above 0
            and below 1: a number, or D of them. The next stage of a `ResidualVQ` is scaled by it.
        bounds: whether a call bounds its vectors or takes them as they are.
    """

    remainder: float | tuple[float, ...]
    bounds: bool = True

    @abc.abstractmethod
    def bounded(self, z: Float[Array, "*shape d"]) -> Float[Array, "*shape d"]:
        """Returns z in the range of the grid, on the scale of the codes, before it is rounded."""

    def unbounded(self) -> "GridQuantizer":
        """Returns a copy that takes vectors as they are, for a caller that bounds them."""
        free = nnx.clone(self)
        free.bounds = False
        return free
