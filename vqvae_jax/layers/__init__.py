"""Layers with PyTorch's semantics and initial values, channels last."""

from vqvae_jax.layers.conv import Conv, ConvTranspose, conv, conv_transpose

__all__ = ["Conv", "ConvTranspose", "conv", "conv_transpose"]
