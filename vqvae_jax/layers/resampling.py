"""Layers that halve or double the sides of images."""

import functools

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from vqvae_jax.layers.conv import Conv
from vqvae_jax.meshes import split_by_batch


class Downsample(nnx.Module):
    """Conv 3x3 /2 with zeros at the bottom and the right alone, as the VQGAN has it.

    Args:
        features: channels, at least 1.
        rngs: `params` draws the initial values.
    """

    def __init__(self, features: int, *, rngs: nnx.Rngs):
        self.conv = Conv(features, features, 3, stride=2, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h_out w_out c"]:
        """Maps [B, H, W, C] to [B, H // 2, W // 2, C]."""
        return self.conv(jnp.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0))))


class AveragePool(nnx.Module):
    """Means of 2 x 2 pixels; a last row or column without a partner is dropped."""

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h_out w_out c"]:
        """Maps [B, H, W, C] to [B, H // 2, W // 2, C]."""
        batch, height, width, channels = x.shape
        rows, columns = height // 2, width // 2
        blocks = x[:, : 2 * rows, : 2 * columns].reshape(batch, rows, 2, columns, 2, channels)
        return jnp.mean(blocks, axis=(2, 4))


class Upsample(nnx.Module):
    """Repeats each pixel along both sides, then Conv 3x3.

    Args:
        features: channels, at least 1.
        rngs: `params` draws the initial values.
    """

    def __init__(self, features: int, *, rngs: nnx.Rngs):
        self.conv = Conv(features, features, 3, padding=1, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h_out w_out c"]:
        """Maps [B, H, W, C] to [B, 2 H, 2 W, C]."""
        return self.conv(repeated(x))


class SubpixelUpsample(nnx.Module):
    """Conv 3x3 to four times the channels, which become 2 x 2 pixels (arXiv:1609.05158).

    The channels are ordered by row, column, and the channel that they become.

    Args:
        features: channels, at least 1.
        rngs: `params` draws the initial values.
    """

    def __init__(self, features: int, *, rngs: nnx.Rngs):
        self.conv = Conv(features, 4 * features, 3, padding=1, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h_out w_out c"]:
        """Maps [B, H, W, C] to [B, 2 H, 2 W, C]."""
        batch, height, width, channels = x.shape
        pixels = self.conv(x).reshape(batch, height, width, 2, 2, channels)
        return pixels.swapaxes(2, 3).reshape(batch, 2 * height, 2 * width, channels)


def repeated(x: Float[Array, "b h w c"]) -> Float[Array, "b h_out w_out c"]:
    """Returns images with each pixel twice along both sides."""
    return split_by_batch(_repeated, x)


def _repeated(x: Array) -> Array:
    batch, height, width, channels = x.shape
    blocks = jnp.broadcast_to(x[:, :, None, :, None], (batch, height, 2, width, 2, channels))
    return blocks.reshape(batch, 2 * height, 2 * width, channels)


def resized(x: Float[Array, "b h w c"], height: int, width: int) -> Float[Array, "b h_out w_out c"]:
    """Returns images of another size, each pixel of which is the nearest one above and to its left.

    Row i is row floor(i H / height), computed in float32, as PyTorch's nearest interpolation is.

    Args:
        x: images [B, H, W, C].
        height: at least 1.
        width: likewise.
    """
    return split_by_batch(functools.partial(_resized, sides=(height, width)), x)


def _resized(x: Array, sides: tuple[int, int]) -> Array:
    for axis, size in enumerate(sides, start=1):
        before = x.shape[axis]
        if size % before == 0:
            x = jnp.repeat(x, size // before, axis)
        else:
            scale = np.float32(before) / np.float32(size)
            source = np.floor(np.arange(size, dtype=np.float32) * scale).astype(int)
            x = jnp.take(x, np.minimum(source, before - 1), axis)
    return x
