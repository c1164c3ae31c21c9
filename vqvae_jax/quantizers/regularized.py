"""Vector quantizers whose loss has a regularization term for the codebook."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from vqvae_jax.checks import check_above_zero, check_at_least_zero
from vqvae_jax.means import mean
from vqvae_jax.precision import wide
from vqvae_jax.quantizers.core import Quantized, unit
from vqvae_jax.quantizers.search import MAX_NUMBERS, centered
from vqvae_jax.quantizers.vector import CosineVectorQuantizer, VectorQuantizer


def codebook_entropies(
    z: Float[Array, "*shape d"],
    codebook: Float[Array, "k d"],
    temperature: float,
    mask: Bool[Array, "*shape"] | None = None,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Returns entropies, in nats, of p(k | z) = softmax_k(-|z - e_k|^2 / temperature).

    Args:
        z: vectors [..., D].
        codebook: codes [K, D].
        temperature: above 0.
        mask: True [...] for the vectors that count; None: all.

    Returns:
        E[H(p(k | z))], low if each vector is close to one code; and H(E[p(k | z)]), high if the
        codes are used uniformly. Both in [0, log K], and 0 if no vector counts.
    """
    vectors = wide(z).reshape(-1, z.shape[-1])
    codes, middle = centered(codebook.astype(vectors.dtype))
    half_norms = jnp.sum(codes**2, axis=1) / 2
    flat_mask = None if mask is None else mask.reshape(-1)
    return softmax_entropies(vectors - middle[None], codes, half_norms, temperature / 2, flat_mask)


