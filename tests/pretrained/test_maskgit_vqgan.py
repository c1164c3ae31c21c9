"""MaskGIT's VQGAN: names and shapes in Flax and in PyTorch, and what is refused."""

import functools
import json
from pathlib import Path

import numpy as np
import pytest
from flax import nnx
from safetensors import safe_open

from vqvae_jax.pretrained import FAMILIES, from_state_dict, to_state_dict
from vqvae_jax.pretrained.family import entries

GOLDEN = Path(__file__).parents[1] / "golden/pretrained/maskgit_vqgan.json"
META = json.loads(GOLDEN.read_text())
FAMILY = FAMILIES["maskgit_vqgan"]
VQVAE = {
    "quantizer": "vq",
    "codebook_size": 6,
    "embedding_dim": 5,
    "filters": 2,
    "num_res_blocks": 1,
    "channel_multipliers": [2, 1],
}
CONFIG = {"vqvae": VQVAE}


def named(config):
    return _named(json.dumps(config))


@functools.cache
def _named(config):
    return entries(nnx.eval_shape(lambda: FAMILY.build(json.loads(config), nnx.Rngs(0))), FAMILY)


def random_state(config):
    random = np.random.RandomState(0)
    return {n: random.randn(*e.shape).astype(np.float32) for n, e in named(config).items()}


def check_equal(state, expected):
    assert state.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(state[name], array)


def test_names_and_shapes_are_those_of_the_original():
    with safe_open(GOLDEN.with_suffix(".safetensors"), "numpy") as file:
        shapes = {n: tuple(file.get_slice(n).get_shape()) for n in file.keys()}  # noqa: SIM118
    ours = {f"state.{name}": entry.shape for name, entry in named(META["narrow_config"]).items()}
    assert ours == {name: shape for name, shape in shapes.items() if name.startswith("state.")}


@pytest.mark.slow
def test_names_and_shapes_are_those_of_the_release():
    ours = {n: list(e.shape) for n, e in named(META["released"][0]["config"]).items()}
    assert ours == dict(META["released_names"])


@pytest.mark.parametrize(("prefix", "conv_downsample"), [("", False), ("params/", True)])
def test_a_state_comes_back(prefix, conv_downsample):
    config = {"vqvae": VQVAE | {"conv_downsample": conv_downsample}}
    state = random_state(config)
    given = {prefix + n.removeprefix("params/"): a for n, a in state.items()}
    check_equal(to_state_dict(from_state_dict("maskgit_vqgan", given, config)), state)


def test_strided_convolutions_are_numbered_too():
    config = {"vqvae": VQVAE | {"conv_downsample": True, "channel_multipliers": [1, 1, 1]}}
    shapes = {n: e.shape for n, e in named(config).items() if "encoder/Conv" in n and "kernel" in n}
    assert shapes == {
        "params/encoder/Conv_0/kernel": (3, 3, 3, 2),
        "params/encoder/Conv_1/kernel": (4, 4, 2, 2),
        "params/encoder/Conv_2/kernel": (4, 4, 2, 2),
        "params/encoder/Conv_3/kernel": (1, 1, 2, 5),
    }


@pytest.mark.slow
def test_the_port_has_the_same_arrays():
    config = META["released"][0]["config"]
    port = {n: np.broadcast_to(np.float32(0), s) for n, s in META["pytorch_port_released_names"]}
    flax = FAMILY.select(port, config)
    assert {n: list(a.shape) for n, a in flax.items()} == dict(META["released_names"])


def test_the_port_is_loaded():
    state = random_state(CONFIG)
    kernel = state["params/decoder/ResBlock_2/Conv_0/kernel"]
    renamed = {
        "decoder.up.0.block.0.conv1.weight": kernel.transpose(3, 2, 0, 1),
        "encoder.conv_in.weight": state["params/encoder/Conv_0/kernel"].transpose(3, 2, 0, 1),
        "quantize.embedding.weight": state["params/quantizer/codebook"],
        "decoder.up.1.upsample_conv.bias": state["params/decoder/Conv_1/bias"],
        "encoder.mid.0.norm2.weight": state["params/encoder/ResBlock_2/GroupNorm_1/scale"],
    }
    flax = FAMILY.select(renamed, CONFIG)
    assert len(flax) == len(renamed)
    check_equal(flax, {name: state[name] for name in flax})


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"quantizer": "gumbel"}, r"config\.vqvae\.quantizer is 'gumbel'; only 'vq' is supported"),
        ({"entropy_loss_type": "argmax"}, r"entropy_loss_type is 'argmax'; only 'softmax'"),
        ({"activation_fn": "relu"}, r"config\.vqvae\.activation_fn is 'relu'; only 'swish'"),
        ({"norm_type": "LN"}, r"config\.vqvae\.norm_type is 'LN'; only 'GN'"),
        ({"channel_multipliers": [0]}, r"channel_multipliers is \[0\]; it must be a list"),
        ({"entropy_temperature": 0}, "temperature is 0; it must be a finite number above 0"),
        ({"conv_downsample": 1}, "conv_downsample is 1; it must be True or False"),
        ({"filter": 2}, r"config\.vqvae\.filter is unknown; did you mean filters\?"),
    ],
)
def test_unsupported_settings_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        FAMILY.build({"vqvae": VQVAE | change}, nnx.Rngs(0))
