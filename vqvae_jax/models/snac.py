"""SNAC: the networks of DAC with depthwise convolutions, noise and codes at several rates."""

import dataclasses
import math
from collections.abc import Sequence
from typing import cast

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from vqvae_jax.checks import check_flag, check_integer
from vqvae_jax.layers import Chain, Conv1d, Layer, LocalAttention, Snake, Tanh
from vqvae_jax.leaves import Leaf
from vqvae_jax.models.audio import AudioTokenizer
from vqvae_jax.models.dac import check_halvings, conv, down_block, residual_units, up
from vqvae_jax.models.seanet import check_strides
from vqvae_jax.precision import compute_in, wide
from vqvae_jax.quantizers import PooledQuantizer, ResidualVQ


class SNACEncoder(Chain):
    """The encoder of SNAC (Siuzdak et al. 2024, arXiv:2410.14411).

    `DACEncoder` with depthwise convolutions of 7 in the residual units; then perhaps attention
    inside windows, and a depthwise Conv 7.

    Args:
        in_dim: channels of the signals, at least 1.
        width: channels of the first layer, at least 1; each stride doubles them.
        strides: in the order of the encoder; their product is the downsampling.
        depthwise: whether those convolutions are depthwise.
        window_size: positions of a window of the attention; None: there is none.
        rngs: `params` draws the initial values.

    Raises:
        ValueError: an argument out of its range.

    Attributes:
        latent_dim: D, the channels after the last stride.
    """

    spatial_rank = 1

    def __init__(
        self,
        in_dim: int,
        *,
        width: int = 48,
        strides: Sequence[int] = (2, 4, 8, 8),
        depthwise: bool = True,
        window_size: int | None = None,
        rngs: nnx.Rngs,
    ):
        self.in_dim, self.width = in_dim, check_integer("width", width)
        self.strides, self.window_size = check_strides(strides), window_size
        self.depthwise = check_flag("depthwise", depthwise)
        self.downsampling = (math.prod(self.strides),)
        layers: list[Layer] = [conv(in_dim, width, 7, rngs=rngs)]
        for stride in self.strides:
            groups = width if depthwise else 1
            layers.append(down_block(width, stride, groups=groups, rngs=rngs))
            width *= 2
        self.latent_dim = width
        if window_size is not None:
            layers.append(LocalAttention(width, window_size, rngs=rngs))
        layers.append(conv(width, width, 7, groups=width if depthwise else 1, rngs=rngs))
        super().__init__(layers)


class Noise(Layer):
    """x + noise W x, the noise shared by the channels.

    Args:
        features: C, at least 1.
        rngs: `params` draws the initial values.
    """

    def __init__(self, features: int, *, rngs: nnx.Rngs):
        self.linear = Conv1d(features, features, 1, use_bias=False, rngs=rngs)

    def __call__(
        self, x: Float[Array, "b t c"], noise: Float[Array, "b t 1"] | None = None
    ) -> Float[Array, "b t c"]:
        """Maps [B, T, C] to the same shape; without noise, to its mean, x."""
        return x if noise is None else x + noise * self.linear(x)


class UpBlock(Chain):
    """`models.dac.up_block`, perhaps with noise after the transposed convolution.

    Args:
        width: channels of the input; the output has half as many.
        stride: of the transposed convolution.
        noise: whether there is noise.
        depthwise: whether convolutions of 7 are depthwise.
        rngs: `params` draws the initial values.
    """

    def __init__(self, width: int, stride: int, *, noise: bool, depthwise: bool, rngs: nnx.Rngs):
        half = width // 2
        noises = [Noise(half, rngs=rngs)] if noise else []
        units = residual_units(half, half if depthwise else 1, rngs)
        super().__init__([Snake(width), up(width, stride, 0, rngs), *noises, *units])

    def __call__(
        self, x: Float[Array, "b t c"], noise: Float[Array, "b t_out 1"] | None = None
    ) -> Float[Array, "b t_out d"]:
        """Maps [B, T, C] to [B, stride T, C / 2]."""
        for layer in self.layers:
            x = layer(x, noise) if isinstance(layer, Noise) else layer(x)
        return x


