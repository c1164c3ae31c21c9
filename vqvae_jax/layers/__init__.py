"""Layers, channels last; most with PyTorch's semantics and initial values."""

from vqvae_jax.layers.causal import HorizontalConv, VerticalConv
from vqvae_jax.layers.conv import Conv, ConvTranspose, conv, conv_transpose
from vqvae_jax.layers.gated import GatedLayer
from vqvae_jax.layers.linear import Linear
from vqvae_jax.layers.raster import GatedStack, RasterCache

__all__ = [
    "Conv",
    "ConvTranspose",
    "GatedLayer",
    "GatedStack",
    "HorizontalConv",
    "Linear",
    "RasterCache",
    "VerticalConv",
    "conv",
    "conv_transpose",
]
