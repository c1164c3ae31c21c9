"""The encoder and the decoder of MAGVIT-v2 for images."""

import itertools
from collections.abc import Sequence

from flax import nnx
from jaxtyping import Array, Float

from vqvae_jax.checks import check_integer
from vqvae_jax.layers import AdaptiveGroupNorm, Conv, GroupNorm, ResnetBlock, SubpixelUpsample
from vqvae_jax.models.vqgan import Level, check_channels


class MAGVIT2Encoder(nnx.Module):
    """The encoder of MAGVIT-v2 (Yu et al. 2023, arXiv:2310.05737, section 3.2) for images.

    As in Open-MAGVIT2 (Luo et al. 2024, arXiv:2409.04410): Conv 3x3; for each level ResnetBlocks,
    and Conv 3x3 /2 after all but the last; as many more blocks; group normalization, swish, Conv
    1x1. The first convolution and those of the blocks have no biases.

    Args:
        in_dim: channels of the images, at least 1.
        latent_dim: D, the size of a latent vector, at least 1.
        channels: those of each level, from the highest resolution; at least one, each at least 1.
            The images are downsampled by 2^(levels - 1).
        num_blocks: blocks of each level, at least 1.
        first_dim: channels after the first convolution, at least 1; None: those of the first level.
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
        channels: Sequence[int] = (128, 128, 256, 256, 512),
        num_blocks: int = 4,
        first_dim: int | None = None,
        rngs: nnx.Rngs,
    ):
        self.in_dim, self.latent_dim = in_dim, latent_dim
        self.num_blocks = check_integer("num_blocks", num_blocks)
        self.channels, self.first_dim = check_channels(channels), first_dim
        lowest = len(self.channels) - 1
        self.downsampling = (2**lowest,) * 2
        dims = (first_dim or self.channels[0], *self.channels)
        self.first = Conv(in_dim, dims[0], 3, padding=1, use_bias=False, rngs=rngs)
        self.levels = nnx.List(
            [
                Level(
                    _blocks(before, after, num_blocks, rngs),
                    resample=Conv(after, after, 3, stride=2, padding=1, rngs=rngs)
                    if index < lowest
                    else None,
                )
                for index, (before, after) in enumerate(itertools.pairwise(dims))
            ]
        )
        self.middle = Level(_blocks(dims[-1], dims[-1], num_blocks, rngs))
        self.norm = GroupNorm(dims[-1])
        self.last = Conv(dims[-1], latent_dim, 1, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h_out w_out d"]:
        """Maps images [B, H, W, C] to latent vectors [B, H / f, W / f, D], f the downsampling."""
        x = self.first(x)
        for level in self.levels:
            x = level(x)
        return self.last(nnx.swish(self.norm(self.middle(x))))


class MAGVIT2Decoder(nnx.Module):
    """The decoder of MAGVIT-v2 (Yu et al. 2023, arXiv:2310.05737, section 3.2) for images.

    As in Open-MAGVIT2 (Luo et al. 2024, arXiv:2409.04410): Conv 3x3; ResnetBlocks; for each level
    an `AdaptiveGroupNorm` given the latents, as many blocks, and a `SubpixelUpsample` after all but
    the last; group normalization, swish, Conv 3x3. The convolutions of the blocks have no biases.

    The latents' statistics are over a whole image, so that each pixel depends on all latents.

    Args:
        out_dim: channels of the images, at least 1.
        latent_dim: D, the size of a latent vector, at least 1.
        channels, num_blocks: as for `MAGVIT2Encoder`; channels count from the highest resolution,
            though the levels are computed from the lowest.
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
        channels: Sequence[int] = (128, 128, 256, 256, 512),
        num_blocks: int = 4,
        rngs: nnx.Rngs,
    ):
        self.out_dim, self.latent_dim = out_dim, latent_dim
        self.num_blocks = check_integer("num_blocks", num_blocks)
        self.channels = check_channels(channels)
        highest = len(self.channels) - 1
        self.downsampling = (2**highest,) * 2
        dims = (*self.channels, self.channels[-1])[::-1]
        self.first = Conv(latent_dim, dims[0], 3, padding=1, rngs=rngs)
        self.middle = Level(_blocks(dims[0], dims[0], num_blocks, rngs))
        self.adaptive = nnx.List(
            [AdaptiveGroupNorm(before, latent_dim, rngs=rngs) for before in dims[:-1]]
        )
        self.levels = nnx.List(
            [
                Level(
                    _blocks(before, after, num_blocks, rngs),
                    resample=SubpixelUpsample(after, rngs=rngs) if index < highest else None,
                )
                for index, (before, after) in enumerate(itertools.pairwise(dims))
            ]
        )
        self.norm = GroupNorm(dims[-1])
        self.last = Conv(dims[-1], out_dim, 3, padding=1, rngs=rngs)

    def __call__(self, z: Float[Array, "b h w d"]) -> Float[Array, "b h_out w_out c"]:
        """Maps latent vectors [B, h, w, D] to images [B, f h, f w, C], not clipped."""
        x = self.middle(self.first(z))
        for adaptive, level in zip(self.adaptive, self.levels, strict=True):
            x = level(adaptive(x, z))
        return self.last(nnx.swish(self.norm(x)))


def _blocks(before: int, after: int, number: int, rngs: nnx.Rngs) -> list[nnx.Module]:
    """Returns blocks without biases, the first of which changes the number of channels."""
    dims = [before, *[after] * number]
    return [
        ResnetBlock(one, two, use_bias=False, rngs=rngs) for one, two in itertools.pairwise(dims)
    ]
