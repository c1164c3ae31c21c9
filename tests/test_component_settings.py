"""Every public component can be described by settings, from which it is built again."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import vqvae_jax
from tests.test_components import EMA, SPECIAL
from vqvae_jax.component_settings import settings_from
from vqvae_jax.components import build_component, completed, known_kinds
from vqvae_jax.errors import ConfigError
from vqvae_jax.signatures import settings_of

pytestmark = pytest.mark.usefixtures("unchecked")

# Numbers that differ from the defaults, by the name of the argument.
NUMBERS = {
    "in_dim": 3,
    "out_dim": 3,
    "latent_dim": 5,
    "data_variance": 0.2,
    "width": 8,
    "num_blocks": 1,
    "downsampling": 2,
    "normalize": True,
    "most_groups": 2,
    "conv_downsample": True,
    "embedding_dim": 6,
    "num_embeddings": 12,
    "commitment_cost": 0.5,
    "codebook_cost": 0.75,
    "estimator": "rotation_trick",
    "revival_threshold": 0.25,
    "revival_tokens": 0.5,
    "usage_decay": 0.9,
    "kmeans_init": True,
    "decay": 0.8,
    "epsilon": 1e-4,
    "temperature": 0.3,
    "hard": False,
    "kl_cost": 0.1,
    "entropy_cost": 0.3,
    "diversity": 0.4,
    "bits_together": 3,
    "orthogonality_cost": 5.0,
    "codebook_dim": 4,
    "levels": (3, 4),
    "bound": "jax.numpy:sin",
    "hidden_dim": 6,
    "num_layers": 2,
    "size": 5,
    "num_mixtures": 3,
    "channels": 8,
    "dilations": (2, 1),
    "num_codebooks": 2,
    "num_classes": 4,
    "max_shape": (3, 4),
    "num_heads": 2,
    "dropout": 0.25,
    "quantize_dropout": True,
    "depth_multiple": 2,
}
ATTENTION = {"attention_levels": [1], "middle_attention": False, "remat": True}
STRIDES = {"strides": [2, 3]}
SEANET = {"latent_dim": 4, "width": 4, "num_residual": 0, "num_lstm_layers": 0, **STRIDES}
LYRA = {"latent_dim": 4, "strides": [2, 3, 2]}
DALLE = {"vocab_size": 6, "width": 4, "num_blocks": 1}
EMU3 = {"latent_dim": 4, "channels": [4], "num_blocks": 1, "time_downsampling": 2}
SNAC = {"width": 4, "depthwise": False, **STRIDES}
AUDIO = {
    "encoder": {"kind": "SEANetEncoder", "in_dim": 1, **SEANET},
    "quantizer": {"kind": "ResidualVQ", "quantizers": [EMA]},
    "decoder": {"kind": "SEANetDecoder", "out_dim": 1, **SEANET},
    "likelihood": {"kind": "AbsoluteError", "out_dim": 1, "data_variance": 0.1},
    "sample_rate": 8000,
    "multiple": 6,
    "dtype": "bfloat16",
    "value_range": [0, 1],
}
OWN = {
    "AudioTokenizer": AUDIO,
    "SegmentedTokenizer": {**AUDIO, "segment_length": 60, "segment_stride": 50, "normalize": False},
    "SNAC": {
        **AUDIO,
        "encoder": {"kind": "SNACEncoder", "in_dim": 1, **SNAC},
        "quantizer": {
            "kind": "ResidualVQ",
            "quantizers": [
                {"kind": "PooledQuantizer", "quantizer": {**EMA, "embedding_dim": 16}, "stride": by}
                for by in (2, 1)
            ],
        },
        "decoder": {"kind": "SNACDecoder", "out_dim": 1, "latent_dim": 16, "noise": False, **SNAC},
    },
    **dict.fromkeys(("DACDecoder", "DACEncoder", "SNACDecoder", "SNACEncoder"), STRIDES),
    **{f"{kind}Lyra{part}": LYRA for kind in ("", "Int8") for part in ("Encoder", "Decoder")},
    **{
        f"Mimi{part}": {
            "seanet": {"kind": f"SEANet{part}", f"{side}_dim": 1, **SEANET},
            "context": 3,
            "hidden": 4,
            "stride": 3,
        }
        for part, side in (("Encoder", "in"), ("Decoder", "out"))
    },
    "SpectralError": {
        "sample_rate": 8000,
        "waveform_weight": 0.5,
        "mel_weight": 2.0,
        "windows": [16, 64],
        "num_mels": [2, 8],
    },
    "ParallelQuantizer": SPECIAL["ParallelQuantizer"],
    "PooledQuantizer": SPECIAL["PooledQuantizer"],
    "ResidualVQ": {"quantizers": [EMA] * 2},
    "ProductQuantizer": {"quantizers": [EMA, {"kind": "FSQ", "levels": [5, 5]}]},
    "GroupedResidualVQ": SPECIAL["GroupedResidualVQ"],
    "ProjectedQuantizer": SPECIAL["ProjectedQuantizer"],
    **{
        f"{kind}{part}": {
            "channels": [8, 4],
            **({"first_dim": 6} if part == "Encoder" else {}),
            **more,
        }
        for kind, more in (
            ("VQGAN", {**ATTENTION, "z_dim": 7}),
            ("MoVQ", {**ATTENTION, "z_dim": 7}),
            ("Emu3", {**ATTENTION, "z_dim": 5, "time_downsampling": 2}),
            ("MAGVIT2", {}),
            ("MaskGIT", {}),
        )
        for part in ("Encoder", "Decoder")
    },
    "DalleTokenizer": {
        "encoder": {"kind": "DalleEncoder", "in_dim": 1, **DALLE},
        "quantizer": {"kind": "CategoricalQuantizer", "num_embeddings": 6},
        "decoder": {"kind": "DalleDecoder", "out_dim": 1, **DALLE},
        "likelihood": {"kind": "SquaredError", "out_dim": 1, "data_variance": 0.1},
        "dtype": "bfloat16",
        "value_range": [0, 1],
    },
    "Emu3Tokenizer": {
        "encoder": {"kind": "Emu3Encoder", "in_dim": 1, **EMU3},
        "quantizer": EMA,
        "decoder": {"kind": "Emu3Decoder", "out_dim": 1, **EMU3},
        "likelihood": {"kind": "SquaredError", "out_dim": 1, "data_variance": 0.1},
        "dtype": "bfloat16",
        "value_range": [0, 1],
    },
    "Tokenizer": {
        "encoder": {"kind": "ResNetEncoder", "in_dim": 1, "latent_dim": 4, "width": 4},
        "quantizer": EMA,
        "decoder": {"kind": "ResNetDecoder", "out_dim": 1, "latent_dim": 4, "width": 4},
        "likelihood": {"kind": "SquaredError", "out_dim": 1, "data_variance": 0.1},
        "dtype": "bfloat16",
        "value_range": [0, 1],
    },
}
MODELS = [name for name in known_kinds(nnx.Module) if name != "VQVAE"]


def built(settings):
    def build():
        return build_component(completed(settings, "model"), "model", rngs=nnx.Rngs(0))

    return nnx.eval_shape(build)


@functools.cache
def both(name):
    """A component with as many arguments as possible that are not the defaults, and its copy."""
    takes = settings_of(getattr(vqvae_jax, name))
    given = {key: value for key, value in NUMBERS.items() if key in takes} | OWN.get(name, {})
    component = built({"kind": name, **given})
    settings = settings_from(component)
    return {"kind": name, **given}, settings, component, built(json.loads(json.dumps(settings)))


def test_there_are_many_kinds():
    assert {"Encoder", "EMAVectorQuantizer", "Tokenizer", "TransformerPrior", "LFQ"} <= {*MODELS}


@pytest.mark.parametrize("name", MODELS)
def test_settings_build_the_component_again(name):
    given, settings, component, again = both(name)
    assert settings["kind"] == given["kind"]
    assert settings_from(again) == settings
    for one in (component, again):
        assert type(one) is getattr(vqvae_jax, name)
    graphs, states = zip(*(nnx.split(one) for one in (component, again)), strict=True)
    assert graphs[0] == graphs[1]
    assert jax.tree.leaves(states[0]) == jax.tree.leaves(states[1])
    assert jax.tree.structure(states[0]) == jax.tree.structure(states[1])


@pytest.mark.parametrize("name", MODELS)
def test_no_argument_falls_back_to_its_default(name):
    given, settings, *_ = both(name)
    for key, value in given.items():
        if key == "downsampling":
            value = (value, value)
        if key not in OWN.get(name, {}):
            assert settings[key] == value, key


def test_functions_of_jax_go_by_their_public_name():
    settings = settings_from(vqvae_jax.SymmetricFSQ((3, 4), bound=jax.nn.soft_sign))
    assert settings["bound"] == "jax.nn:soft_sign"
    assert built(settings).bound is jax.nn.soft_sign


def test_a_vqvae_is_the_tokenizer_of_its_parts():
    model = nnx.eval_shape(lambda: vqvae_jax.VQVAE(3, 4, 8, 0.1, 0.5, rngs=nnx.Rngs(0)))
    settings = settings_from(model)
    assert settings["kind"] == "Tokenizer"
    assert settings["quantizer"]["commitment_cost"] == 0.5
    again = built(settings)
    assert type(again) is vqvae_jax.Tokenizer
    assert nnx.state(again) == nnx.state(model)


def test_a_schedule_is_known_by_what_it_was_built_from():
    schedule = {"kind": "optax:linear_schedule", "init_value": 1.0, "end_value": 0.5}
    given = {"kind": "GumbelQuantizer", "embedding_dim": 2, "num_embeddings": 3}
    settings = completed(
        given | {"temperature": schedule | {"transition_steps": 10}}, "model", nnx.Module
    )
    again = settings_from(built(settings))
    assert again["temperature"] == settings["temperature"]
    assert built(again).temperature(5) == 0.75
    unnamed = vqvae_jax.GumbelQuantizer(
        2, 3, temperature=optax.linear_schedule(1.0, 0.5, 10), rngs=nnx.Rngs(0)
    )
    with pytest.raises(ConfigError, match=r"^model\.temperature is .*schedule.*cannot be imported"):
        settings_from(unnamed)


class Keeps(nnx.Module):
    def __init__(self, width, dtype, scale=2.0, *, rngs):
        self.width, self.dtype, self.scale = width, dtype, scale


class Forgets(nnx.Module):
    def __init__(self, width, depth):
        self.width = width


def test_components_of_the_user_s_own_keep_the_same_rule():
    settings = settings_from(Keeps(np.int64(3), jnp.bfloat16, rngs=nnx.Rngs(0)))
    assert settings == {"kind": f"{__name__}:Keeps", "width": 3, "dtype": "bfloat16", "scale": 2.0}
    with pytest.raises(ConfigError, match=r"model: Forgets has no attribute depth; what is saved"):
        settings_from(Forgets(3, 4))
    with pytest.raises(ConfigError, match=r"model\.dtype is a \w*Array\w*, which settings cannot"):
        settings_from(Keeps(3, jnp.ones(2), rngs=nnx.Rngs(0)))
    with pytest.raises(ConfigError, match=r"model\.scale is a set, which settings cannot hold"):
        settings_from(Keeps(3, None, {1}, rngs=nnx.Rngs(0)))


def test_a_class_inside_a_function_is_refused():
    class Inner(nnx.Module):
        def __init__(self):
            pass

    with pytest.raises(ConfigError, match=r"model is .*Inner of .*cannot be imported from there"):
        settings_from(Inner())
