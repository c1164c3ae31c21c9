"""Tokenizers of released weights."""

from vqvae_jax.pretrained.files import load_state_dict
from vqvae_jax.pretrained.state_dicts import FAMILIES, from_state_dict, to_state_dict

__all__ = ["FAMILIES", "from_state_dict", "load_state_dict", "to_state_dict"]
