"""Quantizers side by side, each for its part of the vector."""

from collections.abc import Sequence
from itertools import accumulate
from typing import cast

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from vqvae_jax.quantizers.base import Quantizer
from vqvae_jax.quantizers.core import Quantized, stage_losses
from vqvae_jax.quantizers.joint import JointQuantizer
from vqvae_jax.quantizers.residual import ResidualVQ


class ProductQuantizer(JointQuantizer):
    """Product quantization (Jegou et al. 2011, IEEE TPAMI 33(1)), or multi-head quantization.

        values = [Q_1(z_1), ..., Q_n(z_n)],    z = [z_1, ..., z_n]

    The losses are the means of the quantizers' losses, weighted by the sizes of their parts: for
    equal quantizers, the means over all of z. The indices are those of Q_1, then those of Q_2, ...

    Args:
        quantizers: Q_i, at least one; D is the sum of their embedding_dim.

    Raises:
        ValueError: the quantizers do not fit together.
    """

    def __init__(self, quantizers: Sequence[Quantizer]):
        super().__init__(quantizers, sum(quantizer.embedding_dim for quantizer in quantizers))

    @property
    def values_dim(self) -> int:
        """The sum of the quantizers' values_dim."""
        return sum(quantizer.values_dim for quantizer in self.quantizers)

    def _quantize(
        self,
        z: Float[Array, "*shape d"],
        mask: Bool[Array, "*shape"] | None,
        key: jax.Array | None,
    ) -> Quantized:
        outputs = self._outputs(z, mask, key)

        def weighted_mean(losses: list[Array]) -> Array:
            dims = [quantizer.embedding_dim for quantizer in self.quantizers]
            weighted = [
                loss * (dim / self.embedding_dim) for loss, dim in zip(losses, dims, strict=True)
            ]
            return sum(weighted[1:], start=weighted[0])

        return Quantized(
            values=jnp.concatenate([output.values for output in outputs], axis=-1),
            indices=self._joined([output.indices for output in outputs]),
            codebook_loss=weighted_mean([output.codebook_loss for output in outputs]),
            commitment_loss=weighted_mean([output.commitment_loss for output in outputs]),
            entropy_loss=weighted_mean([output.entropy_loss for output in outputs]),
            loss=weighted_mean([output.loss for output in outputs]),
            stage_losses=stage_losses(outputs),
        )

    def _lookup(self, indices: Int[Array, "*shape n"]) -> Float[Array, "*shape d"]:
        self._check_last_axis(indices)
        codes = [quantizer.lookup(own) for quantizer, own in self._with_indices(indices)]
        return jnp.concatenate(codes, axis=-1)

    def _with_inputs(self, z: Array) -> list[tuple[Quantizer, Array]]:
        ends = list(accumulate(quantizer.embedding_dim for quantizer in self.quantizers))
        return list(zip(self.quantizers, jnp.split(z, ends[:-1], axis=-1), strict=True))


class GroupedResidualVQ(ProductQuantizer):
    """Residual quantizers side by side (Yang et al. 2023, HiFi-Codec, arXiv:2305.02765, section 3).

    A `ProductQuantizer` of `ResidualVQ`s, all of n codebooks. `lookup` also decodes from the first
    m codes of every group: the indices group by group, m of each. With quantize_dropout, all groups
    use the same number of codes.

    Args:
        groups: at least one, all with the same num_codebooks and the same quantize_dropout.

    Raises:
        ValueError: the groups do not fit together.
    """

    def __init__(self, groups: Sequence[ResidualVQ]):
        if not all(isinstance(group, ResidualVQ) for group in groups):
            names = ", ".join(type(group).__name__ for group in groups)
            raise ValueError(f"groups are {names}; each must be a ResidualVQ")
        super().__init__(groups)
        depths = [group.num_codebooks for group in groups]
        if len(set(depths)) > 1:
            raise ValueError(f"the groups' num_codebooks are {depths}; they must be the same")
        drawn = [group.drawn_depths for group in groups]
        if len(set(drawn)) > 1:
            raise ValueError(
                f"the depths that quantize_dropout draws for the groups are {drawn}; they must be "
                "the same"
            )

    @property
    def groups(self) -> Sequence[ResidualVQ]:
        """The residual quantizers."""
        return cast(Sequence[ResidualVQ], self.quantizers)

    def _outputs(self, z: Array, mask: Array | None, key: jax.Array | None) -> list[Quantized]:
        groups = self.groups
        own = self._own(key, len(groups))
        depth = None if own is None else groups[0].draw_depth(z.shape[:-1], own)
        return [
            group.quantize_to(depth, part, mask, self._own(key, i))
            for i, (group, (_, part)) in enumerate(zip(groups, self._with_inputs(z), strict=True))
        ]

    def _lookup(self, indices: Int[Array, "*shape m"]) -> Float[Array, "*shape d"]:
        groups = len(self.quantizers)
        depth, rest = divmod(indices.shape[-1], groups)
        if rest or not 1 <= depth <= self.num_codebooks // groups:
            raise ValueError(
                f"indices have shape {indices.shape}; their last axis must be {groups} times "
                f"1 to {self.num_codebooks // groups}"
            )
        parts = jnp.split(indices, groups, axis=-1)
        codes = [group.lookup(own) for group, own in zip(self.quantizers, parts, strict=True)]
        return jnp.concatenate(codes, axis=-1)
