"""Layers, channels last; most with PyTorch's semantics and initial values."""

from vqvae_jax.layers.adaptive import AdaptiveGroupNorm
from vqvae_jax.layers.attention import SelfAttention
from vqvae_jax.layers.batch_norm import FrozenBatchNorm
from vqvae_jax.layers.causal import HorizontalConv, VerticalConv
from vqvae_jax.layers.conv import Conv, ConvTranspose, conv, conv_transpose
from vqvae_jax.layers.conv3d import CausalConv3d
from vqvae_jax.layers.gated import GatedLayer
from vqvae_jax.layers.linear import Linear
from vqvae_jax.layers.raster import GatedStack, RasterCache
from vqvae_jax.layers.resampling import AveragePool, Downsample, SubpixelUpsample, Upsample
from vqvae_jax.layers.residual import Activation, GroupNorm, ResidualBlock
from vqvae_jax.layers.resnet import ResnetBlock
from vqvae_jax.layers.spatial_norm import SpatialNorm

__all__ = [
    "Activation",
    "AdaptiveGroupNorm",
    "AveragePool",
    "CausalConv3d",
    "Conv",
    "ConvTranspose",
    "Downsample",
    "FrozenBatchNorm",
    "GatedLayer",
    "GatedStack",
    "GroupNorm",
    "HorizontalConv",
    "Linear",
    "RasterCache",
    "ResidualBlock",
    "ResnetBlock",
    "SelfAttention",
    "SpatialNorm",
    "SubpixelUpsample",
    "Upsample",
    "VerticalConv",
    "conv",
    "conv_transpose",
]
