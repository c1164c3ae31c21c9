"""Tokenizers: an encoder, a quantizer, a decoder, and a likelihood on the decoder's output."""

import dataclasses
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, DTypeLike, Float, Int

from vqvae_jax.likelihoods import Likelihood
from vqvae_jax.models.chunks import in_chunks
from vqvae_jax.models.origin import Origin
from vqvae_jax.models.parts import AXES, check_shapes, shared_geometry
from vqvae_jax.precision import compute_in, wide
from vqvae_jax.quantizers import Leaf, Quantized, Quantizer


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TokenizerOutput:
    """The output of a `Tokenizer` for data [B, *spatial, C].

    Attributes:
        loss: scalar, reconstruction_loss + quantized.loss, which training minimizes.
        losses: scalars by name: reconstruction_loss, from the likelihood, and the quantizer's
            unweighted losses.
        reconstruction: the decoder's output, [B, *spatial, C] on the scale of the data, not
            clipped; if the likelihood is a distribution, its features [B, *spatial, F].
        latents: the encoder's output [B, *latent_spatial, D], which is the quantizer's input.
        quantized: the quantizer's output: values, indices and losses.
    """

    loss: Leaf
    losses: Leaf
    reconstruction: Leaf
    latents: Leaf
    quantized: Quantized

    @property
    def reconstruction_loss(self) -> Leaf:
        """Scalar, the likelihood's loss; 0 if nothing counts."""
        return self.losses["reconstruction_loss"]

    @classmethod
    def of(
        cls, reconstruction_loss: Leaf, reconstruction: Leaf, latents: Leaf, quantized: Quantized
    ) -> "TokenizerOutput":
        """Returns the output with these parts, and the sum of their losses."""
        return cls(
            loss=reconstruction_loss + quantized.loss,
            losses={"reconstruction_loss": reconstruction_loss, **quantized.losses},
            reconstruction=reconstruction,
            latents=latents,
            quantized=quantized,
        )


