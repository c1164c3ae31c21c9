"""Released weights become tokenizers and come back; what does not fit is named."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from vqvae_jax.pretrained import FAMILIES, from_state_dict, to_state_dict
from vqvae_jax.pretrained.family import entries

DDCONFIG = {
    "double_z": False, "z_channels": 6, "resolution": 16, "in_channels": 3, "out_ch": 3, "ch": 4,
    "ch_mult": [2, 1], "num_res_blocks": 1, "attn_resolutions": [8], "dropout": 0.0,
}  # fmt: skip
TRANSFORMERS = {
    "embed_dim": 5, "num_embeddings": 7, "latent_channels": 6, "base_channels": 4,
    "channel_multiplier": [2, 1], "num_res_blocks": 1,
}  # fmt: skip
CONFIGS = {
    "taming_vqgan": {"embed_dim": 5, "n_embed": 7, "ddconfig": DDCONFIG},
    "diffusers_vqmodel": {
        "down_block_types": ["DownEncoderBlock2D", "AttnDownEncoderBlock2D"],
        "up_block_types": ["AttnUpDecoderBlock2D", "UpDecoderBlock2D"],
        "block_out_channels": [8, 4], "latent_channels": 3, "num_vq_embeddings": 7,
        "norm_num_groups": 2, "_class_name": "VQModel",
    },
    "llamagen": {
        "codebook_size": 7, "codebook_embed_dim": 5, "encoder_ch_mult": [2, 1],
        "decoder_ch_mult": [1, 2], "z_channels": 6, "ch": 4, "num_res_blocks": 1,
    },
    "ibq": {"embed_dim": 5, "n_embed": 7, "ddconfig": DDCONFIG},
    "chameleon_vqvae": {**TRANSFORMERS, "resolution": 16, "attn_resolutions": [8]},
    "janus_vqvae": TRANSFORMERS,
}  # fmt: skip
every = pytest.mark.parametrize("family", CONFIGS)


def state_of(family, seed=0):
    """Random weights under the family's own names."""
    known, random = FAMILIES[family], np.random.RandomState(seed)
    tokenizer = nnx.eval_shape(lambda: known.build(CONFIGS[family], nnx.Rngs(0)))
    return {
        name: random.randn(*entry.shape).astype(np.float32)
        for name, entry in entries(tokenizer, known).items()
    }


@every
def test_weights_come_back_bit_for_bit(family):
    state = state_of(family)
    again = to_state_dict(from_state_dict(family, state, CONFIGS[family]))
    assert again.keys() == state.keys()
    for name, array in state.items():
        assert again[name].dtype == array.dtype
        np.testing.assert_array_equal(again[name], array, err_msg=name)


def test_narrow_numbers_are_taken():
    state = {name: array.astype(jnp.bfloat16) for name, array in state_of("ibq").items()}
    tokenizer = from_state_dict("ibq", state, CONFIGS["ibq"])
    assert {leaf.dtype for leaf in tokenizer_leaves(tokenizer)} == {jnp.dtype(jnp.float32)}


def tokenizer_leaves(tokenizer):
    return [node for _, node in nnx.iter_graph(tokenizer) if isinstance(node, nnx.Variable)]


def test_what_does_not_fit_is_named():
    family = "taming_vqgan"
    state, config = state_of(family), CONFIGS[family]
    name = "encoder.conv_in.weight"
    for wrong, message in [
        ({n: a for n, a in state.items() if n != name}, rf"has no {name}; it must be \(\d+, 3, 3"),
        ({**state, "encoder.more": np.zeros(2, np.float32)}, r"has encoder.more \(2,\), which"),
        ({**state, name: state[name][..., :1]}, rf"{name} has shape \(\d, 3, 3, 1\); it must be"),
        ({**state, name: state[name].astype(np.int32)}, rf"{name} has type int32; it must be"),
    ]:
        with pytest.raises(ValueError, match=message):
            from_state_dict(family, wrong, config)


@every
def test_settings_that_are_not_supported_are_named(family):
    with pytest.raises(ValueError, match=r"config\.no_such is unknown"):
        from_state_dict(family, {}, {**CONFIGS[family], "no_such": 1})


