"""Quantizers of the same vector, whose values are added."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from vqvae_jax.quantizers.base import Quantizer
from vqvae_jax.quantizers.composition import check_composable
from vqvae_jax.quantizers.core import AxisName, Quantized, stage_losses


class ParallelQuantizer(Quantizer):
    """Adds up what several quantizers make of the same vector.

        values = sum_i Q_i(z)

    The split residual quantizer of Mimi (Defossez et al. 2024, Moshi, arXiv:2410.00037, section
    3.3.2) is one, of two `ProjectedQuantizer`s of `ResidualVQ`s: their projections share the work.
    The losses are the sums of the quantizers' losses. The indices are those of Q_1, then those of
    Q_2, ...; `lookup(indices[..., :m])` decodes from the first m.

    Args:
        quantizers: Q_i, at least one, all with the same embedding_dim and several codebooks.

    Raises:
        ValueError: the quantizers do not fit together.
    """

    num_codebooks: int

    def __init__(self, quantizers: Sequence[Quantizer]):
        check_composable(quantizers)
        dims = [quantizer.embedding_dim for quantizer in quantizers]
        if len(set(dims)) > 1:
            raise ValueError(f"the quantizers' embedding_dim are {dims}; they must be the same")
        if any(quantizer.num_codebooks is None for quantizer in quantizers):
            raise ValueError("a quantizer has one codebook without an axis; use a ResidualVQ of it")
        self.quantizers = nnx.List(quantizers)
        self.embedding_dim = dims[0]
        self.num_embeddings = max(quantizer.num_embeddings for quantizer in quantizers)
        self.num_codebooks = sum(quantizer.num_codebooks or 0 for quantizer in quantizers)
        self.per_token = all(quantizer.per_token for quantizer in quantizers)
        self.has_updates = any(quantizer.has_updates for quantizer in quantizers)
        self.has_initialization = any(quantizer.has_initialization for quantizer in quantizers)
        self.learns_from_values = any(quantizer.learns_from_values for quantizer in quantizers)

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """The quantizers' codebook sizes, one after another."""
        return tuple(size for quantizer in self.quantizers for size in quantizer.codebook_sizes)

    def _quantize(
        self,
        z: Float[Array, "*shape d"],
        mask: Bool[Array, "*shape"] | None,
        key: jax.Array | None,
    ) -> Quantized:
        outputs = [
            quantizer(z, mask, key=_own(key, i)) for i, quantizer in enumerate(self.quantizers)
        ]
        return Quantized(
            values=sum(output.values for output in outputs),
            indices=jnp.concatenate([output.indices for output in outputs], axis=-1),
            codebook_loss=sum(output.codebook_loss for output in outputs),
            commitment_loss=sum(output.commitment_loss for output in outputs),
            entropy_loss=sum(output.entropy_loss for output in outputs),
            loss=sum(output.loss for output in outputs),
            stage_losses=stage_losses(outputs),
        )

    def _encode(self, z: Float[Array, "*shape d"]) -> Int[Array, "*shape n"]:
        return jnp.concatenate([q.encode(z) for q in self.quantizers], axis=-1)

    def _lookup(self, indices: Int[Array, "*shape m"]) -> Float[Array, "*shape d"]:
        if not 1 <= indices.shape[-1] <= self.num_codebooks:
            raise ValueError(
                f"indices have shape {indices.shape}; their last axis must be 1 to "
                f"{self.num_codebooks}, the number of codebooks"
            )
        codes = [
            quantizer.lookup(own)
            for quantizer, own in zip(self.quantizers, self._parts(indices), strict=True)
            if own.shape[-1] > 0
        ]
        return sum(codes[1:], start=codes[0])

    def _update(
        self,
        z: Float[Array, "*shape d"],
        indices: Int[Array, "*shape n"],
        key: jax.Array | None,
        axis_name: AxisName | None,
    ) -> None:
        pairs = zip(self.quantizers, self._parts(indices), strict=True)
        for i, (quantizer, own) in enumerate(pairs):
            quantizer.update(z, own, key=_own(key, i), axis_name=axis_name)

    def _initialize(
        self,
        z: Float[Array, "*shape d"],
        mask: Bool[Array, "*shape"] | None,
        key: jax.Array,
        axis_name: AxisName | None,
    ) -> None:
        for i, quantizer in enumerate(self.quantizers):
            quantizer.initialize(z, mask, key=jax.random.fold_in(key, i), axis_name=axis_name)

    def _parts(self, indices: Array) -> list[Array]:
        """Returns each quantizer's indices, none for the last ones if there are only few."""
        parts, start = [], 0
        for quantizer in self.quantizers:
            end = start + (quantizer.num_codebooks or 0)
            parts.append(indices[..., start:end])
            start = end
        return parts


def _own(key: jax.Array | None, i: int) -> jax.Array | None:
    return None if key is None else jax.random.fold_in(key, i)
