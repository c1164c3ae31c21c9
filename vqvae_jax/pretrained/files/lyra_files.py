"""The three files of Lyra 2, as one state dict."""

import re
from pathlib import Path

import numpy as np

from vqvae_jax.errors import DamagedError, UnsupportedError
from vqvae_jax.pretrained.files.problems import naming_file
from vqvae_jax.pretrained.files.tflite_files import Operand, Operator, read_operators

_NETWORKS = {"encoder": "soundstream_encoder.tflite", "decoder": "lyragan.tflite"}
_QUANTIZER = "quantizer.tflite"

# Operands are named by their layer in the network that was trained.
_LAYER = re.compile(r"[^/]+/(?:quant_)?((?:(?:encoder|decoder|bottleneck)_\d+/)?\w+)/")
_GROUP = re.compile(r"(.*)_g(\d+)\.(.*)")
_CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV")
_CODEBOOK = re.compile(r"transpose(?:_(\d+))?")


def read_lyra(folder: Path) -> dict[str, np.ndarray]:
    """Returns what the files in a folder hold, by the names of the layers.

    LAYER.weight is [k, C_in / groups, C_out], or [k, C_in, C_out / groups] where it is transposed.
    Where there is a LAYER.weight_scale, it has integers times that, and LAYER.bias integers times
    weight_scale and input_scale. LAYER.scale and LAYER.zero_point are the grid of what a layer
    returns, LAYER.input_scale those of what it takes. quantizer.N.codebook is [K, D].

    Args:
        folder: holds the three files under their own names.

    Raises:
        DamagedError: a file is not what its format allows.
        UnsupportedError: a file is another one than Lyra's.
        OSError: a file cannot be read.
    """
    found: dict[str, np.ndarray] = {}
    for part, name in _NETWORKS.items():
        path = folder / name
        with naming_file(path):
            layers = _joined(_layers(read_operators(path.read_bytes())))
        found |= {f"{part}.{name}": array for name, array in layers.items()}
    path = folder / _QUANTIZER
    with naming_file(path):
        for operator in read_operators(path.read_bytes()):
            for operand in operator.inputs:
                named = _CODEBOOK.fullmatch(operand.name)
                if named and operand.constant is not None:
                    found[f"quantizer.{int(named[1] or 0)}.codebook"] = operand.constant
    return found


def _layers(operators: list[Operator]) -> dict[str, np.ndarray]:
    """Returns the arrays of a network; the groups of a transposed convolution are layers."""
    found: dict[str, np.ndarray] = {}
    for operator in operators:
        named = _LAYER.match(operator.outputs[0].name) if operator.outputs else None
        if named is None:
            continue
        layer = named[1]
        arrays = _grids(operator)
        if operator.kind in _CONVOLUTIONS:
            arrays |= _weights(operator)
        elif operator.kind == "SUB" and f"{layer}.weight_scale" in found:
            arrays["float_bias"] = _constant(operator.inputs[1])
        found |= {f"{layer}.{name}": array for name, array in arrays.items()}
    return found


def _grids(operator: Operator) -> dict[str, np.ndarray]:
    """Returns the grid of what an operator computes, and the scales of what it takes."""
    output = operator.outputs[0]
    if not output.scale.size:
        return {}
    arrays = {"scale": output.scale, "zero_point": output.zero_point}
    computed = [one for one in operator.inputs if one.constant is None and one.scale.size]
    if computed:
        arrays["input_scale"] = np.concatenate([one.scale for one in computed])
    return arrays


def _weights(operator: Operator) -> dict[str, np.ndarray]:
    """Returns the weights of a convolution in our order of axes."""
    kernel, bias = operator.inputs[1], _constant(operator.inputs[-1])
    weight = _constant(kernel)
    if weight.ndim != 4 or weight.shape[2] != 1:
        raise DamagedError(f"{kernel.name!r:.100} has the shape {weight.shape!s:.100}")
    arrays = {"weight": weight[:, :, 0].transpose(1, 2, 0), "bias": bias}
    if operator.kind == "DEPTHWISE_CONV_2D":
        arrays = {"weight": weight[0]}
        if bias.any():
            raise UnsupportedError(f"{operator.outputs[0].name!r:.100} has a bias, not zeros")
    if kernel.scale.size:
        arrays["weight_scale"] = np.broadcast_to(kernel.scale, bias.shape)
    return arrays


def _constant(operand: Operand) -> np.ndarray:
    if operand.constant is None:
        raise DamagedError(f"{operand.name!r:.100} has no value of float32, int32 or int8")
    return operand.constant


def _joined(layers: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the arrays with those of the groups LAYER_g0, LAYER_g1, ... as one."""
    found: dict[str, np.ndarray] = {}
    parts: dict[str, dict[int, np.ndarray]] = {}
    for name, array in layers.items():
        if group := _GROUP.fullmatch(name):
            parts.setdefault(f"{group[1]}.{group[3]}", {})[int(group[2])] = array
        else:
            found[name] = array
    for name, groups in parts.items():
        arrays = [groups[index] for index in range(len(groups))]
        kind = name.rpartition(".")[2]
        if kind == "input_scale":  # of the one signal that was split
            found[name] = arrays[0]
            continue
        if kind in ("scale", "zero_point"):  # of all channels of a group
            features = len(parts[name.removesuffix(kind) + "bias"][0])
            arrays = [np.repeat(array, features) for array in arrays]
        found[name] = np.concatenate(arrays, axis=-2 if kind == "weight" else 0)
    return found
