"""What every quantizer shares: its output, and the pure functions it is made of.

Symbols as in van den Oord et al. 2017, "Neural Discrete Representation Learning"
(arXiv:1711.00937): z is the encoder's output, e the codebook of K vectors of D numbers, sg the
stop-gradient.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

# A member of an output: an array, or whatever a transformation of pytrees puts in its place.
Leaf = Any

# At most this many numbers, such as distances, are materialised at a time: on CPUs what stays near
# the core (2 MiB in float32), elsewhere what keeps the device busy (64 MiB).
MAX_NUMBERS_CPU, MAX_NUMBERS = 2**19, 2**24
# But those of so many vectors, since every product of matrices rearranges the codebook first.
_MIN_CHUNK = 16
# Of at most so many codes, XLA:CPU fuses the search with the product, tile by tile: no distance
# reaches the memory. With more, it is faster by way of the memory.
_MAX_FUSED = 2**13


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Quantized:
    """What a quantizer returns for z of shape [..., D].

    Attributes:
        values: [..., D], what the decoder takes: `lookup(indices)`, in the type of z; carries the
            gradient estimator.
        indices: int32 [...], the chosen codes in [0, K); -1 where masked. From quantizers of
            several codebooks [..., num_codebooks].
        codebook_loss: scalar, unweighted; its gradient moves the codebook only.
        commitment_loss: scalar, unweighted; its gradient moves the encoder only.
        entropy_loss: scalar, unweighted; 0 for a quantizer that has none.
        loss: scalar, all of them weighted as the quantizer's paper weights them.
    """

    values: Leaf
    indices: Leaf
    codebook_loss: Leaf
    commitment_loss: Leaf
    entropy_loss: Leaf
    loss: Leaf


@jax.jit
def nearest_code(
    z: Float[Array, "*shape d"], codebook: Float[Array, "k d"]
) -> Int[Array, "*shape"]:
    """The index of the code nearest to each vector: argmin_k |z - e_k|^2 (equation 1 of the paper).

    Computed as |z|^2 + |e|^2 - 2 z.e, in float32 or wider whatever the inputs' type. Of several
    nearest codes the first wins. At most 2^24 distances exist at a time, or 16 vectors'.

    Args:
        z: vectors [..., D].
        codebook: codes [K, D].

    Returns:
        int32 [...], in [0, K). Carries no gradient.
    """
    dtype = jnp.promote_types(z.dtype, jnp.float32)
    codes = jax.lax.stop_gradient(codebook).astype(dtype)
    vectors = jax.lax.stop_gradient(z).astype(dtype).reshape(-1, z.shape[-1])
    code_norms, doubled = jnp.sum(codes**2, axis=1), 2.0 * codes

    def search(vectors: Array, argmin: Callable[[Array], Array], at_a_time: int) -> Array:
        def of_one(vector: Float[Array, " d"]) -> Int[Array, ""]:
            products = jnp.matmul(vector, doubled.T, precision=jax.lax.Precision.HIGHEST)
            return argmin(jnp.sum(vector**2) + code_norms - products)

        return _map(of_one, vectors, at_a_time // len(codes))

    argmin = functools.partial(jax.lax.argmin, axis=0, index_dtype=jnp.int32)
    at_a_time = MAX_NUMBERS if len(codes) <= _MAX_FUSED else MAX_NUMBERS // 4
    indices = jax.lax.platform_dependent(
        vectors,
        cpu=functools.partial(search, argmin=_first_argmin, at_a_time=at_a_time),
        default=functools.partial(search, argmin=argmin, at_a_time=MAX_NUMBERS),
    )
    return indices.reshape(z.shape[:-1])


def sample_code(
    z: Float[Array, "*shape d"],
    codebook: Float[Array, "k d"],
    temperature: float,
    key: jax.Array,
) -> Int[Array, "*shape"]:
    """Draws a code for each vector: P(k) = softmax_k(-|z - e_k|^2 / temperature).

    In chunks, as `nearest_code`. The draw of a vector depends on the key and on its place
    among the vectors, not on the chunks.

    Args:
        z: vectors [..., D].
        codebook: codes [K, D].
        temperature: above 0.
        key: draws them.

    Returns:
        int32 [...], in [0, K). Carries no gradient.
    """
    dtype = jnp.promote_types(z.dtype, jnp.float32)
    codes = jax.lax.stop_gradient(codebook).astype(dtype)
    vectors = jax.lax.stop_gradient(z).astype(dtype).reshape(-1, z.shape[-1])
    code_norms = jnp.sum(codes**2, axis=1)

    def draw(vector_and_key: tuple[Array, Array]) -> Int[Array, ""]:
        vector, key = vector_and_key
        products = jnp.matmul(codes, vector, precision=jax.lax.Precision.HIGHEST)
        logits = (2.0 * products - code_norms) / temperature
        return jax.random.categorical(key, logits).astype(jnp.int32)

    keys = jax.random.split(key, len(vectors))
    indices = in_chunks(draw, (vectors, keys), codes.shape[0])
    return indices.reshape(z.shape[:-1])


def in_chunks(function: Callable[[Any], Any], items: Any, numbers_each: int) -> Any:
    """function(item) of every item, vectorised over as many at a time as memory allows.

    Args:
        function: of one item.
        items: a pytree of arrays with the same leading axis.
        numbers_each: how many numbers the function materialises for an item: K for distances.

    Returns:
        The results, stacked.
    """
    return jax.lax.platform_dependent(
        items,
        cpu=lambda items: _map(function, items, MAX_NUMBERS_CPU // numbers_each),
        default=lambda items: _map(function, items, MAX_NUMBERS // numbers_each),
    )


def _map(function: Callable[[Any], Any], items: Any, chunk: int) -> Any:
    """function(item) of every item, vectorised over `chunk` of them, but no fewer than 16."""
    chunk = max(_MIN_CHUNK, chunk)
    if len(jax.tree.leaves(items)[0]) <= chunk:
        return jax.vmap(function)(items)
    return jax.lax.map(function, items, batch_size=chunk)


def _first_argmin(distances: Float[Array, " k"]) -> Int[Array, ""]:
    """argmin, of operations that XLA:CPU fuses with the product that gave the distances.

    For an argmin, or a comparison with their minimum, it would write them to memory. Many codes go
    by blocks: their distances are written, but read once. If all are NaN or infinite, the index is
    one of [0, K).
    """
    k = len(distances)
    if k > _MAX_FUSED:
        padded = jnp.pad(distances, (0, -k % 1024), constant_values=jnp.inf)
        blocks = padded.reshape(-1, 1024)
        block = _first_argmin(jnp.min(blocks, axis=1))
        return jnp.minimum(block * 1024 + _first_argmin(blocks[block]), k - 1)
    above = jnp.sign(distances - jnp.min(distances))  # 0 for the nearest codes, 1 for the others
    first = jnp.min(jnp.arange(k, dtype=distances.dtype) + k * above)
    return jnp.clip(first.astype(jnp.int32), 0, k - 1)


def lookup(
    codebook: Float[Array, "k d"], indices: Int[Array, "*shape"]
) -> Float[Array, "*shape d"]:
    """The codes at `indices`: zeros where an index is negative (masked), NaN where it is K or more.

    Args:
        codebook: codes [K, D].
        indices: integers [...].

    Returns:
        [..., D]. The gradient reaches the chosen codes.
    """
    codes = codebook.at[indices].get(mode="fill", fill_value=jnp.nan)
    return jnp.where(indices[..., None] >= 0, codes, jnp.zeros((), codes.dtype))


def computed_codes(
    codes: Float[Array, "*shape d"], indices: Int[Array, "*shape"], num_embeddings: int
) -> Float[Array, "*shape d"]:
    """What `lookup` gives, where codes are computed from their indices and not kept in a codebook.

    Args:
        codes: [..., D], of any value where the index is none of a code.
        indices: integers [...].
        num_embeddings: K.

    Returns:
        [..., D]: zeros where an index is negative (masked), NaN where it is K or more.
    """
    inside = jnp.where(indices[..., None] < num_embeddings, codes, jnp.nan)
    return jnp.where(indices[..., None] >= 0, inside, jnp.zeros((), codes.dtype))


def norm(vectors: Float[Array, "*shape d"]) -> Float[Array, "*shape 1"]:
    """The Euclidean length of vectors [..., D], as [..., 1]; its gradient at 0 is 0."""
    squares = jnp.sum(vectors**2, axis=-1, keepdims=True)
    return jnp.where(squares > 0, jnp.sqrt(jnp.where(squares > 0, squares, 1)), 0)


def unit(vectors: Float[Array, "*shape d"]) -> Float[Array, "*shape d"]:
    """Vectors [..., D] divided by their length; 0, with gradient 0, where that is 0."""
    length = norm(vectors)
    return jnp.where(length > 0, vectors / jnp.where(length > 0, length, 1), 0)


def mean_over_tokens(
    values: Float[Array, "*shape d"], mask: Bool[Array, "*shape"] | None
) -> Float[Array, ""]:
    """The mean of [..., D] over every element, or over those of the tokens that `mask` keeps.

    Args:
        values: numbers [..., D].
        mask: True [...] for the tokens that count, or None for all.

    Returns:
        A scalar; 0 where no token counts.
    """
    if mask is None:
        return jnp.mean(values)
    kept = jnp.where(mask[..., None], values, 0)
    return jnp.sum(kept) / jnp.maximum(jnp.sum(mask) * values.shape[-1], 1)


def code_counts(indices: Int[Array, "..."], num_embeddings: int) -> Int[Array, " k"]:
    """How often each code occurs in `indices`; those out of [0, K) are not counted.

    Args:
        indices: integers of any shape.
        num_embeddings: K, at least 1.

    Returns:
        int32 [K].
    """
    dropped = jnp.where(indices < 0, num_embeddings, indices)
    return jnp.zeros((num_embeddings,), jnp.int32).at[dropped].add(1, mode="drop")


def code_sums(
    z: Float[Array, "*shape d"], indices: Int[Array, "*shape"], num_embeddings: int
) -> Float[Array, "k d"]:
    """The sum of the vectors that chose each code; those with an index out of [0, K) in no sum.

    Args:
        z: vectors [..., D].
        indices: their codes [...].
        num_embeddings: K, at least 1.

    Returns:
        float32 or wider [K, D].
    """
    vectors = z.astype(jnp.promote_types(z.dtype, jnp.float32)).reshape(-1, z.shape[-1])
    dropped = jnp.where(indices < 0, num_embeddings, indices).reshape(-1)
    sums = jnp.zeros((num_embeddings, z.shape[-1]), vectors.dtype)
    return sums.at[dropped].add(vectors, mode="drop")


def perplexity(counts: Int[Array, " k"]) -> Float[Array, ""]:
    """exp(-sum_k p_k log p_k) with p = counts / sum(counts): the effective number of codes.

    Args:
        counts: int [K], uses of each code, as `code_counts` gives them.

    Returns:
        A scalar in [1, K]; 1 where nothing was counted.
    """
    p = counts / jnp.maximum(jnp.sum(counts), 1)
    return jnp.exp(-jnp.sum(jax.scipy.special.xlogy(p, p)))
