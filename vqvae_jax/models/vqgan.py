"""The encoder and the decoder of the VQGAN, which most image tokenizers share."""

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from flax import nnx
from jaxtyping import Array, Float

from vqvae_jax.checks import check_flag, check_integer
from vqvae_jax.layers import Conv, Downsample, GroupNorm, ResnetBlock, SelfAttention, Upsample
from vqvae_jax.layers.resnet import Norm


class Level(nnx.Module):
    """The layers of one resolution: blocks, attention after each of them, a change of resolution.

    Args:
        blocks: map [B, H, W, C] to [B, H, W, C'].
        attention: as many, or none.
        resample: halves or doubles the sides; None: they stay.
        remat: whether the blocks' intermediate results are recomputed for the gradient, not kept.
    """

    def __init__(
        self,
        blocks: Iterable[nnx.Module],
        attention: Iterable[nnx.Module] = (),
        resample: nnx.Module | None = None,
        *,
        remat: bool = False,
    ):
        self.blocks, self.attention = nnx.List(list(blocks)), nnx.List(list(attention))
        self.resample, self.remat = resample, remat

    def __call__(self, x: Float[Array, "b h w c"], *given: Any) -> Float[Array, "b h_out w_out d"]:
        """Applies them in turn; what else is given conditions the norms."""
        call = nnx.remat(_call) if self.remat else _call
        for block, attention in itertools.zip_longest(self.blocks, self.attention):
            x = call(block, x, *given)
            if attention is not None:
                x = call(attention, x, *given)
        return x if self.resample is None else self.resample(x)


def _call(layer: Any, x: Array, *given: Any) -> Array:
    return layer(x, *given)


class Middle(nnx.Module):
    """Two ResnetBlocks, and perhaps a `SelfAttention` between them.

    Args:
        features: channels, at least 1.
        attention: whether there is one.
        norm: makes the normalizations.
        remat: as for `Level`.
        rngs: `params` draws the initial values.
    """

    def __init__(
        self,
        features: int,
        *,
        attention: bool = True,
        norm: Norm = GroupNorm,
        remat: bool = False,
        rngs: nnx.Rngs,
    ):
        self.blocks = nnx.List(
            [ResnetBlock(features, features, norm=norm, rngs=rngs) for _ in range(2)]
        )
        self.attention = SelfAttention(features, norm=norm, rngs=rngs) if attention else None
        self.remat = remat

    def __call__(self, x: Float[Array, "b h w c"], *given: Any) -> Float[Array, "b h w c"]:
        """Maps [B, H, W, C] to the same shape."""
        call = nnx.remat(_call) if self.remat else _call
        first, second = self.blocks
        x = call(first, x, *given)
        if self.attention is not None:
            x = call(self.attention, x, *given)
        return call(second, x, *given)


