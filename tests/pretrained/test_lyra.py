"""Lyra 2: files of a narrow model are read whole, and both of its arithmetics code and decode."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.conftest import run_compiled
from tests.pretrained.tflite_files import Graph
from vqvae_jax import from_pretrained, from_state_dict, load_state_dict, save_pretrained
from vqvae_jax.errors import DataError
from vqvae_jax.pretrained import to_state_dict
from vqvae_jax.pretrained.state_dicts import original_shapes

NARROW = {"num_features": 4, "width": 2, "strides": [4, 2, 2], "num_quantizers": 3}
NARROW |= {"codebook_size": 5}
INT8 = {**NARROW, "arithmetic": "int8"}
FILES = {
    "encoder": "soundstream_encoder.tflite",
    "decoder": "lyragan.tflite",
    "quantizer": "quantizer.tflite",
}
GROUPS = {"decoder_0/simple": 2, "decoder_1/simple": 1}


@functools.cache
def state():
    """A state dict of random weights, by the names and shapes of a narrow model."""
    random, shapes = np.random.RandomState(0), original_shapes("lyra", INT8)
    drawn = {}
    for name, shape in shapes.items():
        layer, _, leaf = name.rpartition(".")
        whole = f"{layer}.weight_scale" in shapes
        match leaf:
            case "weight" if whole:
                drawn[name] = random.randint(-127, 128, shape).astype(np.int8)
            case "bias" if whole:
                drawn[name] = random.randint(-2000, 2000, shape).astype(np.int32)
            case "zero_point":
                drawn[name] = random.randint(-40, 40, shape).astype(np.int32)
            case "scale" | "input_scale":
                drawn[name] = random.uniform(0.02, 0.04, shape).astype(np.float32)
            case "weight_scale":
                drawn[name] = random.uniform(0.005, 0.01, shape).astype(np.float32)
            case _:
                drawn[name] = random.randn(*shape).astype(np.float32) / 2
    for layer, groups in GROUPS.items():
        for leaf in ("scale", "zero_point", "weight_scale"):  # one for each of the groups
            name = f"decoder.{layer}.{leaf}"
            size = len(drawn[name]) // groups
            drawn[name] = np.repeat(drawn[name][::size], size)
    return drawn


def content(part):
    """The file of one part, with a state dict's arrays."""
    graph = Graph()
    if part == "quantizer":
        for place in reversed(range(3)):
            name = "transpose" if place == 0 else f"transpose_{place}"
            rows = graph.tensor(name, state()[f"quantizer.{place}.codebook"])
            graph.operator("GATHER", [rows], [graph.tensor("gathered")])
        return graph.content()
    layers = {}
    for name, array in state().items():
        layer, _, leaf = name.partition(".")[2].rpartition(".")
        if name.startswith(part):
            layers.setdefault(layer, {})[leaf] = array
    for layer, arrays in layers.items():
        groups = GROUPS.get(layer, 0) if "weight_scale" in arrays else 0
        for group in range(groups):
            rows, columns = len(arrays["scale"]) // groups, arrays["weight"].shape[1] // groups
            at, taken = slice(group * rows, (group + 1) * rows), {}
            for leaf, array in arrays.items():
                taken[leaf] = array if leaf == "input_scale" else array[at]
            place = slice(group * columns, (group + 1) * columns)
            taken["weight"] = arrays["weight"][:, place]
            for leaf in ("scale", "zero_point", "weight_scale"):
                taken[leaf] = taken[leaf][:1]
            write(graph, f"model/quant_{layer}_g{group}/conv/BiasAdd", taken)
        if not groups:
            write(graph, f"model/{layer}/conv/BiasAdd;{layer}", arrays)
    return graph.content()


