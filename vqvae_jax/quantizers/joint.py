"""Several quantizers of one vector, whose indices are joined."""

import abc
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from vqvae_jax.quantizers.base import Quantizer
from vqvae_jax.quantizers.composition import check_composable
from vqvae_jax.quantizers.core import AxisName, Quantized


class JointQuantizer(Quantizer):
    """The base of quantizers that are made of others, Q_1 to Q_n, each with its input from z.

    The indices are those of Q_1, then those of Q_2, ...

    Args:
        quantizers: Q_i, at least one.
        embedding_dim: D, the size of a vector.

    Raises:
        ValueError: there is none, or one occurs twice.
    """

    num_codebooks: int

    def __init__(self, quantizers: Sequence[Quantizer], embedding_dim: int):
        check_composable(quantizers)
        self.quantizers = nnx.List(quantizers)
        self.embedding_dim = embedding_dim
        self.num_embeddings = max(quantizer.num_embeddings for quantizer in quantizers)
        self.num_codebooks = sum(quantizer.num_codebooks or 1 for quantizer in quantizers)
        self.per_token = all(quantizer.per_token for quantizer in quantizers)
        self.has_updates = any(quantizer.has_updates for quantizer in quantizers)
        self.has_initialization = any(quantizer.has_initialization for quantizer in quantizers)
        self.learns_from_values = any(quantizer.learns_from_values for quantizer in quantizers)

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """The quantizers' codebook sizes, one after another."""
        return tuple(size for quantizer in self.quantizers for size in quantizer.codebook_sizes)

    @abc.abstractmethod
    def _with_inputs(self, z: Array) -> list[tuple[Quantizer, Array]]:
        """Returns each quantizer with what it quantizes of z."""

    def _outputs(self, z: Array, mask: Array | None, key: jax.Array | None) -> list[Quantized]:
        """Returns each quantizer's output."""
        return [
            quantizer(given, mask, key=self._own(key, i))
            for i, (quantizer, given) in enumerate(self._with_inputs(z))
        ]

    def _encode(self, z: Float[Array, "*shape d"]) -> Int[Array, "*shape n"]:
        inputs = self._with_inputs(z)
        return self._joined([quantizer.encode(given) for quantizer, given in inputs])

    def _update(
        self,
        z: Float[Array, "*shape d"],
        indices: Int[Array, "*shape n"],
        key: jax.Array | None,
        axis_name: AxisName | None,
    ) -> None:
        inputs = self._with_inputs(z)
        for i, ((quantizer, given), (_, own)) in enumerate(
            zip(inputs, self._with_indices(indices), strict=True)
        ):
            quantizer.update(given, own, key=self._own(key, i), axis_name=axis_name)

    def _initialize(
        self,
        z: Float[Array, "*shape d"],
        mask: Bool[Array, "*shape"] | None,
        key: jax.Array,
        axis_name: AxisName | None,
    ) -> None:
        for i, (quantizer, given) in enumerate(self._with_inputs(z)):
            own = jax.random.fold_in(key, i)
            quantizer.initialize(given, mask, key=own, axis_name=axis_name)

    def _with_indices(self, indices: Array) -> list[tuple[Quantizer, Array]]:
        """Returns each quantizer with its indices."""
        pairs, start = [], 0
        for quantizer in self.quantizers:
            count = quantizer.num_codebooks
            own = indices[..., start] if count is None else indices[..., start : start + count]
            pairs.append((quantizer, own))
            start += count or 1
        return pairs

    def _joined(self, indices: list[Array]) -> Array:
        """Joins the indices of all quantizers on one last axis."""
        columns = [
            own[..., None] if quantizer.num_codebooks is None else own
            for quantizer, own in zip(self.quantizers, indices, strict=True)
        ]
        return jnp.concatenate(columns, axis=-1)

    @staticmethod
    def _own(key: jax.Array | None, i: int) -> jax.Array | None:
        return None if key is None else jax.random.fold_in(key, i)
