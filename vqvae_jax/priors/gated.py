"""The layer of the gated PixelCNN: causal convolutions as products over the taps they have."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from vqvae_jax.priors.linear import Linear
from vqvae_jax.quantizers.core import lookup


class GatedLayer(nnx.Module):
    """A gated layer of both stacks, with kernels of 3 (van den Oord et al. 2016, figure 2).

        s = V (v at rows -d, 0 and columns -d, 0, d) + b_v        v <- tanh(s_1) sigmoid(s_2)
        t = H (h at columns -d, 0) + A s + b_h                    h <- h + R tanh(t_1) sigmoid(t_2)

    d is the dilation; the biases are those of the class (equation 4). All of it works on what the
    taps see, side by side, whether that is whole maps [B, h, w, C], a row or a single position.

    Args:
        channels: C of both stacks.
        dilation: d, from one tap of a kernel to the next.
        class_rows: how many classes, with that of no class.
        rngs: `params` draws the weights as `Linear`, the biases from U(+-1 / sqrt(C)).
    """

    def __init__(self, channels: int, dilation: int, class_rows: int, *, rngs: nnx.Rngs):
        self.dilation = dilation
        self.down = Linear(6 * channels, 2 * channels, use_bias=False, rngs=rngs)
        self.across = Linear(2 * channels, 2 * channels, use_bias=False, rngs=rngs)
        self.link = Linear(2 * channels, 2 * channels, use_bias=False, rngs=rngs)
        self.residual = Linear(channels, channels, rngs=rngs)
        self.biases = nnx.Param(
            jax.random.uniform(rngs.params(), (class_rows, 4 * channels), minval=-1.0, maxval=1.0)
            * channels**-0.5
        )

    def vertical(
        self,
        above: Float[Array, "b *h w c"],
        v: Float[Array, "b *h w c"],
        classes: Int[Array, " b"],
    ) -> Float[Array, "b *h w c2"]:
        """S at the positions of v, from v and what lies d rows above."""
        d = self.dilation
        seen = [shift(rows, columns, axis=-2) for rows in (above, v) for columns in (d, 0, -d)]
        return self.down(jnp.concatenate(seen, axis=-1)) + self._bias(classes, v.ndim)[0]

    def horizontal(
        self,
        left: Float[Array, "b *shape c"],
        h: Float[Array, "b *shape c"],
        linked: Float[Array, "b *shape c2"],
        classes: Int[Array, " b"],
    ) -> Float[Array, "b *shape c"]:
        """The new h, from h, what lies d columns to its left, and A s."""
        seen = jnp.concatenate([left, h], axis=-1)
        t = self.across(seen) + linked + self._bias(classes, h.ndim)[1]
        return h + self.residual(gated(t))

    def _bias(self, classes: Int[Array, " b"], ndim: int) -> list[Array]:
        """b_v and b_h [B, 1, ..., 2 C] with `ndim` axes."""
        biases = lookup(self.biases[...], classes)
        return jnp.split(jnp.expand_dims(biases, range(1, ndim - 1)), 2, axis=-1)


def gated(s: Float[Array, "*shape c2"]) -> Float[Array, "*shape c"]:
    """tanh(s_1) sigmoid(s_2), s_1 and s_2 the halves of s (equation 2)."""
    first, second = jnp.split(s, 2, axis=-1)
    return jnp.tanh(first) * nnx.sigmoid(second)


def shift(x: Float[Array, "*shape"], by: int, *, axis: int) -> Float[Array, "*shape"]:
    """X moved by so many places to higher indices (negative: lower) of an axis; zeros move in."""
    edges = [(0, 0, 0)] * x.ndim
    edges[axis] = (by, -by, 0)
    return jax.lax.pad(x, jnp.zeros((), x.dtype), edges)
