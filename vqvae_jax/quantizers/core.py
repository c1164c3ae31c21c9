"""Shared by all quantizers: their output, and the pure functions they are made of.

Symbols as in van den Oord et al. 2017, "Neural Discrete Representation Learning"
(arXiv:1711.00937): z is the encoder's output, e the codebook of K vectors of D numbers, sg the
stop-gradient.
"""

import dataclasses
from collections.abc import Hashable, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Integer

from vqvae_jax.leaves import Leaf
from vqvae_jax.precision import wide
from vqvae_jax.tables import as_int32

# The axis (or axes) that `jax.shard_map` or `jax.pmap` maps over.
AxisName = Hashable


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Quantized:
    """The output of a quantizer for z of shape [..., D].

    Attributes:
        values: [..., D], the decoder's input, in the type of z; carries the gradient estimator.
            Equal to `lookup(indices)` at evaluation.
        indices: int32 [...], the chosen codes in [0, K); -1 where masked. [..., num_codebooks] from
            quantizers with several codebooks.
        codebook_loss: scalar, unweighted; its gradient moves the codebook only.
        commitment_loss: scalar, unweighted; its gradient moves the encoder only.
        entropy_loss: scalar, unweighted; 0 for a quantizer without one.
        loss: scalar, their sum with the weights of the quantizer's paper.
        stage_losses: the four losses of each quantizer that this one is composed of, by name, each
            [n]; None for a quantizer that is not composed.
    """

    values: Leaf
    indices: Leaf
    codebook_loss: Leaf
    commitment_loss: Leaf
    entropy_loss: Leaf
    loss: Leaf
    stage_losses: Leaf = None

    @property
    def losses(self) -> dict[str, Leaf]:
        """The unweighted losses by name."""
        names = ("codebook_loss", "commitment_loss", "entropy_loss")
        return {name: getattr(self, name) for name in names}


def stage_losses(outputs: Sequence[Quantized]) -> dict[str, Float[Array, " n"]]:
    """Returns the losses of the quantizers that another is composed of, by name."""
    losses = [{**output.losses, "loss": output.loss} for output in outputs]
    return jax.tree.map(lambda *each: jnp.stack(each), *losses)


def computed_codes(
    codes: Float[Array, "*shape d"], indices: Integer[Array, "*shape"], num_embeddings: int
) -> Float[Array, "*shape d"]:
    """Returns the result of `lookup` for codes that are computed from indices, without a codebook.

    Args:
        codes: [..., D], of any value where the index is not that of a code.
        indices: integers [...].
        num_embeddings: K.

    Returns:
        [..., D]: zeros where an index is negative (masked), NaN where it is K or more.
    """
    inside = jnp.where(indices[..., None] < num_embeddings, codes, jnp.nan)
    return jnp.where(indices[..., None] >= 0, inside, jnp.zeros((), codes.dtype))


def norm(vectors: Float[Array, "*shape d"]) -> Float[Array, "*shape 1"]:
    """Returns the Euclidean norm of vectors [..., D], as [..., 1]; its gradient at 0 is 0."""
    squares = jnp.sum(vectors**2, axis=-1, keepdims=True)
    return jnp.where(squares > 0, jnp.sqrt(jnp.where(squares > 0, squares, 1)), 0)


def unit(vectors: Float[Array, "*shape d"]) -> Float[Array, "*shape d"]:
    """Returns vectors [..., D] divided by their norm; 0, with gradient 0, where that is 0."""
    # By their largest number first: squares of very small or very large ones leave float32's range.
    largest = jax.lax.stop_gradient(jnp.max(jnp.abs(vectors), axis=-1, keepdims=True))
    scaled = vectors / jnp.where(largest > 0, largest, 1)
    length = norm(scaled)
    return jnp.where(length > 0, scaled / jnp.where(length > 0, length, 1), 0)


def code_counts(indices: Integer[Array, "..."], num_embeddings: int) -> Int[Array, " k"]:
    """Counts how often each code occurs in `indices`; those out of [0, K) are not counted.

    Args:
        indices: integers of any shape.
        num_embeddings: K, at least 1.

    Returns:
        int32 [K].
    """
    dropped = _dropped(indices, num_embeddings)
    return jnp.zeros((num_embeddings,), jnp.int32).at[dropped].add(1, mode="drop")


def code_sums(
    z: Float[Array, "*shape d"], indices: Integer[Array, "*shape"], num_embeddings: int
) -> Float[Array, "k d"]:
    """Sums the vectors that chose each code; those with an index out of [0, K) are left out.

    Args:
        z: vectors [..., D].
        indices: their codes [...].
        num_embeddings: K, at least 1.

    Returns:
        float32 or wider [K, D].
    """
    vectors = wide(z).reshape(-1, z.shape[-1])
    dropped = _dropped(indices, num_embeddings).reshape(-1)
    sums = jnp.zeros((num_embeddings, z.shape[-1]), vectors.dtype)
    return sums.at[dropped].add(vectors, mode="drop")


def _dropped(indices: Integer[Array, "*shape"], num_embeddings: int) -> Int[Array, "*shape"]:
    """Returns the indices in int32, K where negative: out of range, so that nothing is added."""
    indices = as_int32("indices", indices)
    return jnp.where(indices < 0, num_embeddings, indices)


def perplexity(counts: Int[Array, "*books k"]) -> Float[Array, "*books"]:
    """Returns exp(-sum_k p_k log p_k), p = counts / sum(counts): the effective number of codes.

    Args:
        counts: integers [K] or [num_codebooks, K], uses of each code, as `Quantizer.code_counts`
            gives them; not the indices.

    Returns:
        [] or [num_codebooks], each in [1, K]; 1 where nothing was counted.

    Raises:
        ValueError: counts has no axis, or is not of integers.
    """
    if counts.ndim == 0 or not jnp.issubdtype(counts.dtype, jnp.integer):
        raise ValueError(
            f"counts have shape {counts.shape} and type {counts.dtype}; "
            "they must be integers [K] or [num_codebooks, K]"
        )
    numbers = counts.astype(jnp.float32)  # whose sum does not overflow
    p = numbers / jnp.maximum(jnp.sum(numbers, axis=-1, keepdims=True), 1)
    return jnp.exp(-jnp.sum(jax.scipy.special.xlogy(p, p), axis=-1))


def summed(x: Array, axis_name: AxisName | None) -> Array:
    """Returns the sum of x over the devices of a mapped axis; x itself if that is None."""
    return x if axis_name is None else jax.lax.psum(x, axis_name)


def gathered(x: Array, axis_name: AxisName | None) -> Array:
    """Returns the rows of all devices of a mapped axis, the same on each; x if that is None."""
    if axis_name is None:
        return x
    count, index = jax.lax.psum(1, axis_name), jax.lax.axis_index(axis_name)
    numbers = x.astype(jnp.int32) if x.dtype == jnp.bool_ else x
    # A sum, because shard_map knows that its result is the same everywhere.
    rows = jnp.zeros((count, *x.shape), numbers.dtype).at[index].set(numbers)
    return jax.lax.psum(rows, axis_name).reshape(-1, *x.shape[1:]).astype(x.dtype)
