"""Finite scalar quantization: rounds every number to one of a few levels."""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from vqvae_jax.checks import check_integer
from vqvae_jax.quantizers.core import Quantized, computed_codes
from vqvae_jax.quantizers.estimators import straight_through
from vqvae_jax.quantizers.grid import GridQuantizer

# Keeps the outermost levels within reach of the tanh.
_EPSILON = 1e-3


class FSQ(GridQuantizer):
    """Rounds each number of a vector to one of L levels (Mentzer et al. 2023, arXiv:2309.15505).

        f(z) = (L - 1) (1 + eps) / 2 tanh(z + s) - o,    o = 1/2 for even L, 0 for odd
        code = round(f(z)) / floor(L / 2),    s = atanh(o / ((L - 1) (1 + eps) / 2)), so f(0) = 0

    with eps = 0.001, and the straight-through estimator over the rounding only, so that the
    gradient passes through f. There is no codebook and no loss. The codes are numbers in [-1, 1];
    the index is in mixed radix, the first level fastest.

    With 2 levels, s is 0 (the formula's would move the boundary between them to z = -3.8), so that
    they split a centered input in half. With even levels the codes are not symmetric (2 levels are
    -1 and 0), so they cannot be a stage of a `ResidualVQ`; those of `SymmetricFSQ` can.

    Args:
        levels: L for each number, from 2 to 2^24 each, at most 2^30 codes in all; D is their count
            and K their product.

    Raises:
        ValueError: a level out of its range.
    """

    def __init__(self, levels: Sequence[int]):
        if len(levels) == 0:
            raise ValueError("levels is empty; it must hold at least one level")
        for level in levels:
            check_integer("a level", level, low=2)
            if level > 2**24:
                raise ValueError(f"a level is {level}; it must be at most 2^24")
        self.levels = tuple(int(level) for level in levels)
        if math.prod(self.levels) > 2**30:
            raise ValueError(f"levels are {self.levels}; they must make at most 2^30 codes")
        self.embedding_dim = len(self.levels)
        self.num_embeddings = math.prod(self.levels)
        self.remainder = tuple(1 / max(level - 1, 2) for level in self.levels)
        self.follows_scale = 2 not in self.levels

    def bounded(self, z: Float[Array, "*shape d"]) -> Float[Array, "*shape d"]:
        """See `GridQuantizer.bounded`."""
        return self._codes(self._bounded(z))

    def _quantize(
        self,
        z: Float[Array, "*shape d"],
        mask: Bool[Array, "*shape"] | None,
        key: jax.Array | None,
    ) -> Quantized:
        bounded = self._bounded(z) if self.bounds else self._digits(z)
        digits = self._rounded(jax.lax.stop_gradient(bounded))
        zero = jnp.zeros((), z.dtype)
        return Quantized(
            values=self._codes(straight_through(bounded, digits)),
            indices=self._index(digits),
            codebook_loss=zero,
            commitment_loss=zero,
            entropy_loss=zero,
            loss=zero,
        )

    def _encode(self, z: Float[Array, "*shape d"]) -> Int[Array, "*shape"]:
        bounded = self._bounded(z) if self.bounds else self._digits(z)
        return self._index(self._rounded(bounded))

    def _lookup(self, indices: Int[Array, "*shape"]) -> Float[Array, "*shape d"]:
        places = np.cumprod([1, *self.levels[:-1]])
        half = np.array(self.levels) // 2
        shape = (1,) * indices.ndim + (-1,)
        rest = indices[..., None] // jnp.asarray(places, jnp.int32).reshape(shape)
        digits = rest % jnp.asarray(self.levels, jnp.int32).reshape(shape)
        digits = (digits - jnp.asarray(half, jnp.int32).reshape(shape)).astype(jnp.float32)
        return computed_codes(self._codes(digits), indices, self.num_embeddings)

    def _codes(self, digits: Float[Array, "*shape d"]) -> Float[Array, "*shape d"]:
        """Returns the codes of digits from -floor(L / 2); multiplies, as XLA's division varies."""
        return digits * self._row(1 / (np.array(self.levels) // 2), digits)

    def _digits(self, codes: Float[Array, "*shape d"]) -> Float[Array, "*shape d"]:
        """The inverse of `_codes`."""
        return codes * self._row(np.array(self.levels) // 2, codes)

    def _bounded(self, z: Float[Array, "*shape d"]) -> Float[Array, "*shape d"]:
        """Bounds z, on the scale of the digits."""
        half = (np.array(self.levels) - 1) * (1 + _EPSILON) / 2
        offset = self._offset()
        shift = np.where(np.array(self.levels) == 2, 0.0, np.arctanh(offset / half))
        return jnp.tanh(z + self._row(shift, z)) * self._row(half, z) - self._row(offset, z)

    def _offset(self) -> np.ndarray:
        """Returns the distance from an integer to the middle of the levels."""
        return np.where(np.array(self.levels) % 2 == 0, 0.5, 0.0)

    def _rounded(self, bounded: Float[Array, "*shape d"]) -> Float[Array, "*shape d"]:
        """Rounds to the nearest level; with many levels, eps reaches past the last one."""
        levels = np.array(self.levels)
        low, high = self._row(-(levels // 2), bounded), self._row((levels - 1) // 2, bounded)
        return jnp.clip(jnp.round(bounded), low, high)

    def _index(self, digits: Float[Array, "*shape d"]) -> Int[Array, "*shape"]:
        half = self._row(np.array(self.levels) // 2, digits)
        places = jnp.asarray(np.cumprod([1, *self.levels[:-1]]), jnp.int32)
        whole = (digits + half).astype(jnp.int32)
        places = places.reshape((1,) * (digits.ndim - 1) + (-1,))
        return jnp.sum(whole * places, axis=-1, dtype=jnp.int32)

    @staticmethod
    def _row(numbers: np.ndarray, like: Array) -> Array:
        """Returns D numbers in the type of an array [..., D], shaped to broadcast to it."""
        return jnp.asarray(numbers, like.dtype).reshape((1,) * (like.ndim - 1) + (-1,))


def clamp(z: Float[Array, "*shape d"]) -> Float[Array, "*shape d"]:
    """Clips z to [-1, 1]; no gradient passes where it is outside."""
    return jnp.clip(z, -1, 1)


class SymmetricFSQ(FSQ):
    """FSQ with codes symmetric about 0, even levels too (Parker et al. 2024, arXiv:2411.19842).

        index = floor((L - 1) (tanh(z) + 1) / 2 + 1/2),    code = 2 index / (L - 1) - 1

    The codes are equally spaced from -1 to 1, and half of a centered input is on either side of 0.

    Args:
        levels: as for `FSQ`.
        bound: maps every number to [-1, 1], in place of tanh: `clamp`, or another odd function.

    Raises:
        ValueError: a level out of its range.
    """

    def __init__(
        self,
        levels: Sequence[int],
        *,
        bound: Callable[[Array], Array] = jnp.tanh,
    ):
        super().__init__(levels)
        self.bound = bound
        self.follows_scale = True

    def _bounded(self, z: Float[Array, "*shape d"]) -> Float[Array, "*shape d"]:
        half = (np.array(self.levels) - 1) / 2
        return self.bound(z) * self._row(half, z) - self._row(self._offset(), z)

    def _codes(self, digits: Float[Array, "*shape d"]) -> Float[Array, "*shape d"]:
        steps = 2 / (np.array(self.levels) - 1)
        return (digits + self._row(self._offset(), digits)) * self._row(steps, digits)

    def _digits(self, codes: Float[Array, "*shape d"]) -> Float[Array, "*shape d"]:
        half = (np.array(self.levels) - 1) / 2
        return codes * self._row(half, codes) - self._row(self._offset(), codes)
