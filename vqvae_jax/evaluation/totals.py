"""Metrics as sums on the device: added up batch by batch, fetched and averaged once."""

import dataclasses
import math
import operator
import sys

import jax
import jax.numpy as jnp
import numpy as np

from vqvae_jax.means import mean
from vqvae_jax.models import VQVAEOutput
from vqvae_jax.quantizers import Leaf, Quantizer, perplexity


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Totals:
    """Sums over images, so that batches of any size add up.

    Attributes:
        images: how many images.
        loss, reconstruction_loss, codebook_loss, commitment_loss, entropy_loss: the model's, times
            the images.
        quantization_error: mean((z_e(x) - z_q(x))^2), times the images.
        code_counts: int32 [K], or [num_codebooks, K], uses of each code.
    """

    images: Leaf
    loss: Leaf
    reconstruction_loss: Leaf
    codebook_loss: Leaf
    commitment_loss: Leaf
    entropy_loss: Leaf
    quantization_error: Leaf
    code_counts: Leaf

    @classmethod
    def zeros(cls, quantizer: Quantizer) -> "Totals":
        """Nothing counted yet; every leaf a buffer of its own, so that all can be donated."""
        count, size = quantizer.num_codebooks, quantizer.num_embeddings
        shape = (size,) if count is None else (count, size)
        return cls(
            images=jnp.zeros((), jnp.int32),
            loss=jnp.zeros(()),
            reconstruction_loss=jnp.zeros(()),
            codebook_loss=jnp.zeros(()),
            commitment_loss=jnp.zeros(()),
            entropy_loss=jnp.zeros(()),
            quantization_error=jnp.zeros(()),
            code_counts=jnp.zeros(shape, jnp.int32),
        )

    @classmethod
    def of(cls, output: VQVAEOutput, quantizer: Quantizer) -> "Totals":
        """The sums of one batch's output, which came from a model with this quantizer."""
        images = output.latents.shape[0]
        quantized = output.quantized
        return cls(
            images=jnp.asarray(images, jnp.int32),
            loss=output.loss * images,
            reconstruction_loss=output.reconstruction_loss * images,
            codebook_loss=quantized.codebook_loss * images,
            commitment_loss=quantized.commitment_loss * images,
            entropy_loss=quantized.entropy_loss * images,
            quantization_error=mean((output.latents - quantized.values) ** 2) * images,
            code_counts=quantizer.code_counts(quantized.indices),
        )

    def __add__(self, other: "Totals") -> "Totals":
        return jax.tree.map(operator.add, self, other)


@dataclasses.dataclass(frozen=True)
class Metrics:
    """Averages over images, as numbers.

    Attributes:
        images: how many images were averaged over.
        loss: reconstruction_loss plus the quantizer's weighted losses.
        reconstruction_loss: as in `VQVAEOutput`.
        codebook_loss: unweighted.
        commitment_loss: unweighted.
        entropy_loss: unweighted.
        quantization_error: mean((z_e(x) - z_q(x))^2).
        perplexity: of the codes of all images together, in [1, K]; of several codebooks the mean.
        codes_used: how many codes occur at all, in all codebooks together.
    """

    images: int
    loss: float
    reconstruction_loss: float
    codebook_loss: float
    commitment_loss: float
    entropy_loss: float
    quantization_error: float
    perplexity: float
    codes_used: int

    @classmethod
    def from_totals(cls, totals: Totals) -> "Metrics":
        """Averages sums, 0 where they are of no image; fetches them from the device."""
        sums = jax.device_get(totals)
        images = int(sums.images)
        divisor = max(images, 1)
        counts = np.atleast_2d(sums.code_counts)
        return cls(
            images=images,
            loss=float(sums.loss) / divisor,
            reconstruction_loss=float(sums.reconstruction_loss) / divisor,
            codebook_loss=float(sums.codebook_loss) / divisor,
            commitment_loss=float(sums.commitment_loss) / divisor,
            entropy_loss=float(sums.entropy_loss) / divisor,
            quantization_error=float(sums.quantization_error) / divisor,
            perplexity=float(np.mean(perplexity(jnp.asarray(counts)))),
            codes_used=int(np.count_nonzero(sums.code_counts)),
        )


@dataclasses.dataclass(frozen=True)
class ReconstructionError:
    """How far reconstructions are from the images.

    Attributes:
        mse: mean squared error per pixel, of images in [-0.5, 0.5].
        nmse: mse / data variance: 1 for a model that answers with the mean.
        psnr: 10 log10(1 / mse) in dB, of all images together.
    """

    mse: float
    nmse: float
    psnr: float

    @classmethod
    def of(cls, metrics: Metrics, data_variance: float) -> "ReconstructionError":
        """From a model without a head, whose reconstruction_loss is the nmse.

        Args:
            metrics: the averages.
            data_variance: of the training pixels; what the model divides its squared error by.
        """
        nmse = metrics.reconstruction_loss
        mse = nmse * data_variance
        return cls(mse=mse, nmse=nmse, psnr=-10.0 * math.log10(max(mse, sys.float_info.min)))
