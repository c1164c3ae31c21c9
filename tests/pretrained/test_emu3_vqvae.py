"""Emu3's tokenizer: its layers over time, images as videos, its names, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from pretrained_weights import drawn_weights

from tests.conftest import drawn, run_compiled
from vqvae_jax import Emu3Decoder, Emu3Tokenizer, SquaredError, VectorQuantizer
from vqvae_jax.layers import CausalConv3d, FrozenBatchNorm
from vqvae_jax.models.emu3 import TimeBlock
from vqvae_jax.pretrained import FAMILIES, from_state_dict, to_state_dict
from vqvae_jax.pretrained.family import entries

FAMILY = FAMILIES["emu3_vqvae"]
CONFIG = {
    "codebook_size": 16,
    "temporal_downsample_factor": 2,
    "base_channels": 4,
    "channel_multiplier": [1, 2],
    "num_res_blocks": 1,
    "attn_resolutions": [1],
    "hidden_size": 8,
}


def call(layer, *arrays):
    return layer(*arrays)


def conv(layer, x, padding):
    kernel = np.asarray(layer.kernel[...], np.float64)
    padded = np.pad(x, [(0, 0), *padding, (0, 0)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape[:3], (1, 2, 3))
    windows = windows[:, :: layer.stride[0], :: layer.stride[1], :: layer.stride[2]]
    return np.einsum("bthwcuvx,uvxcd->bthwd", windows, kernel) + np.asarray(layer.bias[...])


def norm(layer, x):
    mean, variance, scale, bias = (
        np.asarray(array[...], np.float64)
        for array in (layer.mean, layer.variance, layer.scale, layer.bias)
    )
    return (x - mean) / np.sqrt(variance + 1e-5) * scale + bias


def swish(x):
    return x / (1 + np.exp(-x))


@pytest.mark.parametrize(
    ("kernel_size", "stride", "padding"),
    [
        ((3, 3, 3), (1, 1, 1), [(2, 0), (1, 1), (1, 1)]),
        ((4, 3, 3), (2, 1, 1), [(2, 0), (1, 1), (1, 1)]),
        ((3, 1, 1), (1, 1, 1), [(2, 0), (0, 0), (0, 0)]),
        ((1, 4, 2), (1, 1, 1), [(0, 0), (2, 1), (1, 0)]),
    ],
)
def test_a_convolution_sees_no_later_frames(kernel_size, stride, padding):
    layer = drawn(lambda: CausalConv3d(2, 3, kernel_size, stride=stride, rngs=nnx.Rngs(0)))
    x = np.random.RandomState(0).randn(2, 4, 3, 5, 2).astype(np.float32)
    result = run_compiled(call, layer, jnp.asarray(x))
    assert result.shape == (2, 4 // stride[0], 3, 5, 3)
    np.testing.assert_allclose(result, conv(layer, x, padding), rtol=1e-4, atol=1e-5)


def frozen(layer):
    """The same layer, with variances above 0."""
    for _, node in nnx.iter_graph(layer):
        if isinstance(node, FrozenBatchNorm):
            node.variance[...] = jnp.abs(node.variance[...]) + 0.5
    return layer


def test_a_block_is_its_formula():
    block = frozen(drawn(lambda: TimeBlock(3, rngs=nnx.Rngs(0))))
    x = np.random.RandomState(0).randn(1, 3, 2, 4, 3).astype(np.float32)
    change, padding = x, [(2, 0), (1, 1), (1, 1)]
    for layer, convolution in ((block.norm1, block.conv1), (block.norm2, block.conv2)):
        change = conv(convolution, swish(norm(layer, change)), padding)
    result = run_compiled(call, block, jnp.asarray(x))
    np.testing.assert_allclose(result, x + change, rtol=1e-4, atol=1e-4)


class MeanOfFrames(nnx.Module):
    """Weighs the two frames of each latent position, so that their order matters."""

    spatial_rank, downsampling = 3, (2, 1, 1)

    def __call__(self, x):
        return (x[:, ::2] + 3 * x[:, 1::2]) / 4


class TwoFrames(nnx.Module):
    """Makes two frames of each latent position, the second twice as bright."""

    spatial_rank, downsampling = 3, (2, 1, 1)

    def __call__(self, z):
        pair = jnp.stack([z, 2 * z], axis=2)
        return pair.reshape(z.shape[0], -1, *z.shape[2:])


@pytest.fixture(scope="module")
def tokenizer():
    quantizer = VectorQuantizer(1, 8, rngs=nnx.Rngs(0))
    return Emu3Tokenizer(MeanOfFrames(), quantizer, TwoFrames(), SquaredError(1, 1.0))


def test_an_image_is_the_first_frame_of_a_video_that_repeats_it(tokenizer):
    images = np.random.RandomState(0).randn(2, 3, 4, 1).astype(np.float32)
    mask = np.random.RandomState(1).rand(2, 3, 4) < 0.7
    of_images = run_compiled(call, tokenizer, jnp.asarray(images), jnp.asarray(mask))
    video = jnp.asarray(np.repeat(images[:, None], 2, axis=1))
    of_video = run_compiled(call, tokenizer, video, jnp.asarray(mask[:, None]))
    for name in ("values", "indices"):
        ours, theirs = (getattr(output.quantized, name) for output in (of_images, of_video))
        np.testing.assert_array_equal(ours, theirs[:, 0], err_msg=name)
    np.testing.assert_array_equal(of_images.latents, images)
    np.testing.assert_array_equal(of_images.reconstruction, of_video.reconstruction[:, 0])
    np.testing.assert_array_equal(of_images.quantized.indices == -1, ~mask)
    codes = np.asarray(tokenizer.quantizer.codebook)[:, 0]
    error = (images[..., 0] - codes[np.abs(images - codes).argmin(-1)]) ** 2
    np.testing.assert_allclose(of_images.reconstruction_loss, error[mask].mean(), rtol=1e-5)


def test_codes_of_images_and_of_videos_are_decoded(tokenizer):
    def both(tokenizer, x):
        codes = tokenizer.encode(x)
        return codes, tokenizer.decode(codes), tokenizer.quantizer.lookup(codes)

    video = jnp.asarray(np.random.RandomState(0).randn(2, 4, 3, 5, 1), jnp.float32)
    codes, decoded, values = run_compiled(both, tokenizer, video)
    assert codes.shape == (2, 2, 3, 5)
    np.testing.assert_array_equal(decoded[:, 1::2], 2 * values)
    codes, decoded, values = run_compiled(both, tokenizer, video[:, 0])
    assert codes.shape == (2, 3, 5)
    np.testing.assert_array_equal(decoded, values)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("shape", [(1, 3, 4, 4, 1), (4, 4, 1)])
def test_other_shapes_are_refused(tokenizer, shape):
    with pytest.raises(ValueError, match=r"must be \[B, T, H, W, 1\], .* multiples of 2, 1, 1"):
        tokenizer.encode(jnp.zeros(shape))


@pytest.mark.usefixtures("unchecked")
def test_other_images_are_refused_by_their_own_shape(tokenizer):
    with pytest.raises(ValueError, match=r"x has shape \(1, 4, 4, 2\); .* \[B, H, W, 1\], .* 1, 1"):
        tokenizer.encode(jnp.zeros((1, 4, 4, 2)))


@pytest.fixture(scope="module")
def abstract():
    return nnx.eval_shape(lambda: FAMILY.build(CONFIG, nnx.Rngs(0)))


def test_names_and_shapes(abstract):
    """A few of each kind; those of the released model are in tests/golden."""
    shapes = {name: entry.shape for name, entry in entries(abstract, FAMILY).items()}
    assert abstract.downsampling == (2, 2, 2)
    expected = {
        "quant_conv.conv.weight": (4, 4, 3, 1, 1),
        "post_quant_conv.conv.bias": (4,),
        "quantize.embedding.weight": (16, 4),
        "encoder.conv_in.weight": (4, 3, 3, 3),
        "encoder.down_block.down.0.downsample.conv.weight": (4, 4, 3, 3),
        "encoder.down_block.down.1.block.0.nin_shortcut.weight": (8, 4, 1, 1),
        "encoder.down_block.down.1.attn.0.q_proj.weight": (8, 8),
        "encoder.down_block.down.1.attn_norms.0.weight": (8,),
        "encoder.middle_block.attn_1.out_proj.bias": (8,),
        "encoder.middle_block.attn_norm.bias": (8,),
        "encoder.norm_out.weight": (8,),
        "encoder.time_conv.0.conv.conv.weight": (4, 4, 4, 3, 3),
        "encoder.time_res_stack.0.conv2.conv.weight": (4, 4, 3, 3, 3),
        "encoder.time_res_stack.0.norm1.running_var": (4,),
        "decoder.time_conv.0.conv.conv.weight": (4, 4, 3, 3, 3),
        "decoder.time_res_stack.0.norm2.num_batches_tracked": (),
        "decoder.up_block.up.0.block.0.norm1.conv_y.weight": (8, 4, 1, 1),
        "decoder.up_block.up.1.attn_norms.1.norm_layer.weight": (8,),
        "decoder.up_block.up.1.upsample.conv.weight": (8, 8, 3, 3),
        "decoder.middle_block.attn_norm.conv_b.bias": (8,),
        "decoder.norm_out.norm_layer.bias": (4,),
    }
    assert expected.items() <= shapes.items()


def test_the_part_of_a_larger_model_comes_back_with_its_counts_of_64_bits(abstract):
    shapes = {name: entry.shape for name, entry in entries(abstract, FAMILY).items()}
    state = drawn_weights(shapes, 0)
    whole = {f"model.vqmodel.{name}": array for name, array in state.items()}
    whole["model.text_model.norm.weight"] = np.zeros(3, np.float32)
    again = to_state_dict(from_state_dict("emu3_vqvae", whole, CONFIG))
    assert again.keys() == state.keys()
    for name, array in state.items():
        assert again[name].dtype == array.dtype
        np.testing.assert_array_equal(again[name], array, err_msg=name)
    counts = {name for name, array in again.items() if array.dtype == np.int64}
    assert counts == {name for name in shapes if name.endswith("num_batches_tracked")}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"temporal_downsample_factor": 3}, "time_downsampling is 3; it must be a power of 2"),
        ({"latent_channels": 5}, "z_dim is 5; it must be latent_dim = 4"),
        ({"hidden_size": 16}, "config.hidden_size is 16; it must be 8, the channels of level 1"),
        ({"attn_resolutions": [0, 1]}, "config.hidden_size is 8; it must be 4, .* of level 0"),
        ({"num_attention_heads": 2}, "config.num_attention_heads is 2; only 1 is supported"),
        ({"double_latent": True}, "config.double_latent is True; only False is supported"),
    ],
)
def test_wrong_settings_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        from_state_dict("emu3_vqvae", {}, {**CONFIG, **change})


@pytest.mark.slow
def test_frames_are_decoded_without_later_codes():
    options = {"channels": (4, 8), "num_blocks": 1, "time_downsampling": 2}
    decoder = frozen(drawn(lambda: Emu3Decoder(1, 2, **options, rngs=nnx.Rngs(0))))
    z = jnp.asarray(np.random.RandomState(0).randn(1, 3, 2, 2, 2), jnp.float32)
    graphdef, state = nnx.split(decoder)
    decode = jax.jit(lambda z: nnx.merge(graphdef, state)(z))
    video, changed = decode(z), decode(z.at[:, 2].add(1))
    np.testing.assert_allclose(video[:, :4], changed[:, :4], rtol=1e-5, atol=1e-5)
    assert np.abs(video[:, 4:] - changed[:, 4:]).max() > 1e-3
