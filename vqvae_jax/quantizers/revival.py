"""Dead-code revival: replaces rarely used codes by vectors of the batch."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Num

from vqvae_jax.quantizers.core import AxisName, gathered
from vqvae_jax.tables import lookup

# This many vectors per code are enough to tell which codes are rarely used.
ENOUGH = 20.0


def updated_usage(
    usage: Float[Array, " k"],
    updates: Int[Array, ""],
    vectors: Float[Array, ""],
    counts: Int[Array, " k"],
    decay: float,
) -> Float[Array, " k"]:
    """Returns the moving average of each code's uses, in units of its fair share.

        usage' = d usage + (1 - d) K n_k / N
        d = min(decay, max((1 + t) / (20 + t), min(v / (v + N / K), 1 - N / 20K)))

    At the start of training vectors move fast, and old usage says little: the average looks back
    about a twentieth of the updates so far, until that is 1 / (1 - decay). But it spans at least 20
    vectors per code, or all so far, since fewer do not tell which codes are used.

    Args:
        usage: before the step; 1 for a new code.
        updates: t, the number of earlier updates.
        vectors: v, how many vectors per code were seen before.
        counts: n_k, uses of each code in the step; N is their sum. If it is 0, nothing changes.
        decay: in [0, 1).

    Returns:
        float [K], at least 0.
    """
    t, v = (x.astype(usage.dtype) for x in (updates, vectors))
    each = fair_share(counts).astype(usage.dtype)
    counted = each > 0
    spanned = jnp.minimum(v / jnp.where(counted, v + each, 1), 1 - each / ENOUGH)
    kept = jnp.minimum(decay, jnp.maximum((1 + t) / (20 + t), spanned))
    share = shares(counts).astype(usage.dtype)
    return jnp.where(counted, kept * usage + (1 - kept) * share, usage)


def fair_share(counts: Num[Array, " k"]) -> Float[Array, ""]:
    """Returns the vectors per code: N / K."""
    return jnp.sum(counts).astype(jnp.float32) / len(counts)


def shares(counts: Num[Array, " k"]) -> Float[Array, " k"]:
    """Returns each code's uses in units of its fair share: K n_k / N; 0 if nothing was counted."""
    numbers = counts.astype(jnp.float32)
    total = jnp.sum(numbers)
    return numbers * len(counts) / jnp.where(total > 0, total, 1)


def draw_replacements(
    key: jax.Array,
    dead: Bool[Array, " k"],
    z: Float[Array, "*shape d"],
    indices: Int[Array, "*shape"],
    codebook: Float[Array, "k d"],
    axis_name: AxisName | None = None,
) -> tuple[Bool[Array, " k"], Float[Array, "k d"]]:
    """Draws a vector of the batch for each dead code, no vector twice.

    The probability is proportional to |z - e_k|^2, as in k-means++: new codes go where the error
    is. Vectors that are codes already, up to rounding, are not drawn.

    Args:
        key: draws them.
        dead: which codes are to be replaced.
        z: the batch's vectors [..., D].
        indices: their codes [...]; those with -1 are not drawn.
        codebook: [K, D].
        axis_name: the mapped axis over whose devices z and indices are split, or None.

    Returns:
        Which codes are replaced (all dead ones if there are enough vectors), and [K, D] with the
        vectors in their rows.
    """

    def draw() -> tuple[Array, Array]:
        vectors = gathered(z.reshape(-1, z.shape[-1]), axis_name)
        chosen = gathered(indices.reshape(-1), axis_name)
        count = min(len(dead), len(vectors))
        squares = jnp.sum((vectors - lookup(codebook, chosen).astype(vectors.dtype)) ** 2, axis=1)
        rounding = (8 * jnp.finfo(vectors.dtype).eps) ** 2 * jnp.sum(vectors**2, axis=1)
        may_be_drawn = (chosen >= 0) & (squares > rounding)
        weights = jnp.where(may_be_drawn, jnp.log(squares), -jnp.inf)
        # The largest log-weights plus Gumbel noise are a draw without replacement.
        noisy, drawn = jax.lax.top_k(
            weights + jax.random.gumbel(key, weights.shape, weights.dtype), count
        )
        rank = jnp.cumsum(dead) - 1
        replaced = dead & (rank < jnp.sum(noisy > -jnp.inf))
        return replaced, vectors[drawn[jnp.clip(rank, 0, count - 1)]]

    def skip() -> tuple[Array, Array]:
        return dead, jnp.zeros(codebook.shape, z.dtype)

    return jax.lax.cond(jnp.any(dead), draw, skip)
