"""The gated PixelCNN over code maps, conditioned on a class."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, Key

from vqvae_jax.checks import check_integer
from vqvae_jax.layers.causal import HorizontalConv, VerticalConv
from vqvae_jax.layers.gated import Condition, GatedLayer
from vqvae_jax.layers.linear import Linear
from vqvae_jax.layers.raster import GatedStack, RasterCache
from vqvae_jax.priors.base import Prior
from vqvae_jax.tables import lookup


class GatedPixelCNN(Prior):
    """The gated PixelCNN (van den Oord et al. 2016, arXiv:1606.05328), over maps [h, w] of images.

    A first layer of kernel 3 without its center, then a `GatedLayer` of kernel 3 for each dilation,
    with biases of the class (equation 4). The receptive field reaches 1 + the sum of the dilations
    rows up, and as many columns to either side, with no blind spot; a dilation greater than the
    reach of the layers with smaller ones leaves gaps in it.

    Args:
        num_embeddings: K, codes in each codebook, at least 1.
        channels: C of every layer, at least 1.
        dilations: of the gated layers, each at least 1.
        num_codebooks: n, codes per position; None for a single one without an axis.
        num_classes: how many classes, at least 1; None for an unconditional distribution.
        rngs: `params` draws the initial values, as in `Prior`, `VerticalConv`, `HorizontalConv` and
            `Linear`; class biases from U(+-1 / sqrt(C)); other biases are 0.

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
        self.dilations = tuple(dilations)
        self.above = VerticalConv(channels, channels, 1, 3, bias="zeros", rngs=rngs)
        self.left = HorizontalConv(channels, channels, 1, bias="zeros", rngs=rngs)
        layers, biases = [], []
        for dilation in dilations:
            layers.append(self._layer(dilation, rngs))
            biases.append(self._biases(rngs))
        self.layers, self.biases = nnx.List(layers), nnx.List(biases)

    def step(
        self, cache: RasterCache, position: int | Int[Array, ""], previous: Int[Array, "b ..."]
    ) -> tuple[Float[Array, "b c"], RasterCache]:
        """See `Prior.step`."""
        x, classes = self.embed(previous), cache.condition
        return self._stack.step(cache, position, x, lambda row: self._conditions(classes))

    def _features(
        self, x: Float[Array, "b h w c"], classes: Int[Array, " b"], keys: Key[Array, " b"] | None
    ) -> Float[Array, "b h w c"]:
        return self._stack(x, self._conditions(classes))

    def _start(
        self, batch_size: int, shape: tuple[int, ...], classes: Int[Array, " b"]
    ) -> RasterCache:
        return self._stack.start(batch_size, shape[1], classes)

    @property
    def _stack(self) -> GatedStack:
        return GatedStack(self.above, self.left, self.layers)

    def _conditions(self, classes: Int[Array, " b"]) -> list[Condition]:
        """Returns each layer's class biases for both stacks."""
        rows = [lookup(biases[...], classes)[:, None, None] for biases in self.biases]
        return [(to_v, to_h) for to_v, to_h in (jnp.split(row, 2, axis=-1) for row in rows)]

    def _layer(self, dilation: int, rngs: nnx.Rngs) -> GatedLayer:
        c = self.channels
        return GatedLayer(
            VerticalConv(c, 2 * c, 2, 3, dilation=dilation, bias=None, rngs=rngs),
            HorizontalConv(c, 2 * c, 2, dilation=dilation, bias=None, rngs=rngs),
            Linear(2 * c, 2 * c, use_bias=False, rngs=rngs),
            Linear(c, c, rngs=rngs),
        )

    def _biases(self, rngs: nnx.Rngs) -> nnx.Param:
        shape = (self._class_rows, 4 * self.channels)
        draws = jax.random.uniform(rngs.params(), shape, minval=-1.0, maxval=1.0)
        return nnx.Param(draws * self.channels**-0.5)
