"""The gated PixelCNN: two stacks of causal convolutions, for training and position by position."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, Key

from vqvae_jax.checks import check_integer
from vqvae_jax.priors.base import Prior
from vqvae_jax.priors.gated import GatedLayer, gated, shift
from vqvae_jax.priors.linear import Linear
from vqvae_jax.quantizers.core import Leaf


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PixelCNNCache:
    """What `GatedPixelCNN.step` keeps; of layers, a tuple with one for each gated layer.

    Attributes:
        classes: int32 [B], rows of the biases.
        codes: the last w embedded codes [B, w, C], each in its column.
        above: of layers, v in the d rows above the present one [B, d, w, C].
        linked: of layers, A s in the present row [B, w, 2 C].
        left: of layers, h in the present row as far as it is known [B, d + w, C]; d zeros first.
    """

    classes: Leaf
    codes: Leaf
    above: Leaf
    linked: Leaf
    left: Leaf


class GatedPixelCNN(Prior):
    """The gated PixelCNN (van den Oord et al. 2016, arXiv:1606.05328).

    A vertical stack sees the rows above, a horizontal one the row to the left and, through it, the
    vertical one: together all earlier positions in reach, with no blind spot. A first layer of
    kernel 3 without its centre, then a `GatedLayer` for each dilation. Features reach 1 + the sum
    of the dilations rows up, and as many columns to either side; a dilation greater than what the
    layers of smaller ones reach leaves gaps in it.

    Convolutions are products over the taps that their masks leave: nothing is multiplied by zero.
    Steps compute the vertical stack once a row and the horizontal one once a position, as in
    Ramachandran et al. 2017, arXiv:1704.06001.

    Args:
        num_embeddings: K, codes in each codebook, at least 1.
        channels: C of every layer, at least 1.
        dilations: of the gated layers, each at least 1.
        num_codebooks: n, codes at a position; None for a single one without an axis.
        num_classes: how many classes, at least 1; None for a distribution without.
        rngs: `params` draws the initial values, as `Prior`, `GatedLayer` and `Linear` say.

    Raises:
        ValueError: an argument out of its range.
    """

    def __init__(
        self,
        num_embeddings: int,
        *,
        channels: int = 128,
        dilations: Sequence[int] = (1, 2, 1),
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
        if not dilations:
            raise ValueError(f"dilations are {dilations}; there must be at least one")
        for dilation in dilations:
            check_integer("dilations", dilation)
        self.first_down = Linear(3 * channels, channels, rngs=rngs)
        self.first_across = Linear(channels, channels, rngs=rngs)
        self.layers = nnx.List(
            [GatedLayer(channels, dilation, self._class_rows, rngs=rngs) for dilation in dilations]
        )

    def step(
        self, cache: PixelCNNCache, position: int | Int[Array, ""], previous: Int[Array, "b ..."]
    ) -> tuple[Float[Array, "b c"], PixelCNNCache]:
        """See `Prior.step`."""
        x = self.embed(previous)
        x = jnp.where(position > 0, x, jnp.zeros_like(x))
        column = position % cache.codes.shape[1]
        codes = put(cache.codes, x, column - 1)
        above, linked = jax.lax.cond(
            column == 0,
            lambda: self._next_row(codes, cache.above, cache.classes),
            lambda: (cache.above, cache.linked),
        )
        h = self.first_across(jnp.where(column > 0, x, jnp.zeros_like(x)))
        lefts = []
        for layer, left, link in zip(self.layers, cache.left, linked, strict=True):
            lefts.append(put(left, h, column + layer.dilation))
            h = layer.horizontal(take(left, column), h, take(link, column), cache.classes)
        return h, PixelCNNCache(cache.classes, codes, above, linked, tuple(lefts))

    def _features(
        self, x: Float[Array, "b h w c"], classes: Int[Array, " b"], keys: Key[Array, " b"] | None
    ) -> Float[Array, "b h w c"]:
        v = self._first_row(shift(x, 1, axis=1))
        h = self.first_across(shift(x, 1, axis=2))
        for layer in self.layers:
            s = layer.vertical(shift(v, layer.dilation, axis=1), v, classes)
            h = layer.horizontal(shift(h, layer.dilation, axis=2), h, layer.link(s), classes)
            v = gated(s)
        return h

    def _start(
        self, batch_size: int, shape: tuple[int, int], classes: Int[Array, " b"]
    ) -> PixelCNNCache:
        width, c = shape[1], self.channels
        dilations = [layer.dilation for layer in self.layers]
        return PixelCNNCache(
            classes=classes,
            codes=jnp.zeros((batch_size, width, c)),
            above=tuple(jnp.zeros((batch_size, d, width, c)) for d in dilations),
            linked=tuple(jnp.zeros((batch_size, width, 2 * c)) for _ in dilations),
            left=tuple(jnp.zeros((batch_size, d + width, c)) for d in dilations),
        )

    def _next_row(
        self, codes: Array, above: tuple[Array, ...], classes: Array
    ) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
        """`above` for the row after the next and `linked` for the next, of the codes above it."""
        v = self._first_row(codes)
        rows, linked = [], []
        for layer, old in zip(self.layers, above, strict=True):
            s = layer.vertical(old[:, 0], v, classes)
            rows.append(jnp.concatenate([old[:, 1:], v[:, None]], axis=1))
            linked.append(layer.link(s))
            v = gated(s)
        return tuple(rows), tuple(linked)

    def _first_row(self, above: Float[Array, "b *h w c"]) -> Float[Array, "b *h w c"]:
        """The first layer of the vertical stack, from the rows above each row."""
        seen = [shift(above, columns, axis=-2) for columns in (1, 0, -1)]
        return self.first_down(jnp.concatenate(seen, axis=-1))


def take(row: Float[Array, "b w c"], column: int | Int[Array, ""]) -> Float[Array, "b c"]:
    """A column of a row."""
    return jax.lax.dynamic_index_in_dim(row, column, axis=1, keepdims=False)


def put(
    row: Float[Array, "b w c"], x: Float[Array, "b c"], column: int | Int[Array, ""]
) -> Float[Array, "b w c"]:
    """The row with x in a column; -1 is the last one."""
    return jax.lax.dynamic_update_index_in_dim(row, x, column, axis=1)
