"""Layers whose inputs, weights and outputs are 8-bit integers times a scale.

They compute in integers, as TensorFlow Lite does (Jacob et al. 2018, arXiv:1712.05877), and are
the same on every device. Signals between them are real numbers, float32, on a grid of 256 values:
so they stand among other layers. They are for trained weights; none has useful initial values.
"""

from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from vqvae_jax.layers.activations import LeakyReLU
from vqvae_jax.layers.conv1d import conv1d, conv_transpose1d
from vqvae_jax.layers.convolutions1d import Conv1d, ConvTranspose1d
from vqvae_jax.layers.grids import Grid, Rescaling
from vqvae_jax.layers.streaming import Chain, Context, Layer, Residual

# float32 adds integers exactly up to 2^24: so many products of an input and a weight.
_MOST_PRODUCTS = 2**24 // (255 * 128)

# Inputs of a sum are multiplied by 2^20, so that their own rounding does not matter.
SUM_BITS = 20


class Rounded(Layer):
    """A layer of real numbers, whose result is rounded to a grid.

    Args:
        layer: the layer.
    """

    def __init__(self, layer: Layer):
        self.layer, self.grid = layer, Grid()

    def __call__(self, x: Float[Array, "b t c"]) -> Float[Array, "b t_out d"]:
        """Maps [B, T, C] as the layer does."""
        return self.grid(self.layer(x))

    def start(self, batch_size: int) -> Context:
        """See `Layer.start`."""
        return self.layer.start(batch_size)

    def step(
        self, x: Float[Array, "b t c"], context: Context, first: Bool[Array, ""]
    ) -> tuple[Float[Array, "b t_out d"], Context]:
        """See `Layer.step`."""
        y, context = self.layer.step(x, context, first)
        return self.grid(y), context


class Int8LeakyReLU(Layer):
    """`LeakyReLU`: the factors are 1 and the slope, both times the quotient of the scales."""

    def __init__(self):
        self.rescaling = Rescaling(factors=2)

    def __call__(self, x: Float[Array, "b t c"]) -> Float[Array, "b t c"]:
        """Maps [B, T, C] to the same shape."""
        steps = self.rescaling.steps(x).astype(jnp.int32)
        above, below = (self.rescaling.scaled(steps, slice(i, i + 1)) for i in range(2))
        return self.rescaling.grid.values(jnp.where(steps >= 0, above, below))


class Int8Residual(Residual):
    """x + body(x), rounded: the factors are those of body(x), of x, and of their sum."""

    def __init__(self, body: Layer):
        super().__init__(body)
        self.rescaling = Rescaling(inputs=2, factors=3)

    def __call__(self, x: Float[Array, "b t c"]) -> Float[Array, "b t c"]:
        """Maps [B, T, C] to the same shape."""
        return self._sum(x, self.body(x))

    def step(
        self, x: Float[Array, "b t c"], context: Context, first: Bool[Array, ""]
    ) -> tuple[Float[Array, "b t c"], Context]:
        """See `Layer.step`."""
        body, shortcut = context
        change, body = self.body.step(x, body, first)
        return self._sum(x, change), (body, shortcut)

    def _sum(self, x: Array, change: Array) -> Array:
        first, second = (
            self.rescaling.scaled(
                self.rescaling.steps(part, i).astype(jnp.int32) << SUM_BITS, slice(i, i + 1)
            )
            for i, part in enumerate((change, x))
        )
        return self.rescaling.grid.values(self.rescaling.scaled(first + second, slice(2, 3)))


class Int8Conv1d(Conv1d):
    """A convolution in integers; each output channel has its factor.

    Args:
        conv: one of real numbers, whose sizes and padding it takes.

    Raises:
        ValueError: an output is a sum of more products than float32 adds exactly.
    """

    def __init__(self, conv: Conv1d):
        self.stride, self.dilation, self.groups = conv.stride, conv.dilation, conv.groups
        self.padding, self.reach = conv.padding, conv.reach
        self.kernel, self.bias = _zeros_like(conv)
        _check_products(conv.kernel.shape[0] * conv.kernel.shape[1])
        self.rescaling = Rescaling(factors=conv.kernel.shape[2])

    def _convolved(self, x: Array) -> Array:
        sums = conv1d(
            self.rescaling.steps(x),
            self.kernel[...].astype(jnp.float32),
            stride=self.stride,
            dilation=self.dilation,
            groups=self.groups,
        ).astype(jnp.int32)
        return self.rescaling(sums if self.bias is None else sums + self.bias[...][None, None])


