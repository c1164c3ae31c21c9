"""Models that do not belong together are refused before anything is computed."""

import pytest
from flax import nnx

from vqvae_jax import VQVAE, CategoricalHead, GatedPixelCNN
from vqvae_jax.pairs import check_pair


@pytest.mark.parametrize(
    ("head", "codes", "codebooks", "message"),
    [
        (True, 5, None, None),
        (False, 5, None, "the VQ-VAE has no head"),
        (True, 6, None, "the prior's num_embeddings is 6; it must be 5, like the quantizer's"),
        (True, 5, 2, "the prior's num_codebooks is 2; it must be None, like the quantizer's"),
    ],
)
def test_pairs(head, codes, codebooks, message):
    def build():
        rngs = nnx.Rngs(0)
        vqvae = VQVAE(
            1, 4, 5, 0.1, head=CategoricalHead(3, 1, rngs=rngs) if head else None, rngs=rngs
        )
        return vqvae, GatedPixelCNN(codes, num_codebooks=codebooks, channels=4, rngs=rngs)

    vqvae, prior = nnx.eval_shape(build)
    if message is None:
        check_pair(vqvae, prior)
    else:
        with pytest.raises(ValueError, match=message):
            check_pair(vqvae, prior)
