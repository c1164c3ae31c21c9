"""A frozen codebook times a learned matrix."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from vqvae_jax.quantizers.base import QuantizerState
from vqvae_jax.quantizers.estimators import Estimator, straight_through
from vqvae_jax.quantizers.initialization import overwrite
from vqvae_jax.quantizers.vector import VectorQuantizer


class SimVQ(VectorQuantizer):
    """Moves all codes at once by one linear layer (Zhu et al. 2024, arXiv:2411.02038, equation 9).

        e_k = c_k W,    c_k frozen at N(0, 1 / D), W [D, D] learned

    The loss is that of `VectorQuantizer`; its codebook loss moves W, and so every code, used or
    not: the codebook does not collapse.

    Args:
        embedding_dim: D, the size of a code, at least 1.
        num_embeddings: K, codes in the codebook, at least 1.
        commitment_cost: beta, finite and at least 0.
        codebook_cost: alpha, finite and at least 0.
        estimator: what carries the decoder's gradient past the argmin.
        rngs: `params` draws the frozen codes, and W from U(-1 / sqrt(D), 1 / sqrt(D)).

    Raises:
        ValueError: an argument out of its range.
    """

    def __init__(
        self,
        embedding_dim: int,
        num_embeddings: int,
        commitment_cost: float = 0.25,
        *,
        codebook_cost: float = 1.0,
        estimator: Estimator = straight_through,
        rngs: nnx.Rngs,
    ):
        super().__init__(
            embedding_dim,
            num_embeddings,
            commitment_cost,
            codebook_cost=codebook_cost,
            estimator=estimator,
            rngs=rngs,
        )
        self.embeddings = QuantizerState(self.embeddings[...] * embedding_dim**-0.5)
        bound = embedding_dim**-0.5
        self.projection = nnx.Param(
            jax.random.uniform(
                rngs.params(), (embedding_dim, embedding_dim), minval=-bound, maxval=bound
            )
        )

    def _start_from(
        self, codes: Float[Array, "k d"], counts: Float[Array, " k"], due: Bool[Array, ""]
    ) -> None:
        super()._start_from(codes, counts, due)
        overwrite(self.projection, jnp.eye(self.embedding_dim), due)

    @property
    def codebook(self) -> Float[Array, "k d"]:
        """The codes [K, D], after multiplication by the matrix."""
        return jnp.matmul(
            self.embeddings[...], self.projection[...], precision=jax.lax.Precision.HIGHEST
        )
