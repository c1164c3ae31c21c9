"""1-D convolutions as layers of whole signals and of signals that come piece by piece."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from vqvae_jax.checks import check_integer
from vqvae_jax.layers.conv1d import conv1d, conv_transpose1d
from vqvae_jax.layers.initial import uniform
from vqvae_jax.layers.padding1d import Padding, extended
from vqvae_jax.layers.streaming import Context, Layer


class Conv1d(Layer):
    """A 1-D convolution with PyTorch's initial values, U(+-1 / sqrt(C_in k / groups)).

    Args:
        in_features: C_in, at least 1.
        out_features: C_out, at least 1.
        kernel_size: k, at least 1.
        stride: s, step of the window, at least 1.
        dilation: d, step inside the window, at least 1.
        groups: of channels, each convolved by itself; divides C_in and C_out.
        padding: see `Padding`, `causal` and `centered`.
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
        dilation: int = 1,
        groups: int = 1,
        padding: Padding = Padding(),  # noqa: B008, it is immutable
        use_bias: bool = True,
        rngs: nnx.Rngs,
    ):
        self.stride = check_integer("stride", stride)
        self.dilation = check_integer("dilation", dilation)
        self.groups = _check_groups(groups, in_features, out_features)
        self.padding = padding
        self.reach = (check_integer("kernel_size", kernel_size) - 1) * dilation + 1
        fan_in = in_features // groups * kernel_size
        shape = (kernel_size, in_features // groups, out_features)
        self.kernel = uniform(shape, fan_in, rngs=rngs)
        self.bias = uniform(shape[-1:], fan_in, rngs=rngs) if use_bias else None

    def __call__(self, x: Float[Array, "b t c_in"]) -> Float[Array, "b t_out c_out"]:
        """Maps [B, T, C_in] to [B, T', C_out]; with `causal` or `centered` T' is ceil(T / s)."""
        return self._convolved(self.padding(x, self.reach, self.stride))

    def start(self, batch_size: int) -> Context:
        """Returns the last inputs that the next windows reach back to: zeros [B, (k-1)d+1-s, C]."""
        if self.padding.right or self.padding.left != max(0, self.reach - self.stride):
            raise ValueError(f"a convolution has {self.padding}; only a causal one can be streamed")
        return jnp.zeros((batch_size, self.padding.left, self.kernel.shape[1] * self.groups))

    def step(
        self, x: Float[Array, "b t c_in"], context: Context, first: Bool[Array, ""]
    ) -> tuple[Float[Array, "b t_out c_out"], Context]:
        """See `Layer.step`."""
        left, mode = self.padding.left, self.padding.mode
        if x.shape[1] % self.stride or (mode == "reflect" and x.shape[1] <= left):
            raise ValueError(
                f"a piece has {x.shape[1]} positions at a convolution; there must be a multiple of "
                f"{self.stride}" + (f", above {left} to be mirrored" if mode == "reflect" else "")
            )
        if mode != "zeros" and left:
            context = jnp.where(first, extended(x, left, 0, mode)[:, :left], context)
        whole = jnp.concatenate([context.astype(x.dtype), x], axis=1)
        return self._convolved(whole), whole[:, whole.shape[1] - left :]

    def _convolved(self, x: Array) -> Array:
        kernel = self.kernel[...]
        x = x.astype(kernel.dtype)
        y = conv1d(x, kernel, stride=self.stride, dilation=self.dilation, groups=self.groups)
        return y if self.bias is None else y + self.bias[...][None, None]


class ConvTranspose1d(Layer):
    """A 1-D transposed convolution with PyTorch's initial values, U(+-1 / sqrt(C_out k / groups)).

    Args:
        in_features: C_in, at least 1.
        out_features: C_out, at least 1.
        kernel_size: k, at least the stride.
        stride: s, the distance between the kernel's copies, at least 1.
        groups: of channels; divides C_in and C_out.
        cut: positions cut off at the start and at the end, at least 0. Of T positions there become
            (T - 1) s + k less these; with (0, k - s), or any that add up to k - s, it is s T.
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
        groups: int = 1,
        cut: tuple[int, int] = (0, 0),
        use_bias: bool = True,
        rngs: nnx.Rngs,
    ):
        self.stride = check_integer("stride", stride)
        self.groups = _check_groups(groups, in_features, out_features)
        kernel_size = check_integer("kernel_size", kernel_size, self.stride)
        start, end = (check_integer("cut", by, 0) for by in cut)
        self.cut = (start, end)
        fan_in = out_features // groups * kernel_size  # as PyTorch has it
        shape = (kernel_size, in_features, out_features // groups)
        self.kernel = uniform(shape, fan_in, rngs=rngs)
        self.bias = uniform((out_features,), fan_in, rngs=rngs) if use_bias else None

    def __call__(self, x: Float[Array, "b t c_in"]) -> Float[Array, "b t_out c_out"]:
        """Maps [B, T, C_in] to [B, (T - 1) s + k - the cut, C_out]."""
        y, (start, end) = self._added(x), self.cut
        return self._with_bias(y[:, start : y.shape[1] - end])

    def start(self, batch_size: int) -> Context:
        """Returns what earlier inputs add to the next outputs: zeros [B, k - s, C_out]."""
        overlap = len(self.kernel[...]) - self.stride
        if self.cut != (0, overlap):
            raise ValueError(
                f"a transposed convolution cuts {self.cut}; only one that cuts {(0, overlap)}, and "
                "so is causal, can be streamed"
            )
        return jnp.zeros((batch_size, overlap, self.kernel.shape[2] * self.groups))

    def step(
        self, x: Float[Array, "b t c_in"], context: Context, first: Bool[Array, ""]
    ) -> tuple[Float[Array, "b t_out c_out"], Context]:
        """See `Layer.step`."""
        added, overlap = self._added(x), context.shape[1]
        sums = added.at[:, :overlap].add(context.astype(added.dtype))
        done = x.shape[1] * self.stride
        return self._with_bias(sums[:, :done]), sums[:, done:]

    def _added(self, x: Array) -> Array:
        kernel = self.kernel[...]
        x = x.astype(kernel.dtype)
        return conv_transpose1d(x, kernel, stride=self.stride, groups=self.groups)

    def _with_bias(self, y: Array) -> Array:
        return y if self.bias is None else y + self.bias[...][None, None]


def _check_groups(groups: int, in_features: int, out_features: int) -> int:
    check_integer("in_features", in_features)
    check_integer("out_features", out_features)
    if in_features % check_integer("groups", groups) or out_features % groups:
        raise ValueError(
            f"groups is {groups}; it must divide in_features = {in_features} and "
            f"out_features = {out_features}"
        )
    return groups
