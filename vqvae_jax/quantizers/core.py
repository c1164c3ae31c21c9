"""What every quantizer shares: its output, and the pure functions it is made of.

Symbols as in van den Oord et al. 2017, "Neural Discrete Representation Learning"
(arXiv:1711.00937): z is the encoder's output, e the codebook of K vectors of D numbers, sg the
stop-gradient.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

# A member of an output: an array, or whatever a transformation of pytrees puts in its place.
Leaf = Any

# The search materialises at most this many distances at a time: on CPUs what stays near the core
# (4 MiB in float32), elsewhere what keeps the device busy (64 MiB).
_MAX_DISTANCES_CPU, _MAX_DISTANCES = 2**20, 2**24


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Quantized:
    """What a quantizer returns for z of shape [..., D].

    Attributes:
        values: [..., D], what the decoder takes: `lookup(indices)`, in the type of z; carries the
            gradient estimator.
        indices: int32 [...], the chosen codes in [0, K); -1 where masked.
        codebook_loss: scalar, unweighted; its gradient moves the codebook only.
        commitment_loss: scalar, unweighted; its gradient moves the encoder only.
        loss: scalar, the two weighted as the quantizer's paper weights them.
    """

    values: Leaf
    indices: Leaf
    codebook_loss: Leaf
    commitment_loss: Leaf
    loss: Leaf


@jax.jit
def nearest_code(
    z: Float[Array, "*shape d"], codebook: Float[Array, "k d"]
) -> Int[Array, "*shape"]:
    """The index of the code nearest to each vector: argmin_k |z - e_k|^2 (equation 1 of the paper).

    Computed as |z|^2 + |e|^2 - 2 z.e, in float32 or wider whatever the inputs' type. Of several
    nearest codes the first wins. At most 2^24 distances (on CPUs 2^20) exist at a time, or one
    vector's K.

    Args:
        z: vectors [..., D].
        codebook: codes [K, D].

    Returns:
        int32 [...], in [0, K). Carries no gradient.
    """
    dtype = jnp.promote_types(z.dtype, jnp.float32)
    codes = jax.lax.stop_gradient(codebook).astype(dtype)
    vectors = jax.lax.stop_gradient(z).astype(dtype).reshape(-1, z.shape[-1])
    code_norms = jnp.sum(codes**2, axis=1)

    def search(vector: Float[Array, " d"]) -> Int[Array, ""]:
        products = jnp.matmul(vector, codes.T, precision=jax.lax.Precision.HIGHEST)
        return _first_argmin(jnp.sum(vector**2) + code_norms - 2.0 * products)

    def search_all(vectors: Float[Array, "n d"], at_a_time: int) -> Int[Array, " n"]:
        chunk = max(1, at_a_time // codes.shape[0])
        if len(vectors) <= chunk:
            return jax.vmap(search)(vectors)
        return jax.lax.map(search, vectors, batch_size=chunk)

    indices = jax.lax.platform_dependent(
        vectors,
        cpu=functools.partial(search_all, at_a_time=_MAX_DISTANCES_CPU),
        default=functools.partial(search_all, at_a_time=_MAX_DISTANCES),
    )
    return indices.reshape(z.shape[:-1])


def _first_argmin(distances: Float[Array, " k"]) -> Int[Array, ""]:
    """argmin, first within the minima of blocks of 16, then within the block.

    XLA:CPU vectorises a minimum but not an argmin: six times as fast there for 4,096 distances.
    """
    missing = -len(distances) % 16
    padded = jnp.pad(distances, (0, missing), constant_values=jnp.inf)
    blocks = padded.reshape(-1, 16)
    block = jnp.argmin(jnp.min(blocks, axis=1))
    return (block * 16 + jnp.argmin(blocks[block])).astype(jnp.int32)


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


def straight_through(
    z: Float[Array, "*shape d"], codes: Float[Array, "*shape d"]
) -> Float[Array, "*shape d"]:
    """The straight-through estimator (Bengio et al. 2013, arXiv:1308.3432): sg(e) + (z - sg(z)).

    Its value is the code, to the bit; its gradient goes to z unchanged and to the code not at all.
    (The same gradient as z + sg(e - z), whose value rounds.)

    Args:
        z: the encoder's output [..., D].
        codes: the chosen codes [..., D].

    Returns:
        [..., D].
    """
    return jax.lax.stop_gradient(codes) + (z - jax.lax.stop_gradient(z))


def mean_over_tokens(
    values: Float[Array, "*shape d"], mask: Bool[Array, "*shape"] | None
) -> Float[Array, ""]:
    """The mean of [..., D] over every element, or over those of the tokens that `mask` keeps.

    Args:
        values: numbers [..., D], zero at the tokens that the mask drops.
        mask: True [...] for the tokens that count, or None for all.

    Returns:
        A scalar; 0 where no token counts.
    """
    if mask is None:
        return jnp.mean(values)
    return jnp.sum(values) / jnp.maximum(jnp.sum(mask) * values.shape[-1], 1)


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


def perplexity(counts: Int[Array, " k"]) -> Float[Array, ""]:
    """exp(-sum_k p_k log p_k) with p = counts / sum(counts): the effective number of codes.

    Args:
        counts: int [K], uses of each code, as `code_counts` gives them.

    Returns:
        A scalar in [1, K]; 1 where nothing was counted.
    """
    p = counts / jnp.maximum(jnp.sum(counts), 1)
    return jnp.exp(-jnp.sum(jax.scipy.special.xlogy(p, p)))
