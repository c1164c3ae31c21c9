"""Causal convolutions in raster order, whole or piece by piece: the parts of a PixelCNN.

Masked taps do not exist, rather than being multiplied by zero: a layer is a dense convolution of an
input with a frame of zeros above (`rows_above`) or to the left (`columns_left`). A layer's framed
input may also be a window of rows or pixels that were computed before: the same call computes a
whole image, one row or one pixel.
"""

import functools
import math
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from vqvae_jax.checks import check_integer
from vqvae_jax.layers.initial import uniform
from vqvae_jax.meshes import split_by_batch

# A bias's initial values: drawn as the kernel is, or 0; None for no bias.
Bias = Literal["uniform", "zeros"] | None

# With fewer channels than this, windows' pixels are laid out as planes, else as rows, so that
# contiguous runs are long.
_FEW = 8


def rows_above(
    x: Float[Array, "b h w c"], height: int, *, current: bool
) -> Float[Array, "b h_framed w c"]:
    """Frames x so that each row sees `height` rows down to itself, or to the one above it.

    Args:
        x: [B, H, W, C].
        height: how many rows a row sees, at least 1.
        current: whether it sees itself.

    Returns:
        [B, H + height - 1, W, C]; rows i to i + height - 1 are what row i sees.
    """
    return _framed(x, height, 1, current=current)


def columns_left(
    x: Float[Array, "b h w c"], length: int, *, current: bool
) -> Float[Array, "b h w_framed c"]:
    """Frames x as `rows_above` does, but columns: [B, H, W + length - 1, C]."""
    return _framed(x, length, 2, current=current)


def _framed(x: Array, length: int, axis: int, *, current: bool) -> Array:
    edges = [(0, 0, 0)] * x.ndim
    edges[axis] = (length - 1, 0, 0) if current else (length, -1, 0)
    return jax.lax.pad(x, jnp.zeros((), x.dtype), edges)


def correlate(
    x: Float[Array, "b h w c"], kernel: Float[Array, "u v c d"], dilation: int = 1
) -> Float[Array, "b h_out w_out d"]:
    """Computes cross-correlation without padding, as a matrix product.

        y[i, j] = sum over u, v of x[i + dilation u, j + dilation v] kernel[u, v]

    Args:
        x: [B, H, W, C], not smaller than the kernel with its gaps.
        kernel: [U, V, C, D].
        dilation: from one tap to the next, at least 1.

    Returns:
        [B, H - dilation (U - 1), W - dilation (V - 1), D].
    """
    return split_by_batch(functools.partial(_correlate, dilation), x, kernel)


def _correlate(
    dilation: int, x: Float[Array, "b h w c"], kernel: Float[Array, "u v c d"]
) -> Float[Array, "b h_out w_out d"]:
    (batch, *size, channels), (*window, _, features) = x.shape, kernel.shape
    height, width = (n - dilation * (k - 1) for n, k in zip(size, window, strict=True))
    axis = 0 if channels < _FEW else 3

    def row(u: int) -> Array:
        rows = slice(dilation * u, dilation * u + height)
        starts = [dilation * v for v in range(window[1])]
        return jnp.stack([x[:, rows, start : start + width] for start in starts], axis)

    # Stacks of stacks, since XLA:CPU does not fuse a concatenation of more than eight.
    taps = jnp.stack([row(u) for u in range(window[0])], axis)
    count, matrix = math.prod(kernel.shape[:3]), kernel.reshape(-1, features)
    if channels < _FEW:
        planes = taps.transpose(0, 1, 5, 2, 3, 4).reshape(count, batch * height * width)
        y = jnp.dot(planes.T, matrix)
    else:
        y = jnp.dot(taps.reshape(batch * height * width, count), matrix)
    return y.reshape(batch, height, width, features)


class VerticalConv(nnx.Module):
    """A convolution over rows down to some row, as wide to the left as to the right.

    Initial values are U(+-1 / sqrt(C_in height width)).

    Args:
        in_features: C_in, at least 1.
        out_features: C_out, at least 1.
        height: how many rows a pixel sees, at least 1.
        width: how many columns it sees, odd.
        dilation: from one row or column that it sees to the next, at least 1.
        bias: its initial values, "uniform" like the kernel's or "zeros"; None for no bias.
        rngs: `params` draws the initial values.

    Attributes:
        reach: rows from the first that a pixel sees to the last: dilation (height - 1) + 1.

    Raises:
        ValueError: an argument out of its range.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        height: int,
        width: int,
        *,
        dilation: int = 1,
        bias: Bias = "uniform",
        rngs: nnx.Rngs,
    ):
        if width % 2 == 0:
            raise ValueError(f"width is {width}; it must be odd")
        self.dilation = check_integer("dilation", dilation)
        self.reach = dilation * (height - 1) + 1
        shape = (height, width, in_features, out_features)
        self.kernel, self.bias = _initial_values(shape, bias, rngs)

    def __call__(self, framed: Float[Array, "b h_framed w c"]) -> Float[Array, "b h w d"]:
        """Maps framed rows [B, n + reach - 1, W, C_in] to [B, n, W, C_out]."""
        side = self.dilation * (self.kernel.shape[1] // 2)
        sides = [(0, 0, 0), (0, 0, 0), (side, side, 0), (0, 0, 0)]
        x = jax.lax.pad(framed, jnp.zeros((), framed.dtype), sides)
        return _add(correlate(x, self.kernel[...], self.dilation), self.bias)


class HorizontalConv(nnx.Module):
    """A convolution over pixels of one row up to some pixel.

    Initial values are U(+-1 / sqrt(C_in length)).

    Args:
        in_features: C_in, at least 1.
        out_features: C_out, at least 1.
        length: how many pixels a pixel sees, at least 1.
        dilation: from one pixel that it sees to the next, at least 1.
        bias: its initial values, "uniform" like the kernel's or "zeros"; None for no bias.
        rngs: `params` draws the initial values.

    Attributes:
        reach: pixels from the first that a pixel sees to the last: dilation (length - 1) + 1.

    Raises:
        ValueError: an argument out of its range.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        length: int,
        *,
        dilation: int = 1,
        bias: Bias = "uniform",
        rngs: nnx.Rngs,
    ):
        self.dilation = check_integer("dilation", dilation)
        self.reach = dilation * (length - 1) + 1
        self.kernel, self.bias = _initial_values((1, length, in_features, out_features), bias, rngs)

    def __call__(self, framed: Float[Array, "b h w_framed c"]) -> Float[Array, "b h w d"]:
        """Maps framed columns [B, H, n + reach - 1, C_in] to [B, H, n, C_out]."""
        return _add(correlate(framed, self.kernel[...], self.dilation), self.bias)


def _add(y: Float[Array, "b h w d"], bias: nnx.Param | None) -> Float[Array, "b h w d"]:
    return y if bias is None else y + bias[...][None, None, None, :]


def _initial_values(
    shape: tuple[int, int, int, int], bias: Bias, rngs: nnx.Rngs
) -> tuple[nnx.Param, nnx.Param | None]:
    """Draws a kernel of `shape` from U(+-1 / sqrt(fan_in)), and makes its bias."""
    if min(shape) < 1:
        raise ValueError(f"the kernel's shape is {shape}; all sizes must be at least 1")
    fan_in = math.prod(shape[:3])
    kernel = uniform(shape, fan_in, rngs=rngs)
    if bias == "uniform":
        return kernel, uniform(shape[-1:], fan_in, rngs=rngs)
    return kernel, None if bias is None else nnx.Param(jnp.zeros(shape[-1]))
