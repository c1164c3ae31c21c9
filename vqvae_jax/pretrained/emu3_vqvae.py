"""The tokenizer of Emu3, of images and videos, as transformers has it."""

from collections.abc import Mapping
from typing import Any

from flax import nnx

from vqvae_jax.likelihoods import SquaredError
from vqvae_jax.models import Emu3Decoder, Emu3Encoder, Emu3Tokenizer, Tokenizer
from vqvae_jax.pretrained.chameleon_vqvae import TRANSFORMERS
from vqvae_jax.pretrained.family import Family, highest_first, renamed, torch_leaf, without_prefix
from vqvae_jax.pretrained.settings import check_integers, read
from vqvae_jax.quantizers import VectorQuantizer

_RULES = (
    (r"^encoder\.project$", "quant_conv.conv"),
    (r"^decoder\.project$", "post_quant_conv.conv"),
    (r"^quantizer$", "quantize.embedding"),
    (r"\.time_convs\.(\d+)$", r".time_conv.\1.conv.conv"),
    (r"\.time_blocks\.(\d+)\.conv(\d)$", r".time_res_stack.\1.conv\2.conv"),
    (r"\.time_blocks\.", ".time_res_stack."),
    (r"^(decoder\..*norm\d?)\.norm$", r"\1.norm_layer"),
    (r"\.factor$", ".conv_y"),
    (r"\.shift$", ".conv_b"),
    (r"\.first$", ".conv_in"),
    (r"\.last$", ".conv_out"),
    (r"^(encoder|decoder)\.norm", r"\1.norm_out"),
    (r"\.middle\.blocks\.0", ".middle_block.block_1"),
    (r"\.middle\.blocks\.1", ".middle_block.block_2"),
    (r"\.middle\.attention\.norm", ".middle_block.attn_norm"),
    (r"\.middle\.attention", ".middle_block.attn_1"),
    (r"^encoder\.levels", "encoder.down_block.down"),
    (r"^decoder\.levels", "decoder.up_block.up"),
    (r"^encoder(.*)\.resample", r"encoder\1.downsample"),
    (r"^decoder(.*)\.resample", r"decoder\1.upsample"),
    (r"\.blocks\.", ".block."),
    (r"\.attention\.(\d+)\.norm", r".attn_norms.\1"),
    (r"\.attention\.", ".attn."),
    (r"\.shortcut$", ".nin_shortcut"),
    (r"\.query$", ".q_proj"),
    (r"\.key$", ".k_proj"),
    (r"\.value$", ".v_proj"),
    (r"\.out$", ".out_proj"),
)
# The state of batch normalization.
_LEAVES = {"mean": "running_mean", "variance": "running_var", "batches": "num_batches_tracked"}


def _name(path: str, leaf: str, tokenizer: Tokenizer) -> str:
    """See `Family.name`; decoder.up_block.up.0 is the highest resolution, computed last."""
    path = highest_first(path, tokenizer)
    return f"{renamed(path, _RULES)}.{_LEAVES.get(leaf) or torch_leaf(leaf)}"


def _build(config: Mapping[str, Any], rngs: nnx.Rngs) -> Tokenizer:
    given = read(
        config,
        (),
        {
            "codebook_size": 32768,
            "embed_dim": 4,
            "latent_channels": 4,
            "in_channels": 3,
            "out_channels": 3,
            "temporal_downsample_factor": 4,
            "base_channels": 256,
            "channel_multiplier": (1, 2, 2, 4),
            "num_res_blocks": 2,
            "attn_resolutions": (3,),
            "hidden_size": 1024,
        },
        only={"double_latent": False, "num_attention_heads": 1},
        ignored=(*TRANSFORMERS, "attention_dropout"),
    )
    multipliers = check_integers("config.channel_multiplier", given.channel_multiplier)
    channels = [given.base_channels * by for by in multipliers]
    # Numbers of levels, of which the original ignores those that it does not have.
    attended = [i for i in range(len(channels)) if i in (given.attn_resolutions or ())]
    for level in (*attended, len(channels) - 1):  # where the middle is
        if channels[level] != given.hidden_size:
            raise ValueError(
                f"config.hidden_size is {given.hidden_size}; it must be {channels[level]}, the "
                f"channels of level {level}, which has attention"
            )
    options: dict[str, Any] = {
        "time_downsampling": given.temporal_downsample_factor,
        "channels": channels,
        "num_blocks": given.num_res_blocks,
        "attention_levels": attended,
        "z_dim": given.latent_channels,
    }
    return Emu3Tokenizer(
        Emu3Encoder(
            given.in_channels, given.embed_dim, first_dim=given.base_channels, **options, rngs=rngs
        ),
        VectorQuantizer(given.embed_dim, given.codebook_size, rngs=rngs),
        Emu3Decoder(given.out_channels, given.embed_dim, **options, rngs=rngs),
        SquaredError(given.out_channels, data_variance=1.0),
        value_range=(-1.0, 1.0),
    )


FAMILY = Family(_build, _name, without_prefix("model.vqmodel.", "vqmodel."))
