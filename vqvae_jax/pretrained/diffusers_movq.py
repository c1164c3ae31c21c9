"""MoVQ of diffusers, the image decoder of Kandinsky 2."""

from collections.abc import Mapping
from typing import Any

from flax import nnx

from vqvae_jax.models import MoVQDecoder, Tokenizer
from vqvae_jax.pretrained import diffusers_vqmodel
from vqvae_jax.pretrained.family import Family, renamed

# Names of the spatial norms, before those of diffusers' other layers.
_RULES = (
    (r"^(decoder\..*norm\d?)\.norm$", r"\1.norm_layer"),
    (r"^(decoder\..*\.attention.*)\.norm\.", r"\1.spatial_norm."),
    (r"\.factor$", ".conv_y"),
    (r"\.shift$", ".conv_b"),
)


def _name(path: str, leaf: str, tokenizer: Tokenizer) -> str:
    return diffusers_vqmodel.name(renamed(path, _RULES), leaf, tokenizer)


def _build(config: Mapping[str, Any], rngs: nnx.Rngs) -> Tokenizer:
    given = diffusers_vqmodel.settings(config, "spatial")
    if given.latent_dim != given.latent_channels:
        raise ValueError(
            f"config.vq_embed_dim is {given.latent_dim}; with spatial norms it must be "
            f"latent_channels = {given.latent_channels}"
        )
    given.decoder_options["most_groups"] = 32  # norm_num_groups is that of the encoder alone
    return diffusers_vqmodel.build_with(MoVQDecoder, given, rngs)


FAMILY = Family(_build, _name, diffusers_vqmodel.select)
