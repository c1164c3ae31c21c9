"""Any quantizer at a lower rate."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from vqvae_jax.checks import check_integer
from vqvae_jax.quantizers.base import Quantizer
from vqvae_jax.quantizers.core import AxisName, Quantized


class PooledQuantizer(Quantizer):
    """Quantizes means over time, one for several positions, and repeats the values.

    In a row, with falling strides, they are the quantizer of SNAC (Siuzdak et al. 2024,
    arXiv:2410.14411, section 3.1): ResidualVQ([PooledQuantizer(a, 4), PooledQuantizer(b, 2),
    PooledQuantizer(c, 1)]). Indices are repeated as well: `indices[..., ::stride]` is all of them.

    Args:
        quantizer: the inner one, with one codebook.
        stride: positions that share a code, at least 1.

    Raises:
        ValueError: an argument out of its range.
    """

    def __init__(self, quantizer: Quantizer, stride: int):
        if quantizer.num_codebooks is not None:
            raise ValueError("the quantizer has several codebooks; it must have one")
        self.quantizer, self.stride = quantizer, check_integer("stride", stride)
        self.embedding_dim = quantizer.embedding_dim
        self.num_embeddings = quantizer.num_embeddings
        self.per_token = quantizer.per_token and stride == 1
        self.has_updates = quantizer.has_updates
        self.has_initialization = quantizer.has_initialization
        self.learns_from_values = quantizer.learns_from_values
        self.follows_scale = quantizer.follows_scale

    @property
    def values_dim(self) -> int:
        """That of the inner one."""
        return self.quantizer.values_dim

    def _quantize(
        self,
        z: Float[Array, "*shape d"],
        mask: Bool[Array, "*shape"] | None,
        key: jax.Array | None,
    ) -> Quantized:
        quantized = self.quantizer(*self._pooled(z, mask), key=key)
        return dataclasses.replace(
            quantized,
            values=self._repeated(quantized.values, axis=-2),
            indices=self._repeated(quantized.indices, axis=-1),
        )

    def _encode(self, z: Float[Array, "*shape d"]) -> Int[Array, "*shape"]:
        return self._repeated(self.quantizer.encode(self._pooled(z, None)[0]), axis=-1)

    def _lookup(self, indices: Int[Array, "*shape"]) -> Float[Array, "*shape d"]:
        return self.quantizer.lookup(indices)

    def _update(
        self,
        z: Float[Array, "*shape d"],
        indices: Int[Array, "*shape"],
        key: jax.Array | None,
        axis_name: AxisName | None,
    ) -> None:
        pooled, _ = self._pooled(z, indices >= 0)
        windows = indices.reshape(*pooled.shape[:-1], self.stride)
        self.quantizer.update(pooled, jnp.max(windows, axis=-1), key=key, axis_name=axis_name)

    def _initialize(
        self,
        z: Float[Array, "*shape d"],
        mask: Bool[Array, "*shape"] | None,
        key: jax.Array,
        axis_name: AxisName | None,
    ) -> None:
        self.quantizer.initialize(*self._pooled(z, mask), key=key, axis_name=axis_name)

    def _repeated(self, x: Array, axis: int) -> Array:
        """Returns what was computed for each mean, for each of its positions."""
        return x if self.stride == 1 else jnp.repeat(x, self.stride, axis=axis)

    def _pooled(self, z: Array, mask: Array | None) -> tuple[Array, Array | None]:
        """Returns the means of the positions that count, and where there are any."""
        if self.stride == 1:
            return z, mask
        if z.ndim < 2 or z.shape[-2] % self.stride:
            raise ValueError(
                f"z has shape {z.shape}; its axis before the last must be a multiple of "
                f"stride = {self.stride}"
            )
        windows = z.reshape(*z.shape[:-2], -1, self.stride, z.shape[-1])
        if mask is None:
            return jnp.mean(windows, axis=-2), None
        counted = mask.reshape(windows.shape[:-1])
        number = jnp.sum(counted, axis=-1, keepdims=True).astype(z.dtype)
        means = jnp.sum(jnp.where(counted[..., None], windows, 0), axis=-2)
        return means / jnp.maximum(number, 1), jnp.any(counted, axis=-1)
