"""The image tokenizers of LlamaGen, VQ-8 and VQ-16."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from vqvae_jax.likelihoods import Likelihood, SquaredError
from vqvae_jax.models import Tokenizer, VQGANDecoder, VQGANEncoder
from vqvae_jax.pretrained.family import Family, State, renamed, torch_leaf
from vqvae_jax.pretrained.settings import check_integers, read
from vqvae_jax.quantizers import (
    CosineVectorQuantizer,
    EntropyCosineVectorQuantizer,
    EntropyVectorQuantizer,
    Quantizer,
    QuantizerState,
    VectorQuantizer,
)

# LlamaGen's window of the indices used last, an entry of its files that no result depends on.
_WINDOW, _WINDOW_SIZE = "quantize.codebook_used", 65536
_TEMPERATURE = 0.01  # of the entropy loss

_RULES = (
    (r"^encoder\.project$", "quant_conv"),
    (r"^decoder\.project$", "post_quant_conv"),
    (r"^quantizer$", "quantize.embedding"),
    (r"\.first$", ".conv_in"),
    (r"\.last$", ".conv_out"),
    (r"^(encoder|decoder)\.norm$", r"\1.norm_out"),
    (r"\.middle\.blocks\.0", ".mid.0"),
    (r"\.middle\.attention", ".mid.1"),
    (r"\.middle\.blocks\.1", ".mid.2"),
    (r"\.levels", ".conv_blocks"),
    (r"^encoder(.*)\.resample", r"encoder\1.downsample"),
    (r"^decoder(.*)\.resample", r"decoder\1.upsample"),
    (r"\.blocks\.", ".res."),
    (r"\.attention\.", ".attn."),
    (r"\.shortcut$", ".nin_shortcut"),
    (r"\.query$", ".q"),
    (r"\.key$", ".k"),
    (r"\.value$", ".v"),
    (r"\.out$", ".proj_out"),
)


class LlamaGenTokenizer(Tokenizer):
    """A tokenizer with the window of indices that LlamaGen's files have; nothing depends on it.

    The arguments are those of `Tokenizer`.
    """

    def __init__(
        self,
        encoder: nnx.Module,
        quantizer: Quantizer,
        decoder: nnx.Module,
        likelihood: Likelihood,
        *,
        value_range: tuple[float, float] = (-1.0, 1.0),
    ):
        super().__init__(encoder, quantizer, decoder, likelihood, value_range=value_range)
        self.codebook_used = QuantizerState(jnp.zeros(_WINDOW_SIZE))


def _name(path: str, leaf: str, tokenizer: Tokenizer) -> str:
    return _WINDOW if leaf == "codebook_used" else f"{renamed(path, _RULES)}.{torch_leaf(leaf)}"


def _select(state: State, config: Mapping[str, Any]) -> dict[str, np.ndarray]:
    window = np.zeros(_WINDOW_SIZE, np.float32)
    shown = config.get("codebook_show_usage", True)
    return ({_WINDOW: window} if shown else {}) | dict(state)


def _build(config: Mapping[str, Any], rngs: nnx.Rngs) -> Tokenizer:
    given = read(
        config,
        (),
        {
            "codebook_size": 16384,
            "codebook_embed_dim": 8,
            "codebook_l2_norm": True,
            "codebook_show_usage": True,
            "commit_loss_beta": 0.25,
            "entropy_loss_ratio": 0.0,
            "encoder_ch_mult": (1, 1, 2, 2, 4),
            "decoder_ch_mult": (1, 1, 2, 2, 4),
            "z_channels": 256,
            "ch": 128,
            "num_res_blocks": 2,
        },
        ignored=("dropout_p",),
    )

    def options(part: str) -> dict[str, Any]:
        multipliers = check_integers(f"config.{part}_ch_mult", getattr(given, f"{part}_ch_mult"))
        return {
            "channels": [given.ch * by for by in multipliers],
            "num_blocks": given.num_res_blocks,
            "attention_levels": (len(multipliers) - 1,),
            "z_dim": given.z_channels,
        }

    dim, encoder_options = given.codebook_embed_dim, options("encoder")
    kind = LlamaGenTokenizer if given.codebook_show_usage else Tokenizer
    return kind(
        VQGANEncoder(3, dim, first_dim=given.ch, **encoder_options, rngs=rngs),
        _quantizer(given, rngs),
        VQGANDecoder(3, dim, **options("decoder"), rngs=rngs),
        SquaredError(3, data_variance=1.0),
        value_range=(-1.0, 1.0),
    )


def _quantizer(given: Any, rngs: nnx.Rngs) -> Quantizer:
    sizes = (given.codebook_embed_dim, given.codebook_size)
    options: dict[str, Any] = {"commitment_cost": given.commit_loss_beta, "rngs": rngs}
    if given.entropy_loss_ratio == 0:
        plain = CosineVectorQuantizer if given.codebook_l2_norm else VectorQuantizer
        return plain(*sizes, **options)
    kind = EntropyCosineVectorQuantizer if given.codebook_l2_norm else EntropyVectorQuantizer
    options |= {"entropy_cost": given.entropy_loss_ratio, "temperature": _TEMPERATURE}
    return kind(*sizes, **options)


FAMILY = Family(_build, _name, _select, pointwise=2)
