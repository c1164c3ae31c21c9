"""Group normalization whose scale and bias depend on the position."""

from flax import nnx
from jaxtyping import Array, Float

from vqvae_jax.layers.conv import Conv
from vqvae_jax.layers.resampling import resized
from vqvae_jax.layers.residual import GroupNorm


class SpatialNorm(nnx.Module):
    """Spatially conditioned normalization (Zheng et al. 2022, MoVQ, arXiv:2209.09002, section 3.1).

        y = norm(x) * factor(z) + shift(z)

    norm is `GroupNorm`; factor and shift are Conv 1x1, and their results take the size of x, each
    position that of the nearest one of z.

    Args:
        features: C, channels of x, at least 1.
        latent_dim: D, channels of z, at least 1.
        most_groups: see `GroupNorm`.
        rngs: `params` draws the initial values.
    """

    def __init__(self, features: int, latent_dim: int, *, most_groups: int = 32, rngs: nnx.Rngs):
        self.norm = GroupNorm(features, most_groups)
        self.factor = Conv(latent_dim, features, 1, rngs=rngs)
        self.shift = Conv(latent_dim, features, 1, rngs=rngs)

    def __call__(
        self, x: Float[Array, "b h w c"], z: Float[Array, "b h_z w_z d"]
    ) -> Float[Array, "b h w c"]:
        """Normalizes x [B, H, W, C], given the quantized latents z [B, h, w, D]."""
        height, width = x.shape[1:3]
        factor, shift = (resized(layer(z), height, width) for layer in (self.factor, self.shift))
        return self.norm(x) * factor + shift
