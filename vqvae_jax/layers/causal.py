"""Convolutions in raster order, whole and piece by piece: what a PixelCNN is made of.

A pixel may depend on the pixels of the rows above and on those to its left. Two stacks of layers
cover exactly these (van den Oord et al. 2016, "Conditional Image Generation with PixelCNN
Decoders", arXiv:1606.05328, section 2.2): a vertical one that sees the rows above, to both sides,
and a horizontal one that sees the pixels to the left and takes in the vertical one at its own
position. One stack alone would have a blind spot to the upper right.

Masked taps do not exist, rather than being multiplied by zero: a layer is a dense convolution of an
input with a frame of zeros above (`rows_above`) or to the left (`columns_left`). What a layer is
given with the frame on it may as well be a window of rows or pixels that were computed before:
the same call computes all of an image, one row or one pixel.
"""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from vqvae_jax.meshes import split_by_batch

# With fewer channels than this, windows' pixels lie in memory as planes, else as rows: what is
# moved together should be long.
_FEW = 8


def rows_above(
    x: Float[Array, "b h w c"], height: int, *, current: bool
) -> Float[Array, "b h_framed w c"]:
    """Frames x so that each row sees `height` rows down to itself, or to the one above it.

    Args:
        x: [B, H, W, C].
        height: rows that a row sees, at least 1.
        current: whether it sees itself.

    Returns:
        [B, H + height - 1, W, C]; rows i to i + height - 1 are what row i sees.
    """
    rows = (height - 1, 0) if current else (height, -1)
    return jax.lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), (*rows, 0), (0, 0, 0), (0, 0, 0)])


def columns_left(
    x: Float[Array, "b h w c"], length: int, *, current: bool
) -> Float[Array, "b h w_framed c"]:
    """`rows_above`, of columns: [B, H, W + length - 1, C]."""
    return rows_above(x.swapaxes(1, 2), length, current=current).swapaxes(1, 2)


def correlate(
    x: Float[Array, "b h w c"], kernel: Float[Array, "u v c d"]
) -> Float[Array, "b h_out w_out d"]:
    """Cross-correlation without padding, as a product of matrices.

        y[i, j] = sum over u, v of x[i + u, j + v] kernel[u, v]

    Args:
        x: [B, H, W, C], not smaller than the kernel.
        kernel: [U, V, C, D].

    Returns:
        [B, H - U + 1, W - V + 1, D].
    """
    return split_by_batch(_correlate, x, kernel)


def _correlate(
    x: Float[Array, "b h w c"], kernel: Float[Array, "u v c d"]
) -> Float[Array, "b h_out w_out d"]:
    (batch, *size, channels), (*window, _, features) = x.shape, kernel.shape
    height, width = (n - k + 1 for n, k in zip(size, window, strict=True))
    axis = 0 if channels < _FEW else 3

    def row(u: int) -> Array:
        taps = [x[:, u : u + height, v : v + width] for v in range(window[1])]
        return jnp.stack(taps, axis)

    # Stacks of stacks: XLA:CPU does not fuse a concatenation of more than eight.
    taps = jnp.stack([row(u) for u in range(window[0])], axis)
    count, matrix = math.prod(kernel.shape[:3]), kernel.reshape(-1, features)
    if channels < _FEW:
        planes = taps.transpose(0, 1, 5, 2, 3, 4).reshape(count, batch * height * width)
        y = jnp.dot(planes.T, matrix)
    else:
        y = jnp.dot(taps.reshape(batch * height * width, count), matrix)
    return y.reshape(batch, height, width, features)


class VerticalConv(nnx.Module):
    """A convolution with a bias over rows down to some row, as wide to the left as to the right.

    Initial values are U(+-1 / sqrt(C_in height width)).

    Args:
        in_features: C_in, at least 1.
        out_features: C_out, at least 1.
        height: rows that a pixel sees, at least 1.
        width: columns that it sees, odd.
        rngs: `params` draws the initial values.

    Raises:
        ValueError: an argument out of its range.
    """

    def __init__(
        self, in_features: int, out_features: int, height: int, width: int, *, rngs: nnx.Rngs
    ):
        if width % 2 == 0:
            raise ValueError(f"width is {width}; it must be odd")
        shape = (height, width, in_features, out_features)
        self.height, self.side = height, width // 2
        self.kernel, self.bias = _initial_values(shape, rngs)

    def __call__(self, framed: Float[Array, "b h_framed w c"]) -> Float[Array, "b h w d"]:
        """Maps framed rows [B, n + height - 1, W, C_in] to [B, n, W, C_out]."""
        sides = [(0, 0, 0), (0, 0, 0), (self.side, self.side, 0), (0, 0, 0)]
        x = jax.lax.pad(framed, jnp.zeros((), framed.dtype), sides)
        return correlate(x, self.kernel[...]) + self.bias[...][None, None, None, :]


