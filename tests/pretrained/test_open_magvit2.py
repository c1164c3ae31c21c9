"""Open-MAGVIT2: names and shapes, moving averages, the entropy loss, and what is refused."""

import functools
import json
from pathlib import Path

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
