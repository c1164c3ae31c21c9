"""Lyra 2, in the names of the layers in its files."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from flax import nnx

from vqvae_jax.checks import check_choice, check_integer
from vqvae_jax.layers.fixed_point import fixed_point
from vqvae_jax.layers.int8 import SUM_BITS
from vqvae_jax.likelihoods import AbsoluteError
from vqvae_jax.models import (
    AudioTokenizer,
    Int8LyraDecoder,
    Int8LyraEncoder,
    LyraDecoder,
    LyraEncoder,
    Tokenizer,
)
from vqvae_jax.models.lyra import SLOPE
from vqvae_jax.pretrained.family import Family, State
from vqvae_jax.pretrained.settings import check_integers, read
from vqvae_jax.quantizers import ResidualVQ, VectorQuantizer

_NETWORKS = {"float32": (LyraEncoder, LyraDecoder), "int8": (Int8LyraEncoder, Int8LyraDecoder)}
_LEAVES = {"kernel": "weight", "embeddings": "codebook"}
_ENDS = {
    "encoder": ("first_layerconv", ("bottleneck_1/act", "bottleneck_1/simpleconv")),
    "decoder": ("bottleneck_2/simpleconv", ("last_layer_act", "last_layer")),
}
_BLOCKS = ("resnet_0", "resnet_1", "resnet_2")
_IN_LEVEL = {
    "encoder": (*_BLOCKS, "act", "simpleconv"),
    "decoder": ("act", "simple", *_BLOCKS),
}
_IN_BLOCK = ("a_act", "adepthwise_conv", "apointwise_conv", "b_act", "bconv")


def _name(path: str, leaf: str, tokenizer: Tokenizer) -> str:
    """See `Family.name`."""
    part = path.partition(".")[0]
    place, *inner = [int(step) for step in path.split(".") if step.isdigit()]
    leaf = _LEAVES.get(leaf, leaf)
    if part == "quantizer":
        return f"{part}.{place}.{leaf}"
    network: Any = getattr(tokenizer, part)
    first, last = _ENDS[part]
    if place == 0:
        return f"{part}.{first}.{leaf}"
    if place == len(network.layers) - 1:
        return f"{part}.{last[inner[0]]}.{leaf}"
    layer = _IN_LEVEL[part][inner[0]]
    if layer in _BLOCKS:
        layer += _IN_BLOCK[inner[1]] if inner[1:] else "_add"
    return f"{part}.{part}_{place - 1}/{layer}.{leaf}"


def _select(state: State, config: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """See `Family.select`."""
    select = _with_factors if config.get("arithmetic") == "int8" else _dequantized
    layers: dict[str, dict[str, np.ndarray]] = {}
    for name, array in state.items():
        layer, _, leaf = name.rpartition(".")
        layers.setdefault(layer, {})[leaf] = np.asarray(array)
    found: dict[str, np.ndarray] = {}
    for layer, arrays in layers.items():
        try:
            found |= {f"{layer}.{leaf}": array for leaf, array in select(arrays).items()}
        except (KeyError, ValueError) as error:
            shapes = ", ".join(f"{leaf} {array.shape}" for leaf, array in arrays.items())
            raise ValueError(
                f"what the state dict has of {layer} does not fit: {shapes}"
            ) from error
    return found


def _dequantized(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the weights of a layer as real numbers, without its grids."""
    found = {name: arrays[name] for name in arrays if name in ("weight", "bias", "codebook")}
    if "weight_scale" not in arrays:
        return found
    scale, weight = arrays["weight_scale"], arrays["weight"]
    # Each group of a transposed convolution has its rows, and its own scales.
    rows = scale.reshape(-1, weight.shape[2])
    found["weight"] = weight * np.repeat(rows, weight.shape[1] // len(rows), axis=0)
    if "float_bias" in arrays:
        found["bias"] = arrays["float_bias"]
    elif "bias" in arrays:
        found["bias"] = (
            arrays["bias"] * (scale.astype(np.float64) * arrays["input_scale"])
        ).astype(np.float32)
    return found


def _with_factors(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the arrays of a layer with the factors of its integers in place of weight_scale."""
    if "input_scale" not in arrays:
        return arrays
    given, scale = arrays["input_scale"], arrays["scale"].astype(np.float64)
    if "weight_scale" in arrays:
        factors = given.astype(np.float64) * arrays["weight_scale"] / scale
    elif len(given) == 1:  # an activation: in float32, as TensorFlow Lite has them
        ends = np.asarray([1, SLOPE], np.float32)
        factors = (given * ends / arrays["scale"]).astype(np.float64)
    else:
        largest = 2 * float(given.max())
        factors = np.concatenate([given / largest, largest / (2**SUM_BITS * scale)])
    multiplier, exponent = fixed_point(factors)
    kept = {name: array for name, array in arrays.items() if name != "weight_scale"}
    return {**kept, "multiplier": multiplier, "exponent": exponent}


def _restore(state: State, config: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """See `Family.restore`; what a factor tells of a scale has more digits than the scale."""
    restored = {}
    for name, array in state.items():
        layer, _, leaf = name.rpartition(".")
        if leaf not in ("multiplier", "exponent"):
            restored[name] = array
        elif leaf == "exponent" and f"{layer}.weight" in state:
            factors = state[f"{layer}.multiplier"] * 2.0 ** (array.astype(np.float64) - 31)
            with np.errstate(invalid="ignore"):  # where only shapes are asked for, all are 0
                scale = factors * state[f"{layer}.scale"] / state[f"{layer}.input_scale"]
            restored[f"{layer}.weight_scale"] = scale.astype(np.float32)
    return restored


def _build(config: Mapping[str, Any], rngs: nnx.Rngs) -> AudioTokenizer:
    given = read(
        config,
        (),
        {
            "arithmetic": "float32",
            "sample_rate": 16000,
            "num_features": 64,
            "width": 64,
            "strides": (16, 5, 2, 2),
            "num_quantizers": 46,
            "codebook_size": 16,
        },
    )
    arithmetic = check_choice("config.arithmetic", given.arithmetic, _NETWORKS)
    encoder, decoder = (
        network(
            1,
            given.num_features,
            width=given.width,
            strides=check_integers("config.strides", given.strides),
            rngs=rngs,
        )
        for network in _NETWORKS[arithmetic]
    )
    codebooks = [
        VectorQuantizer(given.num_features, given.codebook_size, rngs=rngs)
        for _ in range(check_integer("config.num_quantizers", given.num_quantizers))
    ]
    return AudioTokenizer(
        encoder,
        ResidualVQ(codebooks),
        decoder,
        AbsoluteError(1, data_variance=1.0),
        sample_rate=given.sample_rate,
        multiple=encoder.downsampling[0],
    )


FAMILY = Family(_build, _name, _select, _restore, axes="flax")
