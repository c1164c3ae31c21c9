"""A quantizer that learns nothing, for labels in self-supervised learning."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from vqvae_jax.checks import check_integer
from vqvae_jax.quantizers.base import Quantizer, QuantizerState
from vqvae_jax.quantizers.core import Quantized, unit
from vqvae_jax.quantizers.estimators import sg
from vqvae_jax.quantizers.search import nearest_code
from vqvae_jax.tables import lookup


class RandomProjectionQuantizer(Quantizer):
    """A random matrix and a random codebook (Chiu et al. 2022, BEST-RQ, arXiv:2202.01855, eq. 1).

        index = argmin_k | A z / |A z|  -  c_k / |c_k| |

    A [D, codebook_dim] has Xavier initialization, c_k is drawn from N(0, 1); neither ever changes.
    It is used for its indices, as labels for masked prediction: the values are the unit codes, no
    gradient reaches z, and all losses are 0. The paper's data have mean 0 and standard deviation 1,
    without which the labels collapse to few codes: normalize them, or let `normalize` do it.

    Args:
        embedding_dim: D, the size of a vector, at least 1.
        num_embeddings: K, codes in the codebook, at least 1.
        codebook_dim: the size of a code, at least 1; None for D. The values have this size, with
            several codebooks that of their concatenated codes.
        num_codebooks: n, at least 1, each with its own projection; None for a single one without an
            axis.
        normalize: whether each vector is first normalized to mean 0 and standard deviation 1, as by
            LayerNorm. (Dividing by |A z| already removes the scale.)
        rngs: `params` draws A and the codes.

    Raises:
        ValueError: an argument out of its range; normalize with a D of 1, which leaves only 0.
    """

    follows_scale = False

    def __init__(
        self,
        embedding_dim: int,
        num_embeddings: int,
        codebook_dim: int | None = None,
        *,
        num_codebooks: int | None = None,
        normalize: bool = False,
        rngs: nnx.Rngs,
    ):
        embedding_dim = check_integer("embedding_dim", embedding_dim)
        num_embeddings = check_integer("num_embeddings", num_embeddings)
        if codebook_dim is None:
            codebook_dim = embedding_dim
        codebook_dim = check_integer("codebook_dim", codebook_dim)
        if num_codebooks is not None:
            num_codebooks = check_integer("num_codebooks", num_codebooks)
        if normalize and embedding_dim == 1:
            raise ValueError("embedding_dim is 1; with normalize it must be at least 2")
        self.embedding_dim = embedding_dim
        self.num_embeddings = num_embeddings
        self.codebook_dim = codebook_dim
        self.num_codebooks = num_codebooks
        self.normalize = normalize
        books = () if num_codebooks is None else (num_codebooks,)
        bound = (6 / (embedding_dim + codebook_dim)) ** 0.5
        self.projection = QuantizerState(
            jax.random.uniform(
                rngs.params(), (*books, embedding_dim, codebook_dim), minval=-bound, maxval=bound
            )
        )
        self.embeddings = QuantizerState(
            unit(jax.random.normal(rngs.params(), (*books, num_embeddings, codebook_dim)))
        )

    @property
    def values_dim(self) -> int:
        """The size of the concatenated codes of all codebooks."""
        return (self.num_codebooks or 1) * self.embeddings.shape[-1]

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

    def _encode(self, z: Float[Array, "*shape d"]) -> Int[Array, "..."]:
        if self.normalize:
            z = z - jnp.mean(z, axis=-1, keepdims=True)

        def labels(book: tuple[Array, Array]) -> Int[Array, "*shape"]:
            projection, codes = book
            projected = jnp.matmul(
                z, projection.astype(z.dtype), precision=jax.lax.Precision.HIGHEST
            )
            return nearest_code(unit(projected), codes)

        books = (self.projection[...], self.embeddings[...])
        if self.num_codebooks is None:
            return labels(books)
        return jnp.moveaxis(jax.lax.map(labels, books), 0, -1)

    def _lookup(self, indices: Int[Array, "..."]) -> Float[Array, "*shape c"]:
        books = self.embeddings[...]
        if self.num_codebooks is None:
            return lookup(books, indices)
        self._check_last_axis(indices)
        codes = jax.vmap(lookup, in_axes=(0, -1), out_axes=-2)(books, indices)
        return codes.reshape(*indices.shape[:-1], self.num_codebooks * books.shape[-1])
