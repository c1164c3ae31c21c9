"""Mimi, in the names of its own code and of transformers."""

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from flax import nnx

from vqvae_jax.likelihoods import AbsoluteError
from vqvae_jax.models import (
    AudioTokenizer,
    MimiDecoder,
    MimiEncoder,
    SEANetDecoder,
    SEANetEncoder,
    Tokenizer,
)
from vqvae_jax.pretrained import seanet
from vqvae_jax.pretrained.dac import with_windows, without_windows
from vqvae_jax.pretrained.family import Family, State, renamed
from vqvae_jax.pretrained.settings import check_integers, read
from vqvae_jax.quantizers import ParallelQuantizer, ProjectedQuantizer, ResidualVQ, VectorQuantizer

# A code is embedding_sum / max(cluster_usage, this).
_LEAST_USAGE = 1e-5

_RULES = (
    (r"^encoder\.layers\.0\.layers", "encoder.model"),
    (r"^decoder\.layers\.2\.layers", "decoder.model"),
    (r"^(encoder|decoder)\.layers\.1\.layers", r"\1_transformer.transformer.layers"),
    (r"^encoder\.layers\.2", "downsample.conv"),
    (r"^decoder\.layers\.0", "upsample.convtr"),
    (r"^quantizer\.quantizers\.0", "quantizer.rvq_first"),
    (r"^quantizer\.quantizers\.1", "quantizer.rvq_rest"),
    (r"\.quantizer\.quantizers\.(\d+)\.embeddings$", r".vq.layers.\1._codebook.embedding"),
    (r"\.project_(in|out)\.kernel$", r".\1put_proj.weight"),
    (r"\.norm_attention\.", ".norm1."),
    (r"\.norm_mlp\.", ".norm2."),
    (r"\.attention_scale$", ".layer_scale_1.scale"),
    (r"\.mlp_scale$", ".layer_scale_2.scale"),
    (r"\.(query|key|value)\.kernel$", r".self_attn.\1"),
    (r"\.out\.kernel$", ".self_attn.out_proj.weight"),
    (r"\.widen\.kernel$", ".linear1.weight"),
    (r"\.narrow\.kernel$", ".linear2.weight"),
    (r"(norm\d)\.scale$", r"\1.weight"),
)
_HF_RULES = (
    (r"^encoder\.layers\.2", "downsample"),
    (r"^decoder\.layers\.0", "upsample"),
    (r"^(encoder|decoder)\.layers\.1\.layers", r"\1_transformer.layers"),
    (r"^encoder\.layers\.0\.layers", "encoder.layers"),
    (r"^decoder\.layers\.2\.layers", "decoder.layers"),
    (r"^quantizer\.quantizers\.0", "quantizer.semantic_residual_vector_quantizer"),
    (r"^quantizer\.quantizers\.1", "quantizer.acoustic_residual_vector_quantizer"),
    (r"\.quantizer\.quantizers\.(\d+)\.embeddings$", r".layers.\1.codebook.embed"),
    (r"\.project_(in|out)\.kernel$", r".\1put_proj.weight"),
    (r"\.norm_attention\.", ".input_layernorm."),
    (r"\.norm_mlp\.", ".post_attention_layernorm."),
    (r"\.attention_scale$", ".self_attn_layer_scale.scale"),
    (r"\.mlp_scale$", ".mlp_layer_scale.scale"),
    (r"\.(q)uery\.kernel$", r".self_attn.\1_proj.weight"),
    (r"\.(k)ey\.kernel$", r".self_attn.\1_proj.weight"),
    (r"\.(v)alue\.kernel$", r".self_attn.\1_proj.weight"),
    (r"\.(o)ut\.kernel$", r".self_attn.\1_proj.weight"),
    (r"\.widen\.kernel$", ".mlp.fc1.weight"),
    (r"\.narrow\.kernel$", ".mlp.fc2.weight"),
    (r"norm\.scale$", "norm.weight"),
)
# Names of later versions, and those of the released file.
_PRESENT = (
    (r"codebook\.inited$", "codebook._initialized"),
    (r"codebook\.cluster_size$", "codebook.cluster_usage"),
    (r"codebook\.embed_(avg|sum)$", "codebook.embedding_sum"),
    (r"\.in_projs\.0\.weight$", ".in_proj_weight"),
    (r"\.out_projs\.0\.weight$", ".out_proj.weight"),
)
_HEADS = 8  # of the original, where a config does not say

# Convolutions: all that is outside the transformers and the quantizer.
_CONVOLUTION = re.compile(r"encoder\.layers\.[02]\b|decoder\.layers\.[02]\b")


def _name(path: str, leaf: str, tokenizer: Tokenizer) -> str:
    """See `Family.name`."""
    if _CONVOLUTION.match(path):
        return renamed(seanet.name(path, leaf, tokenizer, nested=True), _RULES)
    return renamed(f"{path}.{leaf}", _RULES)


