"""Tokenizers and quantizers that were trained elsewhere."""

from vqvae_jax.pretrained.files import load_state_dict
from vqvae_jax.pretrained.state_dicts import FAMILIES, from_state_dict, to_state_dict
from vqvae_jax.pretrained.vector_quantize_pytorch import (
    from_vector_quantize_pytorch,
    to_vector_quantize_pytorch,
)

__all__ = [
    "FAMILIES",
    "from_state_dict",
    "from_vector_quantize_pytorch",
    "load_state_dict",
    "to_state_dict",
    "to_vector_quantize_pytorch",
]
