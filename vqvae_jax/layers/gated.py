"""The layer of a gated PixelCNN: causal convolutions in two stacks, and gates.

A pixel may depend on the pixels of the rows above and on those to its left. Two stacks of layers
cover exactly these (van den Oord et al. 2016, "Conditional Image Generation with PixelCNN
Decoders", arXiv:1606.05328, section 2.2): a vertical one that sees the rows above, to both sides,
and a horizontal one that sees the pixels to the left and takes in the vertical one at its own
position. One stack alone would have a blind spot to the upper right.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from vqvae_jax.layers.causal import HorizontalConv, VerticalConv, columns_left, rows_above
from vqvae_jax.layers.linear import Linear

# What a layer adds to its two stacks, each broadcastable to [B, H, W, 2 D]; None for nothing.
Condition = tuple[Array | None, Array | None]

# The halves of 2 D channels that a gate takes, [B, H, W, D] each: the filtered one, and the gate.
Halves = tuple[Array, Array]


class GatedLayer(nnx.Module):
    """One layer of both stacks (arXiv:1606.05328, equation 4 and figure 2).

        a_v = W_v * v + c_v                v' = tanh(first half of a_v) sigma(second half)
        a_h = W_h * h + (U a_v + c_h)      h' = h + O (tanh(first half of a_h) sigma(second))

    Args:
        vertical: W_v, from D to 2 D channels.
        horizontal: W_h, from D to 2 D channels.
        across: U, from 2 D to 2 D channels.
        out: O, from D to D channels.
    """

    def __init__(
        self,
        vertical: VerticalConv,
        horizontal: HorizontalConv,
        across: Linear | nnx.Linear,
        out: Linear | nnx.Linear,
    ):
        self.vertical, self.horizontal, self.across, self.out = vertical, horizontal, across, out

    def __call__(
        self,
        v: Float[Array, "b h w d"],
        h: Float[Array, "b h w d"],
        condition: Condition = (None, None),
    ) -> tuple[Float[Array, "b h w d"], Float[Array, "b h w d"]]:
        """Returns the next values v', h' [B, H, W, D], from v, h and the condition c_v, c_h.

        Row i of v and v' may depend on the rows above i; pixel j of h on the pixels before j. A
        condition may affect every position.
        """
        framed = rows_above(v, self.vertical.reach, current=True)
        v_next, across = self.vertical_rows(framed, condition)
        framed = columns_left(h, self.horizontal.reach, current=True)
        return v_next, self.horizontal_pixels(framed, across)

    def vertical_rows(
        self, framed: Float[Array, "b h_framed w d"], condition: Condition
    ) -> tuple[Float[Array, "b h w d"], Halves]:
        """Computes rows of the vertical stack: v', and U a_v + c_h for `horizontal_pixels`.

        Args:
            framed: v of these n rows and of the `vertical.reach - 1` above, [B, ..., W, D].
            condition: the condition at these rows.
        """
        a = _sum(self.vertical(framed), condition[0])
        return _gate(_halves(a)), _halves(_sum(self.across(a), condition[1]))

    def horizontal_pixels(
        self, framed: Float[Array, "b h w_framed d"], across: Halves
    ) -> Float[Array, "b h w d"]:
        """Computes pixels of the horizontal stack: h' [B, H, n, D].

        Args:
            framed: h of these n pixels and of the `horizontal.reach - 1` to the left
                [B, H, ..., D].
            across: U a_v + c_h of these pixels [B, H, n, D], in halves: XLA:CPU computes the gates
                several times as fast if each half was sliced by itself.
        """
        h = framed[:, :, self.horizontal.reach - 1 :]
        filtered, gate = _halves(self.horizontal(framed))
        return h + self.out(_gate((filtered + across[0], gate + across[1])))


def _sum(a: Float[Array, "b h w d2"], condition: Array | None) -> Float[Array, "b h w d2"]:
    return a if condition is None else a + condition


def _halves(a: Float[Array, "b h w d2"]) -> Halves:
    filtered, gate = jnp.split(a, 2, axis=-1)
    return filtered, gate


def _gate(halves: Halves) -> Float[Array, "b h w d"]:
    """Applies equation 2: tanh of the first half times sigmoid of the second."""
    return jnp.tanh(halves[0]) * jax.nn.sigmoid(halves[1])
