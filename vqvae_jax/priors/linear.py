"""The linear layer of the priors, and parameters drawn from a normal distribution."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float


class Linear(nnx.Module):
    """x W + b for vectors with any number of leading axes, as one product of two matrices.

    That form is what XLA:CPU computes fast: with two leading axes the gradients take twice as long.

    Args:
        in_dim: numbers in a vector.
        out_dim: numbers in an output vector.
        use_bias: whether there is a b.
        rngs: `params` draws W from U(+-1 / sqrt(in_dim)); b is 0 at first.
    """

    def __init__(self, in_dim: int, out_dim: int, *, use_bias: bool = True, rngs: nnx.Rngs):
        bound = in_dim**-0.5
        self.kernel = nnx.Param(
            jax.random.uniform(rngs.params(), (in_dim, out_dim), minval=-bound, maxval=bound)
        )
        self.bias = nnx.Param(jnp.zeros(out_dim)) if use_bias else None

    def __call__(self, x: Float[Array, "*shape d_in"]) -> Float[Array, "*shape d_out"]:
        """Maps vectors [..., in_dim] to [..., out_dim]."""
        in_dim, out_dim = self.kernel.shape
        rows = jnp.dot(x.reshape(-1, in_dim), self.kernel[...])
        if self.bias is not None:
            rows = rows + self.bias[...][None]
        return rows.reshape(*x.shape[:-1], out_dim)


def normal(shape: tuple[int, ...], *, rngs: nnx.Rngs) -> nnx.Param:
    """A parameter of this shape, its values drawn from N(0, 1)."""
    return nnx.Param(jax.random.normal(rngs.params(), shape))
