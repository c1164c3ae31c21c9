"""A PixelCNN over the decoder's features: each pixel given all pixels before it."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, UInt8

from vqvae_jax.checks import check_integer
from vqvae_jax.layers.causal import (
    GatedLayer,
    HorizontalConv,
    VerticalConv,
    columns_left,
    rows_above,
)
from vqvae_jax.likelihoods.distributions import CATEGORICAL, PixelDistribution, sample_values
from vqvae_jax.likelihoods.heads import PixelHead, split_channels
from vqvae_jax.meshes import split_by_batch


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class RasterCache:
    """What an `AutoregressiveHead` keeps from one pixel to the next. L is the number of layers.

    Attributes:
        features: [B, H, W, F].
        rows: the rows of the image that the current one sees [B, r, W, C].
        row: what is known of the current row [B, 1, W, C].
        left: the pixels that the current one sees to its left [B, 1, r, C].
        vertical: L arrays [B, reach - 1, W, D], the vertical stack's rows above the next.
        across: L arrays [B, 1, W, 2 D], what the vertical stack adds to the current row.
        horizontal: L arrays [B, 1, reach - 1, D], the horizontal stack's pixels left of the next.
    """

    features: Array
    rows: Array
    row: Array
    left: Array
    vertical: list[Array]
    across: list[Array]
    horizontal: list[Array]


class AutoregressiveHead(PixelHead):
    """p(x | features) = product over pixels i of p(x_i | x_<i, features), in raster order.

    A gated PixelCNN (van den Oord et al. 2016, arXiv:1606.05328) that takes in the features at
    each layer: a first layer that sees `size // 2` pixels to all sides but the pixel and what comes
    later, `num_layers` gated layers of size 3, and at each pixel two affine maps with ReLUs before.

    Whole images at once (a call, `nll`, `log_probs`) serve training; `start` and `step` go pixel by
    pixel. The two agree to rounding. What must agree to the bit, such as the two sides of an
    entropy coder, takes one of them for both, at the same batch size.

    Args:
        in_dim: F, channels of the features, at least 1.
        out_dim: C, channels of the images, at least 1.
        hidden_dim: D, channels of the layers, at least 1.
        num_layers: L, at least 1.
        size: of the first layer's window in pixels, odd, at least 3.
        distribution: the family of each channel's distribution.
        rngs: `params` draws the initial values.

    Raises:
        ValueError: an argument out of its range.
    """

    autoregressive = True

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        *,
        hidden_dim: int = 32,
        num_layers: int = 3,
        size: int = 7,
        distribution: PixelDistribution = CATEGORICAL,
        rngs: nnx.Rngs,
    ):
        for name, number in (
            ("in_dim", in_dim),
            ("out_dim", out_dim),
            ("hidden_dim", hidden_dim),
            ("num_layers", num_layers),
        ):
            check_integer(name, number)
        check_integer("size", size, 3)
        if size % 2 == 0:
            raise ValueError(f"size is {size}; it must be odd")
        self.in_dim, self.out_dim, self.distribution = in_dim, out_dim, distribution
        self.reach = size // 2
        self.above = VerticalConv(out_dim, hidden_dim, self.reach, size, rngs=rngs)
        self.left = HorizontalConv(out_dim, hidden_dim, self.reach, rngs=rngs)
        self.layers = nnx.List([GatedLayer(hidden_dim, rngs=rngs) for _ in range(num_layers)])
        self.conditions = nnx.List(
            [
                nnx.Linear(in_dim, 2 * hidden_dim, use_bias=False, rngs=rngs)
                for _ in range(num_layers)
            ]
        )
        self.hidden = nnx.Linear(hidden_dim, 2 * hidden_dim, rngs=rngs)
        self.out = nnx.Linear(2 * hidden_dim, out_dim * distribution.num_parameters, rngs=rngs)

    def start(self, features: Float[Array, "b h w f"]) -> RasterCache:
        """The cache before the first pixel.

        Raises:
            ValueError: features have the wrong shape or type.
        """
        self._check_features(features)
        batch, _, width, _ = features.shape
        hidden, reach = self.hidden.in_features, self.reach
        zeros = functools.partial(jnp.zeros, dtype=self.out.kernel[...].dtype)
        return RasterCache(
            features=features,
            rows=zeros((batch, reach, width, self.out_dim)),
            row=zeros((batch, 1, width, self.out_dim)),
            left=zeros((batch, 1, reach, self.out_dim)),
            vertical=[zeros((batch, layer.reach - 1, width, hidden)) for layer in self.layers],
            across=[zeros((batch, 1, width, 2 * hidden)) for _ in self.layers],
            horizontal=[zeros((batch, 1, layer.reach - 1, hidden)) for layer in self.layers],
        )

    def step(
        self, cache: RasterCache, position: Int[Array, ""], previous: UInt8[Array, "b c"]
    ) -> tuple[Float[Array, "b c 256"], RasterCache]:
        """The distribution of one pixel, given the ones before it.

        Positions have to be taken in turn, each with the cache that the one before gave.

        Args:
            cache: of `start` or of the step before.
            position: i W + j for the pixel (i, j), int32 in [0, H W).
            previous: the pixel at position - 1 [B, C], uint8; at position 0 it is not looked at.

        Returns:
            The log-probabilities of all values [B, C, 256], in nats, and the next cache.

        Raises:
            ValueError: previous has the wrong shape or type.
        """
        if previous.shape != cache.left.shape[::3] or previous.dtype != jnp.uint8:
            raise ValueError(
                f"previous has shape {previous.shape} and type {previous.dtype}; it must be "
                f"{cache.left.shape[::3]}, uint8"
            )
        row, column = position // cache.row.shape[2], position % cache.row.shape[2]
        known = jnp.where(position > 0, _scaled(previous), 0)[:, None, None, :]
        cache = dataclasses.replace(
            cache,
            row=jax.lax.dynamic_update_slice_in_dim(
                cache.row, known, (column - 1) % cache.row.shape[2], axis=2
            ),
            left=jnp.concatenate([cache.left[:, :, 1:], known], axis=2),
        )
        cache = jax.lax.cond(column == 0, self._next_row, lambda cache, _: cache, cache, row)
        h, horizontal = self.left(cache.left), []
        for layer, across, before in zip(self.layers, cache.across, cache.horizontal, strict=True):
            framed = jnp.concatenate([before, h], axis=2)
            h = layer.horizontal_pixels(
                framed, jax.lax.dynamic_slice_in_dim(across, column, 1, axis=2)
            )
            horizontal.append(framed[:, :, 1:])
        log_probs = self.distribution.log_probs(self._read(h))[:, 0, 0]
        return log_probs, dataclasses.replace(cache, horizontal=horizontal)

    def sample(self, features: Float[Array, "b h w f"], key: jax.Array) -> UInt8[Array, "b h w c"]:
        """Images [B, H, W, C] drawn from p(x | features), pixel by pixel in one compiled loop.

        Raises:
            ValueError: features have the wrong shape or type.
        """
        self._check_features(features)
        graphdef, state = nnx.split(self)
        return split_by_batch(functools.partial(_sample, graphdef), features, state, key)

    def _parameters(
        self, features: Float[Array, "b h w f"], x: UInt8[Array, "b h w c"] | None
    ) -> Float[Array, "b h w c p"]:
        assert x is not None  # refused before
        return self._from_pixels(_scaled(x), features)

    def _from_pixels(
        self, pixels: Float[Array, "b h w c"], features: Float[Array, "b h w f"]
    ) -> Float[Array, "b h w c p"]:
        """The parameters, from pixels in [0, 1]."""
        v = self.above(rows_above(pixels, self.reach, current=False))
        h = self.left(columns_left(pixels, self.reach, current=False))
        for layer, condition in zip(self.layers, self.conditions, strict=True):
            v, h = layer(v, h, condition(features))
        return self._read(h)

    def _read(self, h: Float[Array, "b h w d"]) -> Float[Array, "b h w c p"]:
        """The parameters, from what the horizontal stack ends with."""
        parameters = self.out(nnx.relu(self.hidden(nnx.relu(h))))
        return split_channels(parameters, self.out_dim)

    def _next_row(self, cache: RasterCache, row: Int[Array, ""]) -> RasterCache:
        """The cache at the first pixel of a row: the vertical stack's part of it all."""
        features = jax.lax.dynamic_slice_in_dim(cache.features, row, 1, axis=1)
        rows = jnp.concatenate([cache.rows[:, 1:], cache.row], axis=1)
        v, vertical, across = self.above(rows), [], []
        for layer, condition, above in zip(
            self.layers, self.conditions, cache.vertical, strict=True
        ):
            framed = jnp.concatenate([above, v], axis=1)
            v, addend = layer.vertical_rows(framed, condition(features))
            vertical.append(framed[:, 1:])
            across.append(addend)
        return dataclasses.replace(
            cache,
            rows=rows,
            left=jnp.zeros_like(cache.left),
            vertical=vertical,
            across=across,
            horizontal=[jnp.zeros_like(before) for before in cache.horizontal],
        )


@functools.partial(jax.jit, static_argnums=0)
def _sample(
    graphdef: nnx.GraphDef, features: Float[Array, "b h w f"], state: nnx.State, key: jax.Array
) -> UInt8[Array, "b h w c"]:
    """`AutoregressiveHead.sample`."""
    head = nnx.merge(graphdef, state)
    batch, height, width, _ = features.shape

    def pixel(position, carry):
        image, cache, previous = carry
        log_probs, cache = head.step(cache, position, previous)
        pixel = sample_values(log_probs, jax.random.fold_in(key, position))
        return image.at[:, position].set(pixel), cache, pixel

    image = jnp.zeros((batch, height * width, head.out_dim), jnp.uint8)
    carry = (image, head.start(features), image[:, 0])
    image, *_ = jax.lax.fori_loop(0, height * width, pixel, carry)
    return image.reshape(batch, height, width, head.out_dim)


def _scaled(x: UInt8[Array, "..."]) -> Float[Array, "..."]:
    """Pixels in [0, 1]: black is what lies beyond the edges too."""
    return x.astype(jnp.float32) / 255
