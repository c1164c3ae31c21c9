"""Layers with PyTorch's semantics and initial values, channels last."""

from vqvae_jax.layers.causal import GatedLayer, HorizontalConv, VerticalConv
from vqvae_jax.layers.conv import Conv, ConvTranspose, conv, conv_transpose

__all__ = [
    "Conv",
    "ConvTranspose",
    "GatedLayer",
    "HorizontalConv",
    "VerticalConv",
    "conv",
    "conv_transpose",
]
