"""Winograd convolution, F(2x2, 3x3) and F(2x2, 2x2): the form for wide layers on CPUs.

Two neighboring outputs of a filter of r taps g, over inputs d, need r + 1 products of a sum of
inputs and a sum of taps in place of 2 r (Lavin and Gray 2016, arXiv:1509.09308, section 4.1):

    r = 3:  m_0 = (d_0 - d_2) g_0                    y_0 = m_0 + m_1 + m_2
            m_1 = (d_1 + d_2) (g_0 + g_1 + g_2) / 2  y_1 = m_1 - m_2 - m_3
            m_2 = (d_2 - d_1) (g_0 - g_1 + g_2) / 2
            m_3 = (d_1 - d_3) g_2
    r = 2:  m_0 = (d_0 - d_1) g_0                    y_0 = m_0 + m_1
            m_1 = d_1 (g_0 + g_1)                    y_1 = m_1 - m_2
            m_2 = (d_1 - d_2) g_1

Over both axes of an image, a tile of 2 x 2 outputs needs (r + 1)^2 multiplications in place of
4 r^2: 4/9 of them for r = 3, 9/16 for r = 2. So there is an input transform, a filter transform,
(r + 1)^2 products of matrices, [B h/2 w/2, C] by [C, D], and an output transform. They move less
memory than the patches of products.py. An infinite input gives NaN in its tiles.

With stride s and a kernel of k = r s pixels, the s x s phases of an image are channels of their
own, over which the filter has r taps.

JAX transposes the transforms to transforms, so both gradients cost about as much.
"""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vqvae_jax.layers.products import Windows, each, on_canvas

# With fewer channels the transforms cost more than they save; or where fewer multiplications are
# saved, because tiles are half empty.
_MIN_CHANNELS, _MIN_SAVED = 16, 0.2


def pays(windows: Windows, kernel: Float[Array, "k k c d"]) -> bool:
    """Returns whether this form is faster than `products`, and as exact.

    In half precision it is not: the transforms round. Symbolic sizes are left to `products`.
    """
    taps, left = divmod(windows.size, windows.stride)
    if left or taps not in (2, 3) or kernel.dtype not in (jnp.float32, jnp.float64):
        return False
    if min(kernel.shape[2:]) < _MIN_CHANNELS or not all(isinstance(n, int) for n in windows.grid):
        return False
    multiplications = (taps + 1) ** 2 * math.prod(_tiles(windows))
    saved = 1 - multiplications / (taps**2 * math.prod(windows.grid))
    return saved >= _MIN_SAVED


def gather(
    windows: Windows,
    image: Float[Array, "b height width c"],
    kernel: Float[Array, "k k c d"],
) -> Float[Array, "b h w d"]:
    """Maps an image [B, H, W, C] to a grid [B, h, w, D] by a kernel [k, k, C, D]: a convolution.

    k must be 2 or 3 times the stride.
    """
    s, p, (n, m) = windows.stride, windows.padding, _tiles(windows)
    taps, (batch, *_, channels), outputs = windows.size // s, image.shape, kernel.shape[3]

    canvas = on_canvas(image, (p, p), ((2 * n + 2) * s, (2 * m + 2) * s))
    phases = canvas.reshape(batch, 2 * n + 2, s, 2 * m + 2, s, channels)
    phases = phases.transpose(0, 1, 3, 2, 4, 5)
    phases = phases.reshape(batch, 2 * n + 2, 2 * m + 2, s * s * channels)
    inputs = _stacked([_input_transform(row, 2, taps) for row in _input_transform(phases, 1, taps)])

    filters = kernel.reshape(taps, s, taps, s, channels, outputs).transpose(0, 2, 1, 3, 4, 5)
    filters = filters.reshape(taps, taps, s * s * channels, outputs)
    weights = _stacked(_over_both(_filter_transform, each(filters, 0, 1)))

    # Windows as one axis: XLA:CPU's product over several axes, for a gradient, is slow.
    inputs = inputs.reshape(*inputs.shape[:2], batch * n * m, s * s * channels)
    products = jnp.einsum("uvtc,uvcd->uvtd", inputs, weights)
    products = products.reshape(*products.shape[:2], batch, n, m, outputs)
    rows = _over_both(_output_transform, each(products, 0, 1))
    grid = jnp.stack([jnp.stack(row, 3) for row in rows], 2)
    return on_canvas(grid.reshape(batch, 2 * n, 2 * m, outputs), (0, 0), windows.grid)


def scatter(
    windows: Windows,
    grid: Float[Array, "b h w d"],
    kernel: Float[Array, "k k c d"],
) -> Float[Array, "b height width c"]:
    """Maps a grid [B, h, w, D] to an image [B, H, W, C] by a kernel [k, k, C, D]: the transpose."""
    shape = (grid.shape[0], *windows.image, kernel.shape[2])
    image = jax.lax.full_like(grid, 0, shape=shape)
    transposed = jax.linear_transpose(lambda image: gather(windows, image, kernel), image)
    return transposed(grid)[0]


def _tiles(windows: Windows) -> tuple[int, int]:
    """Returns the numbers of pairs of windows, along both axes."""
    h, w = windows.grid
    return -(-h // 2), -(-w // 2)


def _stacked(table: list[list[Array]]) -> Array:
    """Returns arrays [...] as one [u, v, ...]."""
    return jnp.stack([jnp.stack(row) for row in table])


def _over_both(
    transform: Callable[[Sequence[Array]], list[Array]], table: list[list[Array]]
) -> list[list[Array]]:
    """Applies a transform to the columns of a table, and then to the rows of what they give."""
    columns = [transform(column) for column in zip(*table, strict=True)]
    return [transform(row) for row in zip(*columns, strict=True)]


def _input_transform(d: Array, axis: int, taps: int) -> list[Array]:
    """Transforms an axis of 2 n + 2 inputs, for n pairs of outputs."""
    pairs = d.reshape(*d.shape[:axis], d.shape[axis] // 2, 2, *d.shape[axis + 1 :])
    even, odd = (part.squeeze(axis + 1) for part in jax.lax.split(pairs, (1, 1), axis + 1))
    count = even.shape[axis] - 1
    d_0, d_2 = (jax.lax.slice_in_dim(even, i, i + count, axis=axis) for i in (0, 1))
    d_1, d_3 = (jax.lax.slice_in_dim(odd, i, i + count, axis=axis) for i in (0, 1))
    if taps == 2:
        return [d_0 - d_1, d_1, d_1 - d_2]
    return [d_0 - d_2, d_1 + d_2, d_2 - d_1, d_1 - d_3]


def _filter_transform(g: Sequence[Array]) -> list[Array]:
    """Transforms a filter along one axis."""
    if len(g) == 2:
        return [g[0], g[0] + g[1], g[1]]
    outer, middle = (g[0] + g[2]) / 2, g[1] / 2
    return [g[0], outer + middle, outer - middle, g[2]]


def _output_transform(m: Sequence[Array]) -> list[Array]:
    """Returns a pair of outputs, from their products."""
    if len(m) == 3:
        return [m[0] + m[1], m[1] - m[2]]
    return [m[0] + m[1] + m[2], m[1] - m[2] - m[3]]
