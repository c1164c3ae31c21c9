"""The vector quantizer of the VQ-VAE, its codebook learnt by gradient descent on a loss."""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from vqvae_jax.quantizers.core import (
    Quantized,
    lookup,
    mean_over_tokens,
    nearest_code,
    straight_through,
)


class VectorQuantizer(nnx.Module):
    """Replaces each vector by its nearest code (van den Oord et al. 2017, arXiv:1711.00937).

    Equation 3 without its reconstruction term:

        loss = mean((sg(z) - e_k)^2) + beta mean((z - sg(e_k))^2),    k = argmin_j |z - e_j|^2

    with means over every element, and z + sg(e_k - z) for the decoder (straight-through).

    Args:
        embedding_dim: D, numbers in a code, at least 1.
        num_embeddings: K, codes in the codebook, at least 1.
        commitment_cost: beta, finite and at least 0.
        rngs: `params` draws the codebook from N(0, 1).

    Raises:
        ValueError: an argument out of its range.
    """

    def __init__(
        self,
        embedding_dim: int,
        num_embeddings: int,
        commitment_cost: float = 0.25,
        *,
        rngs: nnx.Rngs,
    ):
        for name, number in (("embedding_dim", embedding_dim), ("num_embeddings", num_embeddings)):
            if not isinstance(number, int) or number < 1:
                raise ValueError(f"{name} is {number}; it must be an integer of at least 1")
        if not (math.isfinite(commitment_cost) and commitment_cost >= 0):
            raise ValueError(
                f"commitment_cost is {commitment_cost}; it must be a finite number of at least 0"
            )
        self.embedding_dim = embedding_dim
        self.num_embeddings = num_embeddings
        self.commitment_cost = commitment_cost
        self.embeddings = nnx.Param(
            jax.random.normal(rngs.params(), (num_embeddings, embedding_dim))
        )

    def __call__(
        self, z: Float[Array, "*shape d"], mask: Bool[Array, "*shape"] | None = None
    ) -> Quantized:
        """Quantizes z.

        Args:
            z: vectors [..., D], any floating type; the search and the losses run in float32 or
                wider.
            mask: True [...] for the vectors that count; the others get index -1 and the value 0,
                and take part in nothing. None: all count.

        Returns:
            A `Quantized`; its values have z's type.

        Raises:
            ValueError: z or the mask has the wrong shape or type.
        """
        if not jnp.issubdtype(z.dtype, jnp.floating):
            raise ValueError(f"z has type {z.dtype}; it must be floating")
        if z.shape[-1] != self.embedding_dim:
            raise ValueError(
                f"z has shape {z.shape}; its last axis must be embedding_dim = {self.embedding_dim}"
            )
        if mask is not None:
            if mask.shape != z.shape[:-1]:
                raise ValueError(f"mask has shape {mask.shape}; it must be z's, {z.shape[:-1]}")
            if mask.dtype != jnp.bool_:
                raise ValueError(f"mask has type {mask.dtype}; it must be bool")
            z = jnp.where(mask[..., None], z, jnp.zeros((), z.dtype))

        indices = nearest_code(z, self.embeddings[...])
        if mask is not None:
            indices = jnp.where(mask, indices, -1)
        codes = self.lookup(indices)
        wide = z.astype(jnp.promote_types(z.dtype, codes.dtype))
        codebook_loss = mean_over_tokens((codes - jax.lax.stop_gradient(wide)) ** 2, mask)
        commitment_loss = mean_over_tokens((wide - jax.lax.stop_gradient(codes)) ** 2, mask)
        return Quantized(
            values=straight_through(z, codes.astype(z.dtype)),
            indices=indices,
            codebook_loss=codebook_loss,
            commitment_loss=commitment_loss,
            loss=codebook_loss + self.commitment_cost * commitment_loss,
        )

    def lookup(self, indices: Int[Array, "*shape"]) -> Float[Array, "*shape d"]:
        """The codes [..., D] at integer indices [...]: 0 where masked (-1), NaN where K or more."""
        return lookup(self.embeddings[...], indices)
