"""Codes that are hardly used are replaced by vectors of the batch."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from vqvae_jax.quantizers.core import lookup

_DECAY = 0.99


def updated_usage(usage: Float[Array, " k"], counts: Int[Array, " k"]) -> Float[Array, " k"]:
    """The moving average of each code's uses, in units of its fair share.

        usage = 0.99 usage + 0.01 K n_k / N

    Args:
        usage: before the step; 1 for a code that is new.
        counts: n_k, uses of each code in the step; N is their sum. Where it is 0 nothing changes.

    Returns:
        float [K], at least 0.
    """
    total = jnp.sum(counts)
    share = counts.astype(usage.dtype) * len(counts) / jnp.maximum(total, 1).astype(usage.dtype)
    return jnp.where(total > 0, _DECAY * usage + (1 - _DECAY) * share, usage)


def draw_replacements(
    key: jax.Array,
    dead: Bool[Array, " k"],
    z: Float[Array, "*shape d"],
    indices: Int[Array, "*shape"],
    codebook: Float[Array, "k d"],
) -> tuple[Bool[Array, " k"], Float[Array, "k d"]]:
    """Draws a vector of the batch for each dead code, no vector twice.

    With probability proportional to |z - e_k|^2, the rule of k-means++: new codes go where the
    error is. Vectors that are codes already are not drawn.

    Args:
        key: draws them.
        dead: which codes are to be replaced.
        z: the batch's vectors [..., D].
        indices: their codes [...]; those with -1 are not drawn.
        codebook: [K, D].

    Returns:
        Which codes are replaced, all the dead ones if there are vectors enough, and [K, D] whose
        rows at those are the vectors.
    """
    vectors, chosen = z.reshape(-1, z.shape[-1]), indices.reshape(-1)
    count = min(len(dead), len(vectors))

    def draw() -> tuple[Array, Array]:
        squares = jnp.sum((vectors - lookup(codebook, chosen).astype(vectors.dtype)) ** 2, axis=1)
        weights = jnp.where(chosen >= 0, jnp.log(squares), -jnp.inf)
        # The largest of log-weights plus Gumbel noise are a draw without replacement.
        noisy, drawn = jax.lax.top_k(
            weights + jax.random.gumbel(key, weights.shape, weights.dtype), count
        )
        rank = jnp.cumsum(dead) - 1
        replaced = dead & (rank < jnp.sum(noisy > -jnp.inf))
        return replaced, vectors[drawn[jnp.clip(rank, 0, count - 1)]]

    def skip() -> tuple[Array, Array]:
        return dead, jnp.zeros(codebook.shape, vectors.dtype)

    return jax.lax.cond(jnp.any(dead), draw, skip)
