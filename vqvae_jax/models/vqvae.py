"""The VQ-VAE: encoder, quantizer, decoder and their loss."""

import dataclasses
import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from vqvae_jax.likelihoods import PixelHead
from vqvae_jax.means import mean
from vqvae_jax.models.autoencoder import Decoder, Encoder
from vqvae_jax.pixels import to_floats, to_integers
from vqvae_jax.quantizers import Leaf, Quantized, Quantizer, VectorQuantizer


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class VQVAEOutput:
    """What a VQVAE returns for images [B, H, W, C].

    Attributes:
        loss: scalar, reconstruction_loss + quantized.loss.
        reconstruction: [B, H, W, C], on the scale of the images, not clipped; of a model with a
            head, the features [B, H, W, F] that the head turns into distributions.
        reconstruction_loss: scalar, the mean squared error divided by the data variance; of a model
            with a head, the mean of -log p(x | z) in nats. Means over the pixels that count.
        latents: z_e(x) [B, h, w, D], what the quantizer was given.
        quantized: the quantizer's output: values, indices and losses.
    """

    loss: Leaf
    reconstruction: Leaf
    reconstruction_loss: Leaf
    latents: Leaf
    quantized: Quantized


class VQVAE(nnx.Module):
    """The vector-quantised autoencoder (van den Oord et al. 2017, arXiv:1711.00937, equation 3).

        loss = mean((decoder(values) - x)^2) / data_variance + quantizer loss

    With a head, which makes the decoder's output a distribution of integer pixels,

        loss = mean(-log p(x | decoder(values))) + quantizer loss

    Args:
        in_dim: channels of the images, at least 1.
        embedding_dim: D, numbers in a code, at least 1.
        num_embeddings: K, codes in the codebook, at least 1.
        data_variance: variance of the training pixels, finite and above 0.
        commitment_cost: beta, finite and at least 0.
        quantizer: in place of a `VectorQuantizer` of the three arguments before it; embedding_dim
            and num_embeddings have to be its own, commitment_cost is not used.
        head: p(x | the decoder's output), whose in_dim is the decoder's out_dim; its out_dim has to
            be in_dim. None: the decoder gives the image.
        rngs: `params` draws the initial values.

    Raises:
        ValueError: an argument out of its range, or not the quantizer's or the head's.
    """

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
        rngs: nnx.Rngs,
    ):
        if in_dim < 1:
            raise ValueError(f"in_dim is {in_dim}; it must be an integer of at least 1")
        if not (math.isfinite(data_variance) and data_variance > 0):
            raise ValueError(
                f"data_variance is {data_variance}; it must be a finite number above 0"
            )
        self.in_dim = in_dim
        self.data_variance = float(data_variance)
        if quantizer is None:
            quantizer = VectorQuantizer(embedding_dim, num_embeddings, commitment_cost, rngs=rngs)
        for name, given in (("embedding_dim", embedding_dim), ("num_embeddings", num_embeddings)):
            if given != getattr(quantizer, name):
                raise ValueError(
                    f"{name} is {given}; it must be {getattr(quantizer, name)}, the quantizer's"
                )
        if head is not None and head.out_dim != in_dim:
            raise ValueError(f"in_dim is {in_dim}; it must be {head.out_dim}, the head's out_dim")
        self.quantizer: Quantizer = quantizer
        self.head = head
        self.encoder = Encoder(in_dim, embedding_dim, rngs=rngs)
        self.decoder = Decoder(in_dim if head is None else head.in_dim, embedding_dim, rngs=rngs)

    def __call__(
        self,
        x: Float[Array, "b h w c"],
        mask: Bool[Array, "b h_latent w_latent"] | None = None,
        *,
        key: jax.Array | None = None,
    ) -> VQVAEOutput:
        """Encodes, quantizes and reconstructs images, with the loss.

        Args:
            x: images [B, H, W, C], floats in [-0.5, 0.5], H and W multiples of 4.
            mask: True [B, H / 4, W / 4] for the latent positions that count, as where images are
                padded to one size; with each goes its patch of 4 x 4 pixels. The others get the
                code -1 and the value 0, and take part in no loss; the encoder sees their pixels
                where its windows reach them. None: all count.
            key: draws the random numbers of a quantizer that has some in training. None:
                evaluation.

        Returns:
            A `VQVAEOutput`. Where nothing counts, the losses are 0.

        Raises:
            ValueError: x or the mask has the wrong shape or type.
        """
        z = self.latents(x)
        quantized = self.quantizer(z, mask, key=key)
        reconstruction = self.decoder(quantized.values)
        reconstruction_loss = self.reconstruction_loss(reconstruction, x, mask)
        return VQVAEOutput(
            loss=reconstruction_loss + quantized.loss,
            reconstruction=reconstruction,
            reconstruction_loss=reconstruction_loss,
            latents=z,
            quantized=quantized,
        )

    def encode(
        self,
        x: Float[Array, "b h w c"],
        mask: Bool[Array, "b h_latent w_latent"] | None = None,
    ) -> Int[Array, "b h_latent w_latent *n"]:
        """The codes of images [B, H, W, C] (floats in [-0.5, 0.5]), -1 where a mask drops them.

        int32 [B, H / 4, W / 4], from quantizers of several codebooks [B, H / 4, W / 4,
        num_codebooks].
        """
        return self.quantizer.encode(self.latents(x), mask)

    def decode(
        self, codes: Int[Array, "b h_latent w_latent *n"], *, key: jax.Array | None = None
    ) -> Float[Array, "b h w c"]:
        """The images [B, 4 h, 4 w, C] of integer codes, as `encode` gives them.

        Args:
            codes: integers. -1 stands for the value 0, as where a mask drops a position. NaN around
                those of K or more, without a head.
            key: with a head, draws the images from p(x | codes), in [-0.5, 0.5].

        Raises:
            ValueError: there is a head and no key.
        """
        decoded = self.decoder(self.quantizer.lookup(codes))
        if self.head is None:
            return decoded
        if key is None:
            raise ValueError("key is None; a model with a head draws images, and needs one")
        return to_floats(self.head.sample(decoded, key))

    def reconstruction_loss(
        self,
        reconstruction: Float[Array, "b h w f"],
        x: Float[Array, "b h w c"],
        mask: Bool[Array, "b h_latent w_latent"] | None = None,
    ) -> Float[Array, ""]:
        """The reconstruction_loss of a `VQVAEOutput`.

        Args:
            reconstruction: of the `VQVAEOutput`.
            x: images, as for a call.
            mask: likewise. A head sees black where pixels do not count.
        """
        pixels = None if mask is None else mask.repeat(4, axis=1).repeat(4, axis=2)
        if self.head is None:
            errors = (reconstruction - x.astype(reconstruction.dtype)) ** 2
            return mean(errors, pixels) / self.data_variance
        integers = to_integers(x)
        if pixels is not None:
            integers = jnp.where(pixels[..., None], integers, jnp.zeros_like(integers))
        return -mean(self.head(reconstruction, integers), pixels)

    def latents(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h_latent w_latent d"]:
        """The encoder's output z_e(x) [B, H / 4, W / 4, D] for images [B, H, W, C].

        Raises:
            ValueError: x has the wrong shape or type.
        """
        if not jnp.issubdtype(x.dtype, jnp.floating):
            raise ValueError(
                f"images have type {x.dtype}; they must be floats in [-0.5, 0.5]: x / 255 - 0.5"
            )
        if x.ndim != 4 or x.shape[3] != self.in_dim or x.shape[1] % 4 or x.shape[2] % 4:
            raise ValueError(
                f"images have shape {x.shape}; it must be [B, H, W, {self.in_dim}], "
                "H and W multiples of 4"
            )
        return self.encoder(x)
