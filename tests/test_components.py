"""Components: built from what a config says of them, which is what their constructors take."""

import functools
import importlib
import inspect
import json
import math
import re
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import vqvae_jax
from configs.mnist import get_config
from vqvae_jax.components import build_component, completed, known_kinds
from vqvae_jax.errors import ConfigError
from vqvae_jax.likelihoods import Likelihood
from vqvae_jax.priors import Prior
from vqvae_jax.quantizers import Quantizer
from vqvae_jax.signatures import settings_of
from vqvae_jax.training.building import build_tokenizer, prior_for
from vqvae_jax.training.codes import CodeMaps
from vqvae_jax.training.config import Config

pytestmark = pytest.mark.usefixtures("unchecked")  # settings are checked by their constructors

CONFIGS = sorted(path.stem for path in (Path(__file__).parents[1] / "configs").glob("*.py"))
EMA = {"kind": "EMAVectorQuantizer", "embedding_dim": 4, "num_embeddings": 8}
# What a config has to say of each quantizer, beside the numbers of 16-dimensional codes.
SPECIAL = {
    "FSQ": {"levels": (5, 5, 5)},
    "SymmetricFSQ": {"levels": (5, 5, 5)},
    "LFQ": {"embedding_dim": 7},
    "BSQ": {"embedding_dim": 7},
    "SampledVectorQuantizer": {"temperature": 0.1},
    "EMASampledVectorQuantizer": {"temperature": 0.1},
    "ResidualVQ": {"quantizers": [EMA, EMA]},
    "ProductQuantizer": {"quantizers": [EMA, EMA]},
    "GroupedResidualVQ": {"groups": 2 * [{"kind": "ResidualVQ", "quantizers": [EMA, EMA]}]},
    "ProjectedQuantizer": {"quantizer": EMA, "embedding_dim": 16},
    "PooledQuantizer": {"quantizer": EMA, "stride": 7},
    "ParallelQuantizer": {"quantizers": 2 * [{"kind": "ResidualVQ", "quantizers": [EMA, EMA]}]},
}


def config_with(**parts):
    config = get_config().to_dict()
    return Config.from_dict(config | {"model": config["model"] | parts})


def made(component, path="model.quantizer", expected=Quantizer):
    settings = completed(component, path, expected)
    return build_component(settings, path, rngs=nnx.Rngs(0))


def assert_takes(config, shape=(28, 28, 1), sample_rate=None):
    model = nnx.eval_shape(lambda: build_tokenizer(config, shape[-1], 0.09, sample_rate))
    examples = jax.ShapeDtypeStruct((2, *shape), jnp.float32)
    output = nnx.eval_shape(lambda model, x: model(x, key=jax.random.key(0)), model, examples)
    assert output.reconstruction.shape == (2, *shape[:-1], model.likelihood.in_dim)
    assert output.loss.shape == ()
    return model


@pytest.mark.parametrize("name", CONFIGS)
def test_every_config_builds_its_model(name):
    module = importlib.import_module(f"configs.{name}")
    assert f"configs/{name}.py" in module.__doc__
    config = Config.from_dict(module.get_config().to_dict())
    if config.data_kind == "AudioFolder":
        shape, sample_rate = (5000, 1), config.data.sample_rate
    else:
        shape, sample_rate = (28, 28, 1 if name.startswith("mnist") else 3), None
    model = assert_takes(config, shape, sample_rate)
    if config.prior is not None:
        quantizer = model.quantizer
        of_map = (7,) * len(model.downsampling)
        axis = () if quantizer.num_codebooks is None else (quantizer.num_codebooks,)
        maps = CodeMaps(of_map, quantizer.num_embeddings, quantizer.num_codebooks, 10)
        codes, labels = jnp.zeros((2, *of_map, *axis), jnp.int32), jnp.zeros(2, jnp.int32)
        known = labels if config.prior.conditional else None
        logits = nnx.eval_shape(lambda: prior_for(config, maps)(codes, known))
        assert logits.shape == (*codes.shape, quantizer.num_embeddings)


