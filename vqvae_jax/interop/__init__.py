"""Conversion of weights from and to other libraries."""

from vqvae_jax.interop.torch import load_torch_state_dict, to_torch_state_dict

__all__ = ["load_torch_state_dict", "to_torch_state_dict"]
