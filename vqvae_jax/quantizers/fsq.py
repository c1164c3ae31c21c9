"""Finite scalar quantization: every number rounded to one of a few levels."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from vqvae_jax.quantizers.base import Quantizer, check_integer
from vqvae_jax.quantizers.core import Quantized, computed_codes
from vqvae_jax.quantizers.estimators import straight_through

# Keeps the outermost levels within reach of the tanh.
_EPSILON = 1e-3


class FSQ(Quantizer):
    """Rounds each number of a vector to one of L levels (Mentzer et al. 2023, arXiv:2309.15505).

        f(z) = (L - 1) (1 + eps) / 2 tanh(z + s) - o,    o = 1/2 for even L, 0 for odd
        code = round(f(z)) / floor(L / 2),    s = atanh(o / ((L - 1) (1 + eps) / 2)), so f(0) = 0

    with eps = 0.001, and the straight-through estimator over the rounding only, so that the
    gradient passes through f. No codebook, no loss. The codes are numbers in [-1, 1]; the index is
    in mixed radix, the first level fastest.

    Two levels are far from symmetric: the codes are -1 and 0, and the border between them is at
    z = -3.8. For binary codes `BSQ` and `LFQ` are the better choice.

    Args:
        levels: L of each number, each from 2 to 2^24, at most 2^30 codes in all; D is their count
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

    def _quantize(
        self,
        z: Float[Array, "*shape d"],
        mask: Bool[Array, "*shape"] | None,
        key: jax.Array | None,
    ) -> Quantized:
        bounded = self._bounded(z)
        digits = self._rounded(jax.lax.stop_gradient(bounded))
        zero = jnp.zeros((), z.dtype)
        return Quantized(
            values=straight_through(bounded, digits) * self._row(self._steps(), z),
            indices=self._index(digits),
            codebook_loss=zero,
            commitment_loss=zero,
            entropy_loss=zero,
            loss=zero,
        )

    def _encode(self, z: Float[Array, "*shape d"]) -> Int[Array, "*shape"]:
        return self._index(self._rounded(self._bounded(z)))

    def _lookup(self, indices: Int[Array, "*shape"]) -> Float[Array, "*shape d"]:
        places = np.cumprod([1, *self.levels[:-1]])
        half = np.array(self.levels) // 2
        shape = (1,) * indices.ndim + (-1,)
        rest = indices[..., None] // jnp.asarray(places, jnp.int32).reshape(shape)
        digits = rest % jnp.asarray(self.levels, jnp.int32).reshape(shape)
        steps = jnp.asarray(self._steps(), jnp.float32).reshape(shape)
        codes = (digits - jnp.asarray(half, jnp.int32).reshape(shape)).astype(jnp.float32) * steps
        return computed_codes(codes, indices, self.num_embeddings)

    def _steps(self) -> np.ndarray:
        """Between neighbouring levels: multiplied by, since XLA may divide in another way."""
        return 1 / (np.array(self.levels) // 2)

    def _bounded(self, z: Float[Array, "*shape d"]) -> Float[Array, "*shape d"]:
        half = (np.array(self.levels) - 1) * (1 + _EPSILON) / 2
        offset = np.where(np.array(self.levels) % 2 == 0, 0.5, 0.0)
        shift = np.arctanh(offset / half)
        return jnp.tanh(z + self._row(shift, z)) * self._row(half, z) - self._row(offset, z)

    def _rounded(self, bounded: Float[Array, "*shape d"]) -> Float[Array, "*shape d"]:
        """To the nearest level: with many levels, eps reaches past the last one."""
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
        """One number for each of D, shaped to go with [..., D], in its type."""
        return jnp.asarray(numbers, like.dtype).reshape((1,) * (like.ndim - 1) + (-1,))
