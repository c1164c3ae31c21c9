"""The two stacks of a gated PixelCNN, for whole images and pixel by pixel in raster order."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from vqvae_jax.layers.causal import HorizontalConv, VerticalConv, columns_left, rows_above
from vqvae_jax.layers.gated import Condition, GatedLayer
from vqvae_jax.leaves import Leaf


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class RasterCache:
    """What `GatedStack.step` keeps from one pixel to the next; lists have one member a layer.

    Attributes:
        condition: what the layers' conditions are made from, as `GatedStack.start` was given it.
        rows: the r rows that the vertical stack sees first, down to the current one
            [B, r, W, C], each pixel of which takes the place of one r rows higher.
        left: the pixels that the horizontal stack sees first [B, 1, ..., C].
        vertical: of layers, v in the rows above the next [B, reach - 1, W, D].
        across: of layers, what the vertical stack adds to the current row [B, 1, W, 2 D].
        horizontal: of layers, h at the pixels left of the next [B, 1, reach - 1, D].
    """

    condition: Leaf
    rows: Leaf
    left: Leaf
    vertical: Leaf
    across: Leaf
    horizontal: Leaf


@dataclasses.dataclass(frozen=True)
class GatedStack:
    """The two stacks of a gated PixelCNN, of layers that stay their owner's.

    Steps compute the vertical stack once a row and the horizontal one once a pixel, as in
    Ramachandran et al. 2017, arXiv:1704.06001. Whole images and steps agree to rounding.

    Args:
        above: the first layer of the vertical stack, from C to D channels.
        left: that of the horizontal stack, likewise.
        layers: all further layers of both.
    """

    above: VerticalConv
    left: HorizontalConv
    layers: Sequence[GatedLayer]

    def __call__(
        self, x: Float[Array, "b h w c"], conditions: Sequence[Condition]
    ) -> Float[Array, "b h w d"]:
        """What the horizontal stack ends with: at each pixel a function of those before it.

        Args:
            x: [B, H, W, C].
            conditions: one for each of the layers.
        """
        v = self.above(rows_above(x, self.above.reach, current=False))
        h = self.left(columns_left(x, self.left.reach, current=False))
        for layer, condition in zip(self.layers, conditions, strict=True):
            v, h = layer(v, h, condition)
        return h

    def start(self, batch_size: int, width: int, condition: Any) -> RasterCache:
        """The cache before the first pixel of images of this width; `condition` is kept in it."""
        *_, channels, hidden = self.above.kernel.shape

        def zeros(height: int, width: int, channels: int) -> Array:
            return jnp.zeros((batch_size, height, width, channels), self.above.kernel[...].dtype)

        return RasterCache(
            condition=condition,
            rows=zeros(self.above.reach, width, channels),
            left=zeros(1, self.left.reach, channels),
            vertical=[zeros(layer.vertical.reach - 1, width, hidden) for layer in self.layers],
            across=[zeros(1, width, 2 * hidden) for _ in self.layers],
            horizontal=[zeros(1, layer.horizontal.reach - 1, hidden) for layer in self.layers],
        )

    def step(
        self,
        cache: RasterCache,
        position: int | Int[Array, ""],
        previous: Float[Array, "b c"],
        conditions: Callable[[Int[Array, ""]], Sequence[Condition]],
    ) -> tuple[Float[Array, "b d"], RasterCache]:
        """What a call gives at one pixel, from the one before.

        Args:
            cache: of `start` or of the step before.
            position: i W + j for the pixel (i, j); to be taken in turn, from 0.
            previous: x at position - 1 [B, C]; at position 0 not looked at.
            conditions: gives those of a row, as for a call.

        Returns:
            [B, D], and the next cache.
        """
        width = cache.rows.shape[2]
        row, column = position // width, position % width
        x = jnp.where(position > 0, previous, jnp.zeros_like(previous))[:, None, None]
        at = (0, cache.rows.shape[1] - 1, (column - 1) % width, 0)
        cache = dataclasses.replace(
            cache,
            rows=jax.lax.dynamic_update_slice(cache.rows, x, at),
            left=jnp.concatenate([cache.left[:, :, 1:], x], axis=2),
        )
        cache = jax.lax.cond(
            column == 0,
            lambda cache: self._next_row(cache, conditions(row)),
            lambda cache: cache,
            cache,
        )
        h, horizontal = self.left(cache.left), []
        for layer, across, before in zip(self.layers, cache.across, cache.horizontal, strict=True):
            framed = jnp.concatenate([before, h], axis=2)
            across = jax.lax.dynamic_slice_in_dim(across, column, 1, axis=2)
            h = layer.horizontal_pixels(framed, across)
            horizontal.append(framed[:, :, 1:])
        return h[:, 0, 0], dataclasses.replace(cache, horizontal=horizontal)

    def _next_row(self, cache: RasterCache, conditions: Sequence[Condition]) -> RasterCache:
        """The cache at the first pixel of a row: all of the vertical stack's part."""
        v, vertical, across = self.above(cache.rows), [], []
        for layer, condition, above in zip(self.layers, conditions, cache.vertical, strict=True):
            framed = jnp.concatenate([above, v], axis=1)
            v, addend = layer.vertical_rows(framed, condition)
            vertical.append(framed[:, 1:])
            across.append(addend)
        return dataclasses.replace(
            cache,
            rows=jnp.roll(cache.rows, -1, axis=1),
            left=jnp.zeros_like(cache.left),
            vertical=vertical,
            across=across,
            horizontal=[jnp.zeros_like(before) for before in cache.horizontal],
        )
