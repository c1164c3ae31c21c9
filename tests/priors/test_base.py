"""The contract that every prior keeps."""

import itertools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.conftest import some_by_default
from tests.priors.conftest import OF_SIGNALS
from vqvae_jax.priors import GatedPixelCNN, TransformerPrior, drop_labels, nll, sample_codes


def logits(prior, codes, labels):
    return prior(codes, labels)


def all_steps(prior, codes, labels):
    """The logits of a call, made step by step."""
    batch_size, *shape = codes.shape[: 1 + prior.spatial_rank]
    size = math.prod(shape)
    by_position = codes.reshape(batch_size, size, *codes.shape[1 + prior.spatial_rank :])

    def advance(carry, position):
        cache, previous = carry
        features, cache = prior.step(cache, position, previous)
        now = by_position[:, position]
        if prior.num_codebooks is None:
            return (cache, now), prior.logits(features)
        columns = [now[:, j] for j in range(prior.num_codebooks)]
        each = [prior.logits(features, *columns[:j]) for j in range(len(columns))]
        return (cache, now), jnp.stack(each, axis=1)

    cache = prior.start(batch_size, shape, labels)
    before = jnp.full_like(by_position[:, 0], 10**6)  # not to be looked at
    _, steps = jax.lax.scan(advance, (cache, before), jnp.arange(size))
    return jnp.moveaxis(steps, 0, 1).reshape(*codes.shape, -1)


def test_a_code_depends_on_all_earlier_codes_and_no_other(prior, run, draw_codes):
    shape = (3, 4)
    (base,), labels = draw_codes(prior, 1, *shape)
    size = base.size
    changed = base.reshape(-1)[None] + jnp.eye(size, dtype=jnp.int32)  # each code in turn
    maps = jnp.concatenate([base[None], (changed % 4).reshape(size, *base.shape)])
    labels = None if labels is None else jnp.zeros(len(maps), jnp.int32)
    found = run(logits, prior, maps, labels).reshape(size + 1, size, 4)
    depends = np.any(found[1:] != found[:1], axis=-1)  # [changed, looked at]
    np.testing.assert_array_equal(depends, np.triu(np.ones((size, size), bool), 1))


