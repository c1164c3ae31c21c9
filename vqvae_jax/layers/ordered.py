"""Convolutions that add their products in a fixed order: the same float32 on every device."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vqvae_jax.layers.activations import LeakyReLU
from vqvae_jax.layers.convolutions1d import Conv1d
from vqvae_jax.layers.streaming import Chain, Layer, Residual


class OrderedConv1d(Conv1d):
    """`Conv1d` by the definition: products are added one by one, tap by tap, in float32.

    What a fast convolution gives differs in the last digits, which decide where a result that is
    rounded to a grid lies between two of its numbers.

    Args:
        conv: one whose sizes, padding and parameters it takes.
    """

    def __init__(self, conv: Conv1d):
        self.stride, self.dilation, self.groups = conv.stride, conv.dilation, conv.groups
        self.padding, self.reach = conv.padding, conv.reach
        self.kernel, self.bias = conv.kernel, conv.bias

    def _convolved(self, x: Array) -> Array:
        y = ordered_conv1d(
            x,
            self.kernel[...],
            stride=self.stride,
            dilation=self.dilation,
            groups=self.groups,
        )
        return y if self.bias is None else y + self.bias[...][None, None]


def ordered_conv1d(
    x: Float[Array, "b t c_in"],
    kernel: Float[Array, "k c_in_group c_out"],
    *,
    stride: int,
    dilation: int,
    groups: int,
) -> Float[Array, "b t_out c_out"]:
    """Computes `conv1d` with a sum of k C_in / groups products, in this order.

    Args and returns: as for `conv1d`.
    """
    size, inputs, features = kernel.shape
    count = (x.shape[1] - (size - 1) * dilation - 1) // stride + 1
    reach = (count - 1) * stride + 1
    windows = jnp.stack(
        [x[:, tap * dilation : tap * dilation + reach : stride] for tap in range(size)]
    ).reshape(size, len(x), count, groups, inputs)
    columns = jnp.moveaxis(windows, -1, 1).reshape(size * inputs, len(x), count, groups, 1)
    rows = kernel.reshape(size * inputs, 1, 1, groups, features // groups)
    zeros = jnp.zeros((len(x), count, groups, features // groups), x.dtype)
    # A product that is added in the step after its own is rounded by itself; XLA would make one
    # operation of the two, which rounds once.
    (sums, product), _ = jax.lax.scan(
        lambda carry, factors: ((carry[0] + carry[1], factors[0] * factors[1]), None),
        (zeros, zeros),
        (columns, rows),
    )
    return (sums + product).reshape(len(x), count, features)


def ordered(layer: Layer) -> Layer:
    """Returns a chain, residual, convolution or activation with `OrderedConv1d`s.

    Raises:
        TypeError: it is another layer.
    """
    match layer:
        case Chain():
            return Chain(map(ordered, layer.layers))
        case Residual():
            return Residual(ordered(layer.body))
        case Conv1d():
            return OrderedConv1d(layer)
        case LeakyReLU():
            return layer
    raise TypeError(f"{type(layer).__name__} has no counterpart that adds in a fixed order")
