"""EnCodec, in the names of its own code and of transformers."""

import functools
import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from flax import nnx

from vqvae_jax.checks import check_choice
from vqvae_jax.likelihoods import AbsoluteError
from vqvae_jax.models import (
    AudioTokenizer,
    SEANetDecoder,
    SEANetEncoder,
    SegmentedTokenizer,
    Tokenizer,
)
from vqvae_jax.pretrained import seanet, weight_norm
from vqvae_jax.pretrained.family import Family, State
from vqvae_jax.pretrained.settings import check_integers, read
from vqvae_jax.quantizers import ResidualVQ, VectorQuantizer

# Of a codebook, what only training needs; in evaluation the codes are `embed`.
_TRAINING = re.compile(r"codebook\.(inited|cluster_size|embed_avg)$")
_NORMS = ("none", "weight_norm", "time_group_norm")


def name(path: str, leaf: str, tokenizer: Tokenizer, *, original: bool) -> str:
    """See `Family.name`."""
    if path.startswith("quantizer."):
        index = path.rpartition(".")[2]
        codebook = f"vq.layers.{index}._codebook" if original else f"layers.{index}.codebook"
        return f"quantizer.{codebook}.embed"
    given = seanet.name(path, leaf, tokenizer, nested=original)
    return re.sub(r"^(encoder|decoder)\.layers", r"\1.model", given) if original else given


def _select(state: State, config: Mapping[str, Any]) -> dict[str, np.ndarray]:
    kept = {name: array for name, array in state.items() if not _TRAINING.search(name)}
    return weight_norm.folded(kept)


def _restore(
    state: State, config: Mapping[str, Any], *, norm: str, form: tuple[str, str]
) -> dict[str, np.ndarray]:
    """See `Family.restore`; codebooks are as if each code had been used once."""
    restored = {}
    for name, array in state.items():
        restored[name] = array
        if name.endswith("codebook.embed"):
            codebook = name.removesuffix("embed")
            restored[codebook + "embed_avg"] = array
            restored[codebook + "cluster_size"] = np.ones(len(array), array.dtype)
            restored[codebook + "inited"] = np.ones(1, array.dtype)
    if config.get(norm, "weight_norm") == "weight_norm":
        return weight_norm.unfolded(restored, form)
    return restored


