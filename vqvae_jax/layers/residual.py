"""Residual blocks, and what comes before each of their convolutions."""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from vqvae_jax.checks import check_integer
from vqvae_jax.layers.conv import Conv
from vqvae_jax.precision import wide


class GroupNorm(nnx.Module):
    """Group normalization (Wu and He 2018, arXiv:1803.08494), with a scale and a bias per channel.

        y = (x - mean) / sqrt(variance + epsilon) scale + bias

    Mean and variance are over positions and the channels of a group, in float32.

    Args:
        features: C, at least 1.
        most_groups: at least 1; there are gcd(C, most_groups) groups.
        epsilon: above 0.
    """

    def __init__(self, features: int, most_groups: int = 32, epsilon: float = 1e-6):
        self.num_groups = math.gcd(
            check_integer("features", features), check_integer("most_groups", most_groups)
        )
        self.epsilon = epsilon
        self.scale, self.bias = nnx.Param(jnp.ones(features)), nnx.Param(jnp.zeros(features))

    def __call__(self, x: Float[Array, "b *spatial c"]) -> Float[Array, "b *spatial c"]:
        """Normalizes x [B, *spatial, C]; the result has its type."""
        ones = (1,) * (x.ndim - 1)
        scale, bias = (given[...].reshape(*ones, -1) for given in (self.scale, self.bias))
        return group_norm(x, scale, bias, self.num_groups, self.epsilon)


def group_norm(
    x: Float[Array, "b *spatial c"],
    scale: Float[Array, "n *ones c"],
    bias: Float[Array, "n *ones c"],
    num_groups: int,
    epsilon: float = 1e-6,
) -> Float[Array, "b *spatial c"]:
    """Computes `GroupNorm`.

    Args:
        x: [B, *spatial, C].
        scale: one per channel, [1, ..., 1, C] or [B, 1, ..., 1, C].
        bias: likewise.
        num_groups: a divisor of C.
        epsilon: above 0.

    Returns:
        [B, *spatial, C], of x's type.
    """
    centered = wide(x) - _mean_of_groups(wide(x), num_groups)
    variance = _mean_of_groups(centered**2, num_groups)
    normalized = centered * (jax.lax.rsqrt(variance + epsilon) * wide(scale)) + wide(bias)
    return normalized.astype(x.dtype)


def _mean_of_groups(x: Float[Array, "b *spatial c"], num_groups: int) -> Float[Array, "b *ones c"]:
    """Returns the mean of each channel's group.

    Over positions first: XLA:CPU takes five times as long over both at once.
    """
    of_channels = jnp.mean(x, axis=range(1, x.ndim - 1), keepdims=True)
    shape = of_channels.shape
    groups = of_channels.reshape(*shape[:-1], num_groups, shape[-1] // num_groups)
    of_groups = jnp.mean(groups, axis=-1, keepdims=True)
    return jnp.broadcast_to(of_groups, groups.shape).reshape(shape)


class Activation(nnx.Module):
    """ReLU; or, if it normalizes, `GroupNorm` and swish, x sigmoid(x).

    Args:
        features: channels.
        normalize: whether it normalizes.
    """

    def __init__(self, features: int, normalize: bool):
        self.norm = GroupNorm(features) if normalize else None

    def __call__(self, x: Float[Array, "b *spatial c"]) -> Float[Array, "b *spatial c"]:
        """Maps [B, *spatial, C] to the same shape."""
        return nnx.relu(x) if self.norm is None else nnx.swish(self.norm(x))


class ResidualBlock(nnx.Module):
    """x + Conv 1x1(act(Conv 3x3(act(x)))), the block of the VQ-VAE (arXiv:1711.00937, section 4.1).

    Args:
        features: C, channels of all of it, at least 1.
        normalize: see `Activation`.
        rngs: `params` draws the initial values.
    """

    def __init__(self, features: int, *, normalize: bool = False, rngs: nnx.Rngs):
        self.activations = nnx.List([Activation(features, normalize) for _ in range(2)])
        self.wide = Conv(features, features, 3, padding=1, rngs=rngs)
        self.narrow = Conv(features, features, 1, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Maps [B, H, W, C] to the same shape."""
        first, second = self.activations
        return x + self.narrow(second(self.wide(first(x))))