def _hf_name(path: str, leaf: str, tokenizer: Tokenizer) -> str:
    """See `Family.name`."""
    if _CONVOLUTION.match(path):
        return renamed(seanet.name(path, leaf, tokenizer, nested=False), _HF_RULES)
    return renamed(f"{path}.{leaf}", _HF_RULES)


def _select(state: State, config: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """See `Family.select`: codes from their sums; queries, keys and values apart."""
    present = {renamed(name, _PRESENT): array for name, array in state.items()}
    kept = _with_codes(without_windows(present), "embedding_sum", "embedding", "_initialized")
    num_heads = config.get("num_heads", _HEADS)
    for name in [name for name in kept if name.endswith("self_attn.in_proj_weight")]:
        array, layer = kept.pop(name), name.removesuffix("in_proj_weight")
        if array.ndim != 2 or array.shape[0] % (6 * num_heads):
            raise ValueError(f"{name} has shape {array.shape}; it must be [3 D, D]")
        query, key, kept[layer + "value"] = np.split(array, 3)
        kept[layer + "query"], kept[layer + "key"] = (
            _turned(rows, num_heads, pairs_first=False) for rows in (query, key)
        )
    return kept


def _restore(state: State, config: Mapping[str, Any]) -> dict[str, np.ndarray]:
    restored = _with_sums(with_windows(state), "embedding_sum", "embedding", "_initialized")
    num_heads = config.get("num_heads", _HEADS)
    for name in [name for name in restored if name.endswith("self_attn.query")]:
        layer = name.removesuffix("query")
        turned = [
            _turned(restored.pop(layer + part), num_heads, pairs_first=True)
            for part in ("query", "key")
        ]
        restored[layer + "in_proj_weight"] = np.concatenate(
            [*turned, restored.pop(layer + "value")]
        )
    return restored


def _turned(rows: np.ndarray, num_heads: int, *, pairs_first: bool) -> np.ndarray:
    """Returns the rows of queries or keys in another order.

    The original rotates pairs of neighbours, `rotated` one of each half.
    """
    size = len(rows) // num_heads // 2
    shape = (num_heads, 2, size) if pairs_first else (num_heads, size, 2)
    return rows.reshape(*shape, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def _with_codes(state: State, sums: str, codes: str, flag: str) -> dict[str, np.ndarray]:
    """Returns a state dict with the codes in place of their sums and how often each was used."""
    kept = {}
    for name, array in state.items():
        codebook = name.rpartition(".")[0]
        if name.endswith("codebook." + sums):
            if f"{codebook}.cluster_usage" not in state:
                raise ValueError(f"the state dict has no {codebook}.cluster_usage")
            usage = state[f"{codebook}.cluster_usage"]
            if usage.shape != array.shape[:1]:
                raise ValueError(
                    f"{codebook}.cluster_usage has shape {usage.shape}; it must be "
                    f"{array.shape[:1]}"
                )
            kept[f"{codebook}.{codes}"] = array / np.maximum(usage, _LEAST_USAGE)[:, None]
        elif not name.endswith(("codebook.cluster_usage", "codebook." + flag)):
            kept[name] = array
    return kept


def _with_sums(state: State, sums: str, codes: str, flag: str) -> dict[str, np.ndarray]:
    """Returns the inverse of `_with_codes`, as if each code had been used once."""
    restored = {}
    for name, array in state.items():
        if name.endswith("codebook." + codes):
            codebook = name.rpartition(".")[0]
            restored[f"{codebook}.{sums}"] = array
            restored[f"{codebook}.cluster_usage"] = np.ones(len(array), array.dtype)
            restored[f"{codebook}.{flag}"] = np.ones(1, array.dtype)
        else:
            restored[name] = array
    return restored


def _build(config: Mapping[str, Any], rngs: nnx.Rngs) -> AudioTokenizer:
    given = read(
        config,
        (),
        {
            "sample_rate": 24000,
            "frame_rate": 12.5,
            "channels": 1,
            "dimension": 512,
            "n_filters": 64,
            "ratios": (8, 6, 5, 4),
            "num_heads": _HEADS,
            "num_layers": 8,
            "context": 250,
            "dim_feedforward": 2048,
            "q_dimension": 256,
            "n_q": 32,
            "bins": 2048,
        },
    )
    network = {
        "latent_dim": given.dimension,
        "width": given.n_filters,
        "strides": check_integers("config.ratios", given.ratios)[::-1],
        "last_kernel_size": 3,
        "conv_shortcut": False,
        "num_lstm_layers": 0,
        "pad_mode": "zeros",
    }
    transformer = {
        "num_layers": given.num_layers,
        "num_heads": given.num_heads,
        "context": given.context,
        "hidden": given.dim_feedforward,
    }
    return _tokenizer(
        network,
        transformer,
        channels=given.channels,
        sample_rate=given.sample_rate,
        frame_rate=given.frame_rate,
        upsample_groups=None,
        depths=(1, given.n_q - 1),
        num_embeddings=given.bins,
        code_dim=given.q_dimension,
        pads=True,
        rngs=rngs,
    )


def _hf_build(config: Mapping[str, Any], rngs: nnx.Rngs) -> AudioTokenizer:
    given = read(
        config,
        (),
        {
            "sampling_rate": 24000,
            "audio_channels": 1,
            "hidden_size": 512,
            "num_filters": 64,
            "num_residual_layers": 1,
            "upsampling_ratios": (8, 6, 5, 4),
            "kernel_size": 7,
            "last_kernel_size": 3,
            "residual_kernel_size": 3,
            "dilation_growth_rate": 2,
            "use_causal_conv": True,
            "pad_mode": "constant",
            "compress": 2,
            "trim_right_ratio": 1.0,
            "codebook_size": 2048,
            "codebook_dim": 256,
            "num_quantizers": 32,
            "use_conv_shortcut": False,
            "vector_quantization_hidden_dimension": 256,
            "num_semantic_quantizers": 1,
            "upsample_groups": 512,
            "num_hidden_layers": 8,
            "intermediate_size": 2048,
            "num_attention_heads": 8,
            "num_key_value_heads": None,
            "head_dim": None,
            "norm_eps": 1e-5,
            "sliding_window": 250,
            "frame_rate": 12.5,
            "rope_theta": 10_000.0,
        },
        only={"hidden_act": "gelu", "attention_bias": False},
        ignored=(
            "max_position_embeddings",
            "use_streaming",
            "rope_parameters",
            "attention_dropout",
            "layer_scale_initial_scale",
            "tie_word_embeddings",
            *seanet.HUB,
        ),
    )
    for name, expected in (
        ("num_key_value_heads", given.num_attention_heads),
        ("codebook_dim", given.vector_quantization_hidden_dimension),
        ("use_causal_conv", True),
        ("trim_right_ratio", 1.0),
    ):
        if getattr(given, name) not in (None, expected):
            raise ValueError(
                f"config.{name} is {getattr(given, name)!r}; only {expected} is supported"
            )
    transformer = {
        "num_layers": given.num_hidden_layers,
        "num_heads": given.num_attention_heads,
        "context": given.sliding_window,
        "hidden": given.intermediate_size,
        "head_dim": given.head_dim,
        "epsilon": given.norm_eps,
        "rotary_base": given.rope_theta,
    }
    semantic = given.num_semantic_quantizers
    return _tokenizer(
        seanet.settings(given),
        transformer,
        channels=given.audio_channels,
        sample_rate=given.sampling_rate,
        frame_rate=given.frame_rate,
        upsample_groups=given.upsample_groups,
        depths=(semantic, given.num_quantizers - semantic),
        num_embeddings=given.codebook_size,
        code_dim=given.codebook_dim,
        pads=False,
        rngs=rngs,
    )


def _tokenizer(
    network: dict[str, Any],
    transformer: dict[str, Any],
    *,
    channels: int,
    sample_rate: int,
    frame_rate: float,
    upsample_groups: int | None,
    depths: tuple[int, int],
    num_embeddings: int,
    code_dim: int,
    pads: bool,
    rngs: nnx.Rngs,
) -> AudioTokenizer:
    """Builds the tokenizer.

    Args:
        network: arguments of `SEANetEncoder` and `SEANetDecoder`.
        transformer: arguments of `MimiEncoder` and `MimiDecoder`.
        channels: of the signals.
        sample_rate: samples per second.
        frame_rate: frames of codes per second.
        upsample_groups: see `MimiDecoder`.
        depths: codebooks of the semantic and of the acoustic quantizer.
        num_embeddings: codes in a codebook.
        code_dim: the size of a code.
        pads: whether signals are filled up to whole frames with zeros first.
        rngs: draws the initial values.
    """
    rate = sample_rate / math.prod(network["strides"])
    shared = {**transformer, "stride": round(rate / frame_rate), "rngs": rngs}
    encoder = MimiEncoder(SEANetEncoder(channels, **network, rngs=rngs), **shared)
    inner = SEANetDecoder(channels, **network, rngs=rngs)
    latent_dim = network["latent_dim"]
    quantizers = [
        ProjectedQuantizer(
            ResidualVQ(
                [VectorQuantizer(code_dim, num_embeddings, rngs=rngs) for _ in range(depth)]
            ),
            latent_dim,
            use_bias=False,
            rngs=rngs,
        )
        for depth in depths
    ]
    return AudioTokenizer(
        encoder,
        ParallelQuantizer(quantizers),
        MimiDecoder(inner, upsample_groups=upsample_groups, **shared),
        AbsoluteError(channels, data_variance=1.0),
        sample_rate=sample_rate,
        multiple=encoder.downsampling[0] if pads else 1,
    )


FAMILY = Family(_build, _name, _select, _restore)
HF_FAMILY = Family(
    _hf_build,
    _hf_name,
    lambda state, config: _with_codes(without_windows(state), "embed_sum", "embed", "initialized"),
    lambda state, config: _with_sums(with_windows(state), "embed_sum", "embed", "initialized"),
)