class Int8ConvTranspose1d(Layer):
    """A causal transposed convolution in integers; each output channel has its factor and grid.

    Signals come in frames. What the positions of a frame add up to is rounded to the grid; what it
    adds to the next frame is a real number, from which the bias, also real, is taken away.

    Args:
        conv: one of real numbers, whose sizes it takes.
        frame: positions of a frame, at least 1.

    Raises:
        ValueError: a frame reaches beyond the next one, or an output is a sum of more products than
            float32 adds exactly.
    """

    def __init__(self, conv: ConvTranspose1d, frame: int):
        self.stride, self.groups, self.frame = conv.stride, conv.groups, frame
        size, before, after = conv.kernel.shape
        self.overlap = size - self.stride
        if self.overlap > frame * self.stride:
            raise ValueError(
                f"frame is {frame}; the kernel of {size} must not reach beyond the next frame"
            )
        _check_products(before // self.groups * -(-size // self.stride))
        self.kernel, self.bias = _zeros_like(conv)
        self.float_bias = nnx.Variable(jnp.zeros(after * self.groups))
        self.rescaling = Rescaling(factors=after * self.groups, features=after * self.groups)

    def __call__(self, x: Float[Array, "b t c_in"]) -> Float[Array, "b t_out c_out"]:
        """Maps [B, T, C_in] to [B, stride T, C_out]; T is a multiple of the frame."""
        return self.step(x, self.start(len(x)), jnp.ones((), bool))[0]

    def start(self, batch_size: int) -> Context:
        """Returns what earlier frames add to the next one: zeros [B, k - s, C_out]."""
        return jnp.zeros((batch_size, self.overlap, *self.float_bias.shape))

    def step(
        self, x: Float[Array, "b t c_in"], context: Context, first: Bool[Array, ""]
    ) -> tuple[Float[Array, "b t_out c_out"], Context]:
        """See `Layer.step`."""
        batch, length, features = x.shape
        if length == 0 or length % self.frame:
            raise ValueError(
                f"a piece has {length} positions at a transposed convolution; there must be a "
                f"multiple of {self.frame}"
            )
        frames = self.rescaling.steps(x).reshape(-1, self.frame, features)
        kernel = self.kernel[...].astype(jnp.float32)
        sums = conv_transpose1d(frames, kernel, stride=self.stride, groups=self.groups)
        y = self.rescaling(sums.astype(jnp.int32) + self.bias[...][None, None])
        done = self.frame * self.stride
        y = y.reshape(batch, length // self.frame, *y.shape[1:])
        rest = y[:, :, done:] - self.float_bias[...][None, None, None]
        earlier = jnp.concatenate([context[:, None].astype(rest.dtype), rest[:, :-1]], axis=1)
        added = y[:, :, :done].at[:, :, : self.overlap].add(earlier)
        return added.reshape(batch, length * self.stride, -1), rest[:, -1]


def int8(layer: Layer) -> Layer:
    """Returns the counterpart in integers of a chain, residual, convolution or activation.

    Raises:
        TypeError: it has none.
    """
    match layer:
        case Chain():
            return Chain(map(int8, layer.layers))
        case Residual():
            return Int8Residual(int8(layer.body))
        case Conv1d():
            return Int8Conv1d(layer)
        case LeakyReLU():
            return Int8LeakyReLU()
    raise TypeError(f"{type(layer).__name__} has no counterpart in integers")


def _zeros_like(conv: Conv1d | ConvTranspose1d) -> tuple[Any, Any]:
    """Returns a kernel of 8 bits, and a bias of 32 where the convolution has one."""
    kernel = nnx.Variable(jnp.zeros(conv.kernel.shape, jnp.int8))
    if conv.bias is None:
        return kernel, None
    return kernel, nnx.Variable(jnp.zeros(conv.bias.shape, jnp.int32))


def _check_products(number: int) -> None:
    if number > _MOST_PRODUCTS:
        raise ValueError(
            f"an output is a sum of {number} products; there must be at most {_MOST_PRODUCTS}, "
            "which float32 adds exactly"
        )