@pytest.mark.parametrize("name", known_kinds(Quantizer))
def test_every_quantizer_is_a_component(name):
    kind = getattr(vqvae_jax, name)
    given = {"embedding_dim": 16, "num_embeddings": 8} | SPECIAL.get(name, {})
    settings = {key: value for key, value in given.items() if key in settings_of(kind)}
    config = config_with(quantizer={"kind": name, **settings})
    assert isinstance(assert_takes(config).quantizer, kind)
    assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize("name", [n for n in known_kinds(Likelihood) if n != "SpectralError"])
def test_every_likelihood_of_images_is_a_component(name):
    needed = {} if name.endswith("Error") else {"in_dim": 8}
    model = assert_takes(config_with(likelihood={"kind": name, **needed}))
    assert type(model.likelihood).__name__ == name


@pytest.mark.parametrize("of", [Quantizer, Likelihood, Prior])
def test_what_may_be_set_is_what_constructors_take(of):
    """No setting is refused by name, and every argument without a default is one."""
    for name in known_kinds(of):
        kind = getattr(vqvae_jax, name)
        settings = settings_of(kind)
        required = inspect.signature(kind.__init__).parameters.values()
        needed = {each.name for each in required if each.default is each.empty}
        assert needed - {"self", "rngs", "options"} <= {*settings}
        assert "options" not in settings


def test_the_codes_of_averages_have_no_codebook_cost():
    assert "codebook_cost" in settings_of(vqvae_jax.VectorQuantizer)
    assert "codebook_cost" not in settings_of(vqvae_jax.EMAVectorQuantizer)
    assert {"temperature", "decay", "kmeans_init"} <= {
        *settings_of(vqvae_jax.EMASampledVectorQuantizer)
    }


def test_quantizers_compose_as_in_python():
    nested = made(
        {
            "kind": "ProductQuantizer",
            "quantizers": [
                {"kind": "ResidualVQ", "quantizers": [EMA, EMA | {"num_embeddings": 4}]},
                {"kind": "FSQ", "levels": [5, 5]},
            ],
        }
    )
    assert isinstance(nested, vqvae_jax.ProductQuantizer)
    assert nested.codebook_sizes == (8, 4, 25)
    assert nested.embedding_dim == 6


def test_functions_go_by_their_name():
    quantizer = made(EMA | {"estimator": "rotation_trick"})
    assert quantizer.estimator is vqvae_jax.rotation_trick
    bounded = made({"kind": "SymmetricFSQ", "levels": [5], "bound": "jax.numpy:sin"})
    assert bounded.bound is jnp.sin
    with pytest.raises(
        ConfigError,
        match=r"estimator is 'rotation-trick'; it must be a function.*"
        r"did you mean rotation_trick\?$",
    ):
        made(EMA | {"estimator": "rotation-trick"})


def test_a_schedule_of_optax_is_a_component():
    decay = {
        "kind": "optax:exponential_decay",
        "init_value": 1.0,
        "transition_steps": 1000,
        "decay_rate": math.exp(-1),
        "end_value": 0.5,
    }
    quantizer = made(
        {"kind": "GumbelQuantizer", "embedding_dim": 4, "num_embeddings": 8, "temperature": decay}
    )
    expected = optax.exponential_decay(1.0, 1000, math.exp(-1), end_value=0.5)
    for step in (0, 100, 5000):
        np.testing.assert_array_equal(quantizer.temperature(step), expected(step))


