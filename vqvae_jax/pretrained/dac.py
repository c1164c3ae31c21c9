"""The Descript audio codec, in the names of its own code and of transformers."""

import math
import re
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
from flax import nnx

from vqvae_jax.likelihoods import AbsoluteError
from vqvae_jax.models import AudioTokenizer, DACDecoder, DACEncoder, Tokenizer
from vqvae_jax.pretrained import weight_norm
from vqvae_jax.pretrained.family import Family, State, renamed
from vqvae_jax.pretrained.seanet import HUB
from vqvae_jax.pretrained.settings import check_integers, read
from vqvae_jax.quantizers import DirectionalVectorQuantizer, ProjectedQuantizer, ResidualVQ

QUANTIZER = (
    (r"^(quantizer\.quantizers\.\d+)\.project_(in|out)$", r"\1.\2_proj"),
    (r"^(quantizer\.quantizers\.\d+)\.quantizer$", r"\1.codebook"),
)
_RULES = (
    *QUANTIZER,
    (r"\.body\.layers", ".block"),
    (r"^decoder\.layers", "decoder.model"),
    (r"\.layers", ".block"),
)
_PROJECTION = re.compile(r"quantizer\..*_proj\.weight$")
_LEAVES = {"kernel": "weight", "bias": "bias", "alpha": "alpha", "embeddings": "weight"}


def name(path: str, leaf: str, tokenizer: Tokenizer) -> str:
    """See `Family.name`."""
    return f"{renamed(path, _RULES)}.{_LEAVES[leaf]}"


def _hf_name(path: str, leaf: str, tokenizer: Tokenizer) -> str:
    """See `Family.name`: layers are named by their kind, and counted."""
    last = len(cast(DACEncoder, tokenizer.encoder).strides) + 1
    unit = {"0": "snake1", "1": "conv1", "2": "snake2", "3": "conv2"}
    match path.split("."):
        case [part, "layers", "0"]:
            path = f"{part}.conv1"
        case ["encoder", "layers", index] | ["decoder", "layers", index]:
            kind = "snake1" if int(index) == last else "conv2"
            path = f"{path.partition('.')[0]}.{kind}"
        case [part, "layers", block, "layers", layer, *rest]:
            inside = _IN_BLOCK[part][int(layer)]
            if rest:
                inside = f"{inside}.{unit[rest[-1]]}"
            path = f"{part}.block.{int(block) - 1}.{inside}"
    return f"{renamed(path, QUANTIZER)}.{_LEAVES[leaf]}"


_IN_BLOCK = {
    "encoder": ("res_unit1", "res_unit2", "res_unit3", "snake1", "conv1"),
    "decoder": ("snake1", "conv_t1", "res_unit1", "res_unit2", "res_unit3"),
}


def without_windows(state: State) -> dict[str, np.ndarray]:
    """Returns a state dict whose projections and alphas have no axis for windows of 1."""
    ours = dict(state)
    for name, array in state.items():
        if _PROJECTION.match(name) and array.shape[2:] == (1,):
            ours[name] = array[:, :, 0]
        elif name.endswith(".alpha") and array.shape[::2] == (1, 1):
            ours[name] = array[0, :, 0]
    return ours


def with_windows(state: State) -> dict[str, np.ndarray]:
    """Returns the inverse of `without_windows`."""
    theirs = dict(state)
    for name, array in state.items():
        if _PROJECTION.match(name):
            theirs[name] = array[:, :, None]
        elif name.endswith(".alpha"):
            theirs[name] = array[None, :, None]
    return theirs


def stage(latent_dim: int, num_embeddings: int, dim: int, rngs: nnx.Rngs) -> ProjectedQuantizer:
    """Returns one quantizer of DAC and SNAC."""
    inner = DirectionalVectorQuantizer(dim, num_embeddings, rngs=rngs)
    return ProjectedQuantizer(inner, latent_dim, rngs=rngs)


def _build(config: Mapping[str, Any], rngs: nnx.Rngs) -> AudioTokenizer:
    given = read(
        config,
        (),
        {
            "encoder_dim": 64,
            "encoder_rates": (2, 4, 8, 8),
            "latent_dim": None,
            "decoder_dim": 1536,
            "decoder_rates": (8, 8, 4, 2),
            "n_codebooks": 9,
            "codebook_size": 1024,
            "codebook_dim": 8,
            "sample_rate": 44100,
        },
        ignored=("quantizer_dropout",),
    )
    hop = math.prod(check_integers("config.encoder_rates", given.encoder_rates))
    return _tokenizer(given, given.latent_dim, given.sample_rate, multiple=hop, rngs=rngs)


def _hf_build(config: Mapping[str, Any], rngs: nnx.Rngs) -> AudioTokenizer:
    given = read(
        config,
        (),
        {
            "encoder_hidden_size": 64,
            "downsampling_ratios": (2, 4, 8, 8),
            "decoder_hidden_size": 1536,
            "n_codebooks": 9,
            "codebook_size": 1024,
            "codebook_dim": 8,
            "sampling_rate": 16000,
        },
        # The first three follow from the others.
        ignored=(
            "upsampling_ratios",
            "hidden_size",
            "hop_length",
            "quantizer_dropout",
            "commitment_loss_weight",
            "codebook_loss_weight",
            *HUB,
        ),
    )
    given.encoder_dim, given.decoder_dim = given.encoder_hidden_size, given.decoder_hidden_size
    given.encoder_rates = given.downsampling_ratios
    given.decoder_rates = given.encoder_rates[::-1]
    # The class does not pad: samples that no window reaches are dropped.
    return _tokenizer(given, None, given.sampling_rate, multiple=1, rngs=rngs)


def _tokenizer(
    given: Any, latent_dim: int | None, sample_rate: int, *, multiple: int, rngs: nnx.Rngs
) -> AudioTokenizer:
    rates = check_integers("config.encoder_rates", given.encoder_rates)
    latent_dim = latent_dim or given.encoder_dim * 2 ** len(rates)
    stages = [
        stage(latent_dim, given.codebook_size, given.codebook_dim, rngs)
        for _ in range(given.n_codebooks)
    ]
    decoder = DACDecoder(
        1,
        latent_dim,
        width=given.decoder_dim,
        strides=check_integers("config.decoder_rates", given.decoder_rates)[::-1],
        full_length=False,
        rngs=rngs,
    )
    return AudioTokenizer(
        DACEncoder(1, latent_dim, width=given.encoder_dim, strides=rates, rngs=rngs),
        ResidualVQ(stages),
        decoder,
        AbsoluteError(1, data_variance=1.0),
        sample_rate=sample_rate,
        multiple=multiple,
    )


FAMILY = Family(
    _build,
    name,
    lambda state, config: without_windows(weight_norm.folded(state)),
    lambda state, config: weight_norm.unfolded(with_windows(state), weight_norm.OLD),
)
HF_FAMILY = Family(
    _hf_build,
    _hf_name,
    lambda state, config: without_windows(weight_norm.folded(state)),
    lambda state, config: with_windows(state),
)
