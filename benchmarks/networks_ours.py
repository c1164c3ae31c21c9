"""The networks of networks.py in Flax."""

import jax
import jax.numpy as jnp
from flax import nnx
from networks import VARIANCE, Layers, vqgan_decoder, vqgan_encoder

from vqvae_jax import VQVAE, ResNetDecoder, ResNetEncoder, SquaredError, Tokenizer, VectorQuantizer
from vqvae_jax.layers import Activation, Conv


def build(network: str, channels: int, codes: int, dim: int, width: int = 0) -> Tokenizer:
    rngs = nnx.Rngs(0)
    if network == "mnist":
        return VQVAE(channels, dim, codes, VARIANCE, rngs=rngs)
    if network == "resnet":
        encoder = ResNetEncoder(channels, dim, width=width, rngs=rngs)
        decoder = ResNetDecoder(channels, dim, width=width, rngs=rngs)
    else:
        encoder = Chain(vqgan_encoder(channels, dim, width), rngs)
        decoder = Chain(vqgan_decoder(channels, dim, width), rngs)
    quantizer = VectorQuantizer(dim, codes, rngs=rngs)
    return Tokenizer(encoder, quantizer, decoder, SquaredError(channels, VARIANCE))


class Chain(nnx.Module):
    spatial_rank = 2

    def __init__(self, layers: Layers, rngs: nnx.Rngs):
        kinds = [kind for kind, *_ in layers]
        self.downsampling = (2 ** (kinds.count("down") + kinds.count("up")),) * 2
        self.layers = nnx.List([KINDS[kind](*dims, rngs) for kind, *dims in layers])

    def __call__(self, x: jax.Array) -> jax.Array:
        for layer in self.layers:
            x = layer(x)
        return x


class Block(nnx.Module):
    """shortcut(x) + Conv 3x3(act(Conv 3x3(act(x))))."""

    def __init__(self, before: int, after: int, rngs: nnx.Rngs):
        self.layers = nnx.List(
            [
                Activation(before, normalize=True),
                conv3(before, after, rngs),
                Activation(after, normalize=True),
                conv3(after, after, rngs),
            ]
        )
        self.shortcut = None if before == after else Conv(before, after, 1, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        y = x
        for layer in self.layers:
            y = layer(y)
        return y + (x if self.shortcut is None else self.shortcut(x))


class Up(nnx.Module):
    def __init__(self, before: int, after: int, rngs: nnx.Rngs):
        self.conv = conv3(before, after, rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.conv(jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2))


def conv3(before: int, after: int, rngs: nnx.Rngs) -> Conv:
    return Conv(before, after, 3, padding=1, rngs=rngs)


KINDS = {
    "conv3": conv3,
    "activation": lambda before, after, rngs: Activation(before, normalize=True),
    "block": Block,
    "down": lambda before, after, rngs: Conv(before, after, 3, stride=2, padding=1, rngs=rngs),
    "up": Up,
}
