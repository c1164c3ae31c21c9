"""The VQ-VAE: a tokenizer of images, with the encoder and decoder of `models.autoencoder`."""

from flax import nnx
from jaxtyping import DTypeLike

from vqvae_jax.checks import check_integer
from vqvae_jax.likelihoods import PixelHead, SquaredError
from vqvae_jax.models.autoencoder import Decoder, Encoder
from vqvae_jax.models.tokenizer import Tokenizer
from vqvae_jax.quantizers import Quantizer, VectorQuantizer


class VQVAE(Tokenizer):
    """The vector-quantized autoencoder (van den Oord et al. 2017, arXiv:1711.00937, equation 3).

        loss = mean((decoder(values) - x)^2) / data_variance + quantizer loss

    With a head, which turns the decoder's output into a distribution of integer pixels,

        loss = mean(-log p(x | decoder(values))) + quantizer loss

    Args:
        in_dim: channels of the images, at least 1.
        embedding_dim: D, the size of a code, at least 1.
        num_embeddings: K, codes in the codebook, at least 1.
        data_variance: variance of the training pixels, finite and above 0.
        commitment_cost: beta, finite and at least 0.
        quantizer: replaces the default `VectorQuantizer`; embedding_dim and num_embeddings must
            match its own, commitment_cost is not used.
        head: p(x | the decoder's output); its in_dim becomes the decoder's out_dim, its out_dim
            must be in_dim. None: the decoder's output is the image.
        dtype: see `Tokenizer`.
        rngs: `params` draws the initial values.

    Raises:
        ValueError: an argument is out of its range, or does not match the quantizer or the head.
    """

    saved_as = "Tokenizer"  # of its parts

    def __init__(
        self,
        in_dim: int,
        embedding_dim: int,
        num_embeddings: int,
        data_variance: float,
        commitment_cost: float = 0.25,
        *,
        quantizer: Quantizer | None = None,
        head: PixelHead | None = None,
        dtype: DTypeLike | None = None,
        rngs: nnx.Rngs,
    ):
        in_dim = check_integer("in_dim", in_dim)
        likelihood = head or SquaredError(in_dim, data_variance)
        if quantizer is None:
            quantizer = VectorQuantizer(embedding_dim, num_embeddings, commitment_cost, rngs=rngs)
        for name, given in (("embedding_dim", embedding_dim), ("num_embeddings", num_embeddings)):
            if given != getattr(quantizer, name):
                raise ValueError(
                    f"{name} is {given}; it must be {getattr(quantizer, name)}, the quantizer's"
                )
        if likelihood.out_dim != in_dim:
            raise ValueError(
                f"in_dim is {in_dim}; it must be {likelihood.out_dim}, the head's out_dim"
            )
        super().__init__(
            Encoder(in_dim, embedding_dim, rngs=rngs),
            quantizer,
            Decoder(likelihood.in_dim, embedding_dim, rngs=rngs),
            likelihood,
            dtype=dtype,
        )