@pytest.mark.parametrize("shape", some_by_default([(5, 4), (1, 1)], [(5, 4)]))
def test_steps_give_the_logits_of_a_call(prior, run, draw_codes, shape):
    codes, labels = draw_codes(prior, 3, *shape)
    whole = run(logits, prior, codes, labels)
    assert whole.dtype == jnp.float32
    assert whole.shape == (*codes.shape, 4)
    np.testing.assert_allclose(run(all_steps, prior, codes, labels), whole, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_codes_and_labels_of_small_types_are_the_same(guidance):
    prior = GatedPixelCNN(4, channels=4, num_classes=3, rngs=nnx.Rngs(0))
    codes, labels = jnp.arange(12).reshape(2, 3, 2) % 4, jnp.array([2, 0])
    small = codes.astype(jnp.uint8), labels.astype(jnp.uint8)
    np.testing.assert_array_equal(prior(*small), prior(codes, labels))
    np.testing.assert_array_equal(nll(prior, *small), nll(prior, codes, labels))
    drawn = [
        sample_codes(prior, 2, (3, 2), key=jax.random.key(0), labels=each, guidance=guidance)
        for each in (small[1], labels)
    ]
    np.testing.assert_array_equal(*drawn)


@pytest.mark.slow
@pytest.mark.usefixtures("unchecked")
def test_codes_and_labels_are_integers_that_do_not_wrap():
    prior = GatedPixelCNN(4, channels=4, dilations=(1,), num_classes=3, rngs=nnx.Rngs(0))
    codes, labels = np.arange(12).reshape(2, 3, 2) % 4, [2, 0]
    expected = nll(prior, jnp.asarray(codes), jnp.asarray(labels))
    np.testing.assert_array_equal(nll(prior, codes, labels), expected)
    for wide in (
        codes + 2**32,
        codes.astype(np.uint64) + np.uint64(2**63),
    ):  # which are the codes again in int32
        assert np.isnan(nll(prior, wide, labels))
    for of_no_class in (2**32, np.uint32(2**32 - 1)):
        assert np.isnan(nll(prior, codes, np.array([2, of_no_class])))
    for wrong in (codes / 2, codes > 1):
        with pytest.raises(ValueError, match=f"codes have type {wrong.dtype}; they must be"):
            nll(prior, wrong, labels)
    for wrong in (np.array([0.5, 1]), np.array([True, False])):
        for call in (
            lambda labels: nll(prior, codes, labels),
            lambda labels: prior.start(2, (3, 2), labels),
            lambda labels: drop_labels(labels, 0.5, jax.random.key(0)),
        ):
            with pytest.raises(ValueError, match=f"labels have type {wrong.dtype}; they must be"):
                call(wrong)
    with pytest.raises(ValueError, match="rate is True; it must be in"):
        drop_labels(labels, True, jax.random.key(0))
    with pytest.raises(ValueError, match="batch_size is True; it must be an integer"):
        prior.start(True, (3, 2))


@pytest.mark.slow
def test_probabilities_of_all_code_maps_add_up_to_one(kind, num_codebooks, run):
    prior = kind(2, num_codebooks=num_codebooks, num_classes=2, rngs=nnx.Rngs(0))
    shape = (2, 2) if num_codebooks is None else (1, 2, 2)
    maps = jnp.asarray(list(itertools.product(range(2), repeat=4)), jnp.int32).reshape(16, *shape)
    sums = []
    for label in (-1, 0, 1):
        found = run(logits, prior, maps, jnp.full(16, label, jnp.int32))
        log_p = np.asarray(jax.nn.log_softmax(found), np.float64)
        chosen = np.take_along_axis(log_p, np.asarray(maps)[..., None], axis=-1)
        sums.append(np.exp(chosen.reshape(16, 4).sum(1)))
    np.testing.assert_allclose(np.sum(sums, axis=1), 1, atol=1e-5)
    assert np.abs(sums[1] - sums[2]).max() > 1e-3  # the classes are not the same


@pytest.mark.slow
def test_compiled_or_not_is_the_same(conditional, run, draw_codes):
    codes, labels = draw_codes(conditional, 2, 2, 3)
    expected = conditional(codes, labels)
    np.testing.assert_allclose(
        run(logits, conditional, codes, labels), expected, rtol=1e-5, atol=1e-6
    )


def test_no_labels_are_labels_of_no_class(conditional, run, draw_codes):
    codes, _ = draw_codes(conditional, 4, 2, 3)
    none = run(logits, conditional, codes, None)
    np.testing.assert_array_equal(run(logits, conditional, codes, jnp.full(4, -1)), none)
    found = [run(logits, conditional, codes, jnp.full(4, label)) for label in range(3)]
    for first, second in itertools.combinations([none, *found], 2):
        assert np.all(np.any(first != second, axis=-1))  # at every code


def test_what_is_out_of_range_is_seen(conditional, run, draw_codes):
    codes, _ = draw_codes(conditional, 4, 2, 2)
    found = run(logits, conditional, codes, jnp.array([3, -2, 2, -1]))
    assert np.isnan(found[:2]).all()
    assert not np.isnan(found[2:]).any()
    found = run(logits, conditional, codes.at[0, 0, 0].set(4), None)
    assert np.isnan(found[0, 1]).all()
    assert not np.isnan(found[1:]).any()


@pytest.mark.slow
def test_works_without_a_graph(kind):
    """Flax's tree mode: no shared variables, nothing mutated."""
    codes, labels = jnp.ones((2, 1, 2, 2), jnp.int32), jnp.array([0, -1])
    with nnx.set_graph_mode(False):
        prior = kind(3, num_codebooks=2, num_classes=2, rngs=nnx.Rngs(0))
        graph, state = nnx.split(prior)
        gradients = nnx.jit(nnx.grad(lambda prior: nll(prior, codes, labels)))(prior)
        drawn = sample_codes(prior, 2, (1, 2), key=jax.random.key(0), labels=labels)
    expected = jax.jit(jax.grad(lambda state: nll(nnx.merge(graph, state), codes, labels)))(state)
    pairs = zip(jax.tree.leaves(gradients), jax.tree.leaves(expected), strict=True)
    for ours, theirs in pairs:
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)
    again = sample_codes(nnx.merge(graph, state), 2, (1, 2), key=jax.random.key(0), labels=labels)
    np.testing.assert_array_equal(drawn, again)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_embeddings": 0}, "num_embeddings is 0; it must be an integer of at least 1"),
        ({"channels": 1.5}, "channels is 1.5; it must be an integer of at least 1"),
        ({"num_codebooks": 0}, "num_codebooks is 0; it must be an integer of at least 1"),
        ({"num_classes": 0}, "num_classes is 0; it must be an integer of at least 1"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_wrong_settings_are_refused(kind, options, message):
    with pytest.raises(ValueError, match=message):
        kind(**{"num_embeddings": 3, "rngs": nnx.Rngs(0), **options})


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("codes", "labels", "message"),
    [
        (jnp.zeros((2, 3, 3)), None, "codes have type float32; they must be integers"),
        (jnp.zeros((2, 3), int), None, r"codes have shape \(2, 3\); it must be \[B, h, w\]"),
        (jnp.zeros((2, 3, 3, 1), int), None, r"shape \(2, 3, 3, 1\); it must be \[B, h, w\]"),
        (jnp.zeros((2, 0, 3), int), None, r"shape is \(0, 3\); it must be two integers of at"),
        (jnp.zeros((2, 3, 3), int), jnp.zeros(2), "labels have type float32; they must be int"),
        (jnp.zeros((2, 3, 3), int), jnp.zeros(3, int), r"labels have shape \(3,\); it must be"),
    ],
)
def test_wrong_input_is_refused(kind, codes, labels, message):
    prior = kind(3, num_classes=2, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match=message):
        prior(codes, labels)


