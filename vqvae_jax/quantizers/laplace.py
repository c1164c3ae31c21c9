"""Moving averages with Laplace smoothing, as other libraries compute them."""

from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from vqvae_jax.quantizers.base import QuantizerState
from vqvae_jax.quantizers.ema import EMACosineVectorQuantizer, EMAVectorQuantizer
from vqvae_jax.quantizers.initialization import overwrite


class LaplaceEMAVectorQuantizer(EMAVectorQuantizer):
    """Learns its codes by moving averages whose counts are smoothed alone.

    The update of Sonnet and of vector-quantize-pytorch, for codebooks that were trained there. With
    n_k the vectors that chose code k and s_k their sum,

        N_k = gamma N_k + (1 - gamma) n_k
        m_k = gamma m_k + (1 - gamma) s_k
        e_k = m_k / ((N_k + eps) N / (N + K eps)),    N = sum_k N_k

    for all codes: one without a use moves to the origin, slowly at first. Random codes begin with
    N_k = 1 and m_k = e_k, and so do revived ones.

    Args: as for `EMAVectorQuantizer`, which holds unused codes in place.
    """

    def __init__(
        self,
        embedding_dim: int,
        num_embeddings: int,
        commitment_cost: float = 0.25,
        *,
        rngs: nnx.Rngs,
        **options: Any,
    ):
        super().__init__(embedding_dim, num_embeddings, commitment_cost, rngs=rngs, **options)
        self.embeddings = QuantizerState(self.codebook)
        self.counts = QuantizerState(jnp.ones(self.num_embeddings))
        self.sums = QuantizerState(self.codebook)

    def _averaged(self, used: Float[Array, " k"]) -> Float[Array, "k d"]:
        counts = self.counts[...]
        total = jnp.sum(counts)
        smoothed = (counts + self.epsilon) / (total + self.num_embeddings * self.epsilon) * total
        return self._compared(self.sums[...] / smoothed[:, None])

    def _start_from(
        self, codes: Float[Array, "k d"], counts: Float[Array, " k"], due: Bool[Array, ""]
    ) -> None:
        super()._start_from(codes, counts, due)
        overwrite(self.embeddings, self._compared(codes), due)

    def _forget(self, replaced: Bool[Array, " k"]) -> None:
        self.counts[...] = jnp.where(replaced, 1, self.counts[...])
        self.sums[...] = jnp.where(replaced[:, None], self.embeddings[...], self.sums[...])


class LaplaceEMACosineVectorQuantizer(LaplaceEMAVectorQuantizer, EMACosineVectorQuantizer):
    """Learns codes on the unit sphere by moving averages whose counts are smoothed alone.

    An `EMACosineVectorQuantizer` with the averages of `LaplaceEMAVectorQuantizer`. The codes it
    keeps, `embeddings`, are of norm 1.

    Args: as for `EMAVectorQuantizer`.
    """
