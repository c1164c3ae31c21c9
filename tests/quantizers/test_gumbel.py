"""The Gumbel-softmax against its formula and its distribution."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from tests.quantizers.compiled import run
from vqvae_jax.quantizers import GumbelQuantizer, search

DIM, CODES = 3, 5


def make(**options):
    return GumbelQuantizer(DIM, CODES, rngs=nnx.Rngs(0), **options)


def softmax(x):
    p = np.exp(x - x.max(-1, keepdims=True))
    return p / p.sum(-1, keepdims=True)


def parameters(quantizer):
    return [
        np.asarray(leaf[...], np.float64)
        for leaf in (quantizer.kernel, quantizer.bias, quantizer.embeddings)
    ]


def sample(*shape, seed=0):
    return np.random.RandomState(seed).randn(*shape, DIM).astype(np.float32)


def noise(key, count):
    """The noise of a call: each vector draws from a key of its own."""
    return np.asarray(
        jax.vmap(lambda own: jax.random.gumbel(own, (CODES,)))(jax.random.split(key, count))
    )


@pytest.mark.parametrize("hard", [True, False])
def test_values_are_the_formula(hard):
    quantizer = make(hard=hard, temperature=0.7)
    kernel, bias, embeddings = parameters(quantizer)
    z, key = sample(6), jax.random.key(3)
    noisy = z @ kernel + bias + noise(key, 6)
    quantized = run(quantizer, jnp.asarray(z), key=key)
    chosen = np.argmax(noisy, axis=1)
    np.testing.assert_array_equal(quantized.indices, chosen)
    expected = embeddings[chosen] if hard else softmax(noisy / 0.7) @ embeddings
    np.testing.assert_allclose(quantized.values, expected, rtol=1e-5, atol=1e-6)
    if hard:
        np.testing.assert_array_equal(quantized.values, quantizer.lookup(quantized.indices))


def test_soft_values_become_codes_as_the_temperature_falls():
    quantizer = make(hard=False, temperature=1e-4)
    quantized = run(quantizer, jnp.asarray(sample(6)), key=jax.random.key(0))
    codes = quantizer.lookup(quantized.indices)
    np.testing.assert_allclose(quantized.values, codes, rtol=1e-5, atol=1e-5)
    warm = run(make(hard=False, temperature=1e4), jnp.asarray(sample(6)), key=jax.random.key(0))
    mean = np.tile(np.mean(quantizer.embeddings[...], axis=0), (6, 1))
    np.testing.assert_allclose(warm.values, mean, atol=1e-2)


@pytest.mark.parametrize("temperature", [0.2, 5.0])
def test_codes_are_drawn_with_the_probabilities_of_the_softmax(temperature):
    quantizer = make(temperature=temperature)  # tau has no part in the draw
    kernel, bias, _ = parameters(quantizer)
    draws, z = 4000, sample(2)
    many = jnp.broadcast_to(jnp.asarray(z)[:, None], (2, draws, DIM))
    indices = np.asarray(run(quantizer, many, key=jax.random.key(0)).indices)
    for row, p in zip(indices, softmax(z @ kernel + bias), strict=True):
        counts = np.bincount(row, minlength=CODES)
        chi_square = np.sum((counts - draws * p) ** 2 / (draws * p))
        assert chi_square < 23.5  # 4 degrees of freedom: exceeded by chance once in 10,000


@pytest.mark.parametrize("hard", [True, False])
def test_gradient_is_that_of_the_soft_values(hard):
    quantizer = make(hard=hard, temperature=0.7)
    graph, state = nnx.split(quantizer)
    z, key, weights = jnp.asarray(sample(6)), jax.random.key(3), jnp.asarray(sample(6, seed=1))
    gumbels = jnp.asarray(noise(key, 6))

    def ours(state, z):
        return jnp.sum(weights * nnx.merge(graph, state)(z, key=key).values)

    def soft(state, z):
        quantizer = nnx.merge(graph, state)
        logits = z @ quantizer.kernel[...] + quantizer.bias[...][None] + gumbels
        return jnp.sum(weights * (jax.nn.softmax(logits / 0.7) @ quantizer.embeddings[...]))

    def codes(state):
        quantizer = nnx.merge(graph, state)
        return jnp.sum(weights * quantizer.lookup(quantizer(z, key=key).indices))

    to_state, to_z = jax.jit(jax.grad(ours, (0, 1), allow_int=True))(state, z)
    expected, expected_z = jax.jit(jax.grad(soft, (0, 1), allow_int=True))(state, z)
    np.testing.assert_allclose(to_z, expected_z, rtol=1e-4, atol=1e-6)
    if hard:  # the codes get the gradient of what was chosen
        expected["embeddings"] = jax.jit(jax.grad(codes, allow_int=True))(state)["embeddings"]
    for name in ("kernel", "bias", "embeddings"):
        assert np.any(to_state[name][...] != 0)
        np.testing.assert_allclose(
            to_state[name][...], expected[name][...], rtol=1e-4, atol=1e-6, err_msg=name
        )


@pytest.mark.parametrize("key", [None, 0])
@pytest.mark.parametrize("masked", [False, True])
def test_loss_is_the_divergence_from_uniform(masked, key):
    quantizer = make(kl_cost=0.3)
    kernel, bias, _ = parameters(quantizer)
    z = sample(2, 4)
    p = softmax(z @ kernel + bias)
    divergence = np.sum(p * np.log(p * CODES), axis=-1)
    mask = np.arange(8).reshape(2, 4) % 3 != 0 if masked else np.ones((2, 4), bool)
    expected = divergence[mask].mean()
    given = jnp.asarray(np.where(mask[..., None], z, np.nan))
    key = None if key is None else jax.random.key(key)
    quantized = run(quantizer, given, jnp.asarray(mask) if masked else None, key=key)
    np.testing.assert_allclose(quantized.entropy_loss, expected, rtol=1e-5)
    np.testing.assert_allclose(quantized.loss, 0.3 * expected, rtol=1e-5)
    assert float(quantized.codebook_loss) == float(quantized.commitment_loss) == 0


@pytest.mark.parametrize("hard", [True, False])
def test_evaluation_takes_the_most_probable(hard):
    quantizer = make(hard=hard, temperature=3.0)
    kernel, bias, _ = parameters(quantizer)
    z = sample(4, 5)
    expected = np.argmax(z @ kernel + bias, axis=-1)
    quantized = run(quantizer, jnp.asarray(z))
    np.testing.assert_array_equal(quantized.indices, expected)
    np.testing.assert_array_equal(quantizer.encode(jnp.asarray(z)), expected)
    np.testing.assert_array_equal(quantized.values, quantizer.lookup(jnp.asarray(expected)))


@pytest.mark.slow
def test_schedule_is_given_the_number_of_updates():
    schedule = optax.exponential_decay(2.0, 1, 0.5)
    scheduled = make(hard=False, temperature=schedule)
    z, key = jnp.asarray(sample(4)), jax.random.key(0)
    for updates in range(3):
        expected = run(make(hard=False, temperature=2.0 * 0.5**updates), z, key=key)
        quantized = run(scheduled, z, key=key)
        np.testing.assert_allclose(quantized.values, expected.values, rtol=1e-5, atol=1e-6)
        assert int(scheduled.updates[...]) == updates
        scheduled.update(z, quantized.indices)


def test_schedule_sees_an_integer():
    seen = []

    def schedule(updates):
        seen.append((updates.shape, updates.dtype))
        return 1.0 + updates

    run(make(temperature=schedule), jnp.asarray(sample(2)), key=jax.random.key(0))
    assert set(seen) == {((), jnp.dtype("int32"))}


@pytest.mark.slow
def test_memory_is_bounded():
    quantizer = GumbelQuantizer(4, 4096, rngs=nnx.Rngs(0))
    graph, state = nnx.split(quantizer, ...)

    def loss(state, z):
        quantized = nnx.merge(graph, state)(z, key=jax.random.key(0))
        return quantized.loss + jnp.sum(quantized.values)

    z = jax.ShapeDtypeStruct((20_000, 4), jnp.float32)
    step = jax.jit(jax.grad(loss, allow_int=True))
    memory = step.lower(state, z).compile().memory_analysis()
    assert memory.temp_size_in_bytes < 100e6  # all logits would be 330 MB


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, "temperature is 0.0; it must be a finite number above 0"),
        ({"temperature": float("inf")}, "temperature is inf; it must be a finite number above 0"),
        (
            {"temperature": 1e39},
            "temperature is 1e.39; it must be a finite number above 0, from 1e",
        ),
        ({"kl_cost": -1.0}, "kl_cost is -1.0; it must be a finite number of at least 0"),
    ],
)
def test_arguments_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)


@pytest.mark.parametrize(
    ("dim", "codes", "message"),
    [(0, 3, "embedding_dim is 0; it must be"), (3, 0, "num_embeddings is 0; it must be")],
)
def test_sizes_out_of_range(dim, codes, message):
    with pytest.raises(ValueError, match=message):
        GumbelQuantizer(dim, codes, rngs=nnx.Rngs(0))


@pytest.mark.slow
@pytest.mark.parametrize("limit", [1, 3 * CODES])
def test_chunks_change_nothing(monkeypatch, forget_compiled, limit):
    graph, state = nnx.split(make(hard=False))
    z, weights = jnp.asarray(sample(7)), jnp.asarray(sample(7, seed=1))

    def run():
        def loss(state, z):
            quantized = nnx.merge(graph, state)(z, key=jax.random.key(0))
            return quantized.loss + jnp.sum(weights * quantized.values), quantized

        gradients, quantized = jax.jit(jax.grad(loss, (0, 1), has_aux=True, allow_int=True))(
            state, z
        )
        learnt = [gradients[0][name][...] for name in ("kernel", "bias", "embeddings")]
        return [quantized, gradients[1], learnt, jax.jit(nnx.merge(graph, state).encode)(z)]

    whole = jax.tree.leaves(run())
    monkeypatch.setattr(search, "MAX_NUMBERS_CPU", limit)
    jax.clear_caches()
    for chunked, expected in zip(jax.tree.leaves(run()), whole, strict=True):
        np.testing.assert_allclose(chunked, expected, rtol=1e-5, atol=1e-6)
