"""The residual encoder and decoder of the VQ-VAE paper, at any width, depth and downsampling."""

import itertools

from flax import nnx
from jaxtyping import Array, Float

from vqvae_jax.checks import check_flag, check_integer
from vqvae_jax.layers import Activation, Conv, ConvTranspose, ResidualBlock

_MOST = 32  # times that the shorter side is divided


class ResNetEncoder(nnx.Module):
    """Conv 4x4 /2 and ReLU, as often as the downsampling asks; residual blocks; Conv 1x1.

    As in van den Oord et al. 2017 (arXiv:1711.00937, section 4.1), with width 256, 2 blocks and
    downsampling 4. A ReLU follows each strided convolution but the last, and precedes Conv 1x1.

    Args:
        in_dim: channels of the images, at least 1.
        latent_dim: D, the size of a latent vector, at least 1.
        width: channels of all layers between, at least 1.
        num_blocks: residual blocks, at least 0.
        downsampling: pixels of a latent position along each side: 2, 4, 8, 16 or 32; or a pair of
            equal ones, which is what the attribute is.
        normalize: whether group normalization and swish take the place of each ReLU.
        rngs: `params` draws the initial values.

    Raises:
        ValueError: an argument out of its range.
    """

    spatial_rank = 2

    def __init__(
        self,
        in_dim: int,
        latent_dim: int,
        *,
        width: int = 256,
        num_blocks: int = 2,
        downsampling: int | tuple[int, int] = 4,
        normalize: bool = False,
        rngs: nnx.Rngs,
    ):
        halvings = _check(width, num_blocks, downsampling, normalize)
        self.in_dim, self.latent_dim = in_dim, latent_dim
        self.width, self.num_blocks, self.normalize = width, num_blocks, normalize
        self.downsampling = (2**halvings, 2**halvings)
        dims = [in_dim, *[width] * halvings]
        self.down = nnx.List(
            [
                Conv(before, after, 4, stride=2, padding=1, rngs=rngs)
                for before, after in itertools.pairwise(dims)
            ]
        )
        self.between = nnx.List([Activation(width, normalize) for _ in range(halvings)])
        self.blocks = _blocks(width, num_blocks, normalize, rngs)
        self.out = Conv(width, latent_dim, 1, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h_out w_out d"]:
        """Maps images [B, H, W, C] to latent vectors [B, H / f, W / f, D], f the downsampling."""
        *between, last = self.between
        first, *down = self.down
        x = first(x)
        for activation, conv in zip(between, down, strict=True):
            x = conv(activation(x))
        for block in self.blocks:
            x = block(x)
        return self.out(last(x))


class ResNetDecoder(nnx.Module):
    """Conv 3x3; residual blocks; ReLU and ConvTranspose 4x4 x2, as often as the downsampling asks.

    The counterpart of `ResNetEncoder`, with the same arguments.

    Args:
        out_dim: channels of the images, at least 1.
        latent_dim: D, the size of a latent vector, at least 1.
        width: channels of all layers between, at least 1.
        num_blocks: residual blocks, at least 0.
        downsampling: pixels of a latent position along each side: 2, 4, 8, 16 or 32; or a pair of
            equal ones, which is what the attribute is.
        normalize: whether group normalization and swish take the place of each ReLU.
        rngs: `params` draws the initial values.

    Raises:
        ValueError: an argument out of its range.
    """

    spatial_rank = 2

    def __init__(
        self,
        out_dim: int,
        latent_dim: int,
        *,
        width: int = 256,
        num_blocks: int = 2,
        downsampling: int | tuple[int, int] = 4,
        normalize: bool = False,
        rngs: nnx.Rngs,
    ):
        doublings = _check(width, num_blocks, downsampling, normalize)
        self.out_dim, self.latent_dim = out_dim, latent_dim
        self.width, self.num_blocks, self.normalize = width, num_blocks, normalize
        self.downsampling = (2**doublings, 2**doublings)
        self.first = Conv(latent_dim, width, 3, padding=1, rngs=rngs)
        self.blocks = _blocks(width, num_blocks, normalize, rngs)
        dims = [*[width] * doublings, out_dim]
        self.before = nnx.List([Activation(width, normalize) for _ in range(doublings)])
        self.up = nnx.List(
            [
                ConvTranspose(before, after, 4, stride=2, padding=1, rngs=rngs)
                for before, after in itertools.pairwise(dims)
            ]
        )

    def __call__(self, z: Float[Array, "b h w d"]) -> Float[Array, "b h_out w_out c"]:
        """Maps latent vectors [B, h, w, D] to images [B, f h, f w, C], not clipped."""
        x = self.first(z)
        for block in self.blocks:
            x = block(x)
        for activation, conv in zip(self.before, self.up, strict=True):
            x = conv(activation(x))
        return x


def _check(
    width: int, num_blocks: int, downsampling: int | tuple[int, int], normalize: bool
) -> int:
    """Checks the arguments, and returns how often the downsampling halves an image."""
    check_integer("width", width)
    check_integer("num_blocks", num_blocks, 0)
    check_flag("normalize", normalize)
    factors = [2**halvings for halvings in range(1, _MOST.bit_length())]
    sides = downsampling if isinstance(downsampling, tuple) else (downsampling, downsampling)
    if sides not in [(factor, factor) for factor in factors]:
        raise ValueError(
            f"downsampling is {downsampling!r}; it must be one of {', '.join(map(str, factors))}"
        )
    return int(sides[0]).bit_length() - 1


def _blocks(width: int, number: int, normalize: bool, rngs: nnx.Rngs) -> nnx.List[ResidualBlock]:
    return nnx.List([ResidualBlock(width, normalize=normalize, rngs=rngs) for _ in range(number)])
