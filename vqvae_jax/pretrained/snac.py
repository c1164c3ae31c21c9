"""SNAC, in the names of its own code."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from flax import nnx

from vqvae_jax.likelihoods import AbsoluteError
from vqvae_jax.models import SNAC, SNACDecoder, SNACEncoder, Tokenizer
from vqvae_jax.pretrained import dac, weight_norm
from vqvae_jax.pretrained.family import Family, State, renamed
from vqvae_jax.pretrained.seanet import HUB
from vqvae_jax.pretrained.settings import check_integers, read
from vqvae_jax.quantizers import PooledQuantizer, ResidualVQ

_HEAD_DIM = 64
_RULES = (
    (r"^(quantizer\.quantizers\.\d+)\.quantizer", r"\1"),
    (r"\.project$", ".to_qkv"),
    (r"\.out$", ".to_out"),
)


def _name(path: str, leaf: str, tokenizer: Tokenizer) -> str:
    """See `Family.name`."""
    return dac.name(renamed(path, _RULES), "kernel" if leaf == "scale" else leaf, tokenizer)


def _select(state: State, config: Mapping[str, Any]) -> dict[str, np.ndarray]:
    kept = {name: array for name, array in state.items() if not name.endswith("rel_pos.inv_freq")}
    return dac.without_windows(weight_norm.folded(kept))


def _restore(state: State, config: Mapping[str, Any]) -> dict[str, np.ndarray]:
    restored = weight_norm.unfolded(dac.with_windows(state), weight_norm.NEW)
    speeds = 10_000.0 ** -(np.arange(0, _HEAD_DIM, 2, dtype=np.float32) / _HEAD_DIM)
    for name in state:
        if name.endswith("to_qkv.weight"):
            restored[name.replace("to_qkv.weight", "rel_pos.inv_freq")] = speeds.astype(np.float32)
    return restored


def _build(config: Mapping[str, Any], rngs: nnx.Rngs) -> SNAC:
    given = read(
        config,
        (),
        {
            "sampling_rate": 44100,
            "encoder_dim": 64,
            "encoder_rates": (3, 3, 7, 7),
            "latent_dim": None,
            "decoder_dim": 1536,
            "decoder_rates": (7, 7, 3, 3),
            "attn_window_size": 32,
            "codebook_size": 4096,
            "codebook_dim": 8,
            "vq_strides": (8, 4, 2, 1),
            "noise": True,
            "depthwise": True,
        },
        ignored=HUB,
    )
    shared = {"depthwise": given.depthwise, "window_size": given.attn_window_size, "rngs": rngs}
    rates = check_integers("config.encoder_rates", given.encoder_rates)
    encoder = SNACEncoder(1, width=given.encoder_dim, strides=rates, **shared)
    if given.latent_dim not in (None, encoder.latent_dim):
        raise ValueError(
            f"config.latent_dim is {given.latent_dim!r}; it must be {encoder.latent_dim}"
        )
    decoder = SNACDecoder(
        1,
        encoder.latent_dim,
        width=given.decoder_dim,
        strides=check_integers("config.decoder_rates", given.decoder_rates)[::-1],
        noise=given.noise,
        **shared,
    )
    strides = check_integers("config.vq_strides", given.vq_strides)
    stages = [
        PooledQuantizer(
            dac.stage(encoder.latent_dim, given.codebook_size, given.codebook_dim, rngs), stride
        )
        for stride in strides
    ]
    return SNAC(
        encoder,
        ResidualVQ(stages),
        decoder,
        AbsoluteError(1, data_variance=1.0),
        sample_rate=given.sampling_rate,
        multiple=math.prod(rates) * math.lcm(strides[0], given.attn_window_size or 1),
    )


FAMILY = Family(_build, _name, _select, _restore)
