"""Files of weights, read without running code from them."""

from vqvae_jax.pretrained.files.reading import load_state_dict

__all__ = ["load_state_dict"]
