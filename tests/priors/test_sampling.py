"""Sampling against a sampler without a cache, and what changes the logits against NumPy."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from vqvae_jax.priors import GatedPixelCNN, guided_logits, restricted_logits, sample_codes

SHAPE, KEY = (3, 4), jax.random.key(5)


def naive(prior, labels, key, temperature, *, shape=SHAPE, number, change):
    """Codes drawn in the same order with the same keys, each from a call on the whole map."""
    axis = () if prior.num_codebooks is None else (prior.num_codebooks,)
    n = prior.num_codebooks or 1

    def draw(token, codes):
        own = jax.random.fold_in(jax.random.fold_in(key, token // n), token % n)
        logits = change(prior, codes.reshape(number, *shape, *axis), labels)
        logits = logits.reshape(number, codes.shape[1], -1)[:, token]
        return codes.at[:, token].set(jax.random.categorical(own, logits / temperature))

    size = math.prod(shape) * n
    codes = jax.lax.fori_loop(0, size, draw, jnp.zeros((number, size), jnp.int32))
    return codes.reshape(number, *shape, *axis)


def plain(prior, codes, labels):
    return prior(codes, labels)


def guided(prior, codes, labels):
    free = prior(codes)
    return free + 2.5 * (prior(codes, labels) - free)


def test_samples_are_those_of_a_sampler_without_a_cache(prior, run, draw_codes):
    codes, labels = draw_codes(prior, 5, *SHAPE)
    shape = codes.shape[1 : 1 + prior.spatial_rank]
    expected = run(naive, prior, labels, KEY, 1.0, shape=shape, number=5, change=plain)
    codes = sample_codes(prior, 5, shape, key=KEY, labels=labels)
    assert codes.dtype == jnp.int32
    np.testing.assert_array_equal(codes, expected)
    np.testing.assert_array_equal(sample_codes(prior, 5, shape, key=KEY, labels=labels), codes)
    other = sample_codes(prior, 5, shape, key=jax.random.key(6), labels=labels)
    assert np.any(other != codes)


@pytest.mark.slow
def test_guidance_and_temperature_are_those_of_the_formula(kind, run, draw_codes):
    conditional = kind(4, num_codebooks=2, num_classes=3, rngs=nnx.Rngs(0))
    _, labels = draw_codes(conditional, 5, *SHAPE)
    expected = run(naive, conditional, labels, KEY, 0.7, number=5, change=guided)
    options = {"key": KEY, "labels": labels, "temperature": 0.7}
    codes = sample_codes(conditional, 5, SHAPE, guidance=2.5, **options)
    np.testing.assert_array_equal(codes, expected)


@pytest.mark.slow
def test_without_temperature_the_most_probable_codes_are_drawn(kind, run):
    prior = kind(4, rngs=nnx.Rngs(0))
    codes = np.asarray(sample_codes(prior, 2, SHAPE, key=KEY, temperature=0.0))
    np.testing.assert_array_equal(
        np.argmax(run(plain, prior, jnp.asarray(codes), None), axis=-1), codes
    )
    few = sample_codes(prior, 2, SHAPE, key=jax.random.key(1), top_k=1, top_p=0.9)
    np.testing.assert_array_equal(few, codes)


def random_logits(*shape):
    return (2 * np.random.RandomState(0).randn(*shape)).astype(np.float32)


def softmax(x):
    p = np.exp(x - x.max(-1, keepdims=True))
    return p / p.sum(-1, keepdims=True)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("top_k", [None, 1, 4, 9])
@pytest.mark.parametrize("top_p", [None, 1e-6, 0.3, 0.8, 1.0])
def test_restrictions_are_their_definitions(temperature, top_k, top_p):
    logits = random_logits(6, 9)
    found = np.asarray(restricted_logits(jnp.asarray(logits), temperature, top_k, top_p))
    for row, changed in zip(logits.astype(np.float64), found, strict=True):
        kept = list(np.argsort(-row))[:top_k]
        p = softmax(row[kept] / temperature)
        if top_p not in (None, 1.0):  # the fewest that make top_p
            count = next(n for n in range(1, len(p) + 1) if p[:n].sum() >= top_p - 1e-7)
            kept = kept[:count]
        np.testing.assert_array_equal(np.flatnonzero(np.isfinite(changed)), np.sort(kept))
        expected = np.zeros(9)
        expected[kept] = softmax(row[kept] / temperature)
        np.testing.assert_allclose(softmax(changed), expected, rtol=1e-4, atol=1e-7)


def test_equally_probable_codes_stay_together():
    logits = jnp.array([1.0, 3.0, 1.0, 0.0])
    for restricted in (restricted_logits(logits, top_k=2), restricted_logits(logits, top_p=0.8)):
        np.testing.assert_array_equal(np.isfinite(restricted), [True, True, True, False])
    at_zero = restricted_logits(logits, temperature=0.0)
    np.testing.assert_allclose(jax.nn.softmax(at_zero), [0, 1, 0, 0])


def test_a_share_of_one_leaves_the_logits_as_they_are():
    logits = jnp.asarray(np.random.RandomState(1).randn(3, 1000).astype(np.float32) * 30)
    expected = restricted_logits(logits)
    np.testing.assert_array_equal(restricted_logits(logits, top_p=1.0), expected)
    np.testing.assert_array_equal(restricted_logits(logits, top_k=1001), expected)
    # A share close to 1 is one of float64, whose tails are not rounded away.
    p = np.sort(softmax(np.asarray(logits, np.float64)))
    for left in (1e-6, 1e-12, 1e-30):
        kept = np.isfinite(restricted_logits(logits, top_p=1 - left)).sum(axis=1)
        np.testing.assert_array_equal(kept, (np.cumsum(p, axis=1) > 1 - (1 - left)).sum(axis=1))


@pytest.mark.parametrize("top_p", [1e-39, 1e-46, 5e-324])
def test_the_most_probable_code_stays_at_any_share(top_p):
    logits = random_logits(6, 9)
    found = restricted_logits(jnp.asarray(logits), top_p=top_p)
    np.testing.assert_array_equal(np.isfinite(found), logits == logits.max(1, keepdims=True))


@pytest.mark.parametrize("temperature", [0.0, 1e-40, 1e-46])
def test_hardly_any_temperature_leaves_the_most_probable_code(temperature):
    logits = random_logits(6, 9) * 1e-20
    p = jax.nn.softmax(restricted_logits(jnp.asarray(logits), temperature))
    np.testing.assert_array_equal(p, logits == logits.max(1, keepdims=True))


def test_much_guidance_is_its_limit():
    """The code whose probability the class raises most; where none differs, the free logits."""
    conditional, free = (jnp.asarray(logits) for logits in random_logits(2, 5, 9))
    favoured = np.argmax(conditional - free, axis=-1)
    for guidance in (1e10, 1e30, 3e38):
        found = guided_logits(conditional, free, guidance)
        assert np.isfinite(found).all()
        np.testing.assert_array_equal(np.argmax(found, axis=-1), favoured)
        np.testing.assert_array_equal(guided_logits(free, free, guidance), free)


@pytest.mark.slow
@pytest.mark.usefixtures("unchecked")
def test_numbers_beyond_float32_are_the_nearest_of_it(kind):
    prior, labels = kind(4, num_classes=3, rngs=nnx.Rngs(0)), jnp.array([0, 1, 2])
    drawn = functools.partial(sample_codes, prior, 3, SHAPE, key=KEY, labels=labels)
    for name, beyond, nearest in (
        ("top_p", 1e-46, 1e-30),
        ("top_p", 1 - 1e-12, 1.0),
        ("temperature", 1e-46, 0.0),
        ("temperature", 1e39, 3e38),
        ("guidance", 1e39, 3e38),
    ):
        found, expected = (drawn(**{name: value}) for value in (beyond, nearest))
        np.testing.assert_array_equal(found, expected, err_msg=name)
        assert len(np.unique(found)) > 1, name


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("number", [np.int64(2), np.uint8(2), jnp.int32(2)]),
        ("shape", [[2, 2], np.array([2, 2]), (np.int64(2), jnp.int32(2))]),
        ("labels", [[0, 1], np.array([0, 1]), np.array([0, 1], np.uint8), jnp.array([0, 1])]),
        ("top_k", [3, np.int64(3), jnp.int32(3)]),
        ("top_p", [0.75, np.float32(0.75), jnp.float32(0.75)]),
        ("temperature", [2, 2.0, np.float64(2), np.int64(2), jnp.float32(2)]),
        ("guidance", [3, 3.0, np.float32(3), np.int64(3)]),
    ],
)
def test_arguments_may_be_of_any_type_that_means_the_same(name, values):
    prior = GatedPixelCNN(4, channels=4, dilations=(1,), num_classes=3, rngs=nnx.Rngs(0))
    given = {"number": 2, "shape": (2, 2), "key": KEY, "labels": jnp.array([0, 1])}
    first, *others = (sample_codes(prior, **{**given, name: value}) for value in values)
    assert first.shape == (2, 2, 2)
    for codes in others:
        np.testing.assert_array_equal(codes, first)


def test_guidance_is_its_formula():
    first, second = random_logits(2, 3, 5)
    found = functools.partial(guided_logits, jnp.asarray(first), jnp.asarray(second))
    np.testing.assert_allclose(found(1.0), first, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found(0.0), second)
    np.testing.assert_allclose(found(3.0), 3 * first - 2 * second, rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"number": 0}, "number is 0; it must be an integer of at least 1"),
        ({"shape": (0, 3)}, r"shape is \(0, 3\); it must be two integers of at least 1"),
        ({"temperature": -1.0}, "temperature is -1.0; it must be a finite number of at least 0"),
        ({"number": True}, "number is True; it must be an integer of at least 1"),
        ({"number": 2.5}, "number is 2.5; it must be an integer of at least 1"),
        ({"number": "2"}, "number is '2'; it must be an integer of at least 1"),
        ({"shape": (2.5, 2)}, r"shape is \(2.5, 2\); it must be two integers of at least 1"),
        ({"shape": (True, 2)}, r"shape is \(True, 2\); it must be two integers of at least 1"),
        ({"shape": 2}, "shape is 2; it must be two integers of at least 1"),
        ({"temperature": True}, "temperature is True; it must be a finite number of at least 0"),
        ({"temperature": "1"}, "temperature is '1'; it must be a finite number of at least 0"),
        ({"temperature": 10**400}, "temperature is 10+; it must be a finite number"),
        ({"top_k": 0}, "top_k is 0; it must be an integer of at least 1"),
        ({"top_k": 2.5}, "top_k is 2.5; it must be an integer of at least 1"),
        ({"top_k": True}, "top_k is True; it must be an integer of at least 1"),
        ({"top_p": 0.0}, r"top_p is 0.0; it must be in \(0, 1\] or None"),
        ({"top_p": True}, r"top_p is True; it must be in \(0, 1\] or None"),
        ({"top_p": float("nan")}, r"top_p is nan; it must be in \(0, 1\] or None"),
        ({"guidance": -0.5}, "guidance is -0.5; it must be a finite number of at least 0"),
        ({"guidance": 2.0}, "guidance is 2.0; without labels it must be 1"),
        ({"labels": jnp.array([0, 3])}, r"labels go from 0 to 3; they must be in \[0, 3\)"),
        ({"labels": jnp.array([-2, 0])}, r"labels go from -2 to 0; they must be in \[0, 3\)"),
        ({"labels": np.array([0, 2**32])}, "labels go from 0 to 2147483647; they must be in"),
        (
            {"labels": np.array([0, 2**32 - 1], np.uint32)},
            "labels go from 0 to 2147483647; they must",
        ),
        ({"labels": [0, 1.0]}, "labels have type float64; they must be integers"),
        ({"labels": jnp.array([0.7, 1.5])}, "labels have type float32; they must be integers"),
        ({"labels": np.array([True, False])}, "labels have type bool; they must be integers"),
        ({"labels": jnp.array([0])}, r"labels have shape \(1,\); it must be \[B\], \(2,\)"),
    ],
)
def test_wrong_arguments_are_refused(kind, options, message):
    prior = kind(4, num_classes=3, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match=message):
        sample_codes(prior, **{"number": 2, "shape": (2, 2), "key": KEY, **options})
