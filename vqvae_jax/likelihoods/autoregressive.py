"""A PixelCNN over the decoder's features: each pixel given all earlier pixels."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, UInt8

from vqvae_jax.checks import check_integer
from vqvae_jax.layers.causal import HorizontalConv, VerticalConv
from vqvae_jax.layers.gated import Condition, GatedLayer
from vqvae_jax.layers.raster import GatedStack, RasterCache
from vqvae_jax.likelihoods.color import ColorMixture
from vqvae_jax.likelihoods.distributions import CATEGORICAL, PixelDistribution
from vqvae_jax.likelihoods.heads import PixelHead, draw_pixels
from vqvae_jax.meshes import split_by_batch


class AutoregressiveHead(PixelHead):
    """p(x | features) = product over pixels i of p(x_i | x_<i, features), in raster order.

    A gated PixelCNN (van den Oord et al. 2016, arXiv:1606.05328) conditioned on the features at
    each layer: a first layer that sees the earlier pixels up to `size // 2` away, `num_layers`
    gated layers of size 3, and at each pixel two affine maps, each preceded by a ReLU.

    A call, `nll` and `log_probs` process whole images at once, for training; `start` and `step` go
    pixel by pixel, as do `start_row` and `step_in_row`. All agree up to rounding. Where bit-exact
    agreement matters, as between the two sides of an entropy coder, use the same one for both, at
    the same batch size.

    Args:
        in_dim: F, channels of the features, at least 1.
        out_dim: C, channels of the images, at least 1.
        hidden_dim: D, channels of the layers, at least 1.
        num_layers: L, at least 1.
        size: the size of the first layer's window in pixels, odd, at least 3.
        distribution: the family of a pixel's distributions.
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
        distribution: PixelDistribution | ColorMixture = CATEGORICAL,
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
        self.hidden_dim, self.num_layers, self.size = hidden_dim, num_layers, size
        self.above = VerticalConv(out_dim, hidden_dim, size // 2, size, rngs=rngs)
        self.left = HorizontalConv(out_dim, hidden_dim, size // 2, rngs=rngs)
        self.layers = nnx.List(
            [
                GatedLayer(
                    VerticalConv(hidden_dim, 2 * hidden_dim, 2, 3, rngs=rngs),
                    HorizontalConv(hidden_dim, 2 * hidden_dim, 2, rngs=rngs),
                    nnx.Linear(2 * hidden_dim, 2 * hidden_dim, use_bias=False, rngs=rngs),
                    nnx.Linear(hidden_dim, hidden_dim, rngs=rngs),
                )
                for _ in range(num_layers)
            ]
        )
        self.conditions = nnx.List(
            [
                nnx.Linear(in_dim, 2 * hidden_dim, use_bias=False, rngs=rngs)
                for _ in range(num_layers)
            ]
        )
        self.hidden = nnx.Linear(hidden_dim, 2 * hidden_dim, rngs=rngs)
        self.out = nnx.Linear(2 * hidden_dim, distribution.size(out_dim), rngs=rngs)

    def start(self, features: Float[Array, "b h w f"]) -> RasterCache:
        """Returns the cache before the first pixel.

        Raises:
            ValueError: features have the wrong shape or type.
        """
        self._check_features(features)
        return self._stack.start(features.shape[0], features.shape[2], features)

    def step(
        self, cache: RasterCache, position: Int[Array, ""], previous: UInt8[Array, "b c"]
    ) -> tuple[Float[Array, "b p"], RasterCache]:
        """Returns the parameters of one pixel's distribution, given the earlier pixels.

        Positions must be visited in order, each with the cache that the previous one returned.

        Args:
            cache: from `start` or the previous step.
            position: i W + j for the pixel (i, j), int32 in [0, H W).
            previous: the pixel at position - 1 [B, C], uint8; ignored at position 0.

        Returns:
            The parameters [B, P], for the methods of `distribution`, and the next cache.

        Raises:
            ValueError: previous has the wrong shape or type.
        """
        pixel = _previous(cache, previous)
        conditions = functools.partial(self._conditions_of_row, cache)
        h, cache = self._stack.step(cache, position, pixel, conditions)
        return self._read(h), cache

    def start_row(
        self, cache: RasterCache, row: Int[Array, ""], previous: UInt8[Array, "b c"]
    ) -> RasterCache:
        """Returns the cache before the first pixel of a row, for `step_in_row`.

        `start_row` once per row and `step_in_row` once per column compute what `step` does, faster.

        Args:
            cache: from `start`, or after the last pixel of the row above.
            row: int32 in [0, H).
            previous: the last pixel of the row above [B, C], uint8; ignored at row 0.

        Raises:
            ValueError: previous has the wrong shape or type.
        """
        conditions = self._conditions_of_row(cache, row)
        return self._stack.start_row(cache, row, _previous(cache, previous), conditions)

    def step_in_row(
        self, cache: RasterCache, column: Int[Array, ""], previous: UInt8[Array, "b c"]
    ) -> tuple[Float[Array, "b p"], RasterCache]:
        """Returns the parameters of one pixel's distribution, as `step` does.

        Args:
            cache: from `start_row`, or from the pixel before.
            column: int32 in [0, W).
            previous: the pixel before [B, C], uint8; ignored at column 0.

        Raises:
            ValueError: previous has the wrong shape or type.
        """
        h, cache = self._stack.step_in_row(cache, column, _previous(cache, previous))
        return self._read(h), cache

    def sample(self, features: Float[Array, "b h w f"], key: jax.Array) -> UInt8[Array, "b h w c"]:
        """Draws images [B, H, W, C] from p(x | features), pixel by pixel in one compiled loop.

        Raises:
            ValueError: features have the wrong shape or type.
        """
        self._check_features(features)
        graphdef, state = nnx.split(self)
        return split_by_batch(functools.partial(_sample, graphdef), features, state, key)

    def _parameters(
        self, features: Float[Array, "b h w f"], x: UInt8[Array, "b h w c"] | None
    ) -> Float[Array, "b h w p"]:
        assert x is not None  # checked before
        return self._from_pixels(_scaled(x), features)

    def _from_pixels(
        self, pixels: Float[Array, "b h w c"], features: Float[Array, "b h w f"]
    ) -> Float[Array, "b h w p"]:
        """Returns the parameters, from pixels in [0, 1]."""
        return self._read(self._stack(pixels, self._conditions(features)))

    @property
    def _stack(self) -> GatedStack:
        return GatedStack(self.above, self.left, self.layers)

    def _conditions(self, features: Float[Array, "b h w f"]) -> list[Condition]:
        """Returns each layer's condition on the features: on the vertical stack."""
        return [(condition(features), None) for condition in self.conditions]

    def _conditions_of_row(self, cache: RasterCache, row: Int[Array, ""]) -> list[Condition]:
        return self._conditions(jax.lax.dynamic_slice_in_dim(cache.condition, row, 1, axis=1))

    def _read(self, h: Float[Array, "*shape d"]) -> Float[Array, "*shape p"]:
        """Returns the parameters, from the output of the horizontal stack."""
        return self.out(nnx.relu(self.hidden(nnx.relu(h))))


class AutoregressiveColorHead(AutoregressiveHead):
    """An `AutoregressiveHead` whose pixels have the mixtures of PixelCNN++, see `ColorMixture`.

    So each channel depends on the earlier pixels, and on the pixel's earlier channels.

    Args:
        in_dim: F, channels of the features, at least 1.
        out_dim: C, channels of the images, at least 1.
        num_mixtures: M, components of a mixture, at least 1.
        options: hidden_dim, num_layers and size, as for `AutoregressiveHead`.
        rngs: `params` draws the initial values.

    Raises:
        ValueError: an argument out of its range.
    """

    fixed_options = ("distribution",)

    def __init__(
        self, in_dim: int, out_dim: int, *, num_mixtures: int = 10, rngs: nnx.Rngs, **options: Any
    ):
        self.num_mixtures = num_mixtures
        distribution = ColorMixture(num_mixtures)
        super().__init__(in_dim, out_dim, distribution=distribution, rngs=rngs, **options)


@functools.partial(jax.jit, static_argnums=0)
def _sample(
    graphdef: nnx.GraphDef, features: Float[Array, "b h w f"], state: nnx.State, key: jax.Array
) -> UInt8[Array, "b h w c"]:
    """`AutoregressiveHead.sample`."""
    head = nnx.merge(graphdef, state)
    batch, height, width, _ = features.shape

    def row(i, carry):
        def pixel(j, carry):
            image, cache, previous = carry
            parameters, cache = head.step_in_row(cache, j, previous)
            draws = jax.random.fold_in(key, i * width + j)
            pixel = draw_pixels(head.distribution, parameters, head.out_dim, draws)
            return image.at[:, i, j].set(pixel), cache, pixel

        image, cache, previous = carry
        carry = (image, head.start_row(cache, i, previous), previous)
        return jax.lax.fori_loop(0, width, pixel, carry)

    image = jnp.zeros((batch, height, width, head.out_dim), jnp.uint8)
    image, *_ = jax.lax.fori_loop(0, height, row, (image, head.start(features), image[:, 0, 0]))
    return image


def _previous(cache: RasterCache, previous: UInt8[Array, "b c"]) -> Float[Array, "b c"]:
    """Returns an earlier pixel as the layers see it."""
    if previous.shape != cache.left.shape[::3] or previous.dtype != jnp.uint8:
        raise ValueError(
            f"previous has shape {previous.shape} and type {previous.dtype}; it must be "
            f"{cache.left.shape[::3]}, uint8"
        )
    return _scaled(previous)


def _scaled(x: UInt8[Array, "..."]) -> Float[Array, "..."]:
    """Scales pixels to [0, 1]: black equals the zero padding beyond the edges."""
    return x.astype(jnp.float32) / 255
