"""1-D convolution and transposed convolution, with PyTorch's semantics, in [B, T, C]."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vqvae_jax.meshes import split_by_batch

Form = Callable[[Array, Array], Array]

# While all windows of an example are at most so many numbers, which stay in the cache, one product
# over them is faster on CPUs than XLA's convolution: several times for gradients inside a scan.
_CACHED = 2**18


@functools.partial(jax.jit, static_argnames=("stride", "dilation", "groups"))
def conv1d(
    x: Float[Array, "b t c_in"],
    kernel: Float[Array, "k c_in_group c_out"],
    *,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
) -> Float[Array, "b t_out c_out"]:
    """Computes cross-correlation without padding, as `torch.nn.functional.conv1d` defines it.

    out[n] = sum_u x[s n + d u] kernel[u]

    Args:
        x: input [B, T, C_in].
        kernel: weights [k, C_in / groups, C_out].
        stride: s, step of the window, at least 1.
        dilation: d, step inside the window, at least 1.
        groups: of channels, each convolved by itself; divides C_in and C_out.

    Returns:
        [B, T', C_out] with T' = (T - (k - 1) d - 1) // s + 1.

    Raises:
        ValueError: the window is larger than x.
    """
    reach = (len(kernel) - 1) * dilation + 1
    if x.shape[1] < reach:
        raise ValueError(f"x has shape {x.shape}; a window of {reach} does not fit")
    native: Form = functools.partial(_lax_conv1d, stride=stride, dilation=dilation, groups=groups)
    on_cpu: Form = native
    if groups == x.shape[2] == kernel.shape[2]:
        on_cpu = functools.partial(_depthwise, stride=stride, dilation=dilation)
    elif groups == 1 and stride > 1 and dilation == 1:
        on_cpu = functools.partial(_by_windows, stride=stride)
    elif groups == stride == 1 and x.shape[1] * kernel.shape[0] * kernel.shape[1] <= _CACHED:
        on_cpu = functools.partial(_by_windows, dilation=dilation)
    return _by_platform(on_cpu, native, x, kernel)


@functools.partial(jax.jit, static_argnames=("stride", "groups"))
def conv_transpose1d(
    x: Float[Array, "b t c_in"],
    kernel: Float[Array, "k c_in c_out_group"],
    *,
    stride: int = 1,
    groups: int = 1,
) -> Float[Array, "b t_out c_out"]:
    """Computes the adjoint of `conv1d`, as `torch.nn.functional.conv_transpose1d` defines it.

    out[s n + u] += x[n] kernel[u] for all n and u

    Args:
        x: input [B, T, C_in], T at least 1.
        kernel: weights [k, C_in, C_out / groups].
        stride: s, the distance between the kernel's copies, at least 1.
        groups: of channels; divides C_in and C_out.

    Returns:
        [B, T', C_out] with T' = (T - 1) s + k.
    """
    native = functools.partial(_lax_transpose, stride=stride, groups=groups)
    on_cpu: Form = native
    if groups == 1:
        on_cpu = functools.partial(_phases, stride=stride)
    elif groups == x.shape[2] and kernel.shape[2] == 1:
        on_cpu = functools.partial(_depthwise_phases, stride=stride)
    return _by_platform(on_cpu, native, x, kernel)


def _by_platform(on_cpu: Form, native: Form, x: Array, kernel: Array) -> Array:
    """Uses a form of products on CPUs, where some of XLA's convolutions are slow."""
    by_platform = functools.partial(jax.lax.platform_dependent, cpu=on_cpu, default=native)
    # As in `conv`: the choice must be made again for the gradient, or a branch remains in it.
    return split_by_batch(jax.checkpoint(by_platform, prevent_cse=False), x, kernel)


# On CPUs the time axis is folded by the stride into channels, [B, T / s, s C]: then every
# convolution has stride 1, and its gradients are those of products.


def _folded(kernel: Array, stride: int) -> Array:
    """Returns a kernel [k, C, D] as [ceil(k / s), s, C, D], filled up with zeros."""
    taps = -(-len(kernel) // stride)
    filled = jnp.pad(kernel, ((0, taps * stride - len(kernel)), (0, 0), (0, 0)))
    return filled.reshape(taps, stride, *kernel.shape[1:])


def _windows(x: Array, taps: int, count: int, dilation: int = 1) -> Array:
    """Returns the windows of `taps` positions of x [B, T, C], the first `count`, as rows."""
    places = (tap * dilation for tap in range(taps))
    neighbours = [x[:, place : place + count] for place in places]
    return jnp.concatenate(neighbours, axis=2).reshape(len(x) * count, taps * x.shape[2])


def _by_windows(x: Array, kernel: Array, *, stride: int = 1, dilation: int = 1) -> Array:
    """Computes `conv1d` without groups, with a stride or a dilation of 1."""
    count = (x.shape[1] - (len(kernel) - 1) * dilation - 1) // stride + 1
    folded = _folded(kernel, stride)
    used = (count + (len(folded) - 1) * dilation) * stride
    x = jnp.pad(x, ((0, 0), (0, max(0, used - x.shape[1])), (0, 0)))[:, :used]
    rows = _windows(
        x.reshape(len(x), used // stride, stride * x.shape[2]), len(folded), count, dilation
    )
    matrix = folded.reshape(rows.shape[1], kernel.shape[2])
    return jnp.dot(rows, matrix).reshape(len(x), count, kernel.shape[2])


def _phases(x: Array, kernel: Array, *, stride: int) -> Array:
    """Computes all phases s n + a of a transposed convolution as the channels of one product."""
    folded = _folded(kernel, stride)[::-1]  # [taps, s, C_in, C_out]
    taps, count = len(folded), x.shape[1] + len(folded) - 1
    rows = _windows(jnp.pad(x, ((0, 0), (taps - 1, taps - 1), (0, 0))), taps, count)
    matrix = folded.swapaxes(1, 2).reshape(rows.shape[1], stride * kernel.shape[2])
    phases = jnp.dot(rows, matrix).reshape(len(x), count * stride, kernel.shape[2])
    return phases[:, : (x.shape[1] - 1) * stride + len(kernel)]


def _depthwise(x: Array, kernel: Array, *, stride: int, dilation: int) -> Array:
    count = (x.shape[1] - (len(kernel) - 1) * dilation - 1) // stride + 1
    reach = (count - 1) * stride + 1
    taps = [
        x[:, tap * dilation : tap * dilation + reach : stride] * kernel[tap][None]
        for tap in range(len(kernel))
    ]
    return sum(taps[1:], start=taps[0])


def _depthwise_phases(x: Array, kernel: Array, *, stride: int) -> Array:
    folded = _folded(kernel, stride)[..., 0]  # [taps, s, C]
    taps, count = len(folded), x.shape[1] + len(folded) - 1
    x = jnp.pad(x, ((0, 0), (taps - 1, taps - 1), (0, 0)))
    copies = [
        x[:, taps - 1 - tap : taps - 1 - tap + count, None] * folded[tap][None, None]
        for tap in range(taps)
    ]
    phases = sum(copies[1:], start=copies[0]).reshape(len(x), count * stride, x.shape[2])
    return phases[:, : (x.shape[1] - 2 * (taps - 1) - 1) * stride + len(kernel)]


def _lax_conv1d(x: Array, kernel: Array, *, stride: int, dilation: int, groups: int) -> Array:
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(stride,),
        padding=[(0, 0)],
        rhs_dilation=(dilation,),
        dimension_numbers=("NWC", "WIO", "NWC"),
        feature_group_count=groups,
    )


def _lax_transpose(x: Array, kernel: Array, *, stride: int, groups: int) -> Array:
    k, c_in, c_out = kernel.shape
    grouped = kernel.reshape(k, groups, c_in // groups, c_out).swapaxes(1, 2)
    return jax.lax.conv_general_dilated(
        x,
        grouped.reshape(k, c_in // groups, groups * c_out)[::-1],
        window_strides=(1,),
        padding=[(k - 1, k - 1)],
        lhs_dilation=(stride,),
        dimension_numbers=("NWC", "WIO", "NWC"),
        feature_group_count=groups,
    )
