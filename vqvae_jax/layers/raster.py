"""The two stacks of a gated PixelCNN, for whole images and pixel by pixel in raster order."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from vqvae_jax.layers.causal import HorizontalConv, VerticalConv, columns_left, rows_above
from vqvae_jax.layers.gated import Condition, GatedLayer
from vqvae_jax.leaves import Leaf


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class RasterCache:
    """The cache of a `GatedStack` from one pixel to the next; lists have one entry per layer.

    Attributes:
        condition: the input from which the layers' conditions are made, as given to
            `GatedStack.start`.
        rows: the r rows that the vertical stack sees first, down to the current one
            [B, r, W, C], each pixel of which replaces the one r rows higher.
        left: the pixels that the horizontal stack sees first [B, 1, ..., C].
        vertical: each layer's v in the rows above the next [B, reach - 1, W, D].
        across: what each layer's vertical stack adds to the current row, in halves [B, 1, W, D].
        horizontal: each layer's h at the pixels left of the next [B, 1, reach - 1, D].
    """

    condition: Leaf
    rows: Leaf
    left: Leaf
    vertical: Leaf
    across: Leaf
    horizontal: Leaf


@dataclasses.dataclass(frozen=True)
class GatedStack:
    """The two stacks of a gated PixelCNN, made of layers that another module owns.

    Steps compute the vertical stack once per row and the horizontal one once per pixel, as in
    Ramachandran et al. 2017, arXiv:1704.06001. Whole images and steps agree up to rounding.

    Args:
        above: the first layer of the vertical stack, from C to D channels.
        left: the first layer of the horizontal stack, likewise.
        layers: all further layers of both.
    """

    above: VerticalConv
    left: HorizontalConv
    layers: Sequence[GatedLayer]

    def __call__(
        self, x: Float[Array, "b h w c"], conditions: Sequence[Condition]
    ) -> Float[Array, "b h w d"]:
        """Returns the horizontal stack's output: at each pixel a function of the earlier ones.

        Args:
            x: [B, H, W, C].
            conditions: one for each layer.
        """
        v = self.above(rows_above(x, self.above.reach, current=False))
        h = self.left(columns_left(x, self.left.reach, current=False))
        for layer, condition in zip(self.layers, conditions, strict=True):
            v, h = layer(v, h, condition)
        return h

    def start(self, batch_size: Any, width: int, condition: Any) -> RasterCache:
        """Returns the cache before the first pixel of images of this width, with `condition`.

        The batch size may be symbolic, as in `jax.export`.
        """
        *_, channels, hidden = self.above.kernel.shape

        def zeros(height: int, width: int, channels: int) -> Array:
            return jnp.zeros((batch_size, height, width, channels), self.above.kernel[...].dtype)

        return RasterCache(
            condition=condition,
            rows=zeros(self.above.reach, width, channels),
            left=zeros(1, self.left.reach, channels),
            vertical=[zeros(layer.vertical.reach - 1, width, hidden) for layer in self.layers],
            across=[(zeros(1, width, hidden), zeros(1, width, hidden)) for _ in self.layers],
            horizontal=[zeros(1, layer.horizontal.reach - 1, hidden) for layer in self.layers],
        )

    def step(
        self,
        cache: RasterCache,
        position: int | Int[Array, ""],
        previous: Float[Array, "b c"],
        conditions: Callable[[Int[Array, ""]], Sequence[Condition]],
    ) -> tuple[Float[Array, "b d"], RasterCache]:
        """Computes a call's result at one pixel, from the previous one.

        Args:
            cache: from `start` or the previous step.
            position: i W + j for the pixel (i, j); must be visited in order, from 0.
            previous: x at position - 1 [B, C]; ignored at position 0.
            conditions: returns the conditions of a row, as for a call.

        Returns:
            [B, D], and the next cache.
        """
        width = cache.rows.shape[2]
        row, column = position // width, position % width
        # A conditional copies what passes through it.
        moving = jax.lax.cond(
            column == 0,
            lambda cache: self.start_row(cache, row, previous, conditions(row)),
            lambda cache: cache,
            dataclasses.replace(cache, condition=None),
        )
        h, moving = self.step_in_row(moving, column, previous)
        return h, dataclasses.replace(moving, condition=cache.condition)

    def start_row(
        self,
        cache: RasterCache,
        row: int | Int[Array, ""],
        previous: Float[Array, "b c"],
        conditions: Sequence[Condition],
    ) -> RasterCache:
        """Returns the cache before the first pixel of a row: computes the vertical stack.

        Args:
            cache: from `start`, or after the last pixel of the row above.
            row: i; rows must be visited in order, from 0.
            previous: x at the last pixel of the row above [B, C]; ignored at row 0.
            conditions: of this row, as for a call.
        """
        rows = _entered(cache.rows, _known(row > 0, previous), -1)
        v, vertical, across = self.above(rows), [], []
        for layer, condition, above in zip(self.layers, conditions, cache.vertical, strict=True):
            framed = jnp.concatenate([above, v], axis=1)
            v, addend = layer.vertical_rows(framed, condition)
            vertical.append(framed[:, 1:])
            across.append(addend)
        return dataclasses.replace(
            cache,
            rows=jnp.roll(rows, -1, axis=1),
            left=jnp.zeros_like(cache.left),
            vertical=vertical,
            across=across,
            horizontal=[jnp.zeros_like(before) for before in cache.horizontal],
        )

    def step_in_row(
        self, cache: RasterCache, column: int | Int[Array, ""], previous: Float[Array, "b c"]
    ) -> tuple[Float[Array, "b d"], RasterCache]:
        """Computes a call's result at one pixel of a row that was started.

        Args:
            cache: from `start_row`, or from the pixel before.
            column: j; must be visited in order, from 0.
            previous: x at the pixel before [B, C]; ignored at column 0.

        Returns:
            [B, D], and the next cache.
        """
        x = _known(column > 0, previous)
        left = jnp.concatenate([cache.left[:, :, 1:], x], axis=2)
        h, horizontal = self.left(left), []
        for layer, across, before in zip(self.layers, cache.across, cache.horizontal, strict=True):
            framed = jnp.concatenate([before, h], axis=2)
            filtered, gate = (jax.lax.dynamic_slice_in_dim(a, column, 1, axis=2) for a in across)
            h = layer.horizontal_pixels(framed, (filtered, gate))
            horizontal.append(framed[:, :, 1:])
        # At column 0 this enters a zero where the row's last pixel comes later.
        rows = _entered(cache.rows, x, column - 1)
        return h[:, 0, 0], dataclasses.replace(cache, rows=rows, left=left, horizontal=horizontal)


def _known(is_known: bool | Bool[Array, ""], x: Float[Array, "b c"]) -> Float[Array, "b 1 1 c"]:
    """Returns x as a pixel; zeros if it is not known."""
    return jnp.where(is_known, x, jnp.zeros_like(x))[:, None, None]


def _entered(
    rows: Float[Array, "b r w c"], x: Float[Array, "b 1 1 c"], column: int | Int[Array, ""]
) -> Float[Array, "b r w c"]:
    """Writes x at a column of the last row; -1 is the last column."""
    _, height, width, _ = rows.shape
    return jax.lax.dynamic_update_slice(rows, x, (0, height - 1, column % width, 0))