MINE = """
from flax import nnx

class MyEncoder(nnx.Module):
    spatial_rank, downsampling = 2, (4, 4)

    def __init__(self, in_dim, latent_dim, *, width: int = 8, rngs: nnx.Rngs):
        if width < 1:
            raise ValueError(f"width is {width}; it must be at least 1")
        self.width = width
        self.conv = nnx.Conv(in_dim, latent_dim, (4, 4), 4, rngs=rngs)

    def __call__(self, x):
        return self.conv(x)

class NoEncoder:
    pass
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    (tmp_path / "my_module.py").write_text(MINE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("my_module", None)


def test_a_class_of_ones_own_goes_by_its_import_path(mine):
    config = config_with(encoder={"kind": "my_module:MyEncoder", "width": 3})
    assert assert_takes(config).encoder.width == 3
    assert Config.from_dict(config.to_dict()) == config
    with pytest.raises(ConfigError, match=r"^model\.encoder\.width is 0; it must be at least 1"):
        build_tokenizer(config_with(encoder={"kind": "my_module:MyEncoder", "width": 0}), 1, 0.09)


@pytest.mark.parametrize(
    ("part", "component", "message"),
    [
        ("quantizer", 3, "model.quantizer is 3; it must be a component, with a kind"),
        ("quantizer", {}, "model.quantizer.kind is missing; it must be one of BSQ, FSQ, "),
        (
            "quantizer",
            {"kind": "ema"},
            "model.quantizer.kind is 'ema'; it must be one of BSQ, FSQ, IBQ, ",
        ),
        ("quantizer", {"kind": "Quantizer"}, "model.quantizer.kind is 'Quantizer'; it must be"),
        ("quantizer", {"kind": ["FSQ"]}, "model.quantizer.kind is ['FSQ']; it must be"),
        ("likelihood", {"kind": "FSQ"}, "model.likelihood.kind is 'FSQ'; it must be one of Abs"),
        ("encoder", {"kind": "os:system"}, "model.encoder.kind is 'os:system'; it must be"),
        ("encoder", {"kind": "subprocess:Popen"}, "model.encoder.kind is 'subprocess:Popen'"),
        ("encoder", {"kind": "optax:adam"}, "model.encoder.kind is 'optax:adam'; it must be"),
        (
            "quantizer",
            EMA | {"kind": "GumbelQuantizer", "temperature": {"kind": "jax.profiler:start_trace"}},
            "model.quantizer.temperature.kind is 'jax.profiler:start_trace'; it must be",
        ),
        (
            "quantizer",
            {"kind": "FSQ", "levels": functools.reduce(lambda deep, _: [deep], range(30), 5)},
            "model.quantizer.levels.0.0.0",
        ),
        ("encoder", {"kind": "my_module:NoEncoder"}, "model.encoder.kind is 'my_module:NoEncoder'"),
        (
            "encoder",
            {"kind": "nowhere:It"},
            "model.encoder.kind is 'nowhere:It', which cannot be imported: No module named 'nowh",
        ),
        ("encoder", {"kind": "Encoder", "in_dim": 3}, "model.encoder.in_dim is unknown; "),
        (
            "quantizer",
            EMA | {"decai": 1},
            "model.quantizer.decai is unknown; did you mean model.qu",
        ),
        ("quantizer", {"kind": "FSQ"}, "model.quantizer.levels is missing; it is L for each"),
        (
            "quantizer",
            {"kind": "ResidualVQ", "quantizers": [EMA, {"kind": "Encoder"}]},
            "model.quantizer.quantizers.1.kind is 'Encoder'; it must be one of BSQ, FSQ, ",
        ),
        ("quantizer", EMA | {"decay": print}, "model.quantizer.decay is <built-in function print>"),
    ],
)
def test_what_is_no_component_is_named(mine, part, component, message):
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}") as refusal:
        config_with(**{part: component})
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("part", "component", "message"),
    [
        ("quantizer", {"kind": "FSQ", "levels": ()}, "model.quantizer.levels is empty"),
        ("quantizer", {"kind": "LFQ", "embedding_dim": 40}, "model.quantizer.embedding_dim is 40"),
        ("quantizer", EMA | {"num_embeddings": 0}, "model.quantizer.num_embeddings is 0; it must"),
        (
            "quantizer",
            EMA | {"num_embeddings": 10**30},
            f"model.quantizer.num_embeddings is {10**30}; it must be an integer of at most 214748",
        ),
        ("quantizer", EMA | {"kmeans_init": 1}, "model.quantizer.kmeans_init is 1; it must be Tr"),
        (
            "quantizer",
            {"kind": "ResidualVQ", "quantizers": [EMA, EMA | {"decay": 1.5}]},
            "model.quantizer.quantizers.1.decay is 1.5; it must be at least 0 and below 1",
        ),
        ("likelihood", {"kind": "CategoricalHead", "in_dim": 0}, "model.likelihood.in_dim is 0"),
        ("decoder", {"kind": "Encoder"}, "model: the decoder "),
    ],
)
def test_what_a_constructor_refuses_is_named_with_its_place(part, component, message):
    config = config_with(**{part: component})
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}") as refusal:
        build_tokenizer(config, 1, 0.09)
    assert "\n" not in str(refusal.value)
