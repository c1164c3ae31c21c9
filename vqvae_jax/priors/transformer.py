"""The transformer prior: a decoder over the positions of a code map."""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import SupportsIndex

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, Key

from vqvae_jax.checks import check_integer
from vqvae_jax.layers.dropout import dropout
from vqvae_jax.layers.initial import normal
from vqvae_jax.layers.linear import Linear
from vqvae_jax.leaves import Leaf
from vqvae_jax.priors.base import Prior, check_shape
from vqvae_jax.tables import lookup

# The tables of embedded places, one for each spatial axis, by the spatial rank.
_PLACES = {1: ("times",), 2: ("rows", "columns"), 3: ("times", "rows", "columns")}


class Block(nnx.Module):
    """Attention to this and all earlier positions, then an MLP, each after a normalization.

        x <- x + W_o attention(LN(x)),    x <- x + W_2 GELU(W_1 LN(x)),    W_1: C -> 4 C

    Args:
        channels: C, a multiple of num_heads.
        num_heads: of the attention, each of C / num_heads channels.
        rate: dropout rate of what is added to x.
        rngs: `params` draws the weights as in `Linear`.
    """

    def __init__(self, channels: int, num_heads: int, rate: float, *, rngs: nnx.Rngs):
        self.num_heads, self.rate = num_heads, rate
        self.norm_attention = nnx.LayerNorm(channels, rngs=rngs)
        self.project = Linear(channels, 3 * channels, rngs=rngs)
        self.gather = Linear(channels, channels, rngs=rngs)
        self.norm_mlp = nnx.LayerNorm(channels, rngs=rngs)
        self.widen = Linear(channels, 4 * channels, rngs=rngs)
        self.narrow = Linear(4 * channels, channels, rngs=rngs)

    def __call__(
        self, x: Float[Array, "b t c"], draws: Key[Array, " b"] | None
    ) -> Float[Array, "b t c"]:
        """Computes all positions at once."""
        queries, keys, values = self._heads(x)
        attended = jax.nn.dot_product_attention(queries, keys, values, is_causal=True)
        return self._rest(x, attended, draws)

    def step(
        self,
        x: Float[Array, "b 1 c"],
        keys: Float[Array, "b t n c_n"],
        values: Float[Array, "b t n c_n"],
        position: int | Int[Array, ""],
    ) -> tuple[Array, Array, Array]:
        """Computes one position from earlier keys and values; returns those with its own added."""
        query, key, value = self._heads(x)
        keys = jax.lax.dynamic_update_slice_in_dim(keys, key, position, axis=1)
        values = jax.lax.dynamic_update_slice_in_dim(values, value, position, axis=1)
        known = jnp.full(len(x), position + 1, jnp.int32)
        attended = jax.nn.dot_product_attention(query, keys, values, key_value_seq_lengths=known)
        return self._rest(x, attended, None), keys, values

    def _heads(self, x: Float[Array, "b t c"]) -> list[Array]:
        """Returns queries, keys and values [B, T, heads, C / heads]."""
        projected = self.project(self.norm_attention(x))
        heads = projected.reshape(*x.shape[:2], 3 * self.num_heads, x.shape[2] // self.num_heads)
        return jnp.split(heads, 3, axis=2)

    def _rest(
        self, x: Float[Array, "b t c"], attended: Array, draws: Key[Array, " b"] | None
    ) -> Float[Array, "b t c"]:
        """Computes what follows the attention."""
        x = x + dropout(self.gather(attended.reshape(x.shape)), self.rate, draws, 0)
        widened = nnx.gelu(self.widen(self.norm_mlp(x)))
        return x + dropout(self.narrow(widened), self.rate, draws, 1)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TransformerCache:
    """The cache of `TransformerPrior.step`, for code maps of T positions.

    Attributes:
        first: the start token [B, C].
        positions: the embedded positions [T, C].
        keys: a tuple with [B, T, heads, C / heads] for each block; zeros where not yet known.
        values: likewise.
    """

    first: Leaf
    positions: Leaf
    keys: Leaf
    values: Leaf


class TransformerPrior(Prior):
    """A causal transformer over the positions (Vaswani et al. 2017, arXiv:1706.03762).

    A decoder of pre-normalized blocks, as in Radford et al. 2019 (GPT-2). The token of a position
    is the code of the previous position; the first position has a learned start token, one for each
    class. Learned embeddings of its place on each spatial axis, in images of its row and its
    column, are added to each token.

        f = W LN(blocks(token + row + column)) + b

    Args:
        num_embeddings: K, codes in each codebook, at least 1.
        max_shape: the largest spatial shape of code maps, (T,) of signals, (h, w) of images or
            (t, h, w) of videos, each size at least 1.
        channels: C, at least 1, a multiple of num_heads.
        num_layers: blocks, at least 1.
        num_heads: heads of the attention, at least 1.
        dropout: rate of dropout on tokens and block outputs in training, in [0, 1); rounded to a
            multiple of 1 / 256.
        num_codebooks: n, codes per position; None for a single one without an axis.
        num_classes: how many classes, at least 1; None for an unconditional distribution.
        rngs: `params` draws the initial values: start tokens and places from N(0, 1), the rest as
            in `Prior` and `Linear`.

    Raises:
        ValueError: an argument out of its range.
    """

    def __init__(
        self,
        num_embeddings: int,
        max_shape: tuple[int, ...],
        *,
        channels: int = 128,
        num_layers: int = 6,
        num_heads: int = 4,
        dropout: float = 0.0,
        num_codebooks: int | None = None,
        num_classes: int | None = None,
        rngs: nnx.Rngs,
    ):
        super().__init__(
            num_embeddings,
            channels,
            num_codebooks=num_codebooks,
            num_classes=num_classes,
            rngs=rngs,
        )
        max_shape = check_shape("max_shape", max_shape)
        num_layers = check_integer("num_layers", num_layers)
        num_heads = check_integer("num_heads", num_heads)
        if channels % num_heads:
            raise ValueError(
                f"channels is {channels}; it must be a multiple of num_heads = {num_heads}"
            )
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout is {dropout}; it must be at least 0 and below 1")
        self.max_shape, self.spatial_rank, self.dropout = max_shape, len(max_shape), dropout
        self.num_layers, self.num_heads = num_layers, num_heads
        self.first = normal((self._class_rows, channels), rngs=rngs)
        for name, size in zip(_PLACES[self.spatial_rank], max_shape, strict=True):
            setattr(self, name, normal((size, channels), rngs=rngs))
        self.blocks = nnx.List(
            [Block(channels, num_heads, dropout, rngs=rngs) for _ in range(num_layers)]
        )
        self.norm = nnx.LayerNorm(channels, rngs=rngs)
        self.last = Linear(channels, channels, rngs=rngs)

    def step(
        self, cache: TransformerCache, position: int | Int[Array, ""], previous: Int[Array, "b ..."]
    ) -> tuple[Float[Array, "b c"], TransformerCache]:
        """See `Prior.step`."""
        token = jnp.where(position > 0, self.embed(previous), cache.first)
        x = (token + cache.positions[position][None])[:, None]
        all_keys, all_values = [], []
        for block, keys, values in zip(self.blocks, cache.keys, cache.values, strict=True):
            x, keys, values = block.step(x, keys, values, position)
            all_keys.append(keys)
            all_values.append(values)
        cache = dataclasses.replace(cache, keys=tuple(all_keys), values=tuple(all_values))
        return self.last(self.norm(x[:, 0])), cache

    def _features(
        self,
        x: Float[Array, "b *spatial c"],
        classes: Int[Array, " b"],
        keys: Key[Array, " b"] | None,
    ) -> Float[Array, "b *spatial c"]:
        batch_size, *shape, channels = x.shape
        codes = x.reshape(batch_size, math.prod(shape), channels)[:, :-1]
        tokens = jnp.concatenate([lookup(self.first[...], classes)[:, None], codes], axis=1)
        tokens = dropout(tokens + self._positions(shape)[None], self.dropout, keys, 0)
        for index, block in enumerate(self.blocks, start=1):
            tokens = block(tokens, None if keys is None else _fold_in(keys, index))
        return self.last(self.norm(tokens)).reshape(x.shape)

    def _start(
        self, batch_size: int, shape: tuple[int, ...], classes: Int[Array, " b"]
    ) -> TransformerCache:
        positions = self._positions(shape)
        heads = self.blocks[0].num_heads
        size = (batch_size, len(positions), heads, self.channels // heads)
        return TransformerCache(
            first=lookup(self.first[...], classes),
            positions=positions,
            keys=tuple(jnp.zeros(size) for _ in self.blocks),
            values=tuple(jnp.zeros(size) for _ in self.blocks),
        )

    def _positions(self, shape: Sequence[int]) -> Float[Array, "t c"]:
        """Returns the embedded positions [T, C], T the product of the shape."""
        tables = [getattr(self, name) for name in _PLACES[self.spatial_rank]]
        places = [table[...][:size] for table, size in zip(tables, shape, strict=True)]
        return functools.reduce(
            lambda x, table: (x[:, None] + table[None]).reshape(-1, self.channels), places
        )

    def _check_shape(self, shape: Sequence[SupportsIndex]) -> tuple[int, ...]:
        sizes = super()._check_shape(shape)
        if any(size > largest for size, largest in zip(sizes, self.max_shape, strict=True)):
            raise ValueError(f"shape is {sizes}; it must be at most max_shape = {self.max_shape}")
        return sizes


def _fold_in(keys: Key[Array, " b"], index: int) -> Key[Array, " b"]:
    return jax.vmap(lambda key: jax.random.fold_in(key, index))(keys)
