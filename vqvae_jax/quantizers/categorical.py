"""Codes that are categories: the encoder's output is their logits."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from vqvae_jax.checks import check_above_zero, check_at_least_zero, check_integer
from vqvae_jax.means import mean
from vqvae_jax.quantizers.base import Quantizer
from vqvae_jax.quantizers.core import Quantized, computed_codes
from vqvae_jax.quantizers.estimators import sg


class CategoricalQuantizer(Quantizer):
    """The discrete latent of the dVAE (Ramesh et al. 2021, arXiv:2102.12092, section 2.1).

        p = softmax(z),    y = softmax((z + g) / tau),  g ~ Gumbel,    values = y
        loss = cost KL(p | uniform) = cost (log K - H(p))

    At evaluation k = argmax z, and the value is its one-hot vector, with the gradient of
    softmax(z / tau). The KL divergence is the entropy loss. Nothing is learned: the codes are the
    rows of the decoder's first layer. `GumbelQuantizer` has codes of its own.

    Args:
        num_embeddings: K, the number of categories and the size of z and of a value, at least 1.
        temperature: tau, above 0.
        kl_cost: the divergence's weight, finite and at least 0.

    Raises:
        ValueError: an argument out of its range.
    """

    per_token = False
    follows_scale = False

    def __init__(self, num_embeddings: int, *, temperature: float = 1.0, kl_cost: float = 5e-4):
        self.num_embeddings = check_integer("num_embeddings", num_embeddings)
        self.embedding_dim = self.num_embeddings
        self.temperature = check_above_zero("temperature", temperature)
        self.kl_cost = check_at_least_zero("kl_cost", kl_cost)

    def _quantize(
        self,
        z: Float[Array, "*shape d"],
        mask: Bool[Array, "*shape"] | None,
        key: jax.Array | None,
    ) -> Quantized:
        log_p = jax.nn.log_softmax(z)
        divergence = jnp.sum(jnp.exp(log_p) * log_p, axis=-1) + jnp.log(float(self.num_embeddings))
        divergence = mean(divergence[..., None], mask)
        noisy = z if key is None else z + self._gumbel(z, key)
        indices = self._encode(noisy)
        # Subtracts the largest, which may be too large to be divided by a small temperature.
        largest = jnp.max(noisy, axis=-1, keepdims=True)
        values = jax.nn.softmax((noisy - sg(largest)) / self.temperature)
        if key is None:
            values = self._lookup(indices).astype(z.dtype) + (values - sg(values))
        zero = jnp.zeros((), z.dtype)
        return Quantized(
            values=values,
            indices=indices,
            codebook_loss=zero,
            commitment_loss=zero,
            entropy_loss=divergence,
            loss=self.kl_cost * divergence,
        )

    def _encode(self, z: Float[Array, "*shape d"]) -> Int[Array, "*shape"]:
        return jnp.argmax(z, axis=-1).astype(jnp.int32)

    def _lookup(self, indices: Int[Array, "*shape"]) -> Float[Array, "*shape d"]:
        one_hot = jax.nn.one_hot(indices, self.num_embeddings)
        return computed_codes(one_hot, indices, self.num_embeddings)

    def _gumbel(self, z: Float[Array, "*shape d"], key: jax.Array) -> Float[Array, "*shape d"]:
        """Draws noise, for each vector from a key of its own."""
        keys = jax.random.split(key, z.shape[:-1])
        draw = lambda own: jax.random.gumbel(own, z.shape[-1:], z.dtype)  # noqa: E731
        for _ in z.shape[:-1]:
            draw = jax.vmap(draw)
        return draw(keys)
