"""Lyra's networks as they were released, with most of the inner layers in integers."""

from collections.abc import Sequence
from typing import Any

from flax import nnx

from vqvae_jax.layers import Chain, Residual
from vqvae_jax.layers.int8 import Int8ConvTranspose1d, Rounded, int8
from vqvae_jax.layers.ordered import ordered
from vqvae_jax.models.lyra import LyraDecoder, LyraEncoder


class Int8LyraEncoder(LyraEncoder):
    """`LyraEncoder` with weights and activations of 8 bits from within its last level on.

    The convolutions before that add in a fixed order, so that what is rounded is the same too.

    Args: as for `LyraEncoder`; the weights are those of a trained model.
    """

    def __init__(
        self,
        in_dim: int,
        latent_dim: int,
        *,
        width: int = 64,
        strides: Sequence[int] = (16, 5, 2, 2),
        rngs: nnx.Rngs,
    ):
        super().__init__(in_dim, latent_dim, width=width, strides=strides, rngs=rngs)
        layers: list[Any] = list(self.layers)
        *levels, level, last = layers
        block, *others = level.layers
        activation, depthwise, pointwise, *inner = block.body.layers
        real = [activation, ordered(depthwise), Rounded(ordered(pointwise))]
        block = Rounded(Residual(Chain([*real, *map(int8, inner)])))
        self.layers = nnx.List(
            [*map(ordered, levels), Chain([block, *map(int8, others)]), int8(last)]
        )


class Int8LyraDecoder(LyraDecoder):
    """`LyraDecoder` with weights and activations of 8 bits up to its second transposed convolution.

    The convolution before that adds in a fixed order.

    Args: as for `LyraDecoder`, but there are at least three strides; the weights are those of a
        trained model.
    """

    def __init__(
        self,
        out_dim: int,
        latent_dim: int,
        *,
        width: int = 64,
        strides: Sequence[int] = (16, 5, 2, 2),
        rngs: nnx.Rngs,
    ):
        super().__init__(out_dim, latent_dim, width=width, strides=strides, rngs=rngs)
        if len(self.strides) < 3:
            raise ValueError(f"strides is {strides!r}; there must be at least three")
        layers: list[Any] = list(self.layers)
        bottleneck, one, two, *levels = layers
        activation, up, block, *blocks = one.layers
        first, *inner = block.body.layers
        block = Rounded(Residual(Chain([Rounded(first), *map(int8, inner)])))
        level = [Rounded(activation), Int8ConvTranspose1d(up, 1), block, *map(int8, blocks)]
        activation, up, *rest = two.layers
        after = [int8(activation), Int8ConvTranspose1d(up, self.strides[-1]), *rest]
        self.layers = nnx.List([ordered(bottleneck), Chain(level), Chain(after), *levels])
