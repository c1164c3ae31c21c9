"""The convolutional encoder and decoder of the Descript audio codec."""

import math
from collections.abc import Sequence

from flax import nnx

from vqvae_jax.checks import check_flag, check_integer
from vqvae_jax.layers import Chain, Conv1d, ConvTranspose1d, Layer, Padding, Residual, Snake, Tanh
from vqvae_jax.models.seanet import check_strides


class DACEncoder(Chain):
    """The encoder of DAC (Kumar et al. 2023, Improved RVQGAN, arXiv:2306.06546, appendix A).

    Conv 7; for each stride three residual units with dilations 1, 3 and 9, Snake and a strided Conv
    to twice the channels; Snake and Conv 3. Every window is centered: not causal.

    Args:
        in_dim: channels of the signals, at least 1.
        latent_dim: D, the size of a latent vector, at least 1.
        width: channels of the first layer, at least 1.
        strides: in the order of the encoder; their product is the downsampling.
        rngs: `params` draws the initial values.

    Raises:
        ValueError: an argument out of its range.
    """

    spatial_rank = 1

    def __init__(
        self,
        in_dim: int,
        latent_dim: int,
        *,
        width: int = 64,
        strides: Sequence[int] = (2, 4, 8, 8),
        rngs: nnx.Rngs,
    ):
        self.in_dim, self.latent_dim = in_dim, check_integer("latent_dim", latent_dim)
        self.width, self.strides = check_integer("width", width), check_strides(strides)
        self.downsampling = (math.prod(self.strides),)
        layers: list[Layer] = [conv(in_dim, width, 7, rngs=rngs)]
        for stride in self.strides:
            layers.append(down_block(width, stride, rngs=rngs))
            width *= 2
        layers += [Snake(width), conv(width, latent_dim, 3, rngs=rngs)]
        super().__init__(layers)


class DACDecoder(Chain):
    """The decoder of DAC: Conv 7; for each stride an up block; Snake, Conv 7, tanh.

    An up block is Snake, a transposed Conv to half of the channels, and three residual units.

    Args:
        out_dim: channels of the signals, at least 1.
        latent_dim: D, the size of a latent vector, at least 1.
        width: channels of the first layer, a multiple of 2^(number of strides).
        strides: those of the encoder, in its order.
        full_length: whether n latent vectors become n times the downsampling; else each odd stride
            leaves out the last position, as in the released models.
        rngs: `params` draws the initial values.

    Raises:
        ValueError: an argument out of its range.

    Attributes:
        shortfall: how many positions are left out in all, for each axis.
    """

    spatial_rank = 1

    def __init__(
        self,
        out_dim: int,
        latent_dim: int,
        *,
        width: int = 1536,
        strides: Sequence[int] = (2, 4, 8, 8),
        full_length: bool = True,
        rngs: nnx.Rngs,
    ):
        self.out_dim, self.latent_dim = out_dim, latent_dim
        self.strides, self.width = check_strides(strides), check_halvings(width, strides)
        self.full_length = check_flag("full_length", full_length)
        self.downsampling = (math.prod(self.strides),)
        layers: list[Layer] = [conv(latent_dim, width, 7, rngs=rngs)]
        missing = 0
        for stride in reversed(self.strides):
            left_out = 0 if full_length else stride % 2
            layers.append(up_block(width, stride, left_out=left_out, rngs=rngs))
            width, missing = width // 2, missing * stride + left_out
        self.shortfall = (missing,)
        layers += [Snake(width), conv(width, out_dim, 7, rngs=rngs), Tanh()]
        super().__init__(layers)


def conv(
    before: int, after: int, size: int, *, dilation: int = 1, groups: int = 1, rngs: nnx.Rngs
) -> Conv1d:
    """Returns a convolution with as many zeros at both ends as keep the length."""
    ends = (size - 1) * dilation // 2
    padding = Padding(ends, ends)
    return Conv1d(before, after, size, dilation=dilation, groups=groups, padding=padding, rngs=rngs)


def residual_units(features: int, groups: int, rngs: nnx.Rngs) -> list[Layer]:
    """Returns x + Conv 1(Snake(Conv 7(Snake(x)))), with dilations 1, 3 and 9."""
    return [
        Residual(
            Chain(
                [
                    Snake(features),
                    conv(features, features, 7, dilation=dilation, groups=groups, rngs=rngs),
                    Snake(features),
                    conv(features, features, 1, rngs=rngs),
                ]
            )
        )
        for dilation in (1, 3, 9)
    ]


def down_block(width: int, stride: int, *, groups: int = 1, rngs: nnx.Rngs) -> Chain:
    """Returns residual units, Snake, and a strided convolution to twice the channels."""
    ends = -(-stride // 2)
    down = Conv1d(
        width, 2 * width, 2 * stride, stride=stride, padding=Padding(ends, ends), rngs=rngs
    )
    return Chain([*residual_units(width, groups, rngs), Snake(width), down])


def up(width: int, stride: int, left_out: int, rngs: nnx.Rngs) -> ConvTranspose1d:
    """Returns a transposed convolution to half of the channels."""
    ends = -(-stride // 2)
    cut = (ends, stride - ends + left_out)
    return ConvTranspose1d(width, width // 2, 2 * stride, stride=stride, cut=cut, rngs=rngs)


def up_block(width: int, stride: int, *, left_out: int, rngs: nnx.Rngs) -> Chain:
    """Returns Snake, a transposed convolution to half of the channels, and residual units."""
    units = residual_units(width // 2, 1, rngs)
    return Chain([Snake(width), up(width, stride, left_out, rngs), *units])


def check_halvings(width: int, strides: Sequence[int]) -> int:
    """Returns the width of a decoder.

    Raises:
        ValueError: it cannot be halved for each stride.
    """
    if check_integer("width", width) % 2 ** len(strides):
        raise ValueError(f"width is {width}; it must be a multiple of {2 ** len(strides)}")
    return width
