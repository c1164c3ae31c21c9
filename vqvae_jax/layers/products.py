"""Convolutions as matrix products, with gradients of the same kind: a form for CPUs.

A convolution and a transposed convolution relate the same two things: an image [H, W], and a grid
of windows [h, w] that lie over it. Window (i, j) covers the pixels (s i + u - p, s j + v - p) for u
and v in [0, k). Two moves, each the other's adjoint, connect them:

    patches:      image [B, H, W, C] -> the windows' pixels [B h w, k k C]
    overlap_add:  the windows' pixels [B h w, k k C] -> image, adding up where windows overlap

With the kernel as a matrix K [k k C, D], D the channels of the grid, a convolution is `gather`, a
transposed one `scatter`, and each is the other's gradient:

    gather(image) = patches(image) K        scatter(grid) = overlap_add(grid K')
    dK = patches(image)' dgrid              dK = patches(dimage)' grid

So everything is one matrix product and one pass over memory, and the two gradients of `scatter`
share their patches. docs/performance.md tells how XLA:CPU handles the alternatives.

JAX transposes each move by itself, so derivatives of all orders exist; the moves are written so
that the transpose of one has the form of the other.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

# With fewer channels than this, windows' pixels are laid out as k k C planes of B h w numbers, else
# as B h w rows of k k C, so that contiguous runs are long.
_FEW = 8


@dataclasses.dataclass(frozen=True)
class Windows:
    """How a grid of windows lies over an image.

    Attributes:
        size: k, the side of a window in pixels.
        stride: s, pixels from one window to the next.
        padding: p, how far the first window lies beyond the image's edge.
        grid: h and w, in windows.
        image: H and W, in pixels.
    """

    size: int
    stride: int
    padding: int
    grid: tuple[int, int]
    image: tuple[int, int]

    def patches(self, image: Float[Array, "b height width c"]) -> Float[Array, "bhw kkc"]:
        """Returns the windows' pixels [B h w, k k C] of images [B, H, W, C]; zeros beyond edges."""
        s, (h, w), (rows, columns) = self.stride, self.grid, self._rows_and_columns
        batch, *_, channels = image.shape
        whole = on_canvas(image, (0, 0), (rows * s, columns * s))
        phases = [
            [on_canvas(phase, (self._before,) * 2, self._frame) for phase in row]
            for row in each(whole.reshape(batch, rows, s, columns, s, channels), 2, 4)
        ]
        axis = 0 if channels < _FEW else 3

        def row(u: int) -> Array:
            taps = [
                phases[u % s][v % s][:, u // s : u // s + h, v // s : v // s + w]
                for v in self._window
            ]
            return jnp.stack(taps, axis)

        # Stacks of stacks, since XLA:CPU does not fuse a concatenation of more than eight.
        taps = jnp.stack([row(u) for u in self._window], axis)
        if channels < _FEW:
            planes = taps.transpose(0, 1, 5, 2, 3, 4)
            return planes.reshape(self.size**2 * channels, math.prod(planes.shape[3:])).T
        return taps.reshape(math.prod(taps.shape[:3]), self.size**2 * channels)

    def overlap_add(self, pixels: Float[Array, "bhw kkc"]) -> Float[Array, "b height width c"]:
        """Returns the images [B, H, W, C] that windows' pixels [B h w, k k C] add up to."""
        s, k, (rows, columns) = self.stride, self.size, self._rows_and_columns
        batch, channels = pixels.shape[0] // math.prod(self.grid), pixels.shape[1] // k**2
        if channels < _FEW:
            planes = pixels.T.reshape(k, k, channels, batch, *self.grid)
            taps = each(planes.transpose(0, 1, 3, 4, 5, 2), 0, 1)
        else:
            taps = each(pixels.reshape(batch, *self.grid, k, k, channels), 3, 4)

        def phase(a: int, b: int) -> Array:
            total = jnp.zeros((batch, *self._frame, channels), pixels.dtype)
            for u, row in zip(self._window, taps, strict=True):
                for v, tap in zip(self._window, row, strict=True):
                    if (u % s, v % s) == (a, b):
                        total += on_canvas(tap, (u // s, v // s), self._frame)
            return on_canvas(total, (-self._before,) * 2, (rows, columns))

        phases = [jnp.stack([phase(a, b) for b in range(s)], axis=3) for a in range(s)]
        whole = jnp.stack(phases, axis=2).reshape(batch, rows * s, columns * s, channels)
        return on_canvas(whole, (0, 0), self.image)

    # Phase (a, b) of an image: its pixels (s q + a, s r + b) for all q and r. A frame of zeros
    # around each phase makes room for what windows cover beyond the edges.

    @property
    def _rows_and_columns(self) -> tuple[int, int]:
        """Returns the numbers of rows and columns of a phase."""
        height, width = self.image
        return -(-height // self.stride), -(-width // self.stride)

    @property
    def _before(self) -> int:
        """Returns the rows of the frame above a phase, and the columns to its left."""
        return -(-self.padding // self.stride)

    @property
    def _window(self) -> range:
        """Returns rows (and columns) of the first window; u is row u // s of framed phase u % s."""
        first = self.stride * self._before - self.padding
        return range(first, first + self.size)

    @property
    def _frame(self) -> tuple[int, int]:
        """Returns the numbers of rows and columns of a framed phase."""
        (h, w), more = self.grid, self._window[-1] // self.stride
        return h + more, w + more


# The derivatives below are those of JAX, except for the order of the products that they transpose
# to: which order is faster depends on the memory layout of the windows' pixels.


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def gather(
    windows: Windows,
    image: Float[Array, "b height width c"],
    kernel: Float[Array, "k k c d"],
) -> Float[Array, "b h w d"]:
    """Maps an image [B, H, W, C] to a grid [B, h, w, D] by a kernel [k, k, C, D]: a convolution."""
    return _grid(windows, jnp.dot(windows.patches(image), _matrix(kernel)))


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def scatter(
    windows: Windows,
    grid: Float[Array, "b h w d"],
    kernel: Float[Array, "k k c d"],
) -> Float[Array, "b height width c"]:
    """Maps a grid [B, h, w, D] to an image [B, H, W, C] by a kernel [k, k, C, D]: the transpose."""
    if kernel.shape[2] < _FEW:
        return windows.overlap_add(jnp.dot(_matrix(kernel), _rows(grid).T).T)
    return windows.overlap_add(jnp.dot(_rows(grid), _matrix(kernel).T))


@gather.defjvp
def _gather_jvp(windows, primals, tangents):
    (image, kernel), (image_dot, kernel_dot) = primals, tangents
    patches, patches_dot = windows.patches(image), windows.patches(image_dot)
    if kernel.shape[2] < _FEW:
        by_image = jnp.dot(_matrix(kernel).T, patches_dot.T).T
        by_kernel = jnp.dot(patches, _matrix(kernel_dot))
    else:
        by_image = jnp.dot(patches_dot, _matrix(kernel))
        by_kernel = jnp.dot(_transposed(kernel_dot), patches.T).T
    return gather(windows, image, kernel), _grid(windows, by_image + by_kernel)


@scatter.defjvp
def _scatter_jvp(windows, primals, tangents):
    (grid, kernel), (grid_dot, kernel_dot) = primals, tangents
    by_grid = jnp.dot(_rows(grid_dot), _matrix(kernel).T)
    if kernel.shape[2] < _FEW:
        by_kernel = jnp.dot(_matrix(kernel_dot), _rows(grid).T).T
    else:
        by_kernel = jnp.dot(_rows(grid), _transposed(kernel_dot))
    return scatter(windows, grid, kernel), windows.overlap_add(by_grid + by_kernel)


def each(x: Array, outer: int, inner: int) -> list[list[Array]]:
    """Returns the parts of x at each index of two axes.

    A split transposes to one concatenation; slices would not.
    """
    return [
        [part.squeeze((outer, inner)) for part in jax.lax.split(row, (1,) * x.shape[inner], inner)]
        for row in jax.lax.split(x, (1,) * x.shape[outer], outer)
    ]


def _matrix(kernel: Float[Array, "k k c d"]) -> Float[Array, "kkc d"]:
    return kernel.reshape(math.prod(kernel.shape[:3]), kernel.shape[3])


def _transposed(kernel: Float[Array, "k k c d"]) -> Float[Array, "d kkc"]:
    """Returns `_matrix(kernel).T`, in a form that XLA does not transpose back."""
    return kernel.transpose(3, 0, 1, 2).reshape(kernel.shape[3], math.prod(kernel.shape[:3]))


def _rows(grid: Float[Array, "b h w d"]) -> Float[Array, "bhw d"]:
    return grid.reshape(math.prod(grid.shape[:3]), grid.shape[3])


def _grid(windows: Windows, rows: Float[Array, "bhw d"]) -> Float[Array, "b h w d"]:
    return rows.reshape(rows.shape[0] // math.prod(windows.grid), *windows.grid, rows.shape[1])


def on_canvas(x: Array, at: tuple[int, int], size: Sequence[int]) -> Array:
    """Places images at a row and column (negative: cut off) of a canvas of zeros of `size`."""
    edges = [
        (start, new - start - old, 0)
        for start, new, old in zip(at, size, x.shape[1:3], strict=True)
    ]
    return jax.lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *edges, (0, 0, 0)])
