"""Convolution and transposed convolution with PyTorch's padding and initial values, in NHWC.

The transposed convolution is the one to look at. Written as a convolution of a dilated input it
falls off XLA:CPU's fast path (its weight gradient alone takes four times as long as a whole
training step should). Here it is what its definition says: every input pixel is multiplied by the
kernel, and the products that land on one output pixel are added. That is one matrix product and k *
k shifted additions, and its gradients are of the same kind.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float


def conv(
    x: Float[Array, "b h w c_in"],
    kernel: Float[Array, "k k c_in c_out"],
    *,
    stride: int = 1,
    padding: int = 0,
) -> Float[Array, "b h_out w_out c_out"]:
    """Cross-correlation, as `torch.nn.functional.conv2d` defines it.

    Args:
        x: input [B, H, W, C_in].
        kernel: weights [k, k, C_in, C_out].
        stride: step of the window, at least 1.
        padding: zeros added on every side, at least 0.

    Returns:
        [B, H', W', C_out] with H' = (H + 2 padding - k) // stride + 1.
    """
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(stride, stride),
        padding=((padding, padding), (padding, padding)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def conv_transpose(
    x: Float[Array, "b h w c_in"],
    kernel: Float[Array, "k k c_in c_out"],
    *,
    stride: int = 1,
    padding: int = 0,
    output_padding: int = 0,
) -> Float[Array, "b h_out w_out c_out"]:
    """The adjoint of `conv` in its input, as `torch.nn.functional.conv_transpose2d` defines it.

    out[s i + u - p, s j + v - p] += x[i, j] kernel[u, v] for all i, j, u, v.

    Args:
        x: input [B, H, W, C_in].
        kernel: weights [k, k, C_in, C_out].
        stride: s, the distance between the kernel's copies, at least 1.
        padding: p, rows and columns cut off on every side, at least 0.
        output_padding: rows and columns added at the bottom and the right, below `stride`.

    Returns:
        [B, H', W', C_out] with H' = (H - 1) stride - 2 padding + k + output_padding.
    """
    return _conv_transpose(stride, padding, output_padding, x, kernel)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _conv_transpose(
    stride: int, padding: int, output_padding: int, x: Array, kernel: Array
) -> Array:
    k, _, c_in, c_out = kernel.shape
    height, width = (
        (size - 1) * stride - 2 * padding + k + output_padding for size in x.shape[1:3]
    )
    rows, columns = -(-height // stride), -(-width // stride)
    products = jnp.dot(x, kernel.transpose(2, 0, 1, 3).reshape(c_in, k * k * c_out))
    taps = products.reshape(*x.shape[:3], k, k, c_out)

    # Output row stride * q + a collects the kernel rows u with u - padding = a (mod stride),
    # each from the input rows shifted by (u - padding - a) / stride; columns likewise.
    def phase(a: int, b: int) -> Array:
        total = jnp.zeros((x.shape[0], rows, columns, c_out), x.dtype)
        for u in range((a + padding) % stride, k, stride):
            for v in range((b + padding) % stride, k, stride):
                down, right = (u - padding - a) // stride, (v - padding - b) // stride
                total += _place(taps[:, :, :, u, v], (down, right), (rows, columns))
        return total

    phases = jnp.stack(
        [jnp.stack([phase(a, b) for b in range(stride)], axis=3) for a in range(stride)], axis=2
    )
    out = phases.reshape(x.shape[0], rows * stride, columns * stride, c_out)
    return out[:, :height, :width]


def _conv_transpose_forward(stride, padding, output_padding, x, kernel):
    return _conv_transpose(stride, padding, output_padding, x, kernel), (x, kernel)


def _conv_transpose_backward(stride, padding, output_padding, saved, gradient):
    """Both gradients, from the patch of the output's gradient that each input pixel reached."""
    x, kernel = saved
    b, h, w, c_in = x.shape
    k, c_out = kernel.shape[0], kernel.shape[3]
    reach = [(size - 1) * stride + k for size in (h, w)]
    framed = _place(gradient, (padding, padding), reach)
    patches = jnp.stack(
        [
            framed[:, u : u + reach[0] - k + 1 : stride, v : v + reach[1] - k + 1 : stride]
            for u in range(k)
            for v in range(k)
        ],
        axis=3,
    ).reshape(b * h * w, k * k * c_out)
    weights = kernel.transpose(2, 0, 1, 3).reshape(c_in, k * k * c_out)
    x_gradient = jnp.dot(patches, weights.T).reshape(x.shape)
    kernel_gradient = jnp.dot(x.reshape(b * h * w, c_in).T, patches)
    return x_gradient, kernel_gradient.reshape(c_in, k, k, c_out).transpose(1, 2, 0, 3)


