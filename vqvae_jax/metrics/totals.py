"""Metrics as sums on the device, added up batch by batch, fetched and averaged once."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vqvae_jax.means import mean
from vqvae_jax.models import TokenizerOutput
from vqvae_jax.quantizers import Leaf, Quantizer, perplexity


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Totals:
    """Sums over images, so that batches of any size add up.

    Attributes:
        images: the number of images.
        losses: losses by name, each times the number of images: the model's loss, its parts, and
            quantization_error, mean((z_e(x) - z_q(x))^2).
        code_counts: int32 [K], or [num_codebooks, K], uses of each code.
    """

    images: Leaf
    losses: dict[str, Leaf]
    code_counts: Leaf

    @classmethod
    def of(cls, output: TokenizerOutput, quantizer: Quantizer) -> "Totals":
        """Returns the sums of one batch's output, from a model with this quantizer."""
        images = output.latents.shape[0]
        losses = {
            "loss": output.loss,
            **output.losses,
            "quantization_error": mean((output.latents - output.quantized.values) ** 2),
        }
        return cls(
            images=jnp.asarray(images, jnp.int32),
            losses={name: loss * images for name, loss in losses.items()},
            code_counts=quantizer.code_counts(output.quantized.indices),
        )

    def plus(self, sums: dict[str, Leaf]) -> "Totals":
        """Returns these sums with others over the same images, by name."""
        return dataclasses.replace(self, losses=self.losses | sums)

    def averages(self) -> dict[str, Any]:
        """Returns averages over images, as numbers; 0 if the sums are over no image.

        Returns:
            images, their number; each of the losses; perplexity of the codes of all images
            together, in [1, K], the mean over codebooks; codes_used, how many codes occur at all,
            in all codebooks together.
        """
        sums = jax.device_get(self)
        images = int(sums.images)
        counts = jnp.asarray(np.atleast_2d(sums.code_counts))
        losses = {name: float(loss) / max(images, 1) for name, loss in sums.losses.items()}
        return {
            "images": images,
            "loss": losses.pop("loss"),
            **losses,
            "perplexity": float(np.mean(perplexity(counts))),
            "codes_used": int(np.count_nonzero(sums.code_counts)),
        }
