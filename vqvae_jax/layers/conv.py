"""Convolution and transposed convolution with PyTorch's padding and initial values, in NHWC."""

import functools
from collections.abc import Callable

import jax
from flax import nnx
from jaxtyping import Array, Float

from vqvae_jax.checks import check_integer
from vqvae_jax.layers import products, winograd
from vqvae_jax.layers.initial import uniform
from vqvae_jax.layers.products import Windows
from vqvae_jax.meshes import split_by_batch


@functools.partial(jax.jit, static_argnames=("stride", "padding"))
def conv(
    x: Float[Array, "b h w c_in"],
    kernel: Float[Array, "k k c_in c_out"],
    *,
    stride: int = 1,
    padding: int = 0,
) -> Float[Array, "b h_out w_out c_out"]:
    """Computes cross-correlation, as `torch.nn.functional.conv2d` defines it.

    Args:
        x: input [B, H, W, C_in].
        kernel: weights [k, k, C_in, C_out].
        stride: step of the window, at least 1.
        padding: zeros added on every side, at least 0.

    Returns:
        [B, H', W', C_out] with H' = (H + 2 padding - k) // stride + 1.

    Raises:
        ValueError: the window is larger than the padded input.
    """
    k, (height, width) = kernel.shape[0], x.shape[1:3]
    grid = ((height + 2 * padding - k) // stride + 1, (width + 2 * padding - k) // stride + 1)
    if min(grid) < 1:
        raise ValueError(f"x has shape {x.shape}; with {padding=} a window of {k} does not fit")
    windows = Windows(k, stride, padding, grid, (height, width))
    if winograd.pays(windows, kernel):
        form = winograd.gather
    elif stride == 1 and padding < k > 1 and 2 * kernel.shape[3] <= kernel.shape[2]:
        form = _gather_by_scatter
    else:
        form = products.gather
    return _by_platform(form, _lax_conv, windows, x, kernel)


@functools.partial(jax.jit, static_argnames=("stride", "padding", "output_padding"))
def conv_transpose(
    x: Float[Array, "b h w c_in"],
    kernel: Float[Array, "k k c_in c_out"],
    *,
    stride: int = 1,
    padding: int = 0,
    output_padding: int = 0,
) -> Float[Array, "b h_out w_out c_out"]:
    """Computes the adjoint of `conv`, as `torch.nn.functional.conv_transpose2d` defines it.

    out[s i + u - p, s j + v - p] += x[i, j] kernel[u, v] for all i, j, u, v.

    Args:
        x: input [B, H, W, C_in].
        kernel: weights [k, k, C_in, C_out].
        stride: s, the distance between the kernel's copies, at least 1.
        padding: p, rows and columns cut off on every side, at least 0.
        output_padding: rows and columns added at the bottom and the right, below `stride`.

    Returns:
        [B, H', W', C_out] with H' = (H - 1) stride - 2 padding + k + output_padding.

    Raises:
        ValueError: nothing is left of the output.
    """
    k, (height, width) = kernel.shape[0], x.shape[1:3]
    added = k + output_padding - 2 * padding
    image = ((height - 1) * stride + added, (width - 1) * stride + added)
    if min(image) < 1:
        raise ValueError(f"x has shape {x.shape}; with {padding=} a kernel of {k} leaves no output")
    windows = Windows(k, stride, padding, (height, width), image)
    form = winograd.scatter if winograd.pays(windows, kernel) else products.scatter
    return _by_platform(form, _lax_conv_transpose, windows, x, kernel.swapaxes(2, 3))


def _by_platform(
    form: Callable[[Windows, Array, Array], Array],
    native: Callable[[Windows, Array, Array], Array],
    windows: Windows,
    x: Array,
    kernel: Array,
) -> Array:
    """Uses a form of products on CPUs, where XLA's convolutions are slow; XLA's own elsewhere.

    What a form computes on the way, several times as large as an image, is recomputed for the
    gradients, not kept.
    """
    by_platform = functools.partial(
        jax.lax.platform_dependent,
        cpu=functools.partial(form, windows),
        default=functools.partial(native, windows),
    )
    recomputed = jax.checkpoint(by_platform, prevent_cse=False)
    return split_by_batch(recomputed, x, kernel)


def _gather_by_scatter(windows: Windows, image: Array, kernel: Array) -> Array:
    """Computes `products.gather` with stride 1 as the transposed convolution that it also is.

    So the windows' pixels have the output's channels, where these are few: in the last layer of a
    decoder, say, whose patches would be many times as large.
    """
    padding = windows.size - 1 - windows.padding
    turned = Windows(windows.size, 1, padding, grid=windows.image, image=windows.grid)
    return products.scatter(turned, image, kernel[::-1, ::-1].swapaxes(2, 3))


def _lax_conv(windows: Windows, image: Array, kernel: Array) -> Array:
    """Computes `gather` by XLA's convolution."""
    return jax.lax.conv_general_dilated(
        image,
        kernel,
        window_strides=(windows.stride,) * 2,
        padding=((windows.padding,) * 2,) * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def _lax_conv_transpose(windows: Windows, grid: Array, kernel: Array) -> Array:
    """Computes `scatter` by XLA's convolution of the grid with zeros between its elements."""
    before = windows.size - 1 - windows.padding
    after = [
        image + windows.padding - 1 - windows.stride * (count - 1)
        for image, count in zip(windows.image, windows.grid, strict=True)
    ]
    return jax.lax.conv_general_dilated(
        grid,
        kernel[::-1, ::-1],
        window_strides=(1, 1),
        padding=[(before, end) for end in after],
        lhs_dilation=(windows.stride,) * 2,
        dimension_numbers=("NHWC", "HWOI", "NHWC"),
    )


class Conv(nnx.Module):
    """A 2-D convolution with PyTorch's initial values, U(+-1 / sqrt(C_in k k)).

    Args:
        in_features: C_in, at least 1.
        out_features: C_out, at least 1.
        kernel_size: k, at least 1.
        stride: step of the window, at least 1.
        padding: zeros added on every side, at least 0.
        use_bias: whether there is a bias.
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
        use_bias: bool = True,
        rngs: nnx.Rngs,
    ):
        _check(stride=(stride, 1), padding=(padding, 0))
        self.stride, self.padding = stride, padding
        shape = (kernel_size, kernel_size, in_features, out_features)
        self.kernel, bias = _initial_values(shape, in_features, rngs)
        self.bias = bias if use_bias else None

    def __call__(self, x: Float[Array, "b h w c_in"]) -> Float[Array, "b h_out w_out c_out"]:
        """Maps [B, H, W, C_in] to [B, H', W', C_out] in the kernel's type; see `conv`."""
        y = conv(
            x.astype(self.kernel[...].dtype),
            self.kernel[...],
            stride=self.stride,
            padding=self.padding,
        )
        return y if self.bias is None else y + self.bias[...][None, None, None, :]


class ConvTranspose(nnx.Module):
    """A 2-D transposed convolution with a bias and PyTorch's initial values.

    They are U(+-1 / sqrt(C_out k k)): PyTorch uses C_out k k as this layer's fan-in.

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
    """Checks that arguments, each given with its minimum, are integers and not too small."""
    for name, (value, least) in arguments.items():
        check_integer(name, value, least)


def _initial_values(
    shape: tuple[int, int, int, int], fan_features: int, rngs: nnx.Rngs
) -> tuple[nnx.Param, nnx.Param]:
    """Draws a kernel of `shape` and a bias from U(+-1 / sqrt(fan_features k k))."""
    kernel_size, _, in_features, out_features = shape
    _check(
        in_features=(in_features, 1), out_features=(out_features, 1), kernel_size=(kernel_size, 1)
    )
    fan_in = fan_features * kernel_size**2
    return uniform(shape, fan_in, rngs=rngs), uniform(shape[-1:], fan_in, rngs=rngs)