def write(graph, name, arrays):
    """Adds the operators of a layer."""
    has_grid = {"scale": arrays.get("scale", ()), "zero_point": arrays.get("zero_point", ())}
    given = arrays.get("input_scale", ())
    inputs = [graph.tensor(f"{name}/input", scale=[one], zero_point=[0]) for one in given]
    if "weight" in arrays:
        weight, bias = arrays["weight"], arrays.get("bias")
        kind = "TRANSPOSE_CONV" if "/simple_g" in name or "/simple/" in name else "CONV_2D"
        axes = np.expand_dims(weight.transpose(2, 0, 1), 2)
        if "adepthwise" in name:
            whole = weight.dtype == np.int8
            kind, axes = "DEPTHWISE_CONV_2D", np.expand_dims(weight, 0)
            bias = np.zeros(weight.shape[2], np.int32 if whole else np.float32)
        scale = arrays.get("weight_scale", ())
        taken = [
            graph.tensor(f"{name}/weight", axes, scale, np.zeros(len(scale))),
            graph.tensor(f"{name}/bias", bias),
        ]
        first = inputs or [graph.tensor(f"{name}/input")]
        order = [*first, *taken]
        if kind == "TRANSPOSE_CONV":
            order = [graph.tensor("shape", np.zeros(4, np.int32)), taken[0], *first, taken[1]]
        rounds = "scale" in arrays and "weight_scale" not in arrays
        output = graph.tensor(name, **({} if rounds else has_grid))
        graph.operator(kind, order, [output])
        if rounds:
            graph.operator("QUANTIZE", [output], [graph.tensor(f"{name}/q", **has_grid)])
        if "float_bias" in arrays:
            real = graph.tensor(f"{name}/real", arrays["float_bias"])
            graph.operator("SUB", [output, real], [graph.tensor(f"{name}/sub")])
    elif len(given) == 2:
        graph.operator("ADD", inputs, [graph.tensor(name, **has_grid)])
    elif len(given) == 1:
        graph.operator("LEAKY_RELU", inputs, [graph.tensor(name, **has_grid)])
    else:
        graph.operator("QUANTIZE", [graph.tensor("real")], [graph.tensor(name, **has_grid)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lyra")
    for part, name in FILES.items():
        (folder / name).write_bytes(content(part))
    return folder


def test_the_files_are_read(folder):
    found = load_state_dict(folder)
    assert found.keys() == state().keys()
    for name, array in state().items():
        assert found[name].dtype == array.dtype, name
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def test_integers_and_their_scales_come_back():
    again = to_state_dict(from_state_dict("lyra", state(), INT8))
    assert again.keys() == state().keys()
    for name, array in state().items():
        assert again[name].dtype == array.dtype, name
        np.testing.assert_array_equal(again[name], array, err_msg=name)


def test_integers_become_real_numbers():
    found = to_state_dict(from_state_dict("lyra", state(), NARROW))
    layer = "encoder.encoder_1/resnet_1apointwise_conv"
    scale = state()[f"{layer}.weight_scale"]
    np.testing.assert_array_equal(
        found[f"{layer}.weight"], state()[f"{layer}.weight"] * scale[None, None]
    )
    bias = state()[f"{layer}.bias"] * scale * state()[f"{layer}.input_scale"]
    np.testing.assert_allclose(found[f"{layer}.bias"], bias, rtol=1e-6)
    layer = "decoder.decoder_0/simple"
    weight, scale = state()[f"{layer}.weight"], state()[f"{layer}.weight_scale"]
    halves = np.split(weight, 2, axis=1)
    expected = np.concatenate([halves[0] * scale[0], halves[1] * scale[-1]], axis=1)
    np.testing.assert_array_equal(found[f"{layer}.weight"], expected)
    np.testing.assert_array_equal(found[f"{layer}.bias"], state()[f"{layer}.float_bias"])
    again = to_state_dict(from_state_dict("lyra", found, NARROW))
    assert all((again[name] == found[name]).all() for name in found)


@pytest.mark.parametrize(
    "config",
    [pytest.param(NARROW, id="float32"), pytest.param(INT8, id="int8", marks=pytest.mark.slow)],
)
def test_signals_are_coded_in_pieces_as_whole_and_saved(config, tmp_path):
    tokenizer = from_state_dict("lyra", state(), config)
    save_pretrained(tokenizer, tmp_path / "model")
    saved, own = (nnx.state(one) for one in (from_pretrained(tmp_path / "model"), tokenizer))
    assert jax.tree.structure(saved) == jax.tree.structure(own)
    for one, other in zip(jax.tree.leaves(saved), jax.tree.leaves(own), strict=True):
        np.testing.assert_array_equal(one, other)
    x = jnp.asarray(np.random.RandomState(1).uniform(-1, 1, (2, 90, 1)), jnp.float32)

    def whole(tokenizer, x):
        codes = tokenizer.encode(x)
        return codes, tokenizer.decode(codes), tokenizer.decode(codes[..., :2])

    codes, audio, coarse = run_compiled(whole, tokenizer, x)
    assert codes.shape == (2, 6, 3)
    assert audio.shape == coarse.shape == (2, 96, 1)
    assert all(len(np.unique(codes[..., level])) > 1 for level in range(3))
    assert not np.allclose(audio, coarse)

    def pieces(tokenizer, x):
        encoding, decoding = tokenizer.start_encoding(2), tokenizer.start_decoding(2)
        parts = []
        for piece in jnp.split(x, 2, axis=1):
            codes, encoding = tokenizer.encode_piece(piece, encoding)
            audio, decoding = tokenizer.decode_piece(codes, decoding)
            parts.append((codes, audio))
        return [jnp.concatenate(part, axis=1) for part in zip(*parts, strict=True)]

    filled = jnp.pad(x, ((0, 0), (0, 6), (0, 0)))
    streamed = run_compiled(pieces, tokenizer, filled)
    np.testing.assert_array_equal(streamed[0], codes)
    np.testing.assert_allclose(streamed[1], audio, rtol=1e-4, atol=1e-4)


def test_what_does_not_fit_is_named():
    layer = "encoder.bottleneck_1/simpleconv"
    for change, message in (
        ({f"{layer}.weight_scale": np.ones(3, np.float32)}, rf"{layer}.multiplier has shape \(3,"),
        ({f"{layer}.weight": np.ones((3, 1, 4), np.int8)}, rf"{layer}.weight has shape \(3, 1, 4"),
    ):
        with pytest.raises(ValueError, match=message):
            from_state_dict("lyra", {**state(), **change}, INT8)
    lacking = {name: array for name, array in state().items() if name != f"{layer}.scale"}
    with pytest.raises(ValueError, match=f"what the state dict has of {layer} does not fit: bias"):
        from_state_dict("lyra", lacking, INT8)
    with pytest.raises(ValueError, match=r"config.arithmetic is 'int4'; it must be one of float32"):
        from_state_dict("lyra", state(), {"arithmetic": "int4"})


def test_damaged_files_are_refused_in_a_line(folder, tmp_path):
    for name in FILES.values():
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    whole, random = (folder / FILES["encoder"]).read_bytes(), np.random.RandomState(0)
    assert len(whole) < 2**16
    damaged = [whole[:size] for size in (0, 7, 8, 40, len(whole) // 2, len(whole) - 1)]
    damaged.append(whole[:4] + b"TFL9" + whole[8:])
    for _ in range(60):
        changed = bytearray(whole)
        for place in random.randint(0, len(whole), 8):
            changed[place] = random.choice([0, 1, 0x7F, 0x80, 0xFF])
        damaged.append(bytes(changed))
    messages = []
    for content in damaged:
        (tmp_path / FILES["encoder"]).write_bytes(content)
        try:
            load_state_dict(tmp_path)
        except DataError as error:
            messages.append(str(error))
    assert len(messages) > 20
    assert all(FILES["encoder"] in message and "\n" not in message for message in messages)
    (tmp_path / FILES["encoder"]).write_bytes(whole)
    (tmp_path / FILES["quantizer"]).unlink()
    with pytest.raises(FileNotFoundError, match=r"quantizer\.tflite"):
        load_state_dict(tmp_path)
