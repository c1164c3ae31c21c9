"""The encoder and the decoder of the VQ-VAE: three convolutions down by 4, three up by 4."""

from collections.abc import Callable, Iterable

from flax import nnx
from jaxtyping import Array, Float

from vqvae_jax.layers import Conv, ConvTranspose


class Encoder(nnx.Module):
    """Conv 3x3 /2 -> 32, ReLU, Conv 3x3 /2 -> 64, ReLU, Conv 1x1 -> latent_dim.

    Args:
        in_dim: channels of the image, at least 1.
        latent_dim: D, the size of a latent vector, at least 1.
        rngs: `params` draws the initial values.
    """

    spatial_rank = 2
    downsampling = (4, 4)

    def __init__(self, in_dim: int = 3, latent_dim: int = 16, *, rngs: nnx.Rngs):
        self.in_dim, self.latent_dim = in_dim, latent_dim
        self.convs = nnx.List(
            [
                Conv(in_dim, 32, 3, stride=2, padding=1, rngs=rngs),
                Conv(32, 64, 3, stride=2, padding=1, rngs=rngs),
                Conv(64, latent_dim, 1, rngs=rngs),
            ]
        )

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h_out w_out d"]:
        """Maps images [B, H, W, C] to latent vectors z_e(x) [B, ceil(H / 4), ceil(W / 4), D]."""
        return _relu_between(self.convs, x)


class Decoder(nnx.Module):
    """ConvTranspose 3x3 x2 -> 64, ReLU, the same -> 32, ReLU, ConvTranspose 3x3 -> out_dim.

    Args:
        out_dim: channels of the image, at least 1.
        latent_dim: D, the size of a latent vector, at least 1.
        rngs: `params` draws the initial values.
    """

    spatial_rank = 2
    downsampling = (4, 4)

    def __init__(self, out_dim: int = 1, latent_dim: int = 16, *, rngs: nnx.Rngs):
        self.out_dim, self.latent_dim = out_dim, latent_dim
        up = {"stride": 2, "padding": 1, "output_padding": 1}
        self.convs = nnx.List(
            [
                ConvTranspose(latent_dim, 64, 3, **up, rngs=rngs),
                ConvTranspose(64, 32, 3, **up, rngs=rngs),
                ConvTranspose(32, out_dim, 3, padding=1, rngs=rngs),
            ]
        )

    def __call__(self, z: Float[Array, "b h w d"]) -> Float[Array, "b h_out w_out c"]:
        """Maps latent vectors [B, h, w, D] to images [B, 4 h, 4 w, C], not clipped."""
        return _relu_between(self.convs, z)


def _relu_between(layers: Iterable[Callable[[Array], Array]], x: Array) -> Array:
    """Applies the layers in turn, with ReLUs in between."""
    *hidden, last = layers
    for layer in hidden:
        x = nnx.relu(layer(x))
    return last(x)
