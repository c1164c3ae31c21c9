"""Quantizers of the same vector, whose values are added."""

from collections.abc import Sequence

import jax
from jaxtyping import Array, Bool, Float, Int

from vqvae_jax.quantizers.base import Quantizer
from vqvae_jax.quantizers.core import Quantized, stage_losses
from vqvae_jax.quantizers.joint import JointQuantizer


class ParallelQuantizer(JointQuantizer):
    """Adds up what several quantizers make of the same vector.

        values = sum_i Q_i(z)

    The split residual quantizer of Mimi (Defossez et al. 2024, Moshi, arXiv:2410.00037, section
    3.3.2) is one, of two `ProjectedQuantizer`s of `ResidualVQ`s: their projections share the work.
    The losses are the sums of the quantizers' losses. The indices are those of Q_1, then those of
    Q_2, ...; `lookup(indices[..., :m])` decodes from the first m.

    Args:
        quantizers: Q_i, at least one, all with the same embedding_dim and values_dim, and with
            several codebooks.

    Raises:
        ValueError: the quantizers do not fit together.
    """

    def __init__(self, quantizers: Sequence[Quantizer]):
        dims = [quantizer.embedding_dim for quantizer in quantizers]
        if len(set(dims)) > 1:
            raise ValueError(f"the quantizers' embedding_dim are {dims}; they must be the same")
        if any(quantizer.num_codebooks is None for quantizer in quantizers):
            raise ValueError("a quantizer has one codebook without an axis; use a ResidualVQ of it")
        sizes = [quantizer.values_dim for quantizer in quantizers]
        if len(set(sizes)) > 1:
            raise ValueError(f"the quantizers' values_dim are {sizes}; they must be the same")
        super().__init__(quantizers, next(iter(dims), 0))

    @property
    def values_dim(self) -> int:
        """That of each quantizer."""
        return self.quantizers[0].values_dim

    def _quantize(
        self,
        z: Float[Array, "*shape d"],
        mask: Bool[Array, "*shape"] | None,
        key: jax.Array | None,
    ) -> Quantized:
        outputs = self._outputs(z, mask, key)
        return Quantized(
            values=sum(output.values for output in outputs),
            indices=self._joined([output.indices for output in outputs]),
            codebook_loss=sum(output.codebook_loss for output in outputs),
            commitment_loss=sum(output.commitment_loss for output in outputs),
            entropy_loss=sum(output.entropy_loss for output in outputs),
            loss=sum(output.loss for output in outputs),
            stage_losses=stage_losses(outputs),
        )

    def _lookup(self, indices: Int[Array, "*shape m"]) -> Float[Array, "*shape d"]:
        if not 1 <= indices.shape[-1] <= self.num_codebooks:
            raise ValueError(
                f"indices have shape {indices.shape}; their last axis must be 1 to "
                f"{self.num_codebooks}, the number of codebooks"
            )
        codes = [
            quantizer.lookup(own)
            for quantizer, own in self._with_indices(indices)
            if own.shape[-1] > 0  # those of the last ones may be left out
        ]
        return sum(codes[1:], start=codes[0])

    def _with_inputs(self, z: Array) -> list[tuple[Quantizer, Array]]:
        return [(quantizer, z) for quantizer in self.quantizers]