def num_codebooks(bandwidth: float, sample_rate: int, hop: int, num_embeddings: int) -> int:
    """Returns how many codebooks a bandwidth in kbit/s has room for, at least 1."""
    bits = math.ceil(math.log2(num_embeddings)) * math.ceil(sample_rate / hop)
    return max(1, int(1000 * bandwidth // bits))


def _build(config: Mapping[str, Any], rngs: nnx.Rngs) -> AudioTokenizer:
    given = read(
        config,
        ("sample_rate", "channels", "ratios"),
        {
            "dimension": 128,
            "n_filters": 32,
            "norm": "weight_norm",
            "causal": True,
            "normalize": False,
            "segment": None,
            "overlap": 0.01,
            "bins": 1024,
            "n_q": None,
            "target_bandwidths": (1.5, 3.0, 6.0, 12.0, 24.0),
        },
        ignored=("file",),
    )
    return _tokenizer(
        {
            "latent_dim": given.dimension,
            "width": given.n_filters,
            "strides": check_integers("config.ratios", given.ratios)[::-1],
            "causal": given.causal,
            "normalize": _normalizes("config.norm", given.norm),
        },
        {},
        channels=given.channels,
        sample_rate=given.sample_rate,
        num_embeddings=given.bins,
        depth=given.n_q,
        bandwidth=given.target_bandwidths[-1],
        segment=given.segment,
        overlap=given.overlap,
        normalize=given.normalize,
        rngs=rngs,
    )


def _hf_build(config: Mapping[str, Any], rngs: nnx.Rngs) -> AudioTokenizer:
    given = read(
        config,
        (),
        {
            "target_bandwidths": (1.5, 3.0, 6.0, 12.0, 24.0),
            "sampling_rate": 24000,
            "audio_channels": 1,
            "normalize": False,
            "chunk_length_s": None,
            "overlap": None,
            "hidden_size": 128,
            "num_filters": 32,
            "num_residual_layers": 1,
            "upsampling_ratios": (8, 5, 4, 2),
            "norm_type": "weight_norm",
            "kernel_size": 7,
            "last_kernel_size": 7,
            "residual_kernel_size": 3,
            "dilation_growth_rate": 2,
            "use_causal_conv": True,
            "pad_mode": "reflect",
            "compress": 2,
            "num_lstm_layers": 2,
            "trim_right_ratio": 1.0,
            "codebook_size": 1024,
            "codebook_dim": None,
            "use_conv_shortcut": True,
        },
        ignored=seanet.HUB,
    )
    if given.codebook_dim not in (None, given.hidden_size):
        raise ValueError(
            f"config.codebook_dim is {given.codebook_dim!r}; it must be hidden_size = "
            f"{given.hidden_size}"
        )
    return _tokenizer(
        seanet.settings(given) | {"normalize": _normalizes("config.norm_type", given.norm_type)},
        {"trim_right": given.trim_right_ratio},
        channels=given.audio_channels,
        sample_rate=given.sampling_rate,
        num_embeddings=given.codebook_size,
        depth=None,
        bandwidth=given.target_bandwidths[-1],
        segment=given.chunk_length_s,
        overlap=given.overlap or 0.0,
        normalize=given.normalize,
        rngs=rngs,
    )


def _normalizes(path: str, norm: str) -> bool:
    return check_choice(path, norm, _NORMS) == "time_group_norm"


def _tokenizer(
    network: dict[str, Any],
    decoder: dict[str, Any],
    *,
    channels: int,
    sample_rate: int,
    num_embeddings: int,
    depth: int | None,
    bandwidth: float,
    segment: float | None,
    overlap: float,
    normalize: bool,
    rngs: nnx.Rngs,
) -> AudioTokenizer:
    """Builds the tokenizer.

    Args:
        network: arguments of `SEANetEncoder` and `SEANetDecoder`.
        decoder: arguments of the latter alone.
        channels: of the signals.
        sample_rate: samples per second.
        num_embeddings: codes in a codebook.
        depth: codebooks; None: as many as the bandwidth has room for.
        bandwidth: the highest, in kbit/s.
        segment: its length in seconds; None: signals are encoded as a whole.
        overlap: the share of a segment that the next one repeats.
        normalize: whether segments are divided by their loudness.
        rngs: draws the initial values.
    """
    parts: dict[str, Any] = {
        "encoder": SEANetEncoder(channels, **network, rngs=rngs),
        "decoder": SEANetDecoder(channels, **network, **decoder, rngs=rngs),
        "likelihood": AbsoluteError(channels, data_variance=1.0),
        "sample_rate": sample_rate,
    }
    hop = parts["encoder"].downsampling[0]
    depth = depth or num_codebooks(bandwidth, sample_rate, hop, num_embeddings)
    codebooks = [
        VectorQuantizer(network["latent_dim"], num_embeddings, rngs=rngs) for _ in range(depth)
    ]
    parts["quantizer"] = ResidualVQ(codebooks)
    if segment is None and not normalize:
        return AudioTokenizer(**parts)
    length = None if segment is None else int(segment * sample_rate)
    stride = None if length is None else max(1, int((1.0 - overlap) * length))
    return SegmentedTokenizer(
        **parts, segment_length=length, segment_stride=stride, normalize=normalize
    )


FAMILY = Family(
    _build,
    functools.partial(name, original=True),
    _select,
    functools.partial(_restore, norm="norm", form=weight_norm.OLD),
)
HF_FAMILY = Family(
    _hf_build,
    functools.partial(name, original=False),
    _select,
    functools.partial(_restore, norm="norm_type", form=weight_norm.NEW),
)
