"""Samples code maps from a prior, with ways to adjust the logits."""

import functools
import math
from collections.abc import Sequence
from typing import SupportsIndex

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from vqvae_jax.checks import check_at_least_zero, check_integer, is_finite
from vqvae_jax.meshes import split_by_batch
from vqvae_jax.priors.base import Labels, Prior, check_shape
from vqvae_jax.tables import as_int32

# If s (conditional - free) is this large, the other term of guidance is below its rounding.
_LARGEST_GUIDANCE = 1e30


def sample_codes(
    prior: Prior,
    number: SupportsIndex,
    shape: Sequence[SupportsIndex],
    *,
    key: jax.Array,
    labels: Labels | None = None,
    temperature: float = 1.0,
    top_k: SupportsIndex | None = None,
    top_p: float | None = None,
    guidance: float = 1.0,
) -> Int[Array, " b *codes"]:
    """Draws code maps, position by position, in one compiled loop.

    The logits go through `guided_logits` and then through `restricted_logits`. The code of codebook
    j at position p is `jax.random.categorical(fold_in(fold_in(key, p), j), logits)`.

    Args:
        prior: the distribution.
        number: B, how many maps, at least 1.
        shape: the spatial shape of the maps: [T] of signals, [h, w] of images.
        key: draws the codes; the same key and arguments give the same codes.
        labels: integers [B] in [0, num_classes), -1 for no class; None: all -1.
        temperature: finite and at least 0: 1 is the distribution itself, 0 the most probable code.
        top_k: how many of the most probable codes to draw from, at least 1; None, or K and more:
            all.
        top_p: draw only from the most probable codes that together have this probability, in (0,
            1], and at least from one; None or 1: all.
        guidance: s of classifier-free guidance, finite and at least 0: 1 is none. Any other value
            doubles the work.

    Numbers beyond float32's range become the nearest in it.

    Returns:
        int32 [B, *spatial], or [B, *spatial, n].

    Raises:
        ValueError: an argument has the wrong shape or type, or is out of its range; or there is
            guidance without labels.
    """
    number = check_integer("number", number)
    sizes = check_shape("shape", shape, prior.spatial_rank)
    check_at_least_zero("temperature", temperature)
    k = None if top_k is None else min(check_integer("top_k", top_k), prior.num_embeddings)
    if top_p is not None and not (is_finite(top_p) and 0 < top_p <= 1):
        raise ValueError(f"top_p is {top_p!r}; it must be in (0, 1] or None")
    check_at_least_zero("guidance", guidance)
    if guidance != 1 and labels is None:
        raise ValueError(f"guidance is {guidance}; without labels it must be 1")
    if labels is not None:
        labels = as_int32("labels", labels)
        _check_labels(labels, prior.num_classes)
    graph, state = nnx.split(prior)
    limits = (
        _in_float32(temperature),
        None if top_p is None else _in_float32(top_p),
        None if guidance == 1 else _in_float32(guidance),
    )
    static = {"number": number, "shape": sizes, "k": k}

    def draw(labels: Array | None, state: nnx.State, key: jax.Array) -> Array:
        return _sample(graph, state, key, labels, *limits, **static)

    return draw(None, state, key) if labels is None else split_by_batch(draw, labels, state, key)


def guided_logits(
    conditional: Float[Array, "*shape k"], free: Float[Array, "*shape k"], guidance: float | Array
) -> Float[Array, "*shape k"]:
    """Returns the logits of classifier-free guidance (Ho & Salimans 2022, arXiv:2207.12598, eq. 6).

        free + s (conditional - free)

    With s = 1 they are the conditional ones, with s = 0 the free ones. The paper's w is s - 1. An s
    that would leave float32's range is lowered to one with the same distribution.

    Args:
        conditional: logits [..., K] with the class.
        free: logits [..., K] without.
        guidance: s, at least 0.
    """
    difference = conditional - free
    largest = jnp.max(jnp.abs(difference), axis=-1, keepdims=True)
    scale = jnp.minimum(guidance, _LARGEST_GUIDANCE / jnp.maximum(largest, 1e-6))
    return free + scale * difference