def softmax_entropies(
    vectors: Float[Array, "n d"],
    codes: Float[Array, "k d"],
    offsets: Float[Array, " k"],
    temperature: float,
    mask: Bool[Array, " n"] | None,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Returns the entropies of `codebook_entropies` for p = softmax((z.e_k - o_k) / temperature).

    Args:
        vectors: z [N, D].
        codes: e [K, D].
        offsets: o [K].
        temperature: above 0.
        mask: True [N] for the vectors that count; None: all.
    """
    dtype = vectors.dtype
    weights = jnp.ones(vectors.shape[0], dtype) if mask is None else mask.astype(dtype)
    weights = weights / jnp.maximum(jnp.sum(weights), 1)

    @jax.checkpoint  # recomputed for the gradient, so that no [N, K] is kept
    def part(vectors: Array, weights: Array) -> tuple[Array, Array]:
        products = jnp.matmul(vectors, codes.T, precision=jax.lax.Precision.HIGHEST)
        log_p = jax.nn.log_softmax((products - offsets[None]) / temperature)
        p = jnp.exp(log_p)
        return -jnp.sum(weights * jnp.sum(p * log_p, axis=1)), weights @ p

    count = vectors.shape[0]
    if not isinstance(count, int) or count == 0:  # symbolic, in an export
        of_vectors, mean_p = part(vectors, weights)
        return of_vectors, entropy(mean_p)
    chunk = min(count, max(1, MAX_NUMBERS // len(codes)))
    missing = -count % chunk
    vectors = jnp.pad(vectors, ((0, missing), (0, 0))).reshape(-1, chunk, vectors.shape[1])
    weights = jnp.pad(weights, (0, missing)).reshape(-1, chunk)

    def add(sums: tuple[Array, Array], chunk: tuple[Array, Array]) -> tuple[tuple, None]:
        return jax.tree.map(jnp.add, sums, part(*chunk)), None

    # Made from the vectors, so that shard_map treats it alike.
    zeros = (jnp.zeros_like(vectors, shape=()), jnp.zeros_like(vectors, shape=(len(codes),)))
    (of_vectors, mean_p), _ = jax.lax.scan(add, zeros, (vectors, weights))
    return of_vectors, entropy(mean_p)


def entropy(p: Float[Array, "..."]) -> Float[Array, ""]:
    """Returns -sum p log p in nats; its first and second derivatives are finite where p is 0."""
    return -jnp.sum(p * jnp.log(jnp.maximum(p, 1e-18)))  # float32 can hold its square


def orthogonality(codebook: Float[Array, "k d"]) -> Float[Array, ""]:
    """Measures how far codes are from orthogonal (Shin et al. 2021, arXiv:2112.00384, eq. 5).

        | E E^T - I |^2 / K^2,    E the codes [K, D], each divided by its norm

    Computed as (|E^T E|^2 - K) / K^2, which is the same and needs no [K, K].

    Returns:
        A scalar of at least 0, up to rounding.
    """
    codes = unit(codebook)
    gram = jnp.matmul(codes.T, codes, precision=jax.lax.Precision.HIGHEST)
    return (jnp.sum(gram**2) - len(codes)) / len(codes) ** 2


class EntropyVectorQuantizer(VectorQuantizer):
    """Adds an entropy loss for uniform code usage (Yu et al. 2023, arXiv:2310.05737, eq. 5).

        entropy loss = E[H(p(k | z))] - H(E[p(k | z)]),   p(k | z) = softmax_k(-|z - e_k|^2 / tau)

    The second mean runs over the batch; inside `jax.shard_map`, over a device's part. The entropy
    loss moves encoder and codes.

    Args:
        embedding_dim, num_embeddings: as for `VectorQuantizer`.
        entropy_cost: the entropy loss's weight, finite and at least 0.
        temperature: tau, finite and above 0. If tau is far below the rounding of the squared
            distances, 1e-7 of the largest, the entropies may be NaN.
        rngs, options: as for `VectorQuantizer`.

    Raises:
        ValueError: an argument out of its range.
    """

    def __init__(
        self,
        embedding_dim: int,
        num_embeddings: int,
        *,
        entropy_cost: float = 0.1,
        temperature: float = 1.0,
        rngs: nnx.Rngs,
        **options: Any,
    ):
        self.entropy_cost = check_at_least_zero("entropy_cost", entropy_cost)
        self.temperature = check_above_zero("temperature", temperature)
        super().__init__(embedding_dim, num_embeddings, rngs=rngs, **options)
        self.per_token = False

    def _quantize(
        self,
        z: Float[Array, "*shape d"],
        mask: Bool[Array, "*shape"] | None,
        key: jax.Array | None,
    ) -> Quantized:
        quantized = super()._quantize(z, mask, key)
        z = self._compared(z)
        of_vectors, of_batch = codebook_entropies(z, self.codebook, self.temperature, mask)
        loss = of_vectors - of_batch
        return dataclasses.replace(
            quantized, entropy_loss=loss, loss=quantized.loss + self.entropy_cost * loss
        )


class EntropyCosineVectorQuantizer(EntropyVectorQuantizer, CosineVectorQuantizer):
    """Compares on the unit sphere, with an entropy loss (Sun et al. 2024, arXiv:2406.06525).

    Losses and values are those of `EntropyVectorQuantizer` for vectors and codes divided by their
    norms, with the same arguments.
    """


class OrthogonalVectorQuantizer(VectorQuantizer):
    """Adds the orthogonality of the codes to the loss (Shin et al. 2021, arXiv:2112.00384).

        loss = codebook loss + beta commitment loss + lambda orthogonality(codes)

    Args:
        embedding_dim, num_embeddings: as for `VectorQuantizer`.
        orthogonality_cost: lambda, finite and at least 0.
        rngs, options: as for `VectorQuantizer`.

    Raises:
        ValueError: an argument out of its range.
    """

    def __init__(
        self,
        embedding_dim: int,
        num_embeddings: int,
        *,
        orthogonality_cost: float = 10.0,
        rngs: nnx.Rngs,
        **options: Any,
    ):
        self.orthogonality_cost = check_at_least_zero("orthogonality_cost", orthogonality_cost)
        super().__init__(embedding_dim, num_embeddings, rngs=rngs, **options)

    def _quantize(
        self,
        z: Float[Array, "*shape d"],
        mask: Bool[Array, "*shape"] | None,
        key: jax.Array | None,
    ) -> Quantized:
        quantized = super()._quantize(z, mask, key)
        loss = self.orthogonality_cost * orthogonality(self.codebook.astype(z.dtype))
        counted = mean(jnp.ones_like(z), mask)  # 1, or 0 without vectors
        return dataclasses.replace(quantized, loss=quantized.loss + counted * loss)
