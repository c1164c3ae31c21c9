"""Index backpropagation: the decoder's gradient reaches every code, through a softmax."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from vqvae_jax.checks import check_above_zero, check_at_least_zero
from vqvae_jax.means import mean
from vqvae_jax.quantizers.core import Quantized
from vqvae_jax.quantizers.regularized import softmax_entropies
from vqvae_jax.quantizers.search import in_chunks, most_aligned_code
from vqvae_jax.quantizers.vector import VectorQuantizer


class IBQ(VectorQuantizer):
    """Index backpropagation quantization (Shi et al. 2024, arXiv:2412.02692, equations 4 to 7).

        p(k | z) = softmax_k(z.e_k),    k = argmax_k p(k | z)
        values = E^T (onehot(k) + p - sg(p)),    E the codebook [K, D]
        loss = mean((values - z)^2) + mean((z - sg(e_k))^2) + beta mean((sg(z) - e_k)^2)
               + lambda (E[H(p')] - H(E[p'])),   p' = softmax_k(z.e_k / tau)

    Codes are chosen by their product with z, not by distance. The decoder's gradient and that of
    the loss's first term move z and all codes. The last mean runs over the batch; inside
    `jax.shard_map`, over a device's part.

    Args:
        embedding_dim, num_embeddings: as for `VectorQuantizer`.
        codebook_cost: beta, finite and at least 0.
        commitment_cost: the weight of the second term, finite and at least 0.
        entropy_cost: lambda, finite and at least 0.
        temperature: tau, finite and above 0.
        revival_threshold, revival_tokens, usage_decay, kmeans_init, rngs: as for `VectorQuantizer`.

    Raises:
        ValueError: an argument out of its range.
    """

    follows_scale = False

    def __init__(
        self,
        embedding_dim: int,
        num_embeddings: int,
        *,
        codebook_cost: float = 0.25,
        commitment_cost: float = 1.0,
        entropy_cost: float = 0.05,
        temperature: float = 0.01,
        revival_threshold: float = 0.0,
        revival_tokens: float = 0.0,
        usage_decay: float = 0.99,
        kmeans_init: bool = False,
        rngs: nnx.Rngs,
    ):
        self.entropy_cost = check_at_least_zero("entropy_cost", entropy_cost)
        self.temperature = check_above_zero("temperature", temperature)
        super().__init__(
            embedding_dim,
            num_embeddings,
            commitment_cost,
            codebook_cost=codebook_cost,
            revival_threshold=revival_threshold,
            revival_tokens=revival_tokens,
            usage_decay=usage_decay,
            kmeans_init=kmeans_init,
            rngs=rngs,
        )
        self.per_token, self.learns_from_values = False, True

    def _quantize(
        self,
        z: Float[Array, "*shape d"],
        mask: Bool[Array, "*shape"] | None,
        key: jax.Array | None,
    ) -> Quantized:
        codebook = self.codebook.astype(z.dtype)
        indices = self._encode(z)
        codes = codebook.at[indices].get(mode="promise_in_bounds")
        soft = _expected_code(z, codebook)
        values = codes + (soft - jax.lax.stop_gradient(soft))
        codebook_loss = mean((jax.lax.stop_gradient(z) - codes) ** 2, mask)
        commitment_loss = mean((z - jax.lax.stop_gradient(codes)) ** 2, mask)
        of_vectors, of_mean = softmax_entropies(
            z.reshape(-1, self.embedding_dim),
            codebook,
            jnp.zeros_like(codebook[:, 0]),
            self.temperature,
            None if mask is None else mask.reshape(-1),
        )
        entropy_loss = of_vectors - of_mean
        return Quantized(
            values=values,
            indices=indices,
            codebook_loss=codebook_loss,
            commitment_loss=commitment_loss,
            entropy_loss=entropy_loss,
            loss=mean((values - z) ** 2, mask)
            + self.codebook_cost * codebook_loss
            + self.commitment_cost * commitment_loss
            + self.entropy_cost * entropy_loss,
        )

    def _encode(self, z: Float[Array, "*shape d"]) -> Int[Array, "*shape"]:
        return most_aligned_code(z, self.codebook)


def _expected_code(
    z: Float[Array, "*shape d"], codebook: Float[Array, "k d"]
) -> Float[Array, "*shape d"]:
    """Returns sum_k p(k | z) sg(e_k), whose gradient is that of the probabilities.

    A few vectors at a time, and again for the gradient, so that no [N, K] exists.
    """
    fixed = jax.lax.stop_gradient(codebook)

    @jax.checkpoint
    def of_one(vector: Float[Array, " d"]) -> Float[Array, " d"]:
        logits = jnp.matmul(codebook, vector, precision=jax.lax.Precision.HIGHEST)
        p = jax.nn.softmax(logits)
        return jnp.matmul(p, fixed, precision=jax.lax.Precision.HIGHEST)

    vectors = z.reshape(-1, z.shape[-1])
    return in_chunks(of_one, vectors, len(codebook)).reshape(z.shape)
