"""Any quantizer in fewer (or more) dimensions, between two learned linear layers."""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from vqvae_jax.checks import check_integer
from vqvae_jax.precision import wide
from vqvae_jax.quantizers.base import Quantizer
from vqvae_jax.quantizers.core import AxisName, Quantized


class ProjectedQuantizer(Quantizer):
    """Projects, quantizes, projects back (Yu et al. 2021, ViT-VQGAN, arXiv:2110.04627, sec. 3.2).

        values = quantizer(z W_in + b_in).values W_out + b_out

    The losses are the inner quantizer's for the projected vectors: its commitment loss moves W_in
    too. W_out learns from the gradient at the values.

    Args:
        quantizer: the inner one.
        embedding_dim: D, the size of a vector, at least 1.
        use_bias: whether there are b_in and b_out.
        rngs: `params` draws the initial values, U(-1 / sqrt(n), 1 / sqrt(n)) for n inputs.

    Raises:
        ValueError: embedding_dim is below 1.
    """

    learns_from_values = True

    def __init__(
        self, quantizer: Quantizer, embedding_dim: int, *, use_bias: bool = True, rngs: nnx.Rngs
    ):
        embedding_dim = check_integer("embedding_dim", embedding_dim)
        self.quantizer = quantizer
        self.embedding_dim, self.use_bias = embedding_dim, use_bias
        self.num_embeddings = quantizer.num_embeddings
        self.num_codebooks = quantizer.num_codebooks
        self.per_token = quantizer.per_token
        self.has_updates = quantizer.has_updates
        self.has_initialization = quantizer.has_initialization
        self.project_in = _linear(embedding_dim, quantizer.embedding_dim, use_bias, rngs)
        self.project_out = _linear(quantizer.values_dim, embedding_dim, use_bias, rngs)

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """The inner quantizer's codebook sizes."""
        return self.quantizer.codebook_sizes

    def _quantize(
        self,
        z: Float[Array, "*shape d"],
        mask: Bool[Array, "*shape"] | None,
        key: jax.Array | None,
    ) -> Quantized:
        quantized = self.quantizer(_apply(self.project_in, z), mask, key=key)
        return dataclasses.replace(quantized, values=_apply(self.project_out, quantized.values))

    def _encode(self, z: Float[Array, "*shape d"]) -> Int[Array, "..."]:
        return self.quantizer.encode(_apply(self.project_in, z))

    def _lookup(self, indices: Int[Array, "..."]) -> Float[Array, "*shape d"]:
        values = _apply(self.project_out, self.quantizer.lookup(indices))
        counted = indices >= 0
        if self.num_codebooks is not None:
            counted = jnp.any(counted, axis=-1)
        return jnp.where(counted[..., None], values, 0)

    def _update(
        self,
        z: Float[Array, "*shape d"],
        indices: Int[Array, "..."],
        key: jax.Array | None,
        axis_name: AxisName | None,
    ) -> None:
        projected = _apply(self.project_in, z)
        self.quantizer.update(projected, indices, key=key, axis_name=axis_name)

    def _initialize(
        self,
        z: Float[Array, "*shape d"],
        mask: Bool[Array, "*shape"] | None,
        key: jax.Array,
        axis_name: AxisName | None,
    ) -> None:
        projected = _apply(self.project_in, z)
        self.quantizer.initialize(projected, mask, key=key, axis_name=axis_name)


def _apply(linear: nnx.Linear, x: Float[Array, "*shape n"]) -> Float[Array, "*shape m"]:
    """Returns the projection in float32, or in the type of x if that is wider: as losses are."""
    with jax.numpy_dtype_promotion("standard"):  # flax relies on it where a type is float64
        return linear(x).astype(wide(x).dtype)


def _linear(inputs: int, outputs: int, use_bias: bool, rngs: nnx.Rngs) -> nnx.Linear:
    def uniform(key: jax.Array, shape: tuple[int, ...], *_: object) -> Array:
        return jax.random.uniform(key, shape, minval=-(inputs**-0.5), maxval=inputs**-0.5)

    return nnx.Linear(
        inputs,
        outputs,
        use_bias=use_bias,
        kernel_init=uniform,
        bias_init=uniform,
        precision=jax.lax.Precision.HIGHEST,
        rngs=rngs,
    )
