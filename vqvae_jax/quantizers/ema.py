"""The codebook as a moving average of the vectors that chose it."""

from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from vqvae_jax.checks import check_above_zero, check_share
from vqvae_jax.quantizers.base import QuantizerState
from vqvae_jax.quantizers.core import AxisName, code_sums, summed
from vqvae_jax.quantizers.initialization import overwrite
from vqvae_jax.quantizers.vector import (
    CosineVectorQuantizer,
    SampledVectorQuantizer,
    VectorQuantizer,
)


class EMAVectorQuantizer(VectorQuantizer):
    """Learns its codes by moving averages (van den Oord et al. 2017, appendix A.1, eq. 6 to 8).

    `update` does, with n_k the vectors that chose code k and s_k their sum,

        N_k = gamma N_k + (1 - gamma) n_k
        m_k = gamma m_k + (1 - gamma) s_k
        e_k = (m_k + eps_t e_k) / (N_k + eps_t)

    for the codes with n_k > 0; the others stay where they are. With random codes, N_k and m_k begin
    at 0, so that their quotient is a weighted mean of the vectors that the code has seen; eps_t =
    eps (1 - gamma^t), t the updates so far, grows in proportion to them. With codes from
    `initialize` or `set_codebook`, N_k and m_k begin in proportion to those codes' counts, as if
    earlier batches had been like the first. The loss is beta times the commitment loss; the
    codebook loss is reported but not part of it.

    The smoothing by eps holds a rarely used code in place. (Other libraries smooth only the counts,
    which draws such a code to the origin.)

    Args:
        embedding_dim: D, the size of a code, at least 1.
        num_embeddings: K, codes in the codebook, at least 1.
        commitment_cost: beta, finite and at least 0.
        decay: gamma, in [0, 1).
        epsilon: eps of the smoothing, in vectors, finite and above 0.
        rngs, options: as for `VectorQuantizer`, without the codebook cost.

    Raises:
        ValueError: an argument out of its range.
    """

    fixed_options = ("codebook_cost",)  # of those of `VectorQuantizer`

    def __init__(
        self,
        embedding_dim: int,
        num_embeddings: int,
        commitment_cost: float = 0.25,
        *,
        decay: float = 0.99,
        epsilon: float = 1e-5,
        rngs: nnx.Rngs,
        **options: Any,
    ):
        self.decay = check_share("decay", decay)
        self.epsilon = check_above_zero("epsilon", epsilon)
        super().__init__(
            embedding_dim,
            num_embeddings,
            commitment_cost=commitment_cost,
            codebook_cost=0.0,
            rngs=rngs,
            **options,
        )
        self.has_updates = True
        self.embeddings = QuantizerState(self.embeddings[...])
        self.counts = QuantizerState(jnp.zeros(self.num_embeddings))
        self.sums = QuantizerState(jnp.zeros((self.num_embeddings, self.embedding_dim)))
        self.weight = QuantizerState(jnp.zeros(()))  # 1 - gamma^t
        # 1 while the counts are initial ones, still to be scaled to the tokens of an update; then
        # 0. (A float, so that the whole state may be differentiated.)
        self.unscaled = QuantizerState(jnp.zeros(()))

    def _learn(
        self,
        z: Float[Array, "*shape d"],
        indices: Int[Array, "*shape"],
        counts: Int[Array, " k"],
        axis_name: AxisName | None,
    ) -> None:
        dtype = self.sums[...].dtype
        used = counts.astype(dtype)
        sums = summed(code_sums(z, indices, self.num_embeddings), axis_name).astype(dtype)
        tokens, before = jnp.sum(used), jnp.sum(self.counts[...])
        due = tokens > 0
        scaled = (self.unscaled[...] > 0) & due
        kept = self.decay * jnp.where(scaled, tokens / jnp.where(before > 0, before, 1), 1)
        overwrite(self.unscaled, jnp.zeros(()), scaled)
        overwrite(self.counts, kept * self.counts[...] + (1 - self.decay) * used, due)
        overwrite(self.sums, kept * self.sums[...] + (1 - self.decay) * sums, due)
        overwrite(self.weight, self.decay * self.weight[...] + (1 - self.decay), due)
        overwrite(self.embeddings, self._averaged(used), due)

    def _averaged(self, used: Float[Array, " k"]) -> Float[Array, "k d"]:
        """Returns the codes by the averages, after a step with n_k uses of each."""
        codes, counts, epsilon = self.embeddings[...], self.counts[...], self.epsilon
        smoothed = jnp.where(used > 0, counts + epsilon * self.weight[...], 1)[:, None]
        moved = codes + (self.sums[...] - counts[:, None] * codes) / smoothed
        return jnp.where(used[:, None] > 0, moved, codes)

    def _start_from(
        self, codes: Float[Array, "k d"], counts: Float[Array, " k"], due: Bool[Array, ""]
    ) -> None:
        super()._start_from(codes, counts, due)
        overwrite(self.counts, counts, due)
        overwrite(self.sums, counts.astype(codes.dtype)[:, None] * codes, due)
        overwrite(self.weight, jnp.ones(()), due)
        overwrite(self.unscaled, jnp.ones(()), due)

    def _forget(self, replaced: Bool[Array, " k"]) -> None:
        self.counts[...] = jnp.where(replaced, 0, self.counts[...])
        self.sums[...] = jnp.where(replaced[:, None], 0, self.sums[...])


class EMACosineVectorQuantizer(EMAVectorQuantizer, CosineVectorQuantizer):
    """Learns codes on the unit sphere by moving averages: spherical k-means, batch by batch.

    A `CosineVectorQuantizer` whose codes are the averages of `EMAVectorQuantizer` over the
    normalized vectors, divided by their norm.

    Args: as for `EMAVectorQuantizer`.
    """


class EMASampledVectorQuantizer(EMAVectorQuantizer, SampledVectorQuantizer):
    """Soft EM (Roy et al. 2018, arXiv:1805.11063, section 4), one sample of each assignment.

    A `SampledVectorQuantizer` whose codes are the averages of `EMAVectorQuantizer` over the vectors
    that drew them.

    Args: as for `EMAVectorQuantizer`, and temperature as for `SampledVectorQuantizer`.
    """
