"""Modules of vector-quantize-pytorch: golden values that make_vector_quantize.py makes."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from vector_quantize_cases import SMALL, STEPS, VECTORS

from tests.conftest import run_compiled, some_by_default
from vqvae_jax import (
    FSQ,
    LFQ,
    EMAVectorQuantizer,
    LaplaceEMACosineVectorQuantizer,
    LaplaceEMAVectorQuantizer,
    ProductQuantizer,
    VectorQuantizer,
    from_vector_quantize_pytorch,
    to_vector_quantize_pytorch,
)

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "vector_quantize.npz")
CASES = {case.name: case for case in SMALL}
# Those that run by default: ways to hold codes, and to learn them.
HELD = {"averages, projected", "groups", "one matrix", "labels"}
LEARNED = {"averages, projected", "cosine", "bits, projected"}
VQ = {"dim": 8, "codebook_size": 16}


def golden(name, when):
    prefix = f"{name}/{when}/"
    return {key.removeprefix(prefix): GOLDEN[key] for key in GOLDEN if key.startswith(prefix)}


def imported(name):
    case = CASES[name]
    return from_vector_quantize_pytorch(golden(name, "before"), case.kind, **case.config)


def step(quantizer, z):
    quantized = quantizer(z, key=jax.random.key(0))
    looked_up = quantizer.lookup(quantized.indices)
    quantizer.update(z, quantized.indices)
    return quantized.indices, quantized.values, looked_up


def learned(quantizer, z):
    results = step(quantizer, z)
    return results, nnx.state(quantizer)


def descended(quantizer, z, learning_rate):
    gradients = nnx.grad(lambda quantizer: quantizer(z, key=jax.random.key(0)).loss)(quantizer)
    results = step(quantizer, z)
    params = nnx.state(quantizer, nnx.Param)
    nnx.update(quantizer, jax.tree.map(lambda p, g: p - learning_rate * g, params, gradients))
    return results, nnx.state(quantizer)


@pytest.mark.parametrize("name", some_by_default(CASES, HELD))
def test_a_state_dict_comes_back_bit_for_bit(name):
    given = golden(name, "before")
    returned = to_vector_quantize_pytorch(imported(name))
    assert returned.keys() == given.keys()
    for key, value in given.items():
        assert returned[key].dtype == value.dtype
        np.testing.assert_array_equal(returned[key], value)


def test_a_module_that_learns_on_does_not_move_the_quantizer():
    """Its tensors are changed in place; JAX may share memory that is aligned, as theirs is."""
    given = golden("averages", "before")
    buffer = np.zeros(1024, np.float32)
    start = (-buffer.ctypes.data % 64) // 4
    aligned = buffer[start : start + given["_codebook.embed"].size].reshape(1, 16, 8)
    aligned[:] = given["_codebook.embed"]
    quantizer = from_vector_quantize_pytorch(
        {**given, "_codebook.embed": aligned}, "VectorQuantize", **VQ
    )
    aligned[:] = 0
    np.testing.assert_array_equal(quantizer.codebook, given["_codebook.embed"][0])


@pytest.mark.parametrize("name", some_by_default(CASES, LEARNED))
def test_indices_values_and_what_is_learned_are_theirs(name):
    case, quantizer = CASES[name], imported(name)
    for number in range(STEPS):
        z = jnp.asarray(case.batch(number, VECTORS))
        if case.learning_rate > 0:
            results, state = run_compiled(descended, quantizer, z, learning_rate=case.learning_rate)
        else:
            results, state = run_compiled(learned, quantizer, z)
        nnx.update(quantizer, state)
        indices, values, looked_up = results
        np.testing.assert_array_equal(indices, GOLDEN[f"{name}/indices"][number])
        np.testing.assert_allclose(values, GOLDEN[f"{name}/values"][number], atol=1e-5)
        np.testing.assert_allclose(looked_up, values, atol=1e-5)
    before, after = golden(name, "before"), golden(name, "after")
    ours = to_vector_quantize_pytorch(quantizer)
    for key, value in after.items():
        if case.learns_averages or not key.endswith("embed_avg"):
            np.testing.assert_allclose(ours[key], value, rtol=1e-5, atol=1e-5)
    codes = [key for key in before if key.endswith(("embed", "code_transform.weight"))]
    if codes and name in ("averages", "averages, projected", "cosine", "groups", "learnable"):
        assert all(np.abs(after[key] - before[key]).max() > 0.01 for key in codes)


@pytest.mark.slow
def test_what_they_call_frozen_learns_nothing():
    for name in ("frozen", "stages, fixed, shared"):
        assert not imported(name).has_updates
        for key, value in golden(name, "after").items():
            np.testing.assert_array_equal(value, golden(name, "before")[key])


@pytest.mark.slow
def test_dead_codes_are_those_below_the_threshold():
    given = golden("averages", "before")
    counts = given["_codebook.cluster_size"][0]
    # Between two counts after a step with decay 0.5, in which code 0 alone is used.
    fading = np.sort(counts[1:] / 2)
    threshold = float(fading[5] + fading[6]) / 2
    quantizer = from_vector_quantize_pytorch(
        given, "VectorQuantize", **VQ, decay=0.5, threshold_ema_dead_code=threshold
    )
    z = jnp.asarray(np.random.RandomState(0).randn(round(counts.sum()), 8), jnp.float32)
    quantizer.update(z, jnp.zeros(len(z), jnp.int32), key=jax.random.key(0))
    after = to_vector_quantize_pytorch(quantizer)
    replaced = np.any(np.all(after["_codebook.embed"][0][:, None] == np.asarray(z), -1), 1)
    np.testing.assert_array_equal(replaced, np.append(False, counts[1:] / 2 < threshold))
    np.testing.assert_array_equal(after["_codebook.cluster_size"][0][replaced], 1)
    sums, codes = after["_codebook.embed_avg"][0], after["_codebook.embed"][0]
    np.testing.assert_array_equal(sums[replaced], codes[replaced])


@pytest.mark.parametrize(
    ("kind", "config", "message"),
    [
        ("VectorQuantise", VQ, "kind is 'VectorQuantise'; it must be one of VectorQuantize, "),
        ("VectorQuantize", {"dim": 8}, "VectorQuantize's codebook_size is not given"),
        ("VectorQuantize", {**VQ, "decays": 0.5}, "cannot take decays; did you mean decay"),
        ("VectorQuantize", {**VQ, "heads": 2}, "heads is 2; only its default, 1, has an equal"),
        ("VectorQuantize", {**VQ, "decay": 1.0}, "decay is 1.0; it must be at least 0 and below 1"),
        ("VectorQuantize", {**VQ, "learnable_codebook": True}, "then ema_update and use_"),
        (
            "VectorQuantize",
            {**VQ, "ema_update": False, "threshold_ema_dead_code": 2.0},
            "threshold_ema_dead_code is 2.0 and ema_update False",
        ),
        ("ResidualVQ", VQ, "num_quantizers is not given"),
        (
            "ResidualVQ",
            {"dim": 8, "codebook_size": (16, 8), "num_quantizers": 3},
            "num_quantizers is 3 and codebook_size has 2 entries",
        ),
        ("ResidualVQ", {**VQ, "num_quantizers": 2, "use_cosine_sim": True}, "only its default"),
        ("ResidualVQ", {**VQ, "num_quantizers": 2, "shared_codebook": True}, "decay once per st"),
        (
            "GroupedResidualVQ",
            {**VQ, "groups": 2, "num_quantizers": 2, "codebook_dim": 2},
            "there are no projections within groups",
        ),
        ("FSQ", {"levels": (5, 5), "bound_hard_clamp": True}, "only with preserve_symmetry"),
        ("LFQ", {"codebook_size": 10}, "codebook_size is 10 and dim is None; codebook_size must"),
        ("LFQ", {}, "codebook_size is None and dim is None"),
        ("SimVQ", {**VQ, "frozen_codebook_dim": 4}, "frozen_codebook_dim is 4; it must be dim, 8"),
    ],
)
def test_what_has_no_equal_here_is_named(kind, config, message):
    with pytest.raises(ValueError, match=message):
        from_vector_quantize_pytorch({}, kind, **config)


def test_entries_that_do_not_fit_are_named():
    given, embed = golden("averages", "before"), "_codebook.embed"

    def refuses(state, message, **config):
        with pytest.raises(ValueError, match=message):
            from_vector_quantize_pytorch(state, "VectorQuantize", **{**VQ, **config})

    missing = {key: value for key, value in given.items() if key != embed}
    refuses(missing, r"the state dict has no _codebook.embed; its shape must be \(1, 16, 8\)")
    refuses({**given, "other": np.ones(3)}, r"has other, of shape \(3,\), which this Vector")
    refuses(given, r"_codebook.\w+ has shape \(1, 16.*; it must be \(1, 32", codebook_size=32)
    refuses({**given, "_codebook.initted": np.array(False)}, "_codebook.initted has values that")
    with pytest.raises(ValueError, match="mask has values that this LFQ cannot have"):
        from_vector_quantize_pytorch({"mask": np.array([1, 2, 4])}, "LFQ", dim=3)
    shared = "stages, fixed, shared"
    other = {**golden(shared, "before"), "layers.0._codebook.embed": np.ones((1, 16, 8), "f4")}
    with pytest.raises(ValueError, match=r"layers.0._codebook.embed has values that"):
        from_vector_quantize_pytorch(other, "ResidualVQ", **CASES[shared].config)


@pytest.mark.slow
def test_codes_on_the_sphere_leave_with_norm_1():
    quantizer = LaplaceEMACosineVectorQuantizer(2, 4, kmeans_init=True, rngs=nnx.Rngs(0))
    z = jnp.asarray(np.random.RandomState(0).randn(32, 2), jnp.float32)
    for change in (lambda: None, lambda: quantizer.initialize(z, key=jax.random.key(0))):
        change()
        embed = to_vector_quantize_pytorch(quantizer)["_codebook.embed"]
        np.testing.assert_allclose(np.linalg.norm(embed, axis=-1), 1, rtol=1e-6)


def test_codes_that_await_k_means_are_not_initialized():
    quantizer = VectorQuantizer(2, 4, kmeans_init=True, rngs=nnx.Rngs(0))
    assert not to_vector_quantize_pytorch(quantizer)["_codebook.initted"]
    quantizer.set_codebook(np.eye(4, 2))
    assert to_vector_quantize_pytorch(quantizer)["_codebook.initted"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LFQ(4), "the quantizer's bit_order is little"),
        (lambda: EMAVectorQuantizer(2, 4, rngs=nnx.Rngs(0)), "equal to this EMAVectorQuantizer"),
        (lambda: ProductQuantizer([FSQ((5,)), FSQ((3,))]), "equal to this FSQ"),
        (
            lambda: ProductQuantizer([LaplaceEMAVectorQuantizer(2, 4, rngs=nnx.Rngs(0))]),
            "equal to this LaplaceEMAVectorQuantizer",
        ),
    ],
)
def test_what_has_no_equal_there_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        to_vector_quantize_pytorch(make())