@pytest.mark.usefixtures("unchecked")
def test_what_does_not_fit_the_prior_is_refused(kind):
    plain = kind(3, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="labels are given; there must be none if num_classes"):
        plain(jnp.zeros((2, 3, 3), int), jnp.zeros(2, int))
    with pytest.raises(ValueError, match=r"shape is \(3,\); it must be two integers"):
        plain.start(2, (3,))
    with pytest.raises(ValueError, match="batch_size is 0; it must be an integer"):
        plain.start(0, (3, 3))
    with pytest.raises(ValueError, match="codes of 1 codebooks; it must be fewer than 1"):
        plain.logits(jnp.zeros((2, 8)), jnp.zeros(2, int))
    double = kind(3, num_codebooks=2, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match=r"shape \(2, 3, 3\); it must be \[B, h, w, 2\]"):
        double(jnp.zeros((2, 3, 3), int))


@pytest.mark.usefixtures("unchecked")
def test_wrong_settings_of_one_kind_are_refused():
    with pytest.raises(ValueError, match=r"dilations are \(\); there must be at least one"):
        GatedPixelCNN(3, dilations=(), rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="dilations is 0; it must be an integer of at least 1"):
        GatedPixelCNN(3, dilations=(1, 0), rngs=nnx.Rngs(0))
    for wrong in ((0, 2), (), (2, 2, 2, 2), 5):
        message = f"max_shape is {re.escape(str(wrong))}; it must be 1 to 3 integers of at least 1"
        with pytest.raises(ValueError, match=message):
            TransformerPrior(3, wrong, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="channels is 6; it must be a multiple of num_heads = 4"):
        TransformerPrior(3, (2, 2), channels=6, rngs=nnx.Rngs(0))
    prior = TransformerPrior(3, (2, 4), channels=8, num_layers=1, rngs=nnx.Rngs(0))
    for call in (lambda: prior(jnp.zeros((1, 3, 3), int)), lambda: prior.start(1, (3, 3))):
        with pytest.raises(ValueError, match=r"shape is \(3, 3\); it must be at most max_shape ="):
            call()


@pytest.mark.usefixtures("unchecked")
def test_what_does_not_fit_a_prior_of_signals_is_refused():
    prior = OF_SIGNALS(3, num_codebooks=2, rngs=nnx.Rngs(0))
    for shape in ((2, 3), (2, 3, 3), (2, 3, 3, 2)):
        with pytest.raises(
            ValueError, match=rf"shape {re.escape(str(shape))}; it must be \[B, T, 2"
        ):
            prior(jnp.zeros(shape, int))
    for call in (
        lambda shape: prior.start(2, shape),
        lambda shape: sample_codes(prior, 2, shape, key=jax.random.key(0)),
    ):
        with pytest.raises(ValueError, match=r"shape is \(3, 3\); it must be one integer of at"):
            call((3, 3))
        with pytest.raises(ValueError, match=r"shape is \(26,\); it must be at most max_shape ="):
            call((26,))
