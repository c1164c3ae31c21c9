"""The VQGAN of MaskGIT, from its checkpoints in Flax or their port to PyTorch (1d-tokenizer)."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from flax import nnx

from vqvae_jax.likelihoods import SquaredError
from vqvae_jax.models import MaskGITDecoder, MaskGITEncoder, Tokenizer
from vqvae_jax.pretrained.family import Family, State, entries, highest_first, renamed, torch_leaf
from vqvae_jax.pretrained.settings import check_integers, read
from vqvae_jax.quantizers import EntropyVectorQuantizer

_PREFIX = "params/"
_CHANNELS = 3

# The names of a block's layers in Flax, which numbers layers of a kind in the order of the calls.
_LAYERS = {
    "norm1": "GroupNorm_0",
    "conv1": "Conv_0",
    "norm2": "GroupNorm_1",
    "conv2": "Conv_1",
    "shortcut": "Conv_2",
}

_PORT_RULES = (
    (r"^quantizer$", "quantize.embedding"),
    (r"\.first$", ".conv_in"),
    (r"\.last$", ".conv_out"),
    (r"^(encoder|decoder)\.norm$", r"\1.norm_out"),
    (r"\.middle\.blocks", ".mid"),
    (r"^encoder\.levels", "encoder.down"),
    (r"^decoder\.levels", "decoder.up"),
    (r"\.resample\.conv$", ".upsample_conv"),
    (r"\.blocks\.", ".block."),
    (r"\.shortcut$", ".nin_shortcut"),
)


def _name(path: str, leaf: str, tokenizer: Tokenizer) -> str:
    """See `Family.name`."""
    if path == "quantizer":
        return f"{_PREFIX}quantizer/codebook"
    part, *layer = path.split(".")
    net = getattr(tokenizer, part)
    match layer:
        case ["first"]:
            name = "Conv_0"
        case ["levels", level, "resample", *_]:
            name = f"Conv_{int(level) + 1}"
        case ["norm"]:
            name = "GroupNorm_0"
        case ["last"]:
            resampled = part == "decoder" or net.conv_downsample
            name = f"Conv_{len(net.levels) if resampled else 1}"
        case ["middle", "blocks", block, inner]:
            number = 0 if part == "decoder" else len(net.levels)
            name = f"ResBlock_{number * net.num_blocks + int(block)}/{_LAYERS[inner]}"
        case ["levels", level, "blocks", block, inner]:
            number = int(level) + (part == "decoder")
            name = f"ResBlock_{number * net.num_blocks + int(block)}/{_LAYERS[inner]}"
    return f"{_PREFIX}{part}/{name}/{leaf}"


def _port_name(path: str, leaf: str, tokenizer: Tokenizer) -> str:
    """Returns the port's name of an array; the arguments are those of `Family.name`."""
    return f"{renamed(highest_first(path, tokenizer), _PORT_RULES)}.{torch_leaf(leaf)}"


def _select(state: State, config: Mapping[str, Any]) -> dict[str, np.ndarray]:
    if "encoder.conv_in.weight" in state:
        state = _from_port(state, config)
    return {n if n.startswith(_PREFIX) else f"{_PREFIX}{n}": a for n, a in state.items()}


def _from_port(state: State, config: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Returns the port's entries under Flax's names, kernels in Flax's order."""
    tokenizer = nnx.eval_shape(lambda: _build(config, nnx.Rngs(0)))
    flax = {entry.path: name for name, entry in entries(tokenizer, FAMILY).items()}
    port = entries(tokenizer, Family(_build, _port_name))
    names = {name: flax[entry.path] for name, entry in port.items()}
    arrays = {names.get(name, name): np.asarray(array) for name, array in state.items()}
    return {n: a.transpose(2, 3, 1, 0) if a.ndim == 4 else a for n, a in arrays.items()}


def _build(config: Mapping[str, Any], rngs: nnx.Rngs) -> Tokenizer:
    given = read(
        read(config, ("vqvae",)).vqvae,
        ("codebook_size", "embedding_dim", "filters", "num_res_blocks", "channel_multipliers"),
        {
            "entropy_loss_ratio": 0.1,
            "entropy_temperature": 0.01,
            "commitment_cost": 0.25,
            "conv_downsample": False,
        },
        only={
            "quantizer": "vq",
            "entropy_loss_type": "softmax",
            "activation_fn": "swish",
            "norm_type": "GN",
        },
        path="config.vqvae",
    )
    path = "config.vqvae.channel_multipliers"
    options: dict[str, Any] = {
        "channels": [given.filters * by for by in check_integers(path, given.channel_multipliers)],
        "num_blocks": given.num_res_blocks,
    }
    quantizer = EntropyVectorQuantizer(
        given.embedding_dim,
        given.codebook_size,
        commitment_cost=given.commitment_cost,
        entropy_cost=given.entropy_loss_ratio,
        temperature=given.entropy_temperature,
        rngs=rngs,
    )
    encoder = MaskGITEncoder(
        _CHANNELS,
        given.embedding_dim,
        **options,
        first_dim=given.filters,
        conv_downsample=given.conv_downsample,
        rngs=rngs,
    )
    decoder = MaskGITDecoder(_CHANNELS, given.embedding_dim, **options, rngs=rngs)
    likelihood = SquaredError(_CHANNELS, data_variance=1.0)
    return Tokenizer(encoder, quantizer, decoder, likelihood, value_range=(0.0, 1.0))


FAMILY = Family(_build, _name, _select, axes="flax")
