"""Emu3's tokenizer of images and videos: a VQGAN of frames, and convolutions over time."""

from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from vqvae_jax.checks import check_integer
from vqvae_jax.layers import CausalConv3d, FrozenBatchNorm
from vqvae_jax.models.movq import MoVQDecoder
from vqvae_jax.models.tokenizer import Tokenizer, check_data
from vqvae_jax.models.vqgan import VQGANEncoder


class TimeBlock(nnx.Module):
    """x + Conv 3x3x3(swish(norm(Conv 3x3x3(swish(norm(x)))))), causal, with `FrozenBatchNorm`.

    Args:
        features: channels, at least 1.
        rngs: `params` draws the initial values.
    """

    def __init__(self, features: int, *, rngs: nnx.Rngs):
        self.norm1, self.norm2 = FrozenBatchNorm(features), FrozenBatchNorm(features)
        self.conv1, self.conv2 = (
            CausalConv3d(features, features, (3, 3, 3), rngs=rngs) for _ in range(2)
        )

    def __call__(self, x: Float[Array, "b t h w c"]) -> Float[Array, "b t h w c"]:
        """Maps [B, T, H, W, C] to the same shape."""
        change = self.conv1(nnx.swish(self.norm1(x)))
        return x + self.conv2(nnx.swish(self.norm2(change)))


class Emu3Encoder(VQGANEncoder):
    """The encoder of Emu3's tokenizer (Wang et al. 2024, arXiv:2409.18869, section 2.2).

    The VQGAN's, of each frame; for each halving of the frames Conv 4x3x3 and swish; num_blocks
    TimeBlocks; Conv 3x1x1. All convolutions over time are causal.

    Args:
        in_dim: channels of the videos, at least 1.
        latent_dim: D, the size of a latent vector, at least 1.
        time_downsampling: frames for each latent position, a power of 2.
        rngs, options: as for `VQGANEncoder`.

    Raises:
        ValueError: an argument out of its range.
    """

    spatial_rank = 3

    def __init__(
        self,
        in_dim: int,
        latent_dim: int,
        *,
        time_downsampling: int = 4,
        rngs: nnx.Rngs,
        **options: Any,
    ):
        super().__init__(in_dim, latent_dim, rngs=rngs, **options)
        self.time_downsampling = time_downsampling
        self.downsampling = (time_downsampling, *self.downsampling)
        dim = self.z_dim or latent_dim
        self.time_convs = nnx.List(
            [
                CausalConv3d(dim, dim, (4, 3, 3), stride=(2, 1, 1), rngs=rngs)
                for _ in range(halvings(time_downsampling))
            ]
        )
        self.time_blocks = nnx.List([TimeBlock(dim, rngs=rngs) for _ in range(self.num_blocks)])
        self.project = CausalConv3d(dim, latent_dim, (3, 1, 1), rngs=rngs)

    def __call__(self, x: Float[Array, "b t h w c"]) -> Float[Array, "b t_out h_out w_out d"]:
        """Maps videos [B, T, H, W, C] to latent vectors [B, T / f_t, H / f, W / f, D]."""
        frames = self._encoded(x.reshape(-1, *x.shape[2:]))
        z = frames.reshape(*x.shape[:2], *frames.shape[1:])
        for conv in self.time_convs:
            z = nnx.swish(conv(z))
        for block in self.time_blocks:
            z = block(z)
        return self.project(z)


