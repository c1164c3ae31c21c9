"""What the quantizers share whose codes lie on a fixed grid, and are kept in no codebook."""

import abc
from typing import Self

import numpy as np
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

    remainder: float | np.ndarray
    bounds: bool = True

    @abc.abstractmethod
    def bound(self, z: Float[Array, "*shape d"]) -> Float[Array, "*shape d"]:
        """Vectors in the range of the grid, on the scale of the codes."""

    def unbounded(self) -> Self:
        """A copy that takes vectors as they are, for a caller that bounds them."""
        free = nnx.clone(self)
        free.bounds = False
        return free

    def _compared(self, z: Float[Array, "*shape d"]) -> Float[Array, "*shape d"]:
        """What is rounded."""
        return self.bound(z) if self.bounds else z
