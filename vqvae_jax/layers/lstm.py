"""The long short-term memory over signals."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from vqvae_jax.checks import check_integer
from vqvae_jax.layers.initial import uniform
from vqvae_jax.layers.streaming import Context, Layer


class Gates(nnx.Module):
    """x W + b for the four gates, with PyTorch's initial values U(+-1 / sqrt(C)).

    Args:
        features: C, at least 1.
        rngs: `params` draws the initial values.
    """

    def __init__(self, features: int, *, rngs: nnx.Rngs):
        self.kernel = uniform((features, 4 * features), features, rngs=rngs)
        self.bias = uniform((4 * features,), features, rngs=rngs)

    def __call__(self, x: Float[Array, "n c"]) -> Float[Array, "n c4"]:
        """Maps [N, C] to [N, 4 C]."""
        return jnp.dot(x, self.kernel[...]) + self.bias[...][None]


class LSTM(Layer):
    """A long short-term memory (Hochreiter and Schmidhuber 1997), as `torch.nn.LSTM` defines it.

        i, f, g, o = x_t W + b + h_{t-1} U + c,    c_t = s(f) c_{t-1} + s(i) tanh(g),
        h_t = s(o) tanh(c_t),    s the sigmoid

    One product gives all x_t W; Flax's cell computes them inside the scan.

    Args:
        features: C, of inputs and outputs, at least 1.
        rngs: `params` draws the initial values.
    """

    def __init__(self, features: int, *, rngs: nnx.Rngs):
        self.features = check_integer("features", features)
        self.inputs, self.hidden = Gates(features, rngs=rngs), Gates(features, rngs=rngs)

    def __call__(self, x: Float[Array, "b t c"]) -> Float[Array, "b t c"]:
        """Maps [B, T, C] to the same shape, from a state of zeros."""
        return self._scanned(x, self.start(len(x)))[0]

    def start(self, batch_size: int) -> Context:
        """Returns h and c [B, C]: zeros."""
        zeros = jnp.zeros((batch_size, self.features))
        return zeros, zeros

    def step(
        self, x: Float[Array, "b t c"], context: Context, first: Bool[Array, ""]
    ) -> tuple[Float[Array, "b t c"], Context]:
        """See `Layer.step`."""
        return self._scanned(x, context)

    def _scanned(self, x: Array, state: Context) -> tuple[Array, Context]:
        batch_size, length, features = x.shape
        given = self.inputs(x.reshape(batch_size * length, features))
        by_time = given.reshape(batch_size, length, 4 * features).swapaxes(0, 1)
        kernel, bias = self.hidden.kernel[...], self.hidden.bias[...][None]

        def advanced(state: Context, given: Array) -> tuple[Context, Array]:
            hidden, cell = state
            gates = jnp.split(given + jnp.dot(hidden, kernel) + bias, 4, axis=1)
            entered, kept, new, shown = gates
            cell = nnx.sigmoid(kept) * cell + nnx.sigmoid(entered) * jnp.tanh(new)
            hidden = nnx.sigmoid(shown) * jnp.tanh(cell)
            return (hidden, cell), hidden

        state = jax.tree.map(lambda part: part.astype(by_time.dtype), state)
        state, outputs = jax.lax.scan(advanced, state, by_time)
        return outputs.swapaxes(0, 1), state
