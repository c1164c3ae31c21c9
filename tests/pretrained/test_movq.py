"""MoVQ of diffusers: its norm, its names, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from tests.conftest import drawn, run_compiled
from vqvae_jax.layers import SpatialNorm
from vqvae_jax.layers.resampling import repeated, resized
from vqvae_jax.pretrained import FAMILIES, from_state_dict
from vqvae_jax.pretrained.family import entries

CONFIG = {
    "down_block_types": ["DownEncoderBlock2D", "AttnDownEncoderBlock2D"],
    "up_block_types": ["AttnUpDecoderBlock2D", "UpDecoderBlock2D"],
    "block_out_channels": [32, 64],
    "latent_channels": 5,
    "norm_num_groups": 16,
}
MOVQ = {**CONFIG, "norm_type": "spatial"}


def shapes(family, config):
    known = FAMILIES[family]
    tokenizer = nnx.eval_shape(lambda: known.build(config, nnx.Rngs(0)))
    return {name: entry.shape for name, entry in entries(tokenizer, known).items()}


@pytest.mark.parametrize(
    ("before", "after", "rows"),
    [
        (3, 6, [0, 0, 1, 1, 2, 2]),
        (3, 7, [0, 0, 0, 1, 1, 2, 2]),
        (4, 6, [0, 0, 1, 2, 2, 3]),
        (7, 3, [0, 2, 4]),
        (5, 5, [0, 1, 2, 3, 4]),
    ],
)
def test_images_are_resized_to_the_nearest(before, after, rows):
    x = np.random.RandomState(0).randn(2, before, 4, 3).astype(np.float32)
    np.testing.assert_array_equal(resized(jnp.asarray(x), after, 4), x[:, rows])
    turned = resized(jnp.asarray(x.swapaxes(1, 2)), 4, after)
    np.testing.assert_array_equal(turned, x.swapaxes(1, 2)[:, :, rows])


@pytest.mark.parametrize("resize", [repeated, lambda x: resized(x, 6, 5)])
def test_batches_over_an_explicit_mesh_are_resized(resize):
    mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Explicit,))
    x = jnp.asarray(np.random.RandomState(0).randn(4, 3, 3, 2), jnp.float32)
    with jax.set_mesh(mesh):
        spread = jax.jit(resize)(jax.device_put(x, NamedSharding(mesh, PartitionSpec("data"))))
    assert spread.sharding.spec[0] == "data"
    np.testing.assert_array_equal(spread, resize(x))


def test_the_norm_is_its_formula():
    layer = drawn(lambda: SpatialNorm(6, 2, most_groups=3, rngs=nnx.Rngs(0)))
    random = np.random.RandomState(1)
    x, z = random.randn(2, 4, 6, 6), random.randn(2, 2, 3, 2)
    groups = x.reshape(2, 24, 3, 2)
    mean, variance = (f(groups, axis=(1, 3), keepdims=True) for f in (np.mean, np.var))
    normalized = ((groups - mean) / np.sqrt(variance + 1e-6)).reshape(x.shape)
    normalized = normalized * np.asarray(layer.norm.scale) + np.asarray(layer.norm.bias)
    factor, shift = (
        np.kron(z.transpose(0, 3, 1, 2), np.ones((2, 2))).transpose(0, 2, 3, 1)
        @ np.asarray(conv.kernel)[0, 0]
        + np.asarray(conv.bias)
        for conv in (layer.factor, layer.shift)
    )
    inputs = (jnp.asarray(array, jnp.float32) for array in (x, z))
    result = run_compiled(lambda layer, x, z: layer(x, z), layer, *inputs)
    np.testing.assert_allclose(result, normalized * factor + shift, rtol=1e-4, atol=1e-5)


def test_names_are_those_of_vqmodel_with_spatial_norms_in_the_decoder():
    expected = {}
    for name, shape in shapes("diffusers_vqmodel", CONFIG).items():
        module, leaf = name.rsplit(".", 1)
        if not module.startswith("decoder.") or "norm" not in module.rsplit(".", 1)[-1]:
            expected[name] = shape
            continue
        module = module.replace("group_norm", "spatial_norm")
        expected[f"{module}.norm_layer.{leaf}"] = shape
        for conv in ("conv_y", "conv_b"):
            window = (5, 1, 1) if leaf == "weight" else ()
            expected[f"{module}.{conv}.{leaf}"] = (*shape, *window)
    assert "decoder.mid_block.attentions.0.spatial_norm.conv_y.weight" in expected
    assert "decoder.up_blocks.0.attentions.1.spatial_norm.norm_layer.bias" in expected
    assert "decoder.conv_norm_out.conv_b.bias" in expected
    assert shapes("diffusers_movq", MOVQ) == expected


def test_groups_are_set_for_the_encoder_alone():
    tokenizer = nnx.eval_shape(lambda: FAMILIES["diffusers_movq"].build(MOVQ, nnx.Rngs(0)))
    assert tokenizer.encoder.norm.num_groups == 16
    assert tokenizer.decoder.norm.norm.num_groups == 32


def test_old_names_of_attention_are_known():
    old = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
    prefix = "decoder.up_blocks.0.attentions.1"
    state = {f"{prefix}.{name}.weight": np.zeros(1) for name in old}
    state[f"{prefix}.spatial_norm.conv_y.weight"] = np.zeros(1)
    expected = {f"{prefix}.{name}.weight" for name in (*old.values(), "spatial_norm.conv_y")}
    assert FAMILIES["diffusers_movq"].select(state, MOVQ).keys() == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"norm_type": "group"}, "config.norm_type is 'group'; only 'spatial' is supported"),
        ({"vq_embed_dim": 4}, "config.vq_embed_dim is 4; .* latent_channels = 5"),
        ({"up_block_types": ["UpDecoderBlock2D"]}, "config.up_block_types is .* must be 2 of"),
    ],
)
def test_wrong_settings_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        from_state_dict("diffusers_movq", {}, {**MOVQ, **change})