def restricted_logits(
    logits: Float[Array, "*shape k"],
    temperature: float | Array = 1.0,
    top_k: int | None = None,
    top_p: float | Array | None = None,
) -> Float[Array, "*shape k"]:
    """Returns logits divided by the temperature, -inf for codes that must not be drawn.

    First the temperature, then top_k, then top_p (nucleus sampling, Holtzman et al. 2019,
    arXiv:1904.09751, equation 2) of what top_k has left: the fewest of the most probable codes
    whose probabilities add up to top_p or more. Ties with the last of those stay.

    Args:
        logits: [..., K].
        temperature: at least 0; at 0 only the most probable code stays.
        top_k: how many codes stay, at least 1; None, or K and more: all.
        top_p: in (0, 1]; the most probable code always stays. None or 1: all.
    """
    below = logits - jnp.max(logits, axis=-1, keepdims=True)
    scaled = jnp.where(below == 0, 0, below / temperature)
    if top_k is not None:
        lowest = jax.lax.top_k(scaled, min(top_k, scaled.shape[-1]))[0][..., -1:]
        scaled = jnp.where(scaled >= lowest, scaled, -jnp.inf)
    if top_p is not None:
        ordered = jnp.sort(scaled, axis=-1)
        tails = jnp.cumsum(jax.nn.softmax(ordered), axis=-1)  # with all less probable codes
        stays = jnp.where(tails > 1 - top_p, ordered, ordered[..., -1:])
        lowest = jnp.min(stays, axis=-1, keepdims=True)
        scaled = jnp.where((scaled >= lowest) | (top_p >= 1), scaled, -jnp.inf)
    return scaled


@functools.partial(jax.jit, static_argnames=("graph", "number", "shape", "k"))
def _sample(
    graph: nnx.GraphDef,
    state: nnx.State,
    key: jax.Array,
    labels: Array | None,
    temperature: Array | float,
    top_p: Array | float | None,
    guidance: Array | float | None,
    *,
    number: int,
    shape: tuple[int, ...],
    k: int | None,
) -> Array:
    """Implements `sample_codes`, compiled; guidance runs each map with and without its class."""
    prior: Prior = nnx.merge(graph, state)
    if guidance is not None and labels is not None:
        labels = jnp.concatenate([labels, jnp.full_like(labels, -1)])

    def doubled(codes: Array) -> Array:
        return codes if guidance is None else jnp.concatenate([codes, codes])

    def draw(key: jax.Array, features: Array, earlier: list[Array]) -> Array:
        logits = prior.logits(features, *map(doubled, earlier))
        if guidance is not None:
            conditional, free = jnp.split(logits, 2)
            logits = guided_logits(conditional, free, guidance)
        logits = restricted_logits(logits, temperature, k, top_p)
        return jax.random.categorical(key, logits).astype(jnp.int32)

    def advance(carry: tuple, position: Array) -> tuple[tuple, Array]:
        cache, codes = carry
        features, cache = prior.step(cache, position, doubled(codes))
        drawn: list[Array] = []
        for j in range(prior.num_codebooks or 1):
            own = jax.random.fold_in(jax.random.fold_in(key, position), j)
            drawn.append(draw(own, features, drawn))
        codes = drawn[0] if prior.num_codebooks is None else jnp.stack(drawn, axis=-1)
        return (cache, codes), codes

    cache = prior.start(number if guidance is None else 2 * number, shape, labels)
    axis = () if prior.num_codebooks is None else (prior.num_codebooks,)
    before = jnp.zeros((number, *axis), jnp.int32)
    _, codes = jax.lax.scan(advance, (cache, before), jnp.arange(math.prod(shape)))
    return jnp.moveaxis(codes, 0, 1).reshape(number, *shape, *axis)


def _in_float32(number: float) -> float:
    """Returns the nearest finite float32 number, for a number of at least 0."""
    return float(np.float32(min(number, float(np.finfo(np.float32).max))))


def _check_labels(labels: Int[Array, " b"], num_classes: int | None) -> None:
    """Raises ValueError if concrete labels are out of range, since codes would show no NaN."""
    if num_classes is None or labels.size == 0 or isinstance(labels, jax.core.Tracer):
        return
    low, high = int(jnp.min(labels)), int(jnp.max(labels))
    if low < -1 or high >= num_classes:
        raise ValueError(
            f"labels go from {low} to {high}; they must be in [0, {num_classes}), or -1 for none"
        )
