"""The encoder and the decoder of the VQGAN of MaskGIT."""

import itertools
from collections.abc import Sequence
from typing import Any

from flax import nnx
from jaxtyping import Array, Float

from vqvae_jax.checks import check_flag, check_integer
from vqvae_jax.layers import AveragePool, Conv, GroupNorm, ResnetBlock, Upsample
from vqvae_jax.models.vqgan import Level, check_channels


class MaskGITBlock(ResnetBlock):
    """A `ResnetBlock` without biases, whose shortcut's Conv 1x1 is applied to the block's result.

        y = Conv 3x3(swish(norm(Conv 3x3(swish(norm(x)))))),    y + Conv 1x1(y)

    So where the number of channels changes; elsewhere the result is x + y.

    Args:
        in_features: channels of x, at least 1.
        out_features: channels of the result, at least 1.
        rngs: `params` draws the initial values.
    """

    def __init__(self, in_features: int, out_features: int, *, rngs: nnx.Rngs):
        super().__init__(in_features, out_features, use_bias=False, rngs=rngs)
        if self.shortcut is not None:
            self.shortcut = Conv(out_features, out_features, 1, use_bias=False, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w c"], *given: Any) -> Float[Array, "b h w c_out"]:
        """Maps [B, H, W, C] to [B, H, W, C_out]; what else is given conditions the norms."""
        change = self.changed(x, *given)
        return change + (x if self.shortcut is None else self.shortcut(change))


class MaskGITEncoder(nnx.Module):
    """The encoder of MaskGIT's VQGAN (Chang et al. 2022, arXiv:2202.04200).

    Conv 3x3; for each level MaskGITBlocks, and half the resolution after all but the last; as
    many more blocks; group normalization, swish, Conv 1x1. The first convolution has no bias.

    Args:
        in_dim: channels of the images, at least 1.
        latent_dim: D, the size of a latent vector, at least 1.
        channels: those of each level, from the highest resolution; at least one, each at least 1.
            The images are downsampled by 2^(levels - 1).
        num_blocks: blocks of each level, at least 1.
        first_dim: channels after the first convolution, at least 1; None: those of the first level.
        conv_downsample: whether Conv 4x4 /2 halves the resolution, and not `AveragePool`.
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
        num_blocks: int = 2,
        first_dim: int | None = None,
        conv_downsample: bool = False,
        rngs: nnx.Rngs,
    ):
        self.in_dim, self.latent_dim = in_dim, latent_dim
        self.num_blocks = check_integer("num_blocks", num_blocks)
        self.channels, self.first_dim = check_channels(channels), first_dim
        self.conv_downsample = check_flag("conv_downsample", conv_downsample)
        lowest = len(self.channels) - 1
        self.downsampling = (2**lowest,) * 2

        def halving(features: int) -> nnx.Module:
            if not conv_downsample:
                return AveragePool()
            return Conv(features, features, 4, stride=2, padding=1, rngs=rngs)

        dims = (first_dim or self.channels[0], *self.channels)
        self.first = Conv(in_dim, dims[0], 3, padding=1, use_bias=False, rngs=rngs)
        self.levels = nnx.List(
            [
                Level(
                    _blocks(before, after, num_blocks, rngs),
                    resample=halving(after) if index < lowest else None,
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


class MaskGITDecoder(nnx.Module):
    """The decoder of MaskGIT's VQGAN (Chang et al. 2022, arXiv:2202.04200).

    Conv 3x3; MaskGITBlocks; for each level as many more, and twice the resolution after all but
    the last; group normalization, swish, Conv 3x3.

    Args:
        out_dim: channels of the images, at least 1.
        latent_dim: D, the size of a latent vector, at least 1.
        channels, num_blocks: as for `MaskGITEncoder`; channels count from the highest resolution,
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
        num_blocks: int = 2,
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
        self.levels = nnx.List(
            [
                Level(
                    _blocks(before, after, num_blocks, rngs),
                    resample=Upsample(after, rngs=rngs) if index < highest else None,
                )
                for index, (before, after) in enumerate(itertools.pairwise(dims))
            ]
        )
        self.norm = GroupNorm(dims[-1])
        self.last = Conv(dims[-1], out_dim, 3, padding=1, rngs=rngs)

    def __call__(self, z: Float[Array, "b h w d"]) -> Float[Array, "b h_out w_out c"]:
        """Maps latent vectors [B, h, w, D] to images [B, f h, f w, C], not clipped."""
        x = self.middle(self.first(z))
        for level in self.levels:
            x = level(x)
        return self.last(nnx.swish(self.norm(x)))


def _blocks(before: int, after: int, number: int, rngs: nnx.Rngs) -> list[nnx.Module]:
    """Returns blocks, the first of which changes the number of channels."""
    dims = [before, *[after] * number]
    return [MaskGITBlock(one, two, rngs=rngs) for one, two in itertools.pairwise(dims)]
