"""The codebook as a moving average of the vectors that chose it."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from vqvae_jax.quantizers.base import QuantizerState, check_above_zero
from vqvae_jax.quantizers.core import code_counts, code_sums
from vqvae_jax.quantizers.estimators import Estimator, straight_through
from vqvae_jax.quantizers.vector import VectorQuantizer


class EMAVectorQuantizer(VectorQuantizer):
    """Learns its codes by moving averages (van den Oord et al. 2017, appendix A.1, eq. 6 to 8).

    `update` does, with n_k the vectors that chose code k and s_k their sum,

        N_k = gamma N_k + (1 - gamma) n_k
        m_k = gamma m_k + (1 - gamma) s_k
        e_k = m_k / N'_k,    N'_k = N (N_k + eps_t) / (N + K eps_t),    N = sum_k N_k

    for the codes with n_k > 0; the others stay where they are. N_k and m_k begin at 0, so that
    their quotient is a weighted mean of what the code has seen; eps_t = eps (1 - gamma^t), t the
    updates so far, keeps the smoothing in proportion while they grow. The loss is beta times the
    commitment loss; the codebook loss is reported and takes no part in it.

    Args:
        embedding_dim: D, numbers in a code, at least 1.
        num_embeddings: K, codes in the codebook, at least 1.
        commitment_cost: beta, finite and at least 0.
        decay: gamma, in [0, 1).
        epsilon: eps of the Laplace smoothing, finite and above 0.
        estimator, revival_threshold, kmeans_init, rngs: as of `VectorQuantizer`.

    Raises:
        ValueError: an argument out of its range.
    """

    def __init__(
        self,
        embedding_dim: int,
        num_embeddings: int,
        commitment_cost: float = 0.25,
        *,
        decay: float = 0.99,
        epsilon: float = 1e-5,
        estimator: Estimator = straight_through,
        revival_threshold: float = 0.0,
        kmeans_init: bool = False,
        rngs: nnx.Rngs,
    ):
        if not 0 <= decay < 1:
            raise ValueError(f"decay is {decay}; it must be at least 0 and below 1")
        check_above_zero("epsilon", epsilon)
        super().__init__(
            embedding_dim,
            num_embeddings,
            commitment_cost,
            codebook_cost=0.0,
            estimator=estimator,
            revival_threshold=revival_threshold,
            kmeans_init=kmeans_init,
            rngs=rngs,
        )
        self.decay = decay
        self.epsilon = epsilon
        self.has_updates = True
        self.embeddings = QuantizerState(self.embeddings[...])
        self.counts = QuantizerState(jnp.zeros(num_embeddings))
        self.sums = QuantizerState(jnp.zeros((num_embeddings, embedding_dim)))
        self.weight = QuantizerState(jnp.zeros(()))  # 1 - gamma^t

    def _learn(self, z: Float[Array, "*shape d"], indices: Int[Array, "*shape"]) -> None:
        used = code_counts(indices, self.num_embeddings)
        sums = code_sums(z, indices, self.num_embeddings)
        self.counts[...] = self.decay * self.counts[...] + (1 - self.decay) * used.astype(
            self.counts.dtype
        )
        self.sums[...] = self.decay * self.sums[...] + (1 - self.decay) * sums.astype(
            self.sums.dtype
        )
        self.weight[...] = self.decay * self.weight[...] + (1 - self.decay)
        counts, epsilon = self.counts[...], self.epsilon * self.weight[...]
        total = jnp.sum(counts)
        smoothed = total * (counts + epsilon) / (total + self.num_embeddings * epsilon)
        means = self.sums[...] / jnp.where(smoothed > 0, smoothed, 1)[:, None]
        self.embeddings[...] = jnp.where(used[:, None] > 0, means, self.embeddings[...])

    def _forget(self, replaced: Bool[Array, " k"]) -> None:
        self.counts[...] = jnp.where(replaced, 0, self.counts[...])
        self.sums[...] = jnp.where(replaced[:, None], 0, self.sums[...])
