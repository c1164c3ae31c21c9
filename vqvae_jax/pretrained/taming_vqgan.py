"""The VQGANs of CompVis: taming-transformers, and the VQ autoencoders of latent diffusion."""

from collections.abc import Mapping
from typing import Any

from flax import nnx

from vqvae_jax.likelihoods import SquaredError
from vqvae_jax.models import Tokenizer, VQGANDecoder, VQGANEncoder
from vqvae_jax.pretrained.family import Family, highest_first, renamed, torch_leaf, without
from vqvae_jax.pretrained.settings import check_integers, read
from vqvae_jax.quantizers import VectorQuantizer

# Entries of a training state that the tokenizer has no use for: perceptual loss, discriminator.
TRAINING = ("loss.",)
# Settings of training and of image logs.
_IGNORED = ("lossconfig", "ckpt_path", "ignore_keys", "image_key", "colorize_nlabels", "monitor")

_RULES = (
    (r"^encoder\.project$", "quant_conv"),
    (r"^decoder\.project$", "post_quant_conv"),
    (r"^quantizer$", "quantize.embedding"),
    (r"\.first$", ".conv_in"),
    (r"\.last$", ".conv_out"),
    (r"^(encoder|decoder)\.norm$", r"\1.norm_out"),
    (r"\.middle\.blocks\.0", ".mid.block_1"),
    (r"\.middle\.blocks\.1", ".mid.block_2"),
    (r"\.middle\.attention", ".mid.attn_1"),
    (r"^encoder\.levels", "encoder.down"),
    (r"^decoder\.levels", "decoder.up"),
    (r"^encoder(.*)\.resample", r"encoder\1.downsample"),
    (r"^decoder(.*)\.resample", r"decoder\1.upsample"),
    (r"\.blocks\.", ".block."),
    (r"\.attention\.", ".attn."),
    (r"\.shortcut$", ".nin_shortcut"),
    (r"\.query$", ".q"),
    (r"\.key$", ".k"),
    (r"\.value$", ".v"),
    (r"\.out$", ".proj_out"),
)


def name(path: str, leaf: str, tokenizer: Tokenizer) -> str:
    """See `Family.name`; decoder.up.0 is the highest resolution, which is computed last."""
    path = highest_first(path, tokenizer)
    return f"{renamed(path, _RULES)}.{torch_leaf(leaf)}"


def networks(config: Mapping[str, Any], latent_dim: int, rngs: nnx.Rngs) -> tuple[Any, Any]:
    """Builds the encoder and the decoder of a ddconfig.

    Args:
        config: of taming's Encoder and Decoder.
        latent_dim: D, the size of a code.
        rngs: draws the initial values.

    Raises:
        ValueError: a setting is missing, unknown or not supported.
    """
    given = read(
        config,
        ("ch", "ch_mult", "num_res_blocks", "attn_resolutions", "z_channels", "resolution"),
        {"in_channels": 3, "out_ch": 3},
        only={"double_z": False, "resamp_with_conv": True, "give_pre_end": False},
        ignored=("dropout",),
        path="config.ddconfig",
    )
    channels = [given.ch * by for by in check_integers("config.ddconfig.ch_mult", given.ch_mult)]
    sides = [given.resolution // 2**level for level in range(len(channels))]
    options: dict[str, Any] = {
        "channels": channels,
        "num_blocks": given.num_res_blocks,
        "attention_levels": tuple(
            i for i, side in enumerate(sides) if side in given.attn_resolutions
        ),
        "z_dim": given.z_channels,
    }
    return (
        VQGANEncoder(given.in_channels, latent_dim, first_dim=given.ch, **options, rngs=rngs),
        VQGANDecoder(given.out_ch, latent_dim, **options, rngs=rngs),
    )


def _build(config: Mapping[str, Any], rngs: nnx.Rngs) -> Tokenizer:
    given = read(
        config,
        ("embed_dim", "n_embed", "ddconfig"),
        only={"remap": None, "sane_index_shape": False},
        ignored=_IGNORED,
    )
    encoder, decoder = networks(config["ddconfig"], given.embed_dim, rngs)
    # The original weighs the codebook loss by beta, and not the commitment loss.
    quantizer = VectorQuantizer(
        given.embed_dim, given.n_embed, commitment_cost=1.0, codebook_cost=0.25, rngs=rngs
    )
    likelihood = SquaredError(decoder.out_dim, data_variance=1.0)
    return Tokenizer(encoder, quantizer, decoder, likelihood, value_range=(-1.0, 1.0))


FAMILY = Family(_build, name, without(*TRAINING), pointwise=2)
