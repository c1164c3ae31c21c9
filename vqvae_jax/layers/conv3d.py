"""Convolution of videos that looks back in time only."""

import math

import jax
from flax import nnx
from jaxtyping import Array, Float

from vqvae_jax.layers.initial import uniform
from vqvae_jax.meshes import split_by_batch


class CausalConv3d(nnx.Module):
    """A 3-D convolution with PyTorch's initial values, U(+-1 / sqrt(C_in k_t k_h k_w)).

    Along each axis, k - s zeros are added: before the first frame, and around the sides, one more
    at the top or the left if they are odd. So no frame depends on a later one, but for those that
    a stride unites, and sizes are divided by the strides.

    Args:
        in_features: C_in, at least 1.
        out_features: C_out, at least 1.
        kernel_size: k of time, height and width, each at least 1.
        stride: s of each, at most k.
        rngs: `params` draws the initial values.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: tuple[int, int, int],
        *,
        stride: tuple[int, int, int] = (1, 1, 1),
        rngs: nnx.Rngs,
    ):
        self.stride = stride
        time, *sides = (size - step for size, step in zip(kernel_size, stride, strict=True))
        self.padding = ((time, 0), *((zeros - zeros // 2, zeros // 2) for zeros in sides))
        fan_in = in_features * math.prod(kernel_size)
        self.kernel = uniform((*kernel_size, in_features, out_features), fan_in, rngs=rngs)
        self.bias = uniform((out_features,), fan_in, rngs=rngs)

    def __call__(
        self, x: Float[Array, "b t h w c_in"]
    ) -> Float[Array, "b t_out h_out w_out c_out"]:
        """Maps [B, T, H, W, C_in] to [B, T / s_t, H / s_h, W / s_w, C_out] in the kernel's type."""
        kernel = self.kernel[...]
        y = split_by_batch(self._convolved, x.astype(kernel.dtype), kernel)
        return y + self.bias[...][None, None, None, None, :]

    def _convolved(self, x: Array, kernel: Array) -> Array:
        return jax.lax.conv_general_dilated(
            x,
            kernel,
            window_strides=self.stride,
            padding=self.padding,
            dimension_numbers=("NDHWC", "DHWIO", "NDHWC"),
        )
