"""Narrow audio models, and their random weights and signals: the same beside PyTorch and JAX."""

import zlib

import numpy as np

CONFIGS = {
    "encodec": {
        "sample_rate": 800, "channels": 1, "dimension": 8, "n_filters": 4, "ratios": [3, 2],
        "norm": "weight_norm", "causal": True, "normalize": False, "segment": None, "bins": 16,
        "n_q": 3, "target_bandwidths": [1.608],
    },
    "encodec_segments": {
        "sample_rate": 800, "channels": 2, "dimension": 8, "n_filters": 4, "ratios": [3, 2],
        "norm": "time_group_norm", "causal": False, "normalize": True, "segment": 0.15, "bins": 16,
        "n_q": 2, "target_bandwidths": [1.6],
    },
    "encodec_hf": {
        "sampling_rate": 800, "audio_channels": 1, "hidden_size": 8, "num_filters": 4,
        "num_residual_layers": 2, "upsampling_ratios": [3, 2], "kernel_size": 5,
        "last_kernel_size": 3, "num_lstm_layers": 1, "codebook_size": 16,
        "use_conv_shortcut": False, "target_bandwidths": [1.608],
        "dilation_growth_rate": 3, "trim_right_ratio": 0.5,
    },
    "dac": {
        "encoder_dim": 4, "decoder_dim": 16, "codebook_size": 16, "codebook_dim": 3,
        "encoder_rates": [2, 3], "decoder_rates": [3, 2], "n_codebooks": 3, "sample_rate": 800,
        "latent_dim": 12,
    },
    "dac_hf": {
        "encoder_hidden_size": 4, "decoder_hidden_size": 16, "codebook_size": 16,
        "codebook_dim": 3, "downsampling_ratios": [2, 3], "n_codebooks": 3, "sampling_rate": 800,
    },
    "mimi": {
        "sample_rate": 800, "frame_rate": 40.0, "dimension": 12, "n_filters": 4, "ratios": [5, 2],
        "num_heads": 2, "num_layers": 2, "context": 5, "dim_feedforward": 20, "q_dimension": 6,
        "n_q": 4, "bins": 16,
    },
    "mimi_hf": {
        "sampling_rate": 800, "frame_rate": 40.0, "hidden_size": 12, "num_filters": 4,
        "upsampling_ratios": [5, 2], "num_attention_heads": 2, "num_key_value_heads": 2,
        "num_hidden_layers": 2, "sliding_window": 5, "intermediate_size": 20, "codebook_size": 16,
        "codebook_dim": 6, "vector_quantization_hidden_dimension": 6, "num_quantizers": 4,
        "num_semantic_quantizers": 2, "upsample_groups": 12, "head_dim": 6,
    },
    "snac": {
        "sampling_rate": 800, "encoder_dim": 16, "encoder_rates": [2, 3], "decoder_dim": 64,
        "decoder_rates": [3, 2], "attn_window_size": 4, "codebook_size": 16, "codebook_dim": 3,
        "vq_strides": [4, 2, 1], "noise": True, "depthwise": True,
    },
    "snac_plain": {
        "sampling_rate": 800, "encoder_dim": 4, "encoder_rates": [2, 3], "decoder_dim": 16,
        "decoder_rates": [3, 2], "attn_window_size": None, "codebook_size": 16, "codebook_dim": 3,
        "vq_strides": [2, 1], "noise": False, "depthwise": False,
    },
}  # fmt: skip
LENGTH = 241


def family_of(name):
    return name.removesuffix("_segments").removesuffix("_plain")


def signal(name):
    """[2, channels, T] in [-1, 1], as PyTorch has it."""
    config = CONFIGS[name]
    channels = config.get("channels", config.get("audio_channels", 1))
    random = np.random.RandomState(zlib.crc32(name.encode()))
    return (0.5 * random.randn(2, channels, LENGTH)).clip(-1, 1).astype(np.float32)


def weights(shapes):
    """Random weights by name, of sizes that keep signals and codes of a size."""
    return {name: _weights(name, tuple(shape)) for name, shape in shapes.items()}


def _weights(name, shape):
    random = np.random.RandomState(zlib.crc32(name.encode()))
    leaf, gain = name.rpartition(".")[2], 0.5 if name.startswith("decoder") else 1.3
    if leaf in ("inited", "initialized", "_initialized"):
        array = np.ones(shape)
    elif leaf in ("weight_g", "original0"):
        array = gain * (0.8 + 0.4 * random.rand(*shape))
    elif leaf in ("alpha", "cluster_usage", "cluster_size"):
        array = 0.6 + 0.8 * random.rand(*shape)
    elif leaf in ("embed", "embed_avg", "embed_sum", "embedding_sum") or "codebook.weight" in name:
        array = random.randn(*shape)
    elif leaf == "scale" or ("norm" in name and leaf == "weight"):
        array = 0.8 + 0.2 * random.randn(*shape)
    elif "bias" in leaf:
        array = 0.05 * random.randn(*shape)
    else:
        array = gain * random.randn(*shape) / np.sqrt(np.prod(shape[1:]))
    return array.astype(np.float32)


def digest(shapes):
    """A number that tells whether names and shapes are the same."""
    return zlib.crc32(repr(sorted((name, tuple(shape)) for name, shape in shapes.items())).encode())
