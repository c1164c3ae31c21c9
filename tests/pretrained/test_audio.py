"""Audio tokenizers of released weights compute what the original code computes.

The golden values are those of `tests/golden/make_audio.py`, which runs that code beside PyTorch.
"""

import functools
from pathlib import Path

import audio_cases
import jax.numpy as jnp
import numpy as np
import pytest

from tests.conftest import run_compiled, some_by_default
from vqvae_jax.models import MultiRateCodes, SegmentCodes
from vqvae_jax.pretrained import from_state_dict, to_state_dict
from vqvae_jax.pretrained.state_dicts import original_shapes
from vqvae_jax.pretrained.weight_norm import NEW, OLD, folded, unfolded

# To compile all of them takes a minute; names and shapes are compared for all.
DEFAULT = {"encodec", "snac"}
every = pytest.mark.parametrize("name", some_by_default(audio_cases.CONFIGS, DEFAULT))


@functools.cache
def golden(name):
    with np.load(Path(__file__).parents[1] / "golden" / "audio.npz") as file:
        return {key.partition("/")[2]: file[key] for key in file if key.startswith(name + "/")}


@functools.cache
def case(name):
    """The tokenizer of a case, its state dict, and its signals [B, T, C]."""
    family, config = audio_cases.family_of(name), audio_cases.CONFIGS[name]
    state = audio_cases.weights(original_shapes(family, config))
    signal = jnp.asarray(np.moveaxis(audio_cases.signal(name), 1, 2))
    return from_state_dict(family, state, config), state, signal


def levels(codes):
    """The codes of each segment, or of each rate, as the original has them."""
    if isinstance(codes, MultiRateCodes):
        return codes.levels
    parts = codes.segments if isinstance(codes, SegmentCodes) else [codes]
    return [np.moveaxis(part, 1, 2) for part in parts]


@pytest.mark.parametrize("name", audio_cases.CONFIGS)
def test_names_and_shapes_are_the_originals(name):
    family, config = audio_cases.family_of(name), audio_cases.CONFIGS[name]
    shapes = original_shapes(family, config)
    assert audio_cases.digest(shapes) == golden(name)["names"]


@every
def test_signals_become_the_same_codes_and_come_back(name):
    values, (tokenizer, _, x) = golden(name), case(name)
    codes = run_compiled(lambda tokenizer, x: tokenizer.encode(x), tokenizer, x)
    expected = [values[key] for key in sorted(values) if key.startswith("codes")]
    assert len(levels(codes)) == len(expected)
    for given, level in zip(levels(codes), expected, strict=True):
        np.testing.assert_array_equal(given, level)
    assert all(len(np.unique(level)) > 1 for level in expected)
    noises = [values[key] for key in sorted(values) if key.startswith("noise")]
    options = {"noises": [np.moveaxis(noise, 1, 2) for noise in noises]} if noises else {}
    audio = run_compiled(
        lambda tokenizer, codes, options: tokenizer.decode(codes, **options),
        tokenizer,
        codes,
        options,
    )
    np.testing.assert_allclose(audio, np.moveaxis(values["audio"], 1, 2), rtol=1e-4, atol=2e-5)


@every
def test_the_state_dict_comes_back(name):
    tokenizer, state, _ = case(name)
    again = to_state_dict(tokenizer)
    assert {n: a.shape for n, a in again.items()} == {n: a.shape for n, a in state.items()}
    config = audio_cases.CONFIGS[name]
    twice = to_state_dict(from_state_dict(audio_cases.family_of(name), again, config))
    for key, array in twice.items():
        np.testing.assert_allclose(array, again[key], rtol=1e-5, atol=1e-6, err_msg=key)


@pytest.mark.parametrize("form", [OLD, NEW])
def test_weight_normalization_is_folded(form):
    random = np.random.RandomState(0)
    g, v = random.rand(3, 1, 1).astype(np.float32), random.randn(3, 2, 5).astype(np.float32)
    state = {f"layer.{form[0]}": g, f"layer.{form[1]}": v, "layer.bias": np.ones(3)}
    weight = folded(state)["layer.weight"]
    for row in range(3):
        np.testing.assert_allclose(weight[row], g[row] * v[row] / np.linalg.norm(v[row]), rtol=1e-6)
    again = folded(unfolded({"layer.weight": weight}, form))["layer.weight"]
    np.testing.assert_allclose(again, weight, rtol=1e-6)


def test_what_does_not_fit_is_named():
    _, state, _ = case("encodec")
    layer, config = "encoder.model.0.conv.conv.", audio_cases.CONFIGS["encodec"]
    g, v = f"{layer}weight_g", f"{layer}weight_v"
    for wrong, message in [
        ({name: array for name, array in state.items() if name != v}, f"has no {v}"),
        ({name: array for name, array in state.items() if name != g}, f"has no {g}"),
        ({**state, g: state[g][..., 0]}, rf"{g} has shape \(4, 1\); it must be \(4, 1, 1\)"),
    ]:
        with pytest.raises(ValueError, match=message):
            from_state_dict("encodec", wrong, config)
    with pytest.raises(ValueError, match=r"config.norm is 'layer_norm'; it must be one of"):
        from_state_dict("encodec", state, {**config, "norm": "layer_norm"})
