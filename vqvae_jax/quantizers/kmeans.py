"""k-means, to compute codes from data."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from vqvae_jax.quantizers.core import code_counts, code_sums
from vqvae_jax.quantizers.search import nearest_code
from vqvae_jax.tables import lookup

_ITERATIONS = 10


def kmeans_plus_plus(
    key: jax.Array, vectors: Float[Array, "n d"], counted: Bool[Array, " n"], num_codes: int
) -> Float[Array, "k d"]:
    """Draws seeds for k-means (Arthur and Vassilvitskii 2007, "k-means++", section 2.2).

    The first is drawn uniformly, each later one with probability proportional to its squared
    distance from the nearest earlier one; uniformly if all distances are 0.

    Args:
        key: draws them.
        vectors: data [N, D].
        counted: which of them may be drawn, at least one.
        num_codes: K, at least 1.

    Returns:
        [K, D], each one of the vectors.
    """
    allowed = jnp.where(counted, 0.0, -jnp.inf).astype(vectors.dtype)
    vectors = jnp.where(counted[:, None], vectors, 0)

    def draw(i: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
        codes, squares = state
        some_left = jnp.any((squares > 0) & counted)
        weights = jnp.where(some_left, jnp.log(squares), 0.0) + allowed
        code = vectors[jax.random.categorical(jax.random.fold_in(key, i), weights)]
        to_code = jnp.sum((vectors - code[None]) ** 2, axis=1)
        return codes.at[i].set(code), jnp.minimum(squares, to_code)

    # Made from the vectors, so that shard_map treats it alike.
    codes = jnp.zeros_like(vectors, shape=(num_codes, vectors.shape[1]))
    most = jnp.finfo(vectors.dtype).max
    equal = jnp.full_like(vectors, most, shape=(len(vectors),))  # the first draw is uniform
    return jax.lax.fori_loop(0, num_codes, draw, (codes, equal))[0]


def kmeans(
    key: jax.Array, vectors: Float[Array, "n d"], counted: Bool[Array, " n"], num_codes: int
) -> tuple[Float[Array, "k d"], Int[Array, " k"]]:
    """Runs 10 of Lloyd's iterations from k-means++ seeds.

    A center to which no vector is nearest stays where it is.

    Args:
        key: draws the seeds.
        vectors: data [N, D].
        counted: which of them count, at least one.
        num_codes: K, at least 1.

    Returns:
        The centers [K, D], and how many vectors are nearest to each [K].
    """

    def nearest(codes: Array) -> Array:
        return jnp.where(counted, nearest_code(vectors, codes), -1)

    def move(_: Array, codes: Array) -> Array:
        indices = nearest(codes)
        counts = code_counts(indices, num_codes)[:, None]
        # Sums differences: sums of many vectors far from the origin would lose precision.
        away = code_sums(vectors - lookup(codes, indices), indices, num_codes)
        return codes + away / jnp.maximum(counts, 1).astype(codes.dtype)

    seeds = kmeans_plus_plus(key, vectors, counted, num_codes)
    centers = jax.lax.fori_loop(0, _ITERATIONS, move, seeds)
    return centers, code_counts(nearest(centers), num_codes)
