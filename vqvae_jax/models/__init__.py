"""The models that the quantizers sit in."""

from vqvae_jax.models.autoencoder import Decoder, Encoder
from vqvae_jax.models.vqvae import VQVAE, VQVAEOutput

__all__ = ["VQVAE", "Decoder", "Encoder", "VQVAEOutput"]