class Tokenizer(nnx.Module):
    """Maps data to codes and back, with any encoder, quantizer and decoder that fit.

        loss = likelihood.loss(decoder(values), x) + quantizer loss

    Args:
        encoder: maps data [B, *spatial, C] to latents [B, *latent_spatial, D]. It has two
            attributes: `spatial_rank`, the number of spatial axes (1 audio, 2 images, 3 video), and
            `downsampling`, the factor of each of them, a tuple of that length.
        quantizer: quantizes latents; D is its embedding_dim.
        decoder: maps [B, *latent_spatial, D] to [B, *spatial, F], F the likelihood's in_dim; with
            the same two attributes.
        likelihood: the likelihood of the data given the decoder's output.
        dtype: the type that encoder and decoder compute in, such as bfloat16; None: their own.
            Parameters, quantizer and likelihood stay in float32.
        value_range: the lowest and the highest value of the data, finite; those of pixels / 255 -
            0.5 by default. Whoever converts pixels for the tokenizer needs it; nothing is clipped.

    Attributes:
        origin: the released weights that it was made from; None: none.

    Raises:
        ValueError: the parts do not fit each other, or value_range is no range.
    """

    origin: Origin | None = None

    def __init__(
        self,
        encoder: nnx.Module,
        quantizer: Quantizer,
        decoder: nnx.Module,
        likelihood: Likelihood,
        *,
        dtype: DTypeLike | None = None,
        value_range: tuple[float, float] = (-0.5, 0.5),
    ):
        low, high = value_range
        if not -math.inf < low < high < math.inf:
            raise ValueError(f"value_range is {value_range}; it must be finite, the lowest first")
        self.value_range = (float(low), float(high))
        if likelihood.value_range not in (None, self.value_range):
            raise ValueError(
                f"value_range is {value_range}; it must be {likelihood.value_range}, that of a "
                f"{type(likelihood).__name__}"
            )
        self.dtype = None if dtype is None else jnp.dtype(dtype)
        self.encoder, self.quantizer = encoder, quantizer
        self.decoder, self.likelihood = decoder, likelihood
        self.spatial_rank, self.downsampling = shared_geometry(encoder, decoder)
        check_shapes(encoder, quantizer, decoder, likelihood, self.downsampling)

    def __call__(
        self,
        x: Float[Array, "b *spatial c"],
        mask: Bool[Array, " b *latent_spatial"] | None = None,
        *,
        key: jax.Array | None = None,
    ) -> TokenizerOutput:
        """Encodes, quantizes and reconstructs data, with the losses.

        Args:
            x: data [B, *spatial, C], floats, each spatial axis a multiple of its downsampling.
            mask: True [B, *latent_spatial] for the latent positions that count, for data padded to
                one size, say; each stands for its patch of the data. The others get the code -1 and
                the value 0, and enter no loss; the encoder sees their data where its windows reach
                them. None: all count.
            key: draws the random numbers of quantizers that use them in training. None: evaluation.

        Returns:
            A `TokenizerOutput`. If nothing counts, the losses are 0.

        Raises:
            ValueError: x or the mask has the wrong shape or type.
        """
        z = self.latents(x)
        quantized = self.quantizer(z, mask, key=key)
        reconstruction = self.decoded(quantized.values)
        reconstruction_loss = self.reconstruction_loss(reconstruction, x, mask)
        return TokenizerOutput.of(reconstruction_loss, reconstruction, z, quantized)

    def encode(
        self,
        x: Float[Array, "b *spatial c"],
        mask: Bool[Array, " b *latent_spatial"] | None = None,
    ) -> Int[Array, " b *codes"]:
        """Returns the codes of data [B, *spatial, C], -1 where a mask drops them.

        They are int32 [B, *latent_spatial], with several codebooks [B, *latent_spatial,
        num_codebooks]. On CPUs large batches are computed a few examples at a time, here and by
        `decode`: the encoder and the decoder must treat each example by itself and change nothing,
        as normalization over a batch does in evaluation alone.
        """
        return in_chunks(
            lambda x, mask: self.quantizer.encode(self.latents(x), mask), x.shape[1:-1], x, mask
        )

    def decode(
        self, codes: Int[Array, " b *codes"], *, key: jax.Array | None = None
    ) -> Float[Array, "b *spatial c"]:
        """Returns the data [B, *spatial, C] of integer codes, as `encode` returns them.

        Args:
            codes: integers. -1 stands for the value 0, as where a mask drops a position. Without a
                distribution, the data are NaN around codes of K or more.
            key: draws the data from p(x | codes), if the likelihood is a distribution.

        Raises:
            ValueError: the likelihood is a distribution and there is no key.
        """
        return self.likelihood.decode(self.decoded_codes(codes), key)

    def decoded_codes(self, codes: Int[Array, " b *codes"]) -> Float[Array, "b *spatial f"]:
        """Returns the decoder's output for codes, as `decode` takes them."""
        latent_axes = codes.shape[1 : 1 + self.spatial_rank]
        axes = tuple(n * by for n, by in zip(latent_axes, self.downsampling, strict=False))
        return in_chunks(lambda codes: self.decoded(self.quantizer.lookup(codes)), axes, codes)

    def reconstruction_loss(
        self,
        reconstruction: Float[Array, "b *spatial f"],
        x: Float[Array, "b *spatial c"],
        mask: Bool[Array, " b *latent_spatial"] | None = None,
    ) -> Float[Array, ""]:
        """Returns the reconstruction_loss of a `TokenizerOutput`.

        Args:
            reconstruction: that of the `TokenizerOutput`.
            x: data, as for a call.
            mask: likewise.
        """
        if mask is not None:
            for axis, factor in enumerate(self.downsampling, start=1):
                mask = mask.repeat(factor, axis=axis)
        return self.likelihood.loss(reconstruction, x, mask)

    def latents(self, x: Float[Array, "b *spatial c"]) -> Float[Array, "b *latent_spatial d"]:
        """Returns the encoder's output z_e(x) [B, *latent_spatial, D] for data [B, *spatial, C].

        Raises:
            ValueError: x has the wrong shape or type.
        """
        check_data(x, self.downsampling, self.likelihood.out_dim)
        return compute_in(self.dtype, self.encoder, x)

    def decoded(self, values: Float[Array, "b *latent_spatial d"]) -> Float[Array, "b *spatial f"]:
        """Returns the decoder's output for quantized values [B, *latent_spatial, D]."""
        return wide(compute_in(self.dtype, self.decoder, values))


def check_data(x: Float[Array, "b *spatial c"], downsampling: Sequence[int], channels: int) -> None:
    """Checks that data [B, *spatial, C] can be encoded.

    Raises:
        ValueError: x has the wrong shape or type.
    """
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise ValueError(
            f"x has type {x.dtype}; it must be floating (integer pixels: x / 255 - 0.5)"
        )
    sizes = x.shape[1:-1]
    fits = len(sizes) == len(downsampling) and x.shape[-1] == channels
    if not fits or any(n % by for n, by in zip(sizes, downsampling, strict=True)):
        axes = AXES[len(downsampling)]
        raise ValueError(
            f"x has shape {x.shape}; it must be [B, {', '.join(axes)}, {channels}], with "
            f"{', '.join(axes)} multiples of {', '.join(map(str, downsampling))}"
        )


def has_images(tokenizer: Tokenizer) -> bool:
    """Returns whether a tokenizer is one of gray or RGB images."""
    return tokenizer.spatial_rank == 2 and tokenizer.likelihood.out_dim in (1, 3)
