"""Priors: learned distributions over the code maps that a VQVAE's encoder produces."""

from vqvae_jax.priors.base import Prior
from vqvae_jax.priors.likelihood import drop_labels, nll
from vqvae_jax.priors.pixelcnn import GatedPixelCNN
from vqvae_jax.priors.sampling import guided_logits, restricted_logits, sample_codes
from vqvae_jax.priors.transformer import TransformerPrior

__all__ = [
    "GatedPixelCNN",
    "Prior",
    "TransformerPrior",
    "drop_labels",
    "guided_logits",
    "nll",
    "restricted_logits",
    "sample_codes",
]
