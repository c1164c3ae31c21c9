"""Open-MAGVIT2: names and shapes, moving averages, the entropy loss, and what is refused."""

import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors import safe_open

from vqvae_jax.pretrained import FAMILIES, from_state_dict, to_state_dict
from vqvae_jax.pretrained.family import entries

GOLDEN = Path(__file__).parents[1] / "golden/pretrained/open_magvit2.json"
META = json.loads(GOLDEN.read_text())
FAMILY = FAMILIES["open_magvit2"]
NET = {"ch": 2, "ch_mult": [2, 1], "num_res_blocks": 1, "z_channels": 3, "double_z": False}
CONFIG = {"n_embed": 8, "embed_dim": 3, "ddconfig": NET}


def built(config):
    return _built(json.dumps(config))


@functools.cache
def _built(config):
    return nnx.eval_shape(lambda: FAMILY.build(json.loads(config), nnx.Rngs(0)))


def named(config):
    return entries(built(config), FAMILY)


def random_state(config, seed=0):
    random = np.random.RandomState(seed)
    return {n: random.randn(*e.shape).astype(np.float32) for n, e in named(config).items()}


def without_dots(state):
    return {f"model_ema.{name.replace('.', '')}": array for name, array in state.items()}


def test_names_and_shapes_are_those_of_the_original():
    with safe_open(GOLDEN.with_suffix(".safetensors"), "numpy") as file:
        shapes = {n: tuple(file.get_slice(n).get_shape()) for n in file.keys()}  # noqa: SIM118
    ours = {f"state.{name}": entry.shape for name, entry in named(META["narrow_config"]).items()}
    assert ours == {name: shape for name, shape in shapes.items() if name.startswith("state.")}


@pytest.mark.slow
def test_names_and_shapes_are_those_of_the_release():
    full = next(r for r in META["released"] if r["name"] == META["released_names_are_of"])
    ours = {name: list(entry.shape) for name, entry in named(full["config"]).items()}
    assert ours == dict(META["released_names"])


@pytest.mark.parametrize("averaged", [False, True])
def test_moving_averages_come_first(averaged):
    state, averages = random_state(CONFIG, 0), random_state(CONFIG, 1)
    given = state | {"loss.logvar": np.zeros(())}
    if averaged:
        given |= without_dots(averages | {"loss.logvar": np.zeros(())})
        given |= {"model_ema.decay": np.ones(()), "model_ema.num_updates": np.ones((), np.int32)}
    back = to_state_dict(from_state_dict("open_magvit2", given, CONFIG))
    expected = averages if averaged else state
    assert back.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(back[name], array)


def test_a_missing_average_is_named():
    state = random_state(CONFIG)
    averages = without_dots(state)
    del averages["model_ema.encoderconv_outbias"]
    with pytest.raises(ValueError, match=r"but no model_ema\.encoderconv_outbias"):
        from_state_dict("open_magvit2", state | averages, CONFIG)


@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.5, 2.0)])
def test_the_loss_is_that_of_all_codes(weights):
    """The original's, from the probabilities of all codes."""
    sample_weight, batch_weight = weights
    config = CONFIG | {
        "sample_minimization_weight": sample_weight,
        "batch_maximization_weight": batch_weight,
    }
    quantizer = built(config).quantizer
    z = np.random.RandomState(0).randn(5, 3).astype(np.float32) / 100
    codes = np.asarray(quantizer.lookup(jnp.arange(8)), np.float64)
    np.testing.assert_array_equal(codes[6], [-1, 1, 1])  # the first channel is the lowest bit
    p = np.asarray(jax.nn.softmax(2 * z @ codes.T / 0.01, axis=1), np.float64)
    of_vectors, of_mean = (-np.sum(q * np.log(q + 1e-30), -1) for q in (p, p.mean(0)))
    chosen = np.where(z > 0, 1, -1)
    expected = 0.1 * (sample_weight * of_vectors.mean() - batch_weight * of_mean)
    expected += 0.25 * np.mean((z - chosen) ** 2)
    np.testing.assert_allclose(quantizer(jnp.asarray(z)).loss, expected, rtol=1e-4)


@pytest.mark.parametrize(("bits", "exact"), [(18, 18), (20, 18)])
def test_the_entropy_is_exact_for_all_releases(bits, exact):
    config = CONFIG | {"n_embed": 2**bits, "embed_dim": bits}
    assert built(config | {"ddconfig": NET | {"z_channels": bits}}).quantizer.bits_together == exact


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_embed": 9}, r"config\.n_embed is 9; it must be 2\^embed_dim, 8"),
        ({"ddconfig": NET | {"z_channels": 4}}, r"config\.ddconfig\.z_channels is 4; .* 3$"),
        ({"ddconfig": NET | {"double_z": True}}, r"config\.ddconfig\.double_z is True; only False"),
        ({"ddconfig": NET | {"ch_mult": []}}, r"config\.ddconfig\.ch_mult is \[\]; it must be"),
        ({"ddconfig": NET | {"attn_resolutions": [16]}}, r"attn_resolutions is unknown"),
        ({"token_factorization": True}, r"config\.token_factorization is True; only False"),
        ({"sample_minimization_weight": 0}, r"config\.sample_minimization_weight is 0; it must be"),
        ({"batch_maximization_weight": -1}, r"config\.batch_maximization_weight is -1; it must be"),
        ({"embed_dim": 31}, "embedding_dim is 31; it must be at most 30"),
    ],
)
def test_unsupported_settings_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        FAMILY.build(CONFIG | change, nnx.Rngs(0))
