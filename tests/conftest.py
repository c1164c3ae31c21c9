"""Settings of every test: shapes checked, warnings errors, four host devices."""

import functools
import gzip
import os
import sys
import tempfile
from pathlib import Path

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jaxtyping import config as jaxtyping_config
from jaxtyping import install_import_hook

# Where compiled programs are kept: not where the user keeps them, but for all processes of the
# tests together, many of which compile the same.
if "TESTS_COMPILED" not in os.environ:
    _compiled = tempfile.TemporaryDirectory()
    os.environ["TESTS_COMPILED"] = _compiled.name
jax.config.update("jax_compilation_cache_dir", os.environ["TESTS_COMPILED"])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
# In this order: the devices before JAX starts, the hook before the package is imported.
jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
# Most of the time of the tests is XLA's, which need not optimise what runs once: see `optimized`.
jax.config.update("jax_disable_most_optimizations", True)
install_import_hook("vqvae_jax", "beartype.beartype")
sys.path.insert(0, str(Path(__file__).parent / "golden"))
for profile, examples in (("project", 5), ("thorough", 50)):  # --hypothesis-profile=thorough
    hypothesis.settings.register_profile(
        profile, deadline=None, max_examples=examples, derandomize=True, database=None
    )
hypothesis.settings.load_profile("project")
from vqvae_jax.data.idx import ARCHIVES  # noqa: E402

os.environ["TFDS_DATA_DIR"] = os.devnull  # a test that forgets its data_dir shall fail


@pytest.fixture(scope="module")
def optimized():
    """Has XLA compile as it does for users, where a test is about the last digits."""
    jax.config.update("jax_disable_most_optimizations", False)
    jax.clear_caches()
    yield
    jax.config.update("jax_disable_most_optimizations", True)
    jax.clear_caches()


@pytest.fixture
def unchecked():
    """Switches the checks of shapes off: to see what a user sees, who has not switched them on."""
    jaxtyping_config.update("jaxtyping_disable", True)
    yield
    jaxtyping_config.update("jaxtyping_disable", False)


@pytest.fixture
def forget_compiled():
    """Drops compiled programs after a test that patches what they were compiled from."""
    yield
    jax.clear_caches()


@pytest.fixture
def write_archives():
    return write_small_set


def drawn(build, seed=0):
    """The modules that `build` makes, with weights from NumPy: far faster than their own."""
    graphdef, state = nnx.split(nnx.eval_shape(build))
    random = np.random.RandomState(seed)
    return nnx.merge(
        graphdef, jax.tree.map(lambda x: jnp.asarray(random.randn(*x.shape) / 4, x.dtype), state)
    )


def some_by_default(names, default):
    """Parameters of a test, of which only some run unless slow tests are asked for."""
    assert set(default) <= set(names)
    return [pytest.param(name, marks=[pytest.mark.slow] * (name not in default)) for name in names]


def promoting(optimizer):
    """An optax optimizer, which counts on types being promoted, as the tests do not."""

    def update(*arguments):
        with jax.numpy_dtype_promotion("standard"):
            return optimizer.update(*arguments)

    return optax.GradientTransformation(optimizer.init, update)


def run_compiled(function, module, *arrays, **static):
    """function(module, *arrays, **static), compiled as one: faster than operation by operation."""
    graph, state = nnx.split(module)
    return _run(function, graph, state, *arrays, options=tuple(static.items()))


@functools.partial(jax.jit, static_argnames=("function", "graph", "options"))
def _run(function, graph, state, *arrays, options):
    return function(nnx.merge(graph, state), *arrays, **dict(options))


def small_dataset(images, *, train, digest="a"):
    """A data set of given images uint8 [N, H, W, 1], of which the first `train` are to train on."""
    from vqvae_jax.data import ArraySource, Dataset

    labels = np.arange(len(images), dtype=np.uint8) % 10
    splits = [
        ArraySource({"image": images[of], "label": labels[of]}, f"{digest} {of}")
        for of in (slice(train), slice(train, None))
    ]
    return Dataset(
        name="tiny",
        source="nowhere",
        archives={},
        train=splits[0],
        test=splits[1],
        variance=0.08,
        digest=digest,
    )


def write_small_set(folder, *, train=90, test=20, size=12, classes=10, seed=0):
    """Writes the four archives of a small data set into a folder."""
    random = np.random.RandomState(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for split, count in (("train", train), ("test", test)):
        rows, columns, centers = (
            np.arange(size)[:, None],
            np.arange(size),
            size * random.rand(count, 2),
        )
        distances = [(rows - r) ** 2 + (columns - c) ** 2 for r, c in centers]  # one blob an image
        images = (255 * np.exp(-np.array(distances) / size)).astype(np.uint8)
        labels = np.arange(count, dtype=np.uint8) % classes
        for name, array in zip(ARCHIVES[split], (images, labels), strict=True):
            (folder / name).write_bytes(gzip.compress(idx_bytes(array), mtime=0))
    return folder


def idx_bytes(array):
    """A uint8 array as an IDX file."""
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()