@pytest.mark.parametrize(
    ("family", "path", "value", "message"),
    [
        ("taming_vqgan", "ddconfig.double_z", True, "double_z is True; only False is supported"),
        ("taming_vqgan", "ddconfig.ch_mult", [], r"ch_mult is \[\]; it must be a list of integers"),
        ("diffusers_vqmodel", "norm_type", "spatial", "norm_type is 'spatial'; only 'group'"),
        ("diffusers_vqmodel", "up_block_types", ["Up"], "it must be 2 of UpDecoderBlock2D, Attn"),
        ("ibq", "l2_normalize", True, "l2_normalize is True; only False is supported"),
    ],
)
def test_such_values_too(family, path, value, message):
    config = json.loads(json.dumps(CONFIGS[family]))
    *parents, last = path.split(".")
    place = config
    for parent in parents:
        place = place[parent]
    place[last] = value
    with pytest.raises(ValueError, match=message):
        from_state_dict(family, {}, config)


@pytest.mark.usefixtures("unchecked")
def test_no_mapping_is_named():
    with pytest.raises(ValueError, match="config is 3; it must be a mapping"):
        from_state_dict("taming_vqgan", {}, 3)


def test_unknown_families_are_named():
    with pytest.raises(ValueError, match="did you mean taming_vqgan"):
        from_state_dict("taming", {}, {})


def test_tokenizers_without_an_origin_have_no_names():
    tokenizer = from_state_dict("taming_vqgan", state_of("taming_vqgan"), CONFIGS["taming_vqgan"])
    tokenizer.origin = None
    with pytest.raises(ValueError, match="was not made by from_state_dict"):
        to_state_dict(tokenizer)


def test_what_only_training_needs_is_dropped():
    state = state_of("taming_vqgan")
    more = {**state, "loss.discriminator.main.0.weight": np.zeros(3, np.float32)}
    again = to_state_dict(from_state_dict("taming_vqgan", more, CONFIGS["taming_vqgan"]))
    assert again.keys() == state.keys()


def test_settings_of_training_make_no_difference():
    config = {**CONFIGS["ibq"], "use_ema": True, "learning_rate": 1e-4, "lossconfig": {}}
    state = state_of("ibq")
    assert to_state_dict(from_state_dict("ibq", state, config)).keys() == state.keys()


def test_averages_count():
    state = state_of("ibq")
    averages = {f"model_ema.{n.replace('.', '')}": a + 1 for n, a in state.items()}
    counters = {"model_ema.decay": np.float32(0.9), "model_ema.num_updates": np.int32(7)}
    again = to_state_dict(from_state_dict("ibq", state | averages | counters, CONFIGS["ibq"]))
    for name, array in state.items():
        np.testing.assert_array_equal(again[name], array + 1, err_msg=name)


@pytest.mark.parametrize("family", ["chameleon_vqvae", "janus_vqvae"])
def test_the_part_of_a_larger_model_is_found(family):
    state = state_of(family)
    whole = {f"model.vqmodel.{name}": array for name, array in state.items()}
    whole["model.language_model.norm.weight"] = np.zeros(3, np.float32)
    again = to_state_dict(from_state_dict(family, whole, CONFIGS[family]))
    assert again.keys() == state.keys()


def test_older_names_of_attention_are_known():
    new = state_of("diffusers_vqmodel")
    names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    old = {}
    for name, array in new.items():
        for one, other in names.items():
            name = name.replace(f".{one}.", f".{other}.")
        old[name] = array
    assert old.keys() != new.keys()
    again = to_state_dict(from_state_dict("diffusers_vqmodel", old, CONFIGS["diffusers_vqmodel"]))
    assert again.keys() == new.keys()


def test_llamagens_window_may_be_missing():
    state = state_of("llamagen")
    window = state.pop("quantize.codebook_used")
    again = to_state_dict(from_state_dict("llamagen", state, CONFIGS["llamagen"]))
    np.testing.assert_array_equal(again["quantize.codebook_used"], np.zeros_like(window))


@pytest.mark.slow
def test_chameleon_only_encodes():
    config = CONFIGS["chameleon_vqvae"]
    tokenizer = from_state_dict("chameleon_vqvae", state_of("chameleon_vqvae"), config)
    codes = tokenizer.encode(jnp.zeros((1, 4, 6, 3)))
    assert codes.shape == (1, 2, 3)
    with pytest.raises(ValueError, match="have no decoder"):
        tokenizer.decode(codes)
