"""The convolutional encoder and decoder of Lyra 2, a small SoundStream."""

import math
from collections.abc import Sequence

from flax import nnx

from vqvae_jax.checks import check_integer
from vqvae_jax.layers import Chain, Conv1d, ConvTranspose1d, Layer, LeakyReLU, Residual, causal
from vqvae_jax.models.seanet import check_strides

SLOPE = 0.3  # of every activation, below 0


class LyraEncoder(Chain):
    """The encoder of Lyra 2, after SoundStream (Zeghidour et al. 2021, arXiv:2107.03312).

    A strided Conv of 4 strides; for each further stride three residual blocks with dilations 1, 3
    and 9, an activation and a strided Conv of 2 strides to twice the channels; an activation and
    Conv 3. Level i has width 2^i channels, in 2^i groups in its last two convolutions; the last one
    of all has those of the last level. All are causal: signals can be streamed.

    Args:
        in_dim: channels of the signals, at least 1.
        latent_dim: D, the size of a latent vector, a multiple of the groups of the last level.
        width: channels of the first level, and of each group, at least 1.
        strides: at least two, in the order of the encoder; their product is the downsampling.
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
        strides: Sequence[int] = (16, 5, 2, 2),
        rngs: nnx.Rngs,
    ):
        self.in_dim, self.latent_dim = in_dim, latent_dim
        self.width, self.strides = check_integer("width", width), _check_strides(strides)
        self.downsampling = (math.prod(self.strides),)
        first, *others = self.strides
        layers: list[Layer] = [conv(in_dim, width, 4 * first, stride=first, rngs=rngs)]
        groups = 1
        for stride in others:
            features = groups * width
            down = conv(features, 2 * features, 2 * stride, stride=stride, groups=groups, rngs=rngs)
            blocks = residual_blocks(features, groups, rngs)
            layers.append(Chain([*blocks, LeakyReLU(SLOPE), down]))
            groups *= 2
        last = conv(groups * width, latent_dim, 3, groups=groups // 2, rngs=rngs)
        super().__init__([*layers, Chain([LeakyReLU(SLOPE), last])])


class LyraDecoder(Chain):
    """The decoder of Lyra 2: the counterpart of `LyraEncoder`, with the same arguments.

    Conv 3; for each stride but the encoder's first, from the last on, an activation, a transposed
    Conv of 2 strides to half of the channels and three residual blocks; an activation and a
    transposed Conv of 4 strides.

    Args:
        out_dim: channels of the signals, at least 1.
        latent_dim: D, as for `LyraEncoder`.
        width: channels of the last level, and of each group, at least 1.
        strides: those of the encoder, in its order.
        rngs: `params` draws the initial values.

    Raises:
        ValueError: an argument out of its range.
    """

    spatial_rank = 1

    def __init__(
        self,
        out_dim: int,
        latent_dim: int,
        *,
        width: int = 64,
        strides: Sequence[int] = (16, 5, 2, 2),
        rngs: nnx.Rngs,
    ):
        self.out_dim, self.latent_dim = out_dim, latent_dim
        self.width, self.strides = check_integer("width", width), _check_strides(strides)
        self.downsampling = (math.prod(self.strides),)
        first, *others = self.strides
        groups = 2 ** (len(others) - 1)
        layers: list[Layer] = [conv(latent_dim, 2 * groups * width, 3, groups=groups, rngs=rngs)]
        for stride in reversed(others):
            features = groups * width
            up = transposed(2 * features, features, 2 * stride, stride, groups=groups, rngs=rngs)
            blocks = residual_blocks(features, groups, rngs)
            layers.append(Chain([LeakyReLU(SLOPE), up, *blocks]))
            groups //= 2
        last = transposed(width, out_dim, 4 * first, first, rngs=rngs)
        super().__init__([*layers, Chain([LeakyReLU(SLOPE), last])])


def residual_blocks(features: int, groups: int, rngs: nnx.Rngs) -> list[Residual]:
    """Returns x + B(a(P(D(a(x))))) with dilations 1, 3 and 9 of D.

    a is an activation, D a depthwise Conv 3 without a bias, P and B are Conv 1, B in groups.
    """
    blocks = []
    for dilation in (1, 3, 9):
        depthwise = Conv1d(
            features,
            features,
            3,
            dilation=dilation,
            groups=features,
            padding=causal(2 * dilation + 1),
            use_bias=False,
            rngs=rngs,
        )
        pointwise = conv(features, features, 1, rngs=rngs)
        grouped = conv(features, features, 1, groups=groups, rngs=rngs)
        body = [LeakyReLU(SLOPE), depthwise, pointwise, LeakyReLU(SLOPE), grouped]
        blocks.append(Residual(Chain(body)))
    return blocks


def conv(
    before: int, after: int, size: int, *, stride: int = 1, groups: int = 1, rngs: nnx.Rngs
) -> Conv1d:
    """Returns a causal convolution that maps T positions to ceil(T / stride)."""
    padding = causal(size, stride)
    return Conv1d(before, after, size, stride=stride, groups=groups, padding=padding, rngs=rngs)


def transposed(
    before: int, after: int, size: int, stride: int, *, groups: int = 1, rngs: nnx.Rngs
) -> ConvTranspose1d:
    """Returns a causal transposed convolution that maps T positions to stride T."""
    cut = (0, size - stride)
    return ConvTranspose1d(before, after, size, stride=stride, groups=groups, cut=cut, rngs=rngs)


def _check_strides(strides: Sequence[int]) -> tuple[int, ...]:
    checked = check_strides(strides)
    if len(checked) < 2:
        raise ValueError(f"strides is {strides!r}; there must be at least two")
    return checked
