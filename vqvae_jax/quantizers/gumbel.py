"""Draws codes from a learned categorical distribution, through the Gumbel-softmax."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from vqvae_jax.checks import check_above_zero, check_at_least_zero, check_integer
from vqvae_jax.means import mean
from vqvae_jax.quantizers.base import Quantizer, QuantizerState
from vqvae_jax.quantizers.core import AxisName, Quantized, summed
from vqvae_jax.quantizers.estimators import sg
from vqvae_jax.quantizers.search import in_chunks
from vqvae_jax.tables import lookup

Schedule = Callable[[Array], Array]


class GumbelQuantizer(Quantizer):
    """The Gumbel-softmax (Jang et al. 2016, arXiv:1611.01144; Maddison et al. 2016, 1611.00712).

        logits = W z + b,    p = softmax(logits),    y = softmax((logits + g) / tau),  g ~ Gumbel
        values = y E (soft), or e_k with k = argmax y and the gradient of the soft values (hard)
        loss = cost KL(p | uniform) = cost (log K - H(p))

    At evaluation k = argmax of the logits. The KL divergence is the entropy loss.

    Args:
        embedding_dim: D, the size of a vector and of a code, at least 1.
        num_embeddings: K, codes in the codebook, at least 1.
        temperature: tau, above 0; or a schedule, a function of the number of updates (an int32
            scalar) such as `optax.exponential_decay` returns.
        hard: whether in training the decoder is given a code, not a mixture of codes.
        kl_cost: the divergence's weight, finite and at least 0.
        rngs: `params` draws the codes from N(0, 1), W and b from U(-1 / sqrt(D), 1 / sqrt(D)).

    Raises:
        ValueError: an argument out of its range.
    """

    learns_from_values = True

    def __init__(
        self,
        embedding_dim: int,
        num_embeddings: int,
        *,
        temperature: float | Schedule = 1.0,
        hard: bool = True,
        kl_cost: float = 5e-4,
        rngs: nnx.Rngs,
    ):
        embedding_dim = check_integer("embedding_dim", embedding_dim)
        num_embeddings = check_integer("num_embeddings", num_embeddings)
        if not callable(temperature):
            temperature = check_above_zero("temperature", temperature)
        self.embedding_dim = embedding_dim
        self.num_embeddings = num_embeddings
        self.temperature = temperature
        self.hard = hard
        self.kl_cost = check_at_least_zero("kl_cost", kl_cost)
        self.per_token = False
        self.has_updates = True
        bound = embedding_dim**-0.5
        self.kernel = nnx.Param(
            jax.random.uniform(
                rngs.params(), (embedding_dim, num_embeddings), minval=-bound, maxval=bound
            )
        )
        self.bias = nnx.Param(
            jax.random.uniform(rngs.params(), (num_embeddings,), minval=-bound, maxval=bound)
        )
        self.embeddings = nnx.Param(
            jax.random.normal(rngs.params(), (num_embeddings, embedding_dim))
        )
        self.updates = QuantizerState(jnp.zeros((), jnp.int32))

    def _quantize(
        self,
        z: Float[Array, "*shape d"],
        mask: Bool[Array, "*shape"] | None,
        key: jax.Array | None,
    ) -> Quantized:
        vectors = z.reshape(-1, self.embedding_dim)
        codes = self.embeddings[...].astype(z.dtype)
        temperature = self._temperature(z.dtype)

        @jax.checkpoint  # recomputed for the gradient, so that no [N, K] is kept
        def quantize(item: tuple[Array, Array | None]) -> tuple[Array, Array, Array]:
            vector, key = item
            logits = self._logits(vector)
            log_p = jax.nn.log_softmax(logits)
            divergence = jnp.sum(jnp.exp(log_p) * log_p) + jnp.log(float(len(logits)))
            if key is not None:
                logits = logits + jax.random.gumbel(key, logits.shape, logits.dtype)
            index = jnp.argmax(logits).astype(jnp.int32)
            # Subtracts the largest, which may be too large to be divided by a small temperature.
            y = jax.nn.softmax((logits - sg(jnp.max(logits))) / temperature)
            if self.hard or key is None:
                mixture = jnp.matmul(y, sg(codes), precision=jax.lax.Precision.HIGHEST)
                return codes[index] + (mixture - sg(mixture)), index, divergence
            return jnp.matmul(y, codes, precision=jax.lax.Precision.HIGHEST), index, divergence

        keys = None if key is None else jax.random.split(key, vectors.shape[0])
        values, indices, divergences = in_chunks(quantize, (vectors, keys), self.num_embeddings)
        divergence = mean(divergences.reshape(*z.shape[:-1], 1), mask)
        zero = jnp.zeros((), z.dtype)
        return Quantized(
            values=values.reshape(z.shape),
            indices=indices.reshape(z.shape[:-1]),
            codebook_loss=zero,
            commitment_loss=zero,
            entropy_loss=divergence,
            loss=self.kl_cost * divergence,
        )

    def _encode(self, z: Float[Array, "*shape d"]) -> Int[Array, "*shape"]:
        indices = in_chunks(
            lambda vector: jnp.argmax(self._logits(vector)).astype(jnp.int32),
            z.reshape(-1, self.embedding_dim),
            self.num_embeddings,
        )
        return indices.reshape(z.shape[:-1])

    def _lookup(self, indices: Int[Array, "*shape"]) -> Float[Array, "*shape d"]:
        return lookup(self.embeddings[...], indices)

    def _update(
        self,
        z: Float[Array, "*shape d"],
        indices: Int[Array, "*shape"],
        key: jax.Array | None,
        axis_name: AxisName | None,
    ) -> None:
        counted = summed(jnp.sum(indices >= 0), axis_name)
        self.updates[...] += (counted > 0).astype(jnp.int32)

    def _temperature(self, dtype: jnp.dtype) -> Array | float:
        if callable(self.temperature):
            with jax.numpy_dtype_promotion("standard"):  # schedules rely on it
                return jnp.asarray(self.temperature(self.updates[...]), dtype)
        return self.temperature

    def _logits(self, vector: Float[Array, " d"]) -> Float[Array, " k"]:
        products = jnp.matmul(
            vector, self.kernel[...].astype(vector.dtype), precision=jax.lax.Precision.HIGHEST
        )
        return products + self.bias[...].astype(vector.dtype)
