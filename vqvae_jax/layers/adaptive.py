"""Group normalization whose scale and bias come from latents."""

import math

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from vqvae_jax.checks import check_integer
from vqvae_jax.layers.linear import Linear
from vqvae_jax.layers.residual import group_norm
from vqvae_jax.precision import wide


class AdaptiveGroupNorm(nnx.Module):
    """Group normalization in the style of latents (MAGVIT-v2, arXiv:2310.05737, section 3.2).

        y = gamma(sqrt(var(z) + 1e-6)) (x - mean) / sqrt(variance + 1e-6) + beta(mean(z))

    gamma and beta are linear. mean(z) and var(z), the unbiased estimate (0 for one position), are
    over all positions of an image's latents.

    Args:
        features: C, channels of x, at least 1; there are gcd(C, 32) groups.
        latent_dim: D, the size of a latent vector, at least 1.
        rngs: `params` draws the initial values.
    """

    def __init__(self, features: int, latent_dim: int, *, rngs: nnx.Rngs):
        self.num_groups = math.gcd(check_integer("features", features), 32)
        self.gamma = Linear(latent_dim, features, rngs=rngs)
        self.beta = Linear(latent_dim, features, rngs=rngs)

    def __call__(
        self, x: Float[Array, "b h w c"], z: Float[Array, "b h_z w_z d"]
    ) -> Float[Array, "b h w c"]:
        """Normalizes x [B, H, W, C] given latents [B, h, w, D]."""
        number = max(z.shape[1] * z.shape[2] - 1, 1)
        mean = jnp.mean(wide(z), axis=(1, 2), keepdims=True)
        variance = jnp.sum((wide(z) - mean) ** 2, axis=(1, 2), keepdims=True) / number
        scale = self.gamma(jnp.sqrt(variance + 1e-6).astype(z.dtype))
        return group_norm(x, scale, self.beta(mean.astype(z.dtype)), self.num_groups)
