"""The image tokenizer of Janus, as transformers has it."""

from collections.abc import Mapping
from typing import Any

from flax import nnx
from jaxtyping import Array, Float

from vqvae_jax.likelihoods import SquaredError
from vqvae_jax.models import Tokenizer, VQGANDecoder, VQGANEncoder
from vqvae_jax.pretrained import taming_vqgan
from vqvae_jax.pretrained.chameleon_vqvae import TRANSFORMERS
from vqvae_jax.pretrained.family import Family, highest_first, without_prefix
from vqvae_jax.pretrained.settings import check_integers, read
from vqvae_jax.quantizers import VectorQuantizer
from vqvae_jax.quantizers.core import unit

# Sizes of the language model and of its head, and the sides of the maps that it makes.
_IGNORED = (
    "hidden_act",
    "image_token_embed_dim",
    "num_hidden_layers",
    "num_patches",
    "projection_dim",
)


class JanusDecoder(VQGANDecoder):
    """Divides each code by its norm first. The encoder chooses codes as they are.

    The arguments are those of `VQGANDecoder`.
    """

    def __call__(self, z: Float[Array, "b h w d"]) -> Float[Array, "b h_out w_out c"]:
        """See `VQGANDecoder`."""
        return super().__call__(unit(z))


def _name(path: str, leaf: str, tokenizer: Tokenizer) -> str:
    """See `Family.name`; decoder.up.0 is the lowest resolution, which is computed first."""
    # The other way round here, since it is turned once more there.
    return taming_vqgan.name(highest_first(path, tokenizer), leaf, tokenizer)


def _build(config: Mapping[str, Any], rngs: nnx.Rngs) -> Tokenizer:
    given = read(
        config,
        (),
        {
            "embed_dim": 8,
            "num_embeddings": 16384,
            "latent_channels": 256,
            "base_channels": 128,
            "channel_multiplier": (1, 1, 2, 2, 4),
            "num_res_blocks": 2,
            "in_channels": 3,
            "out_channels": 3,
        },
        only={"double_latent": False},
        ignored=(*TRANSFORMERS, *_IGNORED),
    )
    multipliers = check_integers("config.channel_multiplier", given.channel_multiplier)
    options: dict[str, Any] = {
        "channels": [given.base_channels * by for by in multipliers],
        "num_blocks": given.num_res_blocks,
        "attention_levels": (len(multipliers) - 1,),
        "z_dim": given.latent_channels,
    }
    return Tokenizer(
        VQGANEncoder(
            given.in_channels, given.embed_dim, first_dim=given.base_channels, **options, rngs=rngs
        ),
        VectorQuantizer(
            given.embed_dim,
            given.num_embeddings,
            commitment_cost=1.0,
            codebook_cost=0.25,
            rngs=rngs,
        ),
        JanusDecoder(given.out_channels, given.embed_dim, **options, rngs=rngs),
        SquaredError(given.out_channels, data_variance=1.0),
        value_range=(-1.0, 1.0),
    )


FAMILY = Family(_build, _name, without_prefix("model.vqmodel.", "vqmodel."), pointwise=2)
