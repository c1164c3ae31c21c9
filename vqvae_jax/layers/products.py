"""Convolutions as matrix products, with gradients of the same kind: the form for CPUs.

A convolution and a transposed convolution relate the same two things: an image [H, W], and a grid
of windows [h, w] that lie over it. Window (i, j) covers the pixels (s i + u - p, s j + v - p) for u
and v in [0, k). Two moves, each the other's adjoint, connect them:

    patches:      image [B, H, W, C] -> the windows' pixels [B h w, k k C]
    overlap_add:  the windows' pixels [B h w, k k C] -> image, adding up where windows overlap

With the kernel as a matrix K [k k C, D], D the channels of the grid, a convolution is `gather`, a
transposed one `scatter`, and each is the other's gradient:

    gather(image) = patches(image) K        scatter(grid) = overlap_add(grid K')
    dK = patches(image)' dgrid              dK = patches(dimage)' grid

So everything is one matrix product beside one pass over memory, and the two gradients of `scatter`
share their patches. docs/performance.md says what XLA:CPU makes of the alternatives.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

# With fewer channels than this, windows' pixels lie in memory as k k C planes of B h w numbers,
# else as B h w rows of k k C: what is moved together should be long.
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
        """The windows' pixels [B h w, k k C] of images [B, H, W, C]; zeros beyond the edges."""
        channels = image.shape[3]
        reach = [self.stride * (count - 1) + 1 for count in self.grid]
        framed = _place(image, (self.padding,) * 2, [size + self.size - 1 for size in reach])
        axis = 0 if channels < _FEW else 3

        def row(u: int) -> Array:
            taps = [
                framed[:, u : u + reach[0] : self.stride, v : v + reach[1] : self.stride]
                for v in range(self.size)
            ]
            return jnp.stack(taps, axis)

        # Stacks of stacks: XLA:CPU does not fuse a concatenation of more than eight.
        taps = jnp.stack([row(u) for u in range(self.size)], axis)
        if channels < _FEW:
            planes = taps.transpose(0, 1, 5, 2, 3, 4)
            return planes.reshape(self.size**2 * channels, math.prod(planes.shape[3:])).T
        return taps.reshape(math.prod(taps.shape[:3]), self.size**2 * channels)

    def overlap_add(self, pixels: Float[Array, "bhw kkc"]) -> Float[Array, "b height width c"]:
        """The images [B, H, W, C] that windows' pixels [B h w, k k C] add up to."""
        s, channels = self.stride, pixels.shape[1] // self.size**2
        batch = pixels.shape[0] // math.prod(self.grid)
        if channels < _FEW:
            planes = pixels.T.reshape(self.size, self.size, channels, batch, *self.grid)
            taps = planes.transpose(0, 1, 3, 4, 5, 2)
        else:
            rows = pixels.reshape(batch, *self.grid, self.size, self.size, channels)
            taps = rows.transpose(3, 4, 0, 1, 2, 5)
        phases = [[self._phase(taps, a, b) for b in range(s)] for a in range(s)]
        image = jnp.stack([jnp.stack(row, axis=3) for row in phases], axis=2)
        height, width = image.shape[1], image.shape[3]
        image = image.reshape(batch, height * s, width * s, channels)
        return image[:, : self.image[0], : self.image[1]]

    def _phase(self, taps: Float[Array, "k k b h w c"], a: int, b: int) -> Array:
        """The image's pixels (s q + a, s r + b), for all q and r.

        Row s q + a gets row u of the windows (a + p - u) / s below q, where that is an integer;
        columns likewise.
        """
        s, p = self.stride, self.padding
        size = [-(-length // s) for length in self.image]
        total = jnp.zeros((taps.shape[2], *size, taps.shape[5]), taps.dtype)
        for u in range((a + p) % s, self.size, s):
            for v in range((b + p) % s, self.size, s):
                total += _place(taps[u, v], ((u - p - a) // s, (v - p - b) // s), size)
        return total


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def gather(
    windows: Windows,
    image: Float[Array, "b height width c"],
    kernel: Float[Array, "k k c d"],
) -> Float[Array, "b h w d"]:
    """A grid [B, h, w, D] from an image [B, H, W, C] by a kernel [k, k, C, D]: a convolution.

    Has reverse-mode derivatives of any order.
    """
    grid = jnp.dot(windows.patches(image), _matrix(kernel))
    return grid.reshape(image.shape[0], *windows.grid, kernel.shape[3])


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def scatter(
    windows: Windows,
    grid: Float[Array, "b h w d"],
    kernel: Float[Array, "k k c d"],
) -> Float[Array, "b height width c"]:
    """An image [B, H, W, C] from a grid [B, h, w, D] by a kernel [k, k, C, D]: the transpose.

    Has reverse-mode derivatives of any order.
    """
    if kernel.shape[2] < _FEW:
        return windows.overlap_add(jnp.dot(_matrix(kernel), _rows(grid).T).T)
    return windows.overlap_add(jnp.dot(_rows(grid), _matrix(kernel).T))


def _gather_forward(windows, image, kernel):
    return gather(windows, image, kernel), (image, kernel)


def _gather_backward(windows, saved, gradient):
    image, kernel = saved
    return (
        scatter(windows, gradient, kernel),
        _kernel_gradient(kernel, windows.patches(image), _rows(gradient)),
    )


def _scatter_forward(windows, grid, kernel):
    return scatter(windows, grid, kernel), (grid, kernel)


def _scatter_backward(windows, saved, gradient):
    grid, kernel = saved
    patches = windows.patches(gradient)
    return (
        jnp.dot(patches, _matrix(kernel)).reshape(grid.shape),
        _kernel_gradient(kernel, patches, _rows(grid)),
    )


gather.defvjp(_gather_forward, _gather_backward)
scatter.defvjp(_scatter_forward, _scatter_backward)


def _kernel_gradient(kernel: Array, patches: Array, rows: Array) -> Float[Array, "k k c d"]:
    """The product patches' rows, by the faster of the two ways to write it."""
    k, _, c, d = kernel.shape
    if c < _FEW:
        return jnp.dot(patches.T, rows).reshape(kernel.shape)
    return jnp.dot(rows.T, patches).reshape(d, k, k, c).transpose(1, 2, 3, 0)


def _matrix(kernel: Float[Array, "k k c d"]) -> Float[Array, "kkc d"]:
    return kernel.reshape(math.prod(kernel.shape[:3]), kernel.shape[3])


def _rows(grid: Float[Array, "b h w d"]) -> Float[Array, "bhw d"]:
    return grid.reshape(math.prod(grid.shape[:3]), grid.shape[3])


def _place(x: Array, at: tuple[int, int], size: Sequence[int]) -> Array:
    """Puts images at a row and column (negative: cut off) of a canvas of zeros of `size`."""
    edges = [
        (start, new - start - old, 0)
        for start, new, old in zip(at, size, x.shape[1:3], strict=True)
    ]
    return jax.lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *edges, (0, 0, 0)])
