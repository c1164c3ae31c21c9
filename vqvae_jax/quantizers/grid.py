"""What the quantizers share whose codes lie on a fixed grid, and are kept in no codebook."""

import abc

from flax import nnx
from jaxtyping import Array, Float

from vqvae_jax.quantizers.base import Quantizer


class GridQuantizer(Quantizer):
    """Bounds vectors to the range of a fixed grid, and rounds them to it.

    Attributes:
        remainder: what rounding leaves of the range of bounded vectors, a share of it, above 0 and
            below 1: a number, or one for each of D. A stage of a `ResidualVQ` that comes next is
            scaled by it.
        bounds: whether a call bounds its vectors, or takes them as they are.
    """

    remainder: float | tuple[float, ...]
    bounds: bool = True

    @abc.abstractmethod
    def bounded(self, z: Float[Array, "*shape d"]) -> Float[Array, "*shape d"]:
        """Vectors in the range of the grid, on the scale of the codes: what is rounded."""

    def unbounded(self) -> "GridQuantizer":
        """A copy that takes vectors as they are, for a caller that bounds them."""
        free = nnx.clone(self)
        free.bounds = False
        return free
