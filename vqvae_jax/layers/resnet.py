"""The residual block of the convolutional autoencoders that image tokenizers share."""

from collections.abc import Callable
from typing import Any

from flax import nnx
from jaxtyping import Array, Float

from vqvae_jax.layers.conv import Conv
from vqvae_jax.layers.residual import GroupNorm

# Makes the normalization of a number of channels: a module called with x, and perhaps with what
# conditions it.
Norm = Callable[[int], nnx.Module]


class ResnetBlock(nnx.Module):
    """shortcut(x) + Conv 3x3(swish(norm(Conv 3x3(swish(norm(x)))))).

    The block of the VQGAN (Esser et al. 2020, arXiv:2012.09841); the shortcut is x itself, or Conv
    1x1 where the number of channels changes.

    Args:
        in_features: channels of x, at least 1.
        out_features: channels of the result, at least 1.
        norm: makes the two normalizations.
        use_bias: whether the convolutions have biases.
        rngs: `params` draws the initial values.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        norm: Norm = GroupNorm,
        use_bias: bool = True,
        rngs: nnx.Rngs,
    ):
        self.norm1, self.norm2 = norm(in_features), norm(out_features)
        self.conv1 = Conv(in_features, out_features, 3, padding=1, use_bias=use_bias, rngs=rngs)
        self.conv2 = Conv(out_features, out_features, 3, padding=1, use_bias=use_bias, rngs=rngs)
        if in_features == out_features:
            self.shortcut = None
        else:
            self.shortcut = Conv(in_features, out_features, 1, use_bias=use_bias, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w c"], *given: Any) -> Float[Array, "b h w c_out"]:
        """Maps [B, H, W, C] to [B, H, W, C_out]; what else is given conditions the norms."""
        change = self.changed(x, *given)
        return change + (x if self.shortcut is None else self.shortcut(x))

    def changed(self, x: Float[Array, "b h w c"], *given: Any) -> Float[Array, "b h w c_out"]:
        """Returns what is added to the shortcut."""
        x = self.conv1(nnx.swish(self.norm1(x, *given)))
        return self.conv2(nnx.swish(self.norm2(x, *given)))