_conv_transpose.defvjp(_conv_transpose_forward, _conv_transpose_backward)


def _place(x: Array, at: tuple[int, int], size: Sequence[int]) -> Array:
    """Puts images at a row and column (negative: cut off) of a canvas of zeros of `size`."""
    edges = [
        (start, new - start - old, 0)
        for start, new, old in zip(at, size, x.shape[1:3], strict=True)
    ]
    return jax.lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *edges, (0, 0, 0)])


class Conv(nnx.Module):
    """A 2-D convolution with a bias and PyTorch's initial values, U(+-1 / sqrt(C_in k k)).

    Args:
        in_features: C_in, at least 1.
        out_features: C_out, at least 1.
        kernel_size: k, at least 1.
        stride: step of the window, at least 1.
        padding: zeros added on every side, at least 0.
        rngs: `params` draws the initial values.

    Raises:
        ValueError: an argument out of its range.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: int,
        *,
        stride: int = 1,
        padding: int = 0,
        rngs: nnx.Rngs,
    ):
        _check(stride=(stride, 1), padding=(padding, 0))
        self.stride, self.padding = stride, padding
        shape = (kernel_size, kernel_size, in_features, out_features)
        self.kernel, self.bias = _initial_values(shape, in_features, rngs)

    def __call__(self, x: Float[Array, "b h w c_in"]) -> Float[Array, "b h_out w_out c_out"]:
        """Maps [B, H, W, C_in] to [B, H', W', C_out] in the kernel's type; see `conv`."""
        y = conv(
            x.astype(self.kernel[...].dtype),
            self.kernel[...],
            stride=self.stride,
            padding=self.padding,
        )
        return y + self.bias[...][None, None, None, :]


class ConvTranspose(nnx.Module):
    """A 2-D transposed convolution with a bias and PyTorch's initial values.

    They are U(+-1 / sqrt(C_out k k)): what PyTorch takes for this layer's fan-in is C_out k k.

    Args:
        in_features: C_in, at least 1.
        out_features: C_out, at least 1.
        kernel_size: k, at least 1.
        stride: distance between the kernel's copies, at least 1.
        padding: rows and columns cut off on every side, at least 0.
        output_padding: rows and columns added at the bottom and the right, below `stride`.
        rngs: `params` draws the initial values.

    Raises:
        ValueError: an argument out of its range.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: int,
        *,
        stride: int = 1,
        padding: int = 0,
        output_padding: int = 0,
        rngs: nnx.Rngs,
    ):
        _check(stride=(stride, 1), padding=(padding, 0), output_padding=(output_padding, 0))
        if output_padding >= stride:
            raise ValueError(f"output_padding is {output_padding}; it must be below {stride=}")
        self.stride, self.padding, self.output_padding = stride, padding, output_padding
        shape = (kernel_size, kernel_size, in_features, out_features)
        self.kernel, self.bias = _initial_values(shape, out_features, rngs)

    def __call__(self, x: Float[Array, "b h w c_in"]) -> Float[Array, "b h_out w_out c_out"]:
        """Maps [B, H, W, C_in] to [B, H', W', C_out]; see `conv_transpose`."""
        y = conv_transpose(
            x.astype(self.kernel[...].dtype),
            self.kernel[...],
            stride=self.stride,
            padding=self.padding,
            output_padding=self.output_padding,
        )
        return y + self.bias[...][None, None, None, :]


def _check(**arguments: tuple[int, int]) -> None:
    """Refuses an argument, given with the least it may be, that is not an integer or too small."""
    for name, (value, least) in arguments.items():
        if not isinstance(value, int) or value < least:
            raise ValueError(f"{name} is {value}; it must be an integer of at least {least}")


def _initial_values(
    shape: tuple[int, int, int, int], fan_features: int, rngs: nnx.Rngs
) -> tuple[nnx.Param, nnx.Param]:
    """Draws a kernel of `shape` and a bias from U(+-1 / sqrt(fan_features k k))."""
    kernel_size, _, in_features, out_features = shape
    _check(
        in_features=(in_features, 1), out_features=(out_features, 1), kernel_size=(kernel_size, 1)
    )
    bound = (fan_features * shape[0] * shape[1]) ** -0.5
    kernel = jax.random.uniform(rngs.params(), shape, minval=-bound, maxval=bound)
    bias = jax.random.uniform(rngs.params(), shape[-1:], minval=-bound, maxval=bound)
    return nnx.Param(kernel), nnx.Param(bias)