class SNACDecoder(Chain):
    """The decoder of SNAC: the counterpart of `SNACEncoder`.

    Args:
        out_dim: channels of the signals, at least 1.
        latent_dim: D, the size of a latent vector, at least 1.
        width: channels of the first layer, a multiple of 2^(number of strides).
        strides: those of the encoder, in its order.
        depthwise: as for `SNACEncoder`.
        window_size: likewise.
        noise: whether noise is added after each transposed convolution.
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
        width: int = 1024,
        strides: Sequence[int] = (2, 4, 8, 8),
        depthwise: bool = True,
        window_size: int | None = None,
        noise: bool = True,
        rngs: nnx.Rngs,
    ):
        self.out_dim, self.latent_dim = out_dim, latent_dim
        self.strides, self.width = check_strides(strides), check_halvings(width, strides)
        self.depthwise, self.window_size = check_flag("depthwise", depthwise), window_size
        self.noise = check_flag("noise", noise)
        self.downsampling = (math.prod(self.strides),)
        layers: list[Layer] = [conv(latent_dim, width, 7, rngs=rngs)]
        if depthwise:
            layers = [
                conv(latent_dim, latent_dim, 7, groups=latent_dim, rngs=rngs),
                conv(latent_dim, width, 1, rngs=rngs),
            ]
        if window_size is not None:
            layers.append(LocalAttention(width, window_size, rngs=rngs))
        for stride in reversed(self.strides):
            layers.append(UpBlock(width, stride, noise=noise, depthwise=depthwise, rngs=rngs))
            width //= 2
        layers += [Snake(width), conv(width, out_dim, 7, rngs=rngs), Tanh()]
        super().__init__(layers)

    def __call__(
        self, z: Float[Array, "b t d"], noises: Sequence[Float[Array, "b _ 1"]] | None = None
    ) -> Float[Array, "b t_out c"]:
        """Maps latent vectors [B, T, D] to signals.

        Args:
            z: [B, T, D].
            noises: what `draw_noises` returns; None: the means are taken.
        """
        left = iter(noises or ())
        for layer in self.layers:
            z = layer(z, next(left, None)) if isinstance(layer, UpBlock) else layer(z)
        return z

    def draw_noises(
        self, batch_size: int, num_latents: int, key: jax.Array
    ) -> tuple[Float[Array, "b _ 1"], ...]:
        """Draws the noise of each transposed convolution for [B, T, D], from N(0, 1)."""
        if not self.noise:
            return ()
        noises, length = [], num_latents
        for index, stride in enumerate(reversed(self.strides)):
            length *= stride
            own = jax.random.fold_in(key, index)
            noises.append(jax.random.normal(own, (batch_size, length, 1)))
        return tuple(noises)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class MultiRateCodes:
    """Codes at several rates, and the length of the signals.

    Attributes:
        levels: int32 [B, frames_i], the coarsest first.
        length: T, positions of the signals.
    """

    levels: tuple[Leaf, ...]
    length: int = dataclasses.field(metadata={"static": True})


class SNAC(AudioTokenizer):
    """The tokenizer of SNAC: `encode` returns `MultiRateCodes`, and `decode` takes them.

    Args:
        encoder: a `SNACEncoder`.
        quantizer: a `ResidualVQ` whose stages are each a `PooledQuantizer`.
        decoder: a `SNACDecoder`.
        likelihood, options: as for `AudioTokenizer`.
    """

    @property
    def code_strides(self) -> tuple[int, ...]:
        """Latent positions of a code of each level."""
        stages = cast(ResidualVQ, self.quantizer).quantizers
        return tuple(cast(PooledQuantizer, stage).stride for stage in stages)

    def encode(  # type: ignore[override]  # its codes are of another type
        self, x: Float[Array, "b t c"], mask: Bool[Array, "b t_latent"] | None = None
    ) -> MultiRateCodes:
        """Returns the codes of signals [B, T, C]."""
        codes = super().encode(x, mask)
        # Where a mask drops a part of a code's positions, these have -1.
        levels = (
            jnp.max(codes[..., level].reshape(len(codes), -1, by), axis=-1)
            for level, by in enumerate(self.code_strides)
        )
        return MultiRateCodes(tuple(levels), x.shape[1])

    def decode(  # type: ignore[override]
        self,
        codes: MultiRateCodes,
        *,
        noises: Sequence[Float[Array, "b _ 1"]] | None = None,
        key: jax.Array | None = None,
    ) -> Float[Array, "b t c"]:
        """Returns the signals [B, T, C] of codes.

        Args:
            codes: of all levels, or of the first ones.
            noises: see `SNACDecoder`.
            key: draws the noises, if there are none; None: their means are taken.
        """
        spread: list[Int[Array, "b t_latent"]] = [
            jnp.repeat(level, by, axis=1)
            for level, by in zip(codes.levels, self.code_strides, strict=False)
        ]
        z = self.quantizer.lookup(jnp.stack(spread, axis=-1))
        if noises is None and key is not None:
            noises = cast(SNACDecoder, self.decoder).draw_noises(len(z), z.shape[1], key)
        decoded = wide(compute_in(self.dtype, self.decoder, z, noises))
        return self.likelihood.decode(decoded, key)[:, : codes.length]