class Emu3Decoder(MoVQDecoder):
    """The decoder of Emu3's tokenizer (Wang et al. 2024, arXiv:2409.18869, section 2.2).

    Conv 3x1x1; num_blocks TimeBlocks; for each doubling of the frames Conv 3x3x3 of repeated
    ones, and swish; MoVQ's of each frame. What conditions a frame's norms is what the same layers
    over time make of the codes without Conv 3x1x1. The arguments are those of `Emu3Encoder`, with
    z_dim that of the codes.

    Args:
        out_dim: channels of the videos, at least 1.
        latent_dim: D, the size of a latent vector, at least 1.
        time_downsampling: frames for each latent position, a power of 2.
        rngs, options: as for `VQGANDecoder`.

    Raises:
        ValueError: an argument out of its range.
    """

    spatial_rank = 3

    def __init__(
        self,
        out_dim: int,
        latent_dim: int,
        *,
        time_downsampling: int = 4,
        rngs: nnx.Rngs,
        **options: Any,
    ):
        super().__init__(out_dim, latent_dim, rngs=rngs, **options)
        if self.z_dim not in (None, latent_dim):
            raise ValueError(
                f"z_dim is {self.z_dim}; it must be latent_dim = {latent_dim}, since the codes "
                "pass through the same layers"
            )
        self.time_downsampling = time_downsampling
        self.downsampling = (time_downsampling, *self.downsampling)
        self.project = CausalConv3d(latent_dim, latent_dim, (3, 1, 1), rngs=rngs)
        self.time_blocks = nnx.List(
            [TimeBlock(latent_dim, rngs=rngs) for _ in range(self.num_blocks)]
        )
        self.time_convs = nnx.List(
            [
                CausalConv3d(latent_dim, latent_dim, (3, 3, 3), rngs=rngs)
                for _ in range(halvings(time_downsampling))
            ]
        )

    def __call__(self, z: Float[Array, "b t h w d"]) -> Float[Array, "b t_out h_out w_out c"]:
        """Maps quantized latents [B, t, h, w, D] to videos [B, f_t t, f h, f w, C], not clipped."""
        frames, given = self._in_time(self.project(z)), self._in_time(z)
        images = self._decoded(*(x.reshape(-1, *x.shape[2:]) for x in (frames, given)))
        return images.reshape(*frames.shape[:2], *images.shape[1:])

    def _in_time(self, z: Array) -> Array:
        for block in self.time_blocks:
            z = block(z)
        for conv in self.time_convs:
            z = nnx.swish(conv(jnp.repeat(z, 2, axis=1)))
        return z


class Emu3Tokenizer(Tokenizer):
    """A `Tokenizer` of videos that takes images too.

    An image [B, H, W, C] is the first frame of a video that repeats it: its latents, values and
    codes have no axis of time, nor has what they are decoded to. The arguments are those of
    `Tokenizer`; encoder and decoder are of videos, as `Emu3Encoder` and `Emu3Decoder` are.
    """

    def latents(self, x: Float[Array, "b *spatial c"]) -> Float[Array, "b *latent_spatial d"]:
        """Returns the encoder's output for videos [B, T, H, W, C] or images [B, H, W, C].

        Raises:
            ValueError: x has the wrong shape or type.
        """
        if x.ndim != 4:
            return super().latents(x)
        check_data(x, self.downsampling[1:], self.likelihood.out_dim)
        return super().latents(self._video(x))[:, 0]

    def decoded(self, values: Float[Array, "b *latent_spatial d"]) -> Float[Array, "b *spatial f"]:
        """Returns the decoder's output for values [B, t, h, w, D], or [B, h, w, D] of images."""
        if values.ndim == 4:
            return super().decoded(values[:, None])[:, 0]
        return super().decoded(values)

    def reconstruction_loss(
        self,
        reconstruction: Float[Array, "b *spatial f"],
        x: Float[Array, "b *spatial c"],
        mask: Bool[Array, " b *latent_spatial"] | None = None,
    ) -> Float[Array, ""]:
        """Returns the reconstruction_loss of a `TokenizerOutput`; see `Tokenizer`."""
        if x.ndim == 4:
            reconstruction, x = self._video(reconstruction), self._video(x)
            mask = None if mask is None else mask[:, None]
        return super().reconstruction_loss(reconstruction, x, mask)

    def _video(self, images: Array) -> Array:
        """Repeats images [B, H, W, C] in time, to what becomes one latent frame."""
        return jnp.repeat(images[:, None], self.downsampling[0], axis=1)


def halvings(time_downsampling: int) -> int:
    """Returns log2(time_downsampling).

    Raises:
        ValueError: it is no power of 2.
    """
    if check_integer("time_downsampling", time_downsampling).bit_count() != 1:
        raise ValueError(f"time_downsampling is {time_downsampling}; it must be a power of 2")
    return time_downsampling.bit_length() - 1
