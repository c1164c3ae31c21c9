"""The vector quantizer that compares directions and keeps lengths."""

import jax
from jaxtyping import Array, Float, Int

from vqvae_jax.quantizers.core import unit
from vqvae_jax.quantizers.search import nearest_code
from vqvae_jax.quantizers.vector import VectorQuantizer


class DirectionalVectorQuantizer(VectorQuantizer):
    """Chooses the code of the most similar direction; values and losses are those of the code.

        k = argmin_j | z / |z|  -  e_j / |e_j| |

    The quantizer of DAC (Kumar et al. 2023, arXiv:2306.06546, section 3.2), there in few
    dimensions: ProjectedQuantizer(DirectionalVectorQuantizer(8, ...), 1024). Unlike those of
    `CosineVectorQuantizer`, codes are not normalized, and can follow a residual.

    Args: as for `VectorQuantizer`.
    """

    def _search(
        self, z: Float[Array, "*shape d"], codebook: Float[Array, "k d"], key: jax.Array | None
    ) -> Int[Array, "*shape"]:
        return nearest_code(unit(z), unit(codebook))

    def _encode(self, z: Float[Array, "*shape d"]) -> Int[Array, "*shape"]:
        return self._search(z, self.codebook, None)
