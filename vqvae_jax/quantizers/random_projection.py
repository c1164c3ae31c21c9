"""A quantizer that learns nothing: labels for self-supervised learning."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from vqvae_jax.quantizers.base import Quantizer, QuantizerState, check_integer
from vqvae_jax.quantizers.core import Quantized, lookup, unit
from vqvae_jax.quantizers.estimators import sg
from vqvae_jax.quantizers.search import nearest_code


class RandomProjectionQuantizer(Quantizer):
    """A random matrix and a random codebook (Chiu et al. 2022, BEST-RQ, arXiv:2202.01855, eq. 1).

        index = argmin_k | A z / |A z|  -  c_k / |c_k| |

    A [D, codebook_dim] is drawn as Xavier's initial values are, c_k from N(0, 1); neither ever
    changes. Made for the indices, as labels for masked prediction: the values are the unit codes,
    no gradient goes to z, and all losses are 0.

    Args:
        embedding_dim: D, numbers in a vector, at least 1.
        num_embeddings: K, codes in the codebook, at least 1.
        codebook_dim: numbers in a code, at least 1; None for D. The values have this length.
        rngs: `params` draws A and the codes.

    Raises:
        ValueError: an argument out of its range.
    """

    def __init__(
        self,
        embedding_dim: int,
        num_embeddings: int,
        codebook_dim: int | None = None,
        *,
        rngs: nnx.Rngs,
    ):
        codebook_dim = embedding_dim if codebook_dim is None else codebook_dim
        check_integer("embedding_dim", embedding_dim)
        check_integer("num_embeddings", num_embeddings)
        check_integer("codebook_dim", codebook_dim)
        self.embedding_dim = embedding_dim
        self.num_embeddings = num_embeddings
        bound = (6 / (embedding_dim + codebook_dim)) ** 0.5
        self.projection = QuantizerState(
            jax.random.uniform(
                rngs.params(), (embedding_dim, codebook_dim), minval=-bound, maxval=bound
            )
        )
        self.embeddings = QuantizerState(
            unit(jax.random.normal(rngs.params(), (num_embeddings, codebook_dim)))
        )

    def _quantize(
        self,
        z: Float[Array, "*shape d"],
        mask: Bool[Array, "*shape"] | None,
        key: jax.Array | None,
    ) -> Quantized:
        indices = self._encode(z)
        zero = jnp.zeros((), z.dtype)
        return Quantized(
            values=sg(self._lookup(indices)),
            indices=indices,
            codebook_loss=zero,
            commitment_loss=zero,
            entropy_loss=zero,
            loss=zero,
        )

    def _encode(self, z: Float[Array, "*shape d"]) -> Int[Array, "*shape"]:
        projected = jnp.matmul(
            z, self.projection[...].astype(z.dtype), precision=jax.lax.Precision.HIGHEST
        )
        return nearest_code(unit(projected), self.embeddings[...])

    def _lookup(self, indices: Int[Array, "*shape"]) -> Float[Array, "*shape c"]:
        return lookup(self.embeddings[...], indices)
