"""Tokenizers of released weights compute what the original code computes.

The golden values come from that code, unchanged, with random weights in narrow models of the
released structure; each JSON file names it. Those of a model's quantizer alone have no images.
"""

import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from pretrained_weights import drawn_weights
from safetensors.numpy import load_file

from vqvae_jax.pretrained import FAMILIES, from_state_dict
from vqvae_jax.pretrained.family import entries

pytestmark = pytest.mark.usefixtures("optimized")
GOLDEN = Path(__file__).parents[1] / "golden" / "pretrained"
ALL = sorted(path.stem for path in GOLDEN.glob("*.json"))
# Where the original's entropies have 1e-5 inside a logarithm, and a temperature of 0.01.
ENTROPIC = {"ibq", "llamagen", "maskgit_vqgan", "open_magvit2"}


@functools.cache
def golden(family):
    meta = json.loads((GOLDEN / f"{family}.json").read_text())
    return meta, load_file(GOLDEN / f"{family}.safetensors")


def with_values(name):
    """The families whose golden values have one of this name."""
    return [
        family
        for family in ALL
        if (GOLDEN / f"{family}.safetensors").exists() and name in golden(family)[1]
    ]


def channels_last(family, array):
    return array if FAMILIES[family].axes == "flax" else np.moveaxis(array, 1, -1)


@functools.cache
def tokenizer_of(family):
    meta, values = golden(family)
    state = {n.removeprefix("state."): a for n, a in values.items() if n.startswith("state.")}
    known, config = FAMILIES[family], meta["narrow_config"]
    abstract = nnx.eval_shape(lambda: known.build(config, nnx.Rngs(0)))
    shapes = {name: entry.shape for name, entry in entries(abstract, known).items()}
    if "seed" in meta:
        state = drawn_weights(shapes, meta["seed"])
    missing = {n: np.zeros(shape, np.float32) for n, shape in shapes.items() if n not in state}
    return from_state_dict(family, missing | state, config)


@pytest.mark.slow
@pytest.mark.parametrize("family", ALL)
def test_full_size_models_have_the_released_names(family):
    meta = json.loads((GOLDEN / f"{family}.json").read_text())
    known = FAMILIES[family]
    for released in meta["released"]:
        config = released["config"]
        tokenizer = nnx.eval_shape(lambda config=config: known.build(config, nnx.Rngs(0)))
        shapes = {name: list(entry.shape) for name, entry in entries(tokenizer, known).items()}
        if released["name"] == meta["released_names_are_of"]:
            assert shapes == dict(meta["released_names"])
        assert sum(map(np.prod, shapes.values())) == released["parameters"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "of"),
    [(family, of) for of in ("", "video.") for family in with_values(f"{of}input")],
)
def test_data_become_the_same_codes_and_come_back(family, of):
    values, tokenizer = golden(family)[1], tokenizer_of(family)
    graphdef, state = nnx.split(tokenizer)
    values = {name.removeprefix(of): array for name, array in values.items() if of in name}
    has_decoder = "reconstruction" in values

    @jax.jit
    def computed(state, x, codes):
        tokenizer = nnx.merge(graphdef, state)
        if not has_decoder:
            return tokenizer.latents(x), tokenizer.encode(x)
        output = tokenizer(x)
        both = output.reconstruction, tokenizer.decode(codes)
        return output.latents, output.quantized.indices, *both

    x, codes = channels_last(family, values["input"]), values["indices"]
    latents, indices, *decoded = computed(state, x, codes)
    expected = channels_last(family, values["latents"])
    np.testing.assert_allclose(latents, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(indices, codes)
    for name, result in zip(("reconstruction", "decoded_from_indices"), decoded, strict=False):
        expected = channels_last(family, values.get(name, values.get("reconstruction")))
        np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", with_values("grad.latents"))
def test_quantizers_have_the_same_losses_and_gradients(family):
    values, quantizer = golden(family)[1], tokenizer_of(family).quantizer
    graphdef, params, rest = nnx.split(quantizer, nnx.Param, ...)
    z, cotangent = (channels_last(family, values[n]) for n in ("latents", "cotangent"))

    @jax.jit
    @functools.partial(jax.value_and_grad, argnums=(0, 1), has_aux=True)
    def objective(z, params):
        quantized = nnx.merge(graphdef, params, rest)(z, key=jax.random.key(0))
        return jnp.sum(quantized.values * cotangent) + quantized.loss, quantized

    (_, quantized), (of_z, of_params) = objective(jnp.asarray(z), params)
    np.testing.assert_array_equal(quantized.indices, values["indices"])
    expected = channels_last(family, values["quantized"])
    np.testing.assert_allclose(quantized.values, expected, rtol=1e-4, atol=1e-4)
    tolerance = 1e-3 if family in ENTROPIC else 1e-4
    total = values["loss.total"] if "loss.total" in values else values["loss.quantizer_loss"][0]
    np.testing.assert_allclose(quantized.loss, total, rtol=tolerance)
    expected = channels_last(family, values["grad.latents"])
    np.testing.assert_allclose(of_z, expected, rtol=tolerance, atol=1e-4)
    for gradient in jax.tree.leaves(of_params):
        np.testing.assert_allclose(gradient, values["grad.codebook"], rtol=tolerance, atol=1e-4)