class HorizontalConv(nnx.Module):
    """A convolution with a bias over pixels of one row up to some pixel.

    Initial values are U(+-1 / sqrt(C_in length)).

    Args:
        in_features: C_in, at least 1.
        out_features: C_out, at least 1.
        length: pixels that a pixel sees, at least 1.
        rngs: `params` draws the initial values.

    Raises:
        ValueError: an argument out of its range.
    """

    def __init__(self, in_features: int, out_features: int, length: int, *, rngs: nnx.Rngs):
        self.length = length
        self.kernel, self.bias = _initial_values((1, length, in_features, out_features), rngs)

    def __call__(self, framed: Float[Array, "b h w_framed c"]) -> Float[Array, "b h w d"]:
        """Maps framed columns [B, H, n + length - 1, C_in] to [B, H, n, C_out]."""
        return correlate(framed, self.kernel[...]) + self.bias[...][None, None, None, :]


class GatedLayer(nnx.Module):
    """A layer of both stacks of a gated PixelCNN (arXiv:1606.05328, equation 4 and figure 2).

        a_v = W_v * v + condition             v' = tanh(first half of a_v) sigma(second half)
        a_h = W_h * h + U a_v                 h' = h + O (tanh(first half of a_h) sigma(second))

    Args:
        features: D of both stacks, at least 1.
        size: odd, at least 3; a pixel sees (size + 1) / 2 rows and pixels up to itself, and in the
            rows (size - 1) / 2 pixels to both sides.
        rngs: `params` draws the initial values.

    Raises:
        ValueError: an argument out of its range.
    """

    def __init__(self, features: int, size: int = 3, *, rngs: nnx.Rngs):
        if size < 3 or size % 2 == 0:
            raise ValueError(f"size is {size}; it must be odd and at least 3")
        self.reach = (size + 1) // 2
        self.vertical = VerticalConv(features, 2 * features, self.reach, size, rngs=rngs)
        self.horizontal = HorizontalConv(features, 2 * features, self.reach, rngs=rngs)
        self.across = nnx.Linear(2 * features, 2 * features, use_bias=False, rngs=rngs)
        self.out = nnx.Linear(features, features, rngs=rngs)

    def __call__(
        self,
        v: Float[Array, "b h w d"],
        h: Float[Array, "b h w d"],
        condition: Float[Array, "b h w d2"],
    ) -> tuple[Float[Array, "b h w d"], Float[Array, "b h w d"]]:
        """The stacks' next values v' and h' [B, H, W, D] from v, h and a condition [B, H, W, 2 D].

        Row i of v may hold what is known of the rows above i, and so may v'; pixel j of h what is
        known of the pixels before j. Wherever a condition is known, it is known everywhere.
        """
        v_next, across = self.vertical_rows(rows_above(v, self.reach, current=True), condition)
        framed = columns_left(h, self.reach, current=True)
        return v_next, self.horizontal_pixels(framed, across)

    def vertical_rows(
        self, framed: Float[Array, "b h_framed w d"], condition: Float[Array, "b h w d2"]
    ) -> tuple[Float[Array, "b h w d"], Float[Array, "b h w d2"]]:
        """Some rows of the vertical stack: v', and U a_v for `horizontal_pixels`.

        Args:
            framed: v of these n rows and of the `reach - 1` above [B, n + reach - 1, W, D].
            condition: of these rows [B, n, W, 2 D].
        """
        a = self.vertical(framed) + condition
        return _gate(a), self.across(a)

    def horizontal_pixels(
        self, framed: Float[Array, "b h w_framed d"], across: Float[Array, "b h w d2"]
    ) -> Float[Array, "b h w d"]:
        """Some pixels of the horizontal stack: h' [B, H, n, D].

        Args:
            framed: h of these n pixels and of the `reach - 1` to the left
                [B, H, n + reach - 1, D].
            across: U a_v of these pixels [B, H, n, 2 D].
        """
        h = framed[:, :, self.reach - 1 :]
        return h + self.out(_gate(self.horizontal(framed) + across))


def _gate(a: Float[Array, "b h w d2"]) -> Float[Array, "b h w d"]:
    """Equation 2: tanh of the first half of the channels, times the sigmoid of the second."""
    filtered, gate = jnp.split(a, 2, axis=-1)
    return jnp.tanh(filtered) * jax.nn.sigmoid(gate)


def _initial_values(
    shape: tuple[int, int, int, int], rngs: nnx.Rngs
) -> tuple[nnx.Param, nnx.Param]:
    """Draws a kernel of `shape` and a bias from U(+-1 / sqrt(numbers that an output sees))."""
    if min(shape) < 1:
        raise ValueError(f"the kernel's shape is {shape}; all of it must be at least 1")
    bound = math.prod(shape[:3]) ** -0.5
    kernel = jax.random.uniform(rngs.params(), shape, minval=-bound, maxval=bound)
    bias = jax.random.uniform(rngs.params(), shape[-1:], minval=-bound, maxval=bound)
    return nnx.Param(kernel), nnx.Param(bias)
