"""Vector quantisers for JAX, and the VQ-VAE they belong to."""

from vqvae_jax.interop import load_torch_state_dict, to_torch_state_dict
from vqvae_jax.models import VQVAE, Decoder, Encoder, VQVAEOutput
from vqvae_jax.quantizers import Quantized, VectorQuantizer

__all__ = [
    "VQVAE",
    "Decoder",
    "Encoder",
    "Quantized",
    "VQVAEOutput",
    "VectorQuantizer",
    "load_torch_state_dict",
    "to_torch_state_dict",
]
