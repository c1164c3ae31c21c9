"""The VQ autoencoders of diffusers: those of latent diffusion, and of aMUSEd."""

import types
from collections.abc import Mapping
from typing import Any

import numpy as np
from flax import nnx

from vqvae_jax.likelihoods import SquaredError
from vqvae_jax.models import Tokenizer, VQGANDecoder, VQGANEncoder
from vqvae_jax.pretrained.family import Family, State, renamed, torch_leaf
from vqvae_jax.pretrained.settings import check_integers, read
from vqvae_jax.quantizers import VectorQuantizer

_RULES = (
    (r"^encoder\.project$", "quant_conv"),
    (r"^decoder\.project$", "post_quant_conv"),
    (r"^quantizer$", "quantize.embedding"),
    (r"\.first$", ".conv_in"),
    (r"\.last$", ".conv_out"),
    (r"^(encoder|decoder)\.norm", r"\1.conv_norm_out"),
    (r"\.middle\.attention", ".mid_block.attentions.0"),
    (r"\.middle", ".mid_block"),
    (r"^encoder\.levels", "encoder.down_blocks"),
    (r"^decoder\.levels", "decoder.up_blocks"),
    (r"^encoder(.*)\.resample", r"encoder\1.downsamplers.0"),
    (r"^decoder(.*)\.resample", r"decoder\1.upsamplers.0"),
    (r"\.blocks\.", ".resnets."),
    (r"\.attention\.", ".attentions."),
    (r"\.shortcut$", ".conv_shortcut"),
    (r"(\.attentions\.\d+)\.norm$", r"\1.group_norm"),
    (r"\.query$", ".to_q"),
    (r"\.key$", ".to_k"),
    (r"\.value$", ".to_v"),
    (r"\.out$", ".to_out.0"),
)
# Attention as diffusers named it until version 0.16.
_OLD = (
    (r"(\.attentions\.\d+)\.query\.", r"\1.to_q."),
    (r"(\.attentions\.\d+)\.key\.", r"\1.to_k."),
    (r"(\.attentions\.\d+)\.value\.", r"\1.to_v."),
    (r"(\.attentions\.\d+)\.proj_attn\.", r"\1.to_out.0."),
)
# Whether a level has attention, by its kind.
_DOWN = {"DownEncoderBlock2D": False, "AttnDownEncoderBlock2D": True}
_UP = {"UpDecoderBlock2D": False, "AttnUpDecoderBlock2D": True}
# How others use the codes, and sizes of images.
_IGNORED = ("force_upcast", "lookup_from_codebook", "sample_size", "scaling_factor")


def name(path: str, leaf: str, tokenizer: Tokenizer) -> str:
    """See `Family.name`; decoder.up_blocks.0 is the lowest resolution, as with us."""
    return f"{renamed(path, _RULES)}.{torch_leaf(leaf)}"


def select(state: State, config: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """See `Family.select`; renames the attention of older files."""
    return {renamed(given, _OLD): array for given, array in state.items()}


def settings(config: Mapping[str, Any], norm_type: str) -> types.SimpleNamespace:
    """Returns the settings of a VQModel, checked, and the networks' options as `options`.

    Args:
        config: of diffusers.VQModel.
        norm_type: what it must have.

    Raises:
        ValueError: a setting is unknown or not supported.
    """
    given = read(
        config,
        (),
        {
            "in_channels": 3,
            "out_channels": 3,
            "down_block_types": ("DownEncoderBlock2D",),
            "up_block_types": ("UpDecoderBlock2D",),
            "block_out_channels": (64,),
            "layers_per_block": 1,
            "latent_channels": 3,
            "num_vq_embeddings": 256,
            "norm_num_groups": 32,
            "vq_embed_dim": None,
            "mid_block_add_attention": True,
        },
        only={"act_fn": "silu", "norm_type": norm_type},
        ignored=_IGNORED,
    )
    channels = check_integers("config.block_out_channels", given.block_out_channels)
    down = _attention("down_block_types", given.down_block_types, _DOWN, len(channels))
    up = _attention("up_block_types", given.up_block_types, _UP, len(channels))[::-1]
    given.latent_dim = given.vq_embed_dim or given.latent_channels
    shared = {
        "channels": channels,
        "num_blocks": given.layers_per_block,
        "middle_attention": given.mid_block_add_attention,
        "z_dim": given.latent_channels,
        "most_groups": given.norm_num_groups,
    }
    given.encoder_options = {**shared, "attention_levels": _where(down)}
    given.decoder_options = {**shared, "attention_levels": _where(up)}
    return given


def build_with(
    decoder_kind: type[VQGANDecoder], given: types.SimpleNamespace, rngs: nnx.Rngs
) -> Tokenizer:
    """Builds the tokenizer of the settings that `settings` returns."""
    dim = given.latent_dim
    return Tokenizer(
        VQGANEncoder(given.in_channels, dim, **given.encoder_options, rngs=rngs),
        VectorQuantizer(
            dim, given.num_vq_embeddings, commitment_cost=1.0, codebook_cost=0.25, rngs=rngs
        ),
        decoder_kind(given.out_channels, dim, **given.decoder_options, rngs=rngs),
        SquaredError(given.out_channels, data_variance=1.0),
        value_range=(-1.0, 1.0),
    )


def _build(config: Mapping[str, Any], rngs: nnx.Rngs) -> Tokenizer:
    return build_with(VQGANDecoder, settings(config, "group"), rngs)


def _attention(setting: str, kinds: Any, known: Mapping[str, bool], levels: int) -> list[bool]:
    if len(kinds) != levels or not all(kind in known for kind in kinds):
        raise ValueError(
            f"config.{setting} is {kinds!r}; it must be {levels} of {', '.join(known)}, one for "
            "each of block_out_channels"
        )
    return [known[kind] for kind in kinds]


def _where(levels: list[bool]) -> tuple[int, ...]:
    return tuple(level for level, attends in enumerate(levels) if attends)


FAMILY = Family(_build, name, select)
