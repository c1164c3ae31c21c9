"""The decoder of MoVQ, in which the quantized latents condition every normalization."""

from flax import nnx
from jaxtyping import Array, Float

from vqvae_jax.layers import SpatialNorm
from vqvae_jax.layers.resnet import Norm
from vqvae_jax.models.vqgan import VQGANDecoder


class MoVQDecoder(VQGANDecoder):
    """The decoder of MoVQ (Zheng et al. 2022, arXiv:2209.09002).

    That of the VQGAN, each of whose normalizations is a `SpatialNorm` given the quantized latents.
    The arguments are those of `VQGANDecoder`.
    """

    def __call__(self, z: Float[Array, "b h w d"]) -> Float[Array, "b h_out w_out c"]:
        """Maps quantized latents [B, h, w, D] to images [B, f h, f w, C], not clipped."""
        return self._decoded(self.project(z), z)

    def _norm(self, rngs: nnx.Rngs) -> Norm:
        return lambda features: SpatialNorm(
            features, self.latent_dim, most_groups=self.most_groups, rngs=rngs
        )
