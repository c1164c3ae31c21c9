"""Released and saved weights."""

from vqvae_jax.pretrained.state_dicts import FAMILIES, from_state_dict, to_state_dict

__all__ = ["FAMILIES", "from_state_dict", "to_state_dict"]
