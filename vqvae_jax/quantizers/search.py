"""Code search over a whole codebook, in pieces of bounded memory.

On CPUs the search is written in operations that XLA:CPU fuses with the product of vectors and
codes, tile by tile; docs/performance.md tells what that gains.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from vqvae_jax.precision import wide

# At most this many numbers, such as distances, are materialized at a time: on CPUs, what stays in
# cache (2 MiB in float32); elsewhere, what keeps the device busy (64 MiB).
MAX_NUMBERS_CPU, MAX_NUMBERS = 2**19, 2**24
# But at least those of this many vectors, since each matrix product rearranges the codebook first.
_MIN_CHUNK = 16
# Up to this many codes, XLA:CPU fuses the search with the product, tile by tile: distances never
# reach memory. With more it is faster to go through memory, in blocks of this size.
_MAX_FUSED, _BLOCK = 2**13, 2**10
# The median of at least this many codes, or of all, lies among them.
_SAMPLE = 32


@jax.jit
def nearest_code(
    z: Float[Array, "*shape d"], codebook: Float[Array, "k d"]
) -> Int[Array, "*shape"]:
    """Returns the index of the code nearest to each vector: argmin_k |z - e_k|^2.

    Equation 1 of van den Oord et al. 2017 (arXiv:1711.00937), computed as |e|^2 - 2 z.e relative to
    a point among the codes, in float32 or wider whatever the inputs' type: neither the data's
    distance from the origin matters, nor a few codes far from the others. Rounding remains where
    codes form clusters and no point is close to all: distances within a cluster are exact to about
    1e-7 times the squared distance between clusters, which for clusters 2,000 apart is 0.4. Ties go
    to the first code. At most 2^24 distances exist at a time, or those of 16 vectors (under vmap,
    for each codebook).

    Args:
        z: vectors [..., D].
        codebook: codes [K, D].

    Returns:
        int32 [...], in [0, K). Carries no gradient. If a code is not finite, all vectors get the
        first such code, so that the values show it.
    """
    vectors, codes, middle = _detached(z, codebook)
    indices = _found(vectors, codes, middle, jnp.sum(codes**2, axis=1), codebook)
    return indices.reshape(z.shape[:-1])


@jax.jit
def most_aligned_code(
    z: Float[Array, "*shape d"], codebook: Float[Array, "k d"]
) -> Int[Array, "*shape"]:
    """Returns the index of the code with the largest product with each vector: argmax_k z.e_k.

    Args and returns: as for `nearest_code`.
    """
    vectors, codes = (jax.lax.stop_gradient(x) for x in (wide(z), codebook))
    codes = codes.astype(vectors.dtype)
    vectors = vectors.reshape(-1, z.shape[-1])
    middle, norms = jnp.zeros_like(codes[0]), jnp.zeros_like(codes[:, 0])
    indices = _found(vectors, codes, middle, norms, codebook)
    return indices.reshape(z.shape[:-1])


def _found(
    vectors: Float[Array, "n d"],
    codes: Float[Array, "k d"],
    middle: Float[Array, " d"],
    norms: Float[Array, " k"],
    codebook: Float[Array, "k d"],
) -> Int[Array, " n"]:
    """Returns argmin(norm - 2 (z - middle).e), or the first row of the codebook not finite."""
    found = jax.lax.platform_dependent(
        vectors, codes, middle, norms, cpu=_on_cpu, default=_elsewhere
    )
    broken = ~jnp.all(jnp.isfinite(codebook), axis=1)
    return jnp.where(jnp.any(broken), jnp.argmax(broken).astype(jnp.int32), found)


def _detached(
    z: Float[Array, "*shape d"], codebook: Float[Array, "k d"]
) -> tuple[Float[Array, "n d"], Float[Array, "k d"], Float[Array, " d"]]:
    """Returns vectors [N, D] and the result of `centered`; no gradients, in float32 or wider."""
    vectors, codes = (jax.lax.stop_gradient(x) for x in (wide(z), codebook))
    return vectors.reshape(-1, z.shape[-1]), *centered(codes.astype(vectors.dtype))


def centered(codes: Float[Array, "k d"]) -> tuple[Float[Array, "k d"], Float[Array, " d"]]:
    """Returns codes minus a point among them, and that point, so that |e|^2 and z.e round little.

    It is the elementwise median of 32 to 63 of the codes, or of all: unlike a mean, it stays with
    most of them if some are far away. No gradient passes through it.
    """
    sample = jax.lax.stop_gradient(codes[:: max(1, len(codes) // _SAMPLE)])
    middle = jnp.sort(sample, axis=0)[len(sample) // 2]
    return codes - middle[None], middle


def _on_cpu(
    vectors: Float[Array, "n d"],
    codes: Float[Array, "k d"],
    middle: Float[Array, " d"],
    norms: Float[Array, " k"],
) -> Int[Array, " n"]:
    if vectors.shape[1] == 1:
        # XLA turns this into a product with a scalar, computes that for the minimum and again for
        # the comparison with it, and may round the two differently.
        return _elsewhere(vectors, codes, middle, norms)
    k = len(codes)
    if k <= _MAX_FUSED:
        return _search(vectors, codes, middle, norms, _first_argmin, MAX_NUMBERS // k)
    padding = (0, -k % _BLOCK)  # with codes that are infinitely far away
    codes = jnp.pad(codes, (padding, (0, 0)))
    norms = jnp.pad(norms, padding, constant_values=jnp.inf)
    at_a_time = MAX_NUMBERS // (4 * k)
    indices = _search(vectors, codes, middle, norms, _first_argmin_by_blocks, at_a_time)
    return jnp.minimum(indices, k - 1)


def _elsewhere(
    vectors: Float[Array, "n d"],
    codes: Float[Array, "k d"],
    middle: Float[Array, " d"],
    norms: Float[Array, " k"],
) -> Int[Array, " n"]:
    argmin = functools.partial(jax.lax.argmin, axis=0, index_dtype=jnp.int32)
    return _search(vectors, codes, middle, norms, argmin, MAX_NUMBERS // len(codes))


def _search(
    vectors: Float[Array, "n d"],
    codes: Float[Array, "k d"],
    middle: Float[Array, " d"],
    norms: Float[Array, " k"],
    argmin: Callable[[Array], Array],
    at_a_time: int,
) -> Int[Array, " n"]:
    """Returns argmin(norm - 2 (z - middle).e), some vectors at a time; norms: |e|^2, say."""
    doubled = 2.0 * codes

    def of_one(vector: Float[Array, " d"]) -> Int[Array, ""]:
        vector = vector - middle  # here, so that XLA:CPU keeps the difference in cache
        products = jnp.matmul(vector, doubled.T, precision=jax.lax.Precision.HIGHEST)
        # Without |z|^2, which would round where z is far from all codes. Where XLA:CPU writes the
        # distances, it writes them once only if something of the vector is added first.
        own = norms if len(codes) <= _MAX_FUSED else 0.0 * vector[0] + norms
        return argmin(own - products)

    return _map(of_one, vectors, at_a_time)


def _first_argmin(distances: Float[Array, " k"]) -> Int[Array, ""]:
    """Returns the argmin, by operations that XLA:CPU fuses with the product behind the distances.

    With an argmin, or a comparison with their minimum, it would write them to memory. If all are
    NaN or infinite, the index is still in [0, K).
    """
    k = len(distances)
    above = jnp.sign(distances - jnp.min(distances))  # 0 for the nearest codes, 1 for the others
    first = jnp.min(jnp.arange(k, dtype=distances.dtype) + k * above)
    return jnp.clip(first.astype(jnp.int32), 0, k - 1)


def _first_argmin_by_blocks(distances: Float[Array, " k"]) -> Int[Array, ""]:
    """Returns the argmin of n * 1,024 distances: they are written to memory, but read once."""
    blocks = distances.reshape(-1, _BLOCK)
    block = _first_argmin(jnp.min(blocks, axis=1))
    return block * _BLOCK + _first_argmin(blocks[block])


def sample_code(
    z: Float[Array, "*shape d"],
    codebook: Float[Array, "k d"],
    temperature: float,
    key: jax.Array,
) -> Int[Array, "*shape"]:
    """Draws a code for each vector: P(k) = softmax_k(-|z - e_k|^2 / temperature).

    Computed in chunks, as in `nearest_code`. A vector's draw depends on the key and on its place
    among the vectors, not on the chunks.

    Args:
        z: vectors [..., D].
        codebook: codes [K, D].
        temperature: above 0.
        key: draws them.

    Returns:
        int32 [...], in [0, K). Carries no gradient.
    """
    vectors, codes, middle = _detached(z, codebook)
    norms = jnp.sum(codes**2, axis=1)

    def draw(vector_and_key: tuple[Array, Array]) -> Int[Array, ""]:
        vector, key = vector_and_key
        products = jnp.matmul(codes, vector - middle, precision=jax.lax.Precision.HIGHEST)
        closeness = 2.0 * products - norms
        # Subtracts the largest, which may be too large to be divided by a small temperature.
        logits = (closeness - jnp.max(closeness)) / temperature
        return jax.random.categorical(key, logits).astype(jnp.int32)

    keys = jax.random.split(key, vectors.shape[0])
    indices = in_chunks(draw, (vectors, keys), codes.shape[0])
    return indices.reshape(z.shape[:-1])


def in_chunks(function: Callable[[Any], Any], items: Any, numbers_each: int) -> Any:
    """Maps a function over items, vectorized over as many at a time as memory allows.

    Args:
        function: takes one item.
        items: a pytree of arrays with the same leading axis.
        numbers_each: how many numbers the function materializes for an item: K for distances.

    Returns:
        The results, stacked.
    """
    return jax.lax.platform_dependent(
        items,
        cpu=lambda items: _map(function, items, MAX_NUMBERS_CPU // numbers_each),
        default=lambda items: _map(function, items, MAX_NUMBERS // numbers_each),
    )


def _map(function: Callable[[Any], Any], items: Any, chunk: int) -> Any:
    """Maps a function over items, vectorized over `chunk` of them, but no fewer than 16."""
    chunk = max(_MIN_CHUNK, chunk)
    count = jax.tree.leaves(items)[0].shape[0]
    if not isinstance(count, int) or count <= chunk:  # symbolic, in an export
        return jax.vmap(function)(items)
    return jax.lax.map(function, items, batch_size=chunk)
