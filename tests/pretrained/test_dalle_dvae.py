"""DALL-E's dVAE: its block, its two ways to decode, its names, and what is refused."""

import itertools
import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file, save_file

from tests.conftest import drawn, run_compiled
from vqvae_jax import DalleDecoder
from vqvae_jax.models.dalle import DalleBlock
from vqvae_jax.pretrained import from_state_dict, to_state_dict

GOLDEN = Path(__file__).parents[1] / "golden" / "pretrained" / "dalle_dvae.safetensors"
CONFIG = {
    "encoder": {"n_hid": 4, "n_blk_per_group": 1, "vocab_size": 6, "input_channels": 1},
    "decoder": {
        "n_hid": 8, "n_blk_per_group": 2, "vocab_size": 6, "output_channels": 1, "n_init": 5
    },
}  # fmt: skip


@pytest.mark.parametrize(("features", "sizes"), [(4, (3, 3, 3, 1)), (8, (1, 3, 3, 3))])
def test_a_block_is_its_formula(features, sizes):
    block = drawn(lambda: DalleBlock(4, features, kernel_sizes=sizes, gain=0.5, rngs=nnx.Rngs(0)))
    x = np.random.RandomState(0).randn(1, 3, 4, 4).astype(np.float32)

    def conv(layer, x):
        kernel, side = np.asarray(layer.kernel[...]), layer.kernel.shape[0] // 2
        padded = np.pad(x, [(0, 0), (side, side), (side, side), (0, 0)])
        windows = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape[:2], (1, 2))
        return np.einsum("bhwcuv,uvcd->bhwd", windows, kernel) + np.asarray(layer.bias[...])

    change = x
    for layer in block.convs:
        change = conv(layer, np.maximum(change, 0))
    expected = (x if features == 4 else conv(block.shortcut, x)) + 0.5 * change
    result = run_compiled(lambda block, x: block(x), block, jnp.asarray(x))
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5)


def test_codes_are_decoded_as_their_one_hot_vectors():
    decoder = drawn(
        lambda: DalleDecoder(1, 6, first_width=3, width=4, num_blocks=1, rngs=nnx.Rngs(0))
    )
    decoder.last.kernel[...] *= 3000  # so that some pixels are clipped
    codes = np.array([[[0, 5], [-1, 2]], [[6, 6], [6, 6]]])
    vectors = jnp.asarray(np.eye(7, 6)[codes[:1]], jnp.float32)
    call = lambda decoder, z: (decoder(z), decoder.statistics(z))  # noqa: E731
    (image, beyond), statistics = run_compiled(call, decoder, jnp.asarray(codes, jnp.int32))
    (by_vectors,), statistics_by_vectors = run_compiled(call, decoder, vectors)
    np.testing.assert_allclose(image, by_vectors, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(statistics[:1], statistics_by_vectors, rtol=1e-4, atol=1e-4)
    mean = np.asarray(statistics, np.float64)[0, ..., :1]
    expected = np.clip((1 / (1 + np.exp(-mean)) - 0.1) / 0.8, 0, 1)
    assert 0 < np.mean(expected % 1 == 0) < 1
    np.testing.assert_allclose(image, expected, rtol=1e-4, atol=1e-5)
    assert np.isnan(beyond).all()


def state_of(config):
    """A state dict of a config, with the shapes that the original has."""
    below, above = config["encoder"], config["decoder"]
    state = {}

    def conv(name, before, after, size):
        random = np.random.RandomState(len(state))
        state[f"{name}.w"] = random.randn(after, before, size, size).astype(np.float32) / 4
        state[f"{name}.b"] = random.randn(after).astype(np.float32)

    def groups(network, dims, blocks, sizes):
        for group, (before, after) in enumerate(itertools.pairwise(dims), start=1):
            for number in range(1, blocks + 1):
                block, hidden = f"{network}.blocks.group_{group}.block_{number}", after // 4
                dim = before if number == 1 else after
                if dim != after:
                    conv(f"{block}.id_path", dim, after, 1)
                path = [dim, hidden, hidden, hidden, after]
                for layer, size in enumerate(sizes):
                    conv(f"{block}.res_path.conv_{layer + 1}", path[layer], path[layer + 1], size)

    width = below["n_hid"]
    conv("encoder.blocks.input", below["input_channels"], width, 7)
    groups("encoder", [width, width, 2 * width, 4 * width, 8 * width], 1, (3, 3, 3, 1))
    conv("encoder.blocks.output.conv", 8 * width, below["vocab_size"], 1)
    width = above["n_hid"]
    conv("decoder.blocks.input", above["vocab_size"], above["n_init"], 1)
    groups("decoder", [above["n_init"], 8 * width, 4 * width, 2 * width, width], 2, (1, 3, 3, 3))
    conv("decoder.blocks.output.conv", width, 2 * above["output_channels"], 1)
    return state


def test_a_state_dict_comes_back_through_a_file(tmp_path):
    state = state_of(CONFIG)
    tokenizer = from_state_dict("dalle_dvae", state, CONFIG)
    save_file(to_state_dict(tokenizer), tmp_path / "model.safetensors")
    again = load_file(tmp_path / "model.safetensors")
    assert again.keys() == state.keys()
    for name, array in state.items():
        np.testing.assert_array_equal(again[name], array, err_msg=name)
    assert tokenizer.value_range == (0, 1)
    assert tokenizer.downsampling == (8, 8)


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("encoder", {"vocab_size": 7}, "config.encoder.vocab_size is 7 and .* 6; they must be the"),
        ("encoder", {"n_hidden": 4}, "config.encoder.n_hidden is unknown; did you mean n_hid"),
        ("decoder", {"n_hid": 3}, "width is 3; it must be an integer of at least 4"),
        ("decoder", {"n_blk_per_group": 0}, "num_blocks is 0; it must be"),
        ("decoder", {"output_channels": 3}, "the encoder does not accept|the encoder maps"),
    ],
)
def test_wrong_settings_are_named(part, change, message):
    config = {**CONFIG, part: {**CONFIG[part], **change}}
    with pytest.raises(ValueError, match=message):
        from_state_dict("dalle_dvae", {}, config)


@pytest.mark.slow
def test_statistics_are_those_of_the_original():
    arrays = load_file(GOLDEN)
    state = {n.removeprefix("state."): a for n, a in arrays.items() if n.startswith("state.")}
    config = json.loads(GOLDEN.with_suffix(".json").read_text())["narrow_config"]
    decoder = from_state_dict("dalle_dvae", state, config).decoder
    statistics = run_compiled(
        lambda decoder, codes: decoder.statistics(codes), decoder, jnp.asarray(arrays["indices"])
    )
    np.testing.assert_allclose(
        statistics, np.moveaxis(arrays["decoder_stats"], 1, -1), rtol=1e-4, atol=1e-5
    )
