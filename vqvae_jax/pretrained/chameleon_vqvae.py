"""The image tokenizer of Chameleon, as transformers has it: an encoder without a decoder."""

from collections.abc import Mapping
from typing import Any

import jax
from flax import nnx
from jaxtyping import Array, Bool, Float

from vqvae_jax.layers import Conv
from vqvae_jax.likelihoods import SquaredError
from vqvae_jax.models import Tokenizer, TokenizerOutput, VQGANEncoder
from vqvae_jax.pretrained import taming_vqgan
from vqvae_jax.pretrained.family import Family, without_prefix
from vqvae_jax.pretrained.settings import check_integers, read
from vqvae_jax.quantizers import Quantizer, VectorQuantizer

# Settings that transformers writes for every model, and that change nothing of a tokenizer.
TRANSFORMERS = (
    "architectures",
    "dropout",
    "dtype",
    "initializer_range",
    "model_type",
    "torch_dtype",
    "transformers_version",
)


class ChameleonTokenizer(Tokenizer):
    """A tokenizer that can only encode, and the one layer of a decoder that was released with it.

    Args:
        encoder: as for `Tokenizer`.
        quantizer: likewise.
        project: the decoder's first layer, Conv 1x1 of quantized values.
    """

    def __init__(self, encoder: VQGANEncoder, quantizer: Quantizer, project: Conv):
        self.encoder, self.quantizer, self.project = encoder, quantizer, project
        self.likelihood = SquaredError(encoder.in_dim, data_variance=1.0)
        self.spatial_rank, self.downsampling = encoder.spatial_rank, encoder.downsampling
        self.dtype, self.value_range = None, (-1.0, 1.0)

    def __call__(
        self,
        x: Float[Array, "b h w c"],
        mask: Bool[Array, "b h_out w_out"] | None = None,
        *,
        key: jax.Array | None = None,
    ) -> TokenizerOutput:
        """See `Tokenizer`; the reconstruction is None, and the loss the quantizer's."""
        z = self.latents(x)
        quantized = self.quantizer(z, mask, key=key)
        return TokenizerOutput(quantized.loss, quantized.losses, None, z, quantized)

    def decoded(self, values: Float[Array, "b h w d"]) -> Array:
        """Raises ValueError: there is no decoder."""
        raise ValueError("Chameleon's weights have no decoder; its images can only be encoded")


def _name(path: str, leaf: str, tokenizer: Tokenizer) -> str:
    return taming_vqgan.name("decoder.project" if path == "project" else path, leaf, tokenizer)


def _build(config: Mapping[str, Any], rngs: nnx.Rngs) -> Tokenizer:
    given = read(
        config,
        (),
        {
            "embed_dim": 256,
            "num_embeddings": 8192,
            "latent_channels": 256,
            "resolution": 512,
            "in_channels": 3,
            "base_channels": 128,
            "channel_multiplier": (1, 1, 2, 2, 4),
            "num_res_blocks": 2,
            "attn_resolutions": None,
        },
        only={"double_latent": False, "attn_type": "vanilla"},
        ignored=TRANSFORMERS,
    )
    multipliers = check_integers("config.channel_multiplier", given.channel_multiplier)
    sides = [given.resolution // 2**level for level in range(len(multipliers))]
    attended = given.attn_resolutions or ()
    encoder = VQGANEncoder(
        given.in_channels,
        given.embed_dim,
        channels=[given.base_channels * by for by in multipliers],
        num_blocks=given.num_res_blocks,
        attention_levels=[level for level, side in enumerate(sides) if side in attended],
        first_dim=given.base_channels,
        z_dim=given.latent_channels,
        rngs=rngs,
    )
    quantizer = VectorQuantizer(
        given.embed_dim,
        given.num_embeddings,
        commitment_cost=1.0,
        codebook_cost=0.25,
        rngs=rngs,
    )
    project = Conv(given.embed_dim, given.latent_channels, 1, rngs=rngs)
    return ChameleonTokenizer(encoder, quantizer, project)


FAMILY = Family(_build, _name, without_prefix("model.vqmodel.", "vqmodel."), pointwise=2)
