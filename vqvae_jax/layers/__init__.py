"""Layers, channels last; most with PyTorch's semantics and initial values."""

from vqvae_jax.layers.activations import ELU, LeakyReLU, Snake, Tanh
from vqvae_jax.layers.adaptive import AdaptiveGroupNorm
from vqvae_jax.layers.attention import SelfAttention
from vqvae_jax.layers.batch_norm import FrozenBatchNorm
from vqvae_jax.layers.causal import HorizontalConv, VerticalConv
from vqvae_jax.layers.conv import Conv, ConvTranspose, conv, conv_transpose
from vqvae_jax.layers.conv1d import conv1d, conv_transpose1d
from vqvae_jax.layers.conv3d import CausalConv3d
from vqvae_jax.layers.convolutions1d import Conv1d, ConvTranspose1d
from vqvae_jax.layers.gated import GatedLayer
from vqvae_jax.layers.linear import Linear
from vqvae_jax.layers.lstm import LSTM
from vqvae_jax.layers.padding1d import Padding, causal, centered
from vqvae_jax.layers.raster import GatedStack, RasterCache
from vqvae_jax.layers.resampling import AveragePool, Downsample, SubpixelUpsample, Upsample
from vqvae_jax.layers.residual import Activation, GroupNorm, ResidualBlock
from vqvae_jax.layers.resnet import ResnetBlock
from vqvae_jax.layers.rotary import LocalAttention, SlidingBlock
from vqvae_jax.layers.spatial_norm import SpatialNorm
from vqvae_jax.layers.streaming import Chain, Layer, Residual

__all__ = [
    "ELU",
    "LSTM",
    "Activation",
    "AdaptiveGroupNorm",
    "AveragePool",
    "CausalConv3d",
    "Chain",
    "Conv",
    "Conv1d",
    "ConvTranspose",
    "ConvTranspose1d",
    "Downsample",
    "FrozenBatchNorm",
    "GatedLayer",
    "GatedStack",
    "GroupNorm",
    "HorizontalConv",
    "Layer",
    "LeakyReLU",
    "Linear",
    "LocalAttention",
    "Padding",
    "RasterCache",
    "Residual",
    "ResidualBlock",
    "ResnetBlock",
    "SelfAttention",
    "SlidingBlock",
    "Snake",
    "SpatialNorm",
    "SubpixelUpsample",
    "Tanh",
    "Upsample",
    "VerticalConv",
    "causal",
    "centered",
    "conv",
    "conv1d",
    "conv_transpose",
    "conv_transpose1d",
]
