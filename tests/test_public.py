"""The public names are loaded when they are used, and no sooner."""

import subprocess
import sys
from pathlib import Path

import pytest

import vqvae_jax

ROOT = Path(__file__).parents[1]
MODULES = [
    "data",
    "interop",
    "layers",
    "likelihoods",
    "metrics",
    "models",
    "moments",
    "pretrained",
    "priors",
    "quantizers",
    "tasks",
    "training",
]


def fresh(code):
    """The output of a Python that has imported nothing yet."""
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return result.stdout.split()


def test_every_name_is_there_and_listed():
    assert {"VQVAE", "VectorQuantizer", "FSQ", "nll", "reset_moments"} <= {*vqvae_jax.__all__}
    for name in vqvae_jax.__all__:
        assert getattr(vqvae_jax, name).__module__.startswith("vqvae_jax.")
    assert dir(vqvae_jax) == sorted([*vqvae_jax.__all__, *MODULES, "__version__"])


def test_a_star_imports_them_all():
    namespace = {}
    exec("from vqvae_jax import *", namespace)
    assert namespace.keys() - {"__builtins__"} == {*vqvae_jax.__all__}


def test_another_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'vqvae_jax' has no attribute 'Nothing'"):
        _ = vqvae_jax.Nothing


def test_its_modules_need_no_import_of_their_own():
    names = fresh("import vqvae_jax as v; print(v.quantizers.FSQ.__name__, v.models.__name__)")
    assert names == ["FSQ", "vqvae_jax.models"]


@pytest.mark.parametrize("module", ["vqvae_jax", "vqvae_jax.__main__", "train"])
def test_an_import_alone_loads_no_other_package(module):
    """So that it takes no time, and signals are caught before what takes a while is imported."""
    loaded = fresh(f"import sys, {module}; print(*sys.modules)")
    assert module in loaded
    assert not {"jax", "numpy", "flax", "absl", "ml_collections"} & {*loaded}