class VQGANEncoder(nnx.Module):
    """The encoder of the VQGAN (Esser et al. 2020, arXiv:2012.09841, table 7).

    Conv 3x3; for each level ResnetBlocks, and half the resolution after all but the last; two
    more around a `SelfAttention`; group normalization, swish, Conv 3x3; Conv 1x1.

    Args:
        in_dim: channels of the images, at least 1.
        latent_dim: D, the size of a latent vector, at least 1.
        channels: those of each level, from the highest resolution; at least one, each at least 1.
            The images are downsampled by 2^(levels - 1).
        num_blocks: blocks of each level, at least 1.
        attention_levels: the levels, from 0, whose blocks are each followed by a `SelfAttention`.
        middle_attention: whether there is the one in the middle.
        first_dim: channels after the first convolution, at least 1; None: those of the first level.
        z_dim: channels before Conv 1x1, at least 1; None: D.
        most_groups: see `GroupNorm`.
        remat: whether the blocks' intermediate results are recomputed for the gradient, not kept:
            less memory for a third more time.
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
        attention_levels: Sequence[int] = (),
        middle_attention: bool = True,
        first_dim: int | None = None,
        z_dim: int | None = None,
        most_groups: int = 32,
        remat: bool = False,
        rngs: nnx.Rngs,
    ):
        self.in_dim, self.latent_dim = in_dim, latent_dim
        self.z_dim, self.most_groups = z_dim, most_groups
        self.num_blocks = check_integer("num_blocks", num_blocks)
        self.middle_attention = check_flag("middle_attention", middle_attention)
        self.remat = check_flag("remat", remat)
        self.channels = check_channels(channels)
        highest = len(self.channels) - 1
        self.attention_levels = check_levels(attention_levels, highest)
        self.downsampling: tuple[int, ...] = (2**highest,) * 2
        self.first_dim = first_dim
        norm = norm_of(most_groups)
        dims = (first_dim or self.channels[0], *self.channels)
        self.first = Conv(in_dim, dims[0], 3, padding=1, rngs=rngs)
        self.levels = nnx.List(
            [
                level(
                    before,
                    after,
                    num_blocks,
                    attention=index in self.attention_levels,
                    resample=Downsample if index < highest else None,
                    norm=norm,
                    remat=remat,
                    rngs=rngs,
                )
                for index, (before, after) in enumerate(itertools.pairwise(dims))
            ]
        )
        self.middle = Middle(
            dims[-1], attention=middle_attention, norm=norm, remat=remat, rngs=rngs
        )
        self.norm = norm(dims[-1])
        self.last = Conv(dims[-1], z_dim or latent_dim, 3, padding=1, rngs=rngs)
        self.project: Callable[[Array], Array] = Conv(z_dim or latent_dim, latent_dim, 1, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h_out w_out d"]:
        """Maps images [B, H, W, C] to latent vectors [B, H / f, W / f, D], f the downsampling."""
        return self.project(self._encoded(x))

    def _encoded(self, x: Array) -> Array:
        """Encodes images, without the last layer."""
        x = self.first(x)
        for level in self.levels:
            x = level(x)
        return self.last(nnx.swish(self.norm(self.middle(x))))


class VQGANDecoder(nnx.Module):
    """The decoder of the VQGAN (Esser et al. 2020, arXiv:2012.09841, table 7).

    Conv 1x1; Conv 3x3; two ResnetBlocks around a `SelfAttention`; for each level one block more
    than the encoder has, and twice the resolution after all but the last; group normalization,
    swish, Conv 3x3. The arguments are those of `VQGANEncoder`: channels and attention_levels count
    from the highest resolution, though the levels are computed from the lowest.

    Args:
        out_dim: channels of the images, at least 1.
        latent_dim: D, the size of a latent vector, at least 1.
        channels, num_blocks, attention_levels, middle_attention, z_dim, most_groups, remat: as for
            `VQGANEncoder`.
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
        attention_levels: Sequence[int] = (),
        middle_attention: bool = True,
        z_dim: int | None = None,
        most_groups: int = 32,
        remat: bool = False,
        rngs: nnx.Rngs,
    ):
        self.out_dim, self.latent_dim = out_dim, latent_dim
        self.z_dim, self.most_groups = z_dim, most_groups
        self.num_blocks = check_integer("num_blocks", num_blocks)
        self.middle_attention = check_flag("middle_attention", middle_attention)
        self.remat = check_flag("remat", remat)
        self.channels = check_channels(channels)
        highest = len(self.channels) - 1
        self.attention_levels = check_levels(attention_levels, highest)
        self.downsampling: tuple[int, ...] = (2**highest,) * 2
        norm = self._norm(rngs)
        dims = (*self.channels, self.channels[-1])[::-1]
        self.project: Callable[[Array], Array] = Conv(latent_dim, z_dim or latent_dim, 1, rngs=rngs)
        self.first = Conv(z_dim or latent_dim, dims[0], 3, padding=1, rngs=rngs)
        self.middle = Middle(dims[0], attention=middle_attention, norm=norm, remat=remat, rngs=rngs)
        self.levels = nnx.List(
            [
                level(
                    before,
                    after,
                    num_blocks + 1,
                    attention=highest - index in self.attention_levels,
                    resample=Upsample if index < highest else None,
                    norm=norm,
                    remat=remat,
                    rngs=rngs,
                )
                for index, (before, after) in enumerate(itertools.pairwise(dims))
            ]
        )
        self.norm = norm(dims[-1])
        self.last = Conv(dims[-1], out_dim, 3, padding=1, rngs=rngs)

    def __call__(self, z: Float[Array, "b h w d"]) -> Float[Array, "b h_out w_out c"]:
        """Maps latent vectors [B, h, w, D] to images [B, f h, f w, C], not clipped."""
        return self._decoded(self.project(z))

    def _norm(self, rngs: nnx.Rngs) -> Norm:
        """Returns what makes the normalizations."""
        return norm_of(self.most_groups)

    def _decoded(self, x: Array, *given: Any) -> Array:
        """Decodes what the first layer made; what else is given conditions the norms."""
        x = self.middle(self.first(x), *given)
        for level in self.levels:
            x = level(x, *given)
        return self.last(nnx.swish(self.norm(x, *given)))


def level(
    before: int,
    after: int,
    num_blocks: int,
    *,
    attention: bool,
    resample: Callable[..., nnx.Module] | None,
    norm: Norm,
    remat: bool,
    rngs: nnx.Rngs,
) -> Level:
    """Returns a level of ResnetBlocks, the first of which changes the number of channels."""
    dims = [before, *[after] * num_blocks]
    return Level(
        [ResnetBlock(one, two, norm=norm, rngs=rngs) for one, two in itertools.pairwise(dims)],
        [SelfAttention(after, norm=norm, rngs=rngs) for _ in range(num_blocks if attention else 0)],
        None if resample is None else resample(after, rngs=rngs),
        remat=remat,
    )


def norm_of(most_groups: int) -> Norm:
    """Returns what makes a `GroupNorm` of at most so many groups."""
    return lambda features: GroupNorm(features, most_groups)


def check_channels(channels: Sequence[int]) -> tuple[int, ...]:
    """Returns the channels of the levels.

    Raises:
        ValueError: they are not one or more integers of at least 1.
    """
    if not isinstance(channels, list | tuple) or not channels:
        raise ValueError(f"channels is {channels!r}; it must be a list of integers, one per level")
    return tuple(check_integer("channels", number) for number in channels)


def check_levels(levels: Sequence[int], highest: int) -> tuple[int, ...]:
    """Returns the levels with attention.

    Raises:
        ValueError: they are not integers from 0 to the highest level.
    """
    known = range(highest + 1)
    if not isinstance(levels, list | tuple) or not all(index in known for index in levels):
        raise ValueError(
            f"attention_levels is {levels!r}; it must be a list of integers from 0 to {highest}"
        )
    return tuple(levels)
