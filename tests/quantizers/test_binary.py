"""Lookup-free quantization against sums over all codes, in float64."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.quantizers.compiled import run
from vqvae_jax.quantizers import BSQ, LFQ
from vqvae_jax.quantizers.binary import binary_entropies


def all_codes(dim, magnitude=1.0):
    """[2^D, D], the first bit fastest."""
    codes = np.array(list(itertools.product([-magnitude, magnitude], repeat=dim)))
    return codes[:, ::-1]


def entropy(p):
    return -np.sum(np.where(p > 0, p * np.log(np.where(p > 0, p, 1)), 0), axis=-1)


def brute_force(z, codes, temperature, weights):
    """E[H(p)] and H(E[p]) of p = softmax(-|z - c|^2 / tau) over all codes."""
    z = np.asarray(z, np.float64)
    logits = -np.sum((z[:, None] - codes[None]) ** 2, axis=-1) / temperature
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    return np.sum(weights * entropy(p)), entropy(weights @ p)


def sample(n=12, dim=8, scale=0.5, seed=0):
    return (scale * np.random.RandomState(seed).randn(n, dim)).astype(np.float32)


@pytest.mark.parametrize("bits_together", [8, 9])
def test_entropies_are_those_over_all_codes(bits_together):
    logits = sample(scale=2.0)
    weights = np.random.RandomState(1).rand(12)
    weights /= weights.sum()
    weights[3] = 0
    found = jax.jit(binary_entropies, static_argnums=2)(
        jnp.asarray(logits), jnp.asarray(weights, jnp.float32), bits_together
    )
    # 4 z / tau are the logits: tau 1.
    expected = brute_force(logits / 4, all_codes(8), 1.0, weights)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("bits_together", [1, 2, 3, 5, 8])
def test_bits_in_groups_are_a_sum_over_groups_and_an_upper_bound(bits_together):
    # Bits that depend on each other: all of a vector's have the same sign.
    z = np.abs(sample()) * np.where(np.arange(12) < 7, 1, -1)[:, None].astype(np.float32)
    weights = np.full(12, 1 / 12)
    of_vectors, of_mean = jax.jit(binary_entropies, static_argnums=2)(
        jnp.asarray(4 * z), jnp.asarray(weights, jnp.float32), bits_together
    )
    groups = [z[:, i : i + bits_together] for i in range(0, 8, bits_together)]
    parts = [brute_force(part, all_codes(part.shape[1]), 1.0, weights) for part in groups]
    np.testing.assert_allclose([of_vectors, of_mean], np.sum(parts, axis=0), rtol=1e-5)
    exact = brute_force(z, all_codes(8), 1.0, weights)
    np.testing.assert_allclose(of_vectors, exact[0], rtol=1e-5)
    if bits_together < 8:
        assert of_mean > exact[1] + 0.1


@pytest.mark.parametrize("make", [LFQ, BSQ])
def test_bit_order_turns_the_bits_of_the_index_around(make):
    z = jnp.asarray(sample(dim=5))
    little, big = make(5).encode(z), make(5, bit_order="big").encode(z)
    turned = [int(f"{index:05b}"[::-1], 2) for index in np.asarray(little)]
    np.testing.assert_array_equal(big, turned)
    np.testing.assert_array_equal(make(5, bit_order="big").lookup(big), make(5).lookup(little))


@pytest.mark.parametrize("make", [LFQ, BSQ])
def test_entropy_of_many_bits_is_exact_if_asked_for(make):
    z = sample(40, 12)
    expected = z if make is LFQ else z / np.linalg.norm(z, axis=1, keepdims=True)
    options = {"temperature": 0.05}
    exact = make(12, bits_together=None, **options)
    each, mean = brute_force(expected, all_codes(12, exact.magnitude), 0.05, np.full(40, 1 / 40))
    np.testing.assert_allclose(run(exact, jnp.asarray(z)).entropy_loss, each - mean, rtol=1e-4)
    bound = run(make(12, **options), jnp.asarray(z)).entropy_loss
    assert bound < each - mean - 0.5


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("temperature", [0.3, 2.0])
def test_losses_of_lfq(temperature, masked):
    z = sample()
    counted = np.arange(12) % 3 != 0 if masked else np.ones(12, bool)
    quantizer = LFQ(8, 0.5, entropy_cost=0.2, diversity=0.7, temperature=temperature)
    given = np.where(counted[:, None], z, np.nan)
    mask = jnp.asarray(counted).reshape(3, 4) if masked else None
    quantized = run(quantizer, jnp.asarray(given).reshape(3, 4, 8), mask)
    weights = counted / counted.sum()
    of_vectors, of_mean = brute_force(z, all_codes(8), temperature, weights)
    commitment = np.mean((z[counted] - np.sign(z[counted])) ** 2)
    loss = of_vectors - 0.7 * of_mean
    np.testing.assert_allclose(quantized.entropy_loss, loss, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(quantized.commitment_loss, commitment, rtol=1e-5)
    np.testing.assert_allclose(quantized.loss, 0.2 * loss + 0.5 * commitment, rtol=1e-4, atol=1e-5)
    assert float(quantized.codebook_loss) == 0


def test_losses_of_bsq():
    z = sample(scale=3.0)
    u = z / np.linalg.norm(z, axis=1, keepdims=True)
    quantizer = BSQ(8, 0.5, entropy_cost=0.2, diversity=0.7, temperature=0.1, bits_together=8)
    quantized = run(quantizer, jnp.asarray(z))
    codes = all_codes(8, 8**-0.5)
    of_vectors, of_mean = brute_force(u, codes, 0.1, np.full(12, 1 / 12))
    commitment = np.mean((u - np.sign(u) / 8**0.5) ** 2)
    np.testing.assert_allclose(quantized.entropy_loss, of_vectors - 0.7 * of_mean, rtol=1e-4)
    np.testing.assert_allclose(quantized.commitment_loss, commitment, rtol=1e-5)
    expected = 0.2 * (of_vectors - 0.7 * of_mean) + 0.5 * commitment
    np.testing.assert_allclose(quantized.loss, expected, rtol=1e-4)


@pytest.mark.parametrize("term", ["both", "vectors"])
@pytest.mark.parametrize("make", [LFQ, BSQ])
def test_gradient_of_the_entropies_is_that_of_the_sum_over_all_codes(make, term):
    z = jnp.asarray(sample(scale=1.0))
    diversity = 1.0 if term == "both" else 0.0
    quantizer = make(
        8, 0.0, entropy_cost=1.0, diversity=diversity, temperature=0.5, bits_together=8
    )
    codes = jnp.asarray(all_codes(8, quantizer.magnitude), jnp.float32)

    def slow(z):
        if make is BSQ:
            z = z / jnp.linalg.norm(z, axis=1, keepdims=True)
        p = jax.nn.softmax(-jnp.sum((z[:, None] - codes[None]) ** 2, axis=-1) / 0.5)
        of_vectors = jnp.mean(jnp.sum(jax.scipy.special.entr(p), axis=1))
        return of_vectors - diversity * jnp.sum(jax.scipy.special.entr(jnp.mean(p, axis=0)))

    loss, gradient = jax.jit(jax.value_and_grad(lambda z: quantizer(z).loss))(z)
    expected_loss, expected = jax.jit(jax.value_and_grad(slow))(z)
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-5)


def test_first_bit_is_the_fastest():
    z = jnp.array([[-1.0, -2.0, -3.0], [1.0, -2.0, -3.0], [-1.0, 2.0, -3.0], [0.1, -0.1, 9.0]])
    quantized = LFQ(3)(z)
    np.testing.assert_array_equal(quantized.indices, [0, 1, 2, 5])
    np.testing.assert_array_equal(
        quantized.values, [[-1, -1, -1], [1, -1, -1], [-1, 1, -1], [1, -1, 1]]
    )


def test_zero_counts_as_negative():
    np.testing.assert_array_equal(LFQ(2)(jnp.zeros((1, 2))).values, [[-1.0, -1.0]])
    assert int(LFQ(2).encode(jnp.zeros((1, 2)))[0]) == 0


@pytest.mark.parametrize("make", [LFQ, BSQ])
@pytest.mark.parametrize("dim", [1, 3, 6])
def test_every_index_comes_back(make, dim):
    quantizer = make(dim)
    magnitude = 1.0 if make is LFQ else dim**-0.5
    assert quantizer.num_embeddings == 2**dim
    indices = jnp.arange(2**dim)
    codes = quantizer.lookup(indices)
    np.testing.assert_allclose(codes, all_codes(dim, magnitude), rtol=1e-6)
    for scale in (0.01, 30.0):
        np.testing.assert_array_equal(quantizer.encode(scale * codes), indices)
        quantized = run(quantizer, scale * codes)
        np.testing.assert_array_equal(quantized.indices, indices)
        np.testing.assert_array_equal(quantized.values, codes)
    outside = quantizer.lookup(jnp.array([-1, 2**dim, 2**30]))
    np.testing.assert_array_equal(outside, [[0.0] * dim, [np.nan] * dim, [np.nan] * dim])


def test_gradient_at_the_values():
    z, weights = jnp.asarray(sample(dim=4)), jnp.asarray(sample(dim=4, seed=1))
    through = jax.jit(jax.grad(lambda z: jnp.sum(weights * LFQ(4)(z).values)))(z)
    np.testing.assert_array_equal(through, weights)
    # On the sphere it passes through z / |z|.
    through = jax.jit(jax.grad(lambda z: jnp.sum(weights * BSQ(4)(z).values)))(z)
    length = np.linalg.norm(z, axis=1, keepdims=True)
    u = z / length
    along = np.sum(u * weights, axis=1, keepdims=True)
    np.testing.assert_allclose(through, (weights - u * along) / length, rtol=1e-3, atol=1e-5)


def test_bsq_looks_at_the_direction_alone():
    z = jnp.asarray(sample(dim=5))
    lengths = jnp.asarray(10.0 ** np.linspace(-4, 4, 12), jnp.float32)[:, None]
    quantizer = BSQ(5, 0.25)
    one, other = run(quantizer, z), run(quantizer, lengths * z)
    np.testing.assert_array_equal(one.indices, other.indices)
    np.testing.assert_array_equal(one.values, other.values)
    np.testing.assert_allclose(one.loss, other.loss, rtol=1e-4)


def test_error_of_bsq_is_bounded():
    z = sample(200, 6)
    z[0], z[1] = [1, 0, 0, 0, 0, 0], [1, -1, 1, -1, 1, -1]
    u = z / np.linalg.norm(z, axis=1, keepdims=True)
    values = np.asarray(run(BSQ(6), jnp.asarray(z)).values)
    np.testing.assert_allclose(np.linalg.norm(values, axis=1), 1, rtol=1e-6)
    errors = np.sum((u - values) ** 2, axis=1)
    assert np.all(errors <= 2 - 2 / 6**0.5 + 1e-6)  # the worst is an axis
    np.testing.assert_allclose(errors[:2], [2 - 2 / 6**0.5, 0], atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("bits_together", [1, 9, 18])
def test_no_array_holds_a_number_for_each_vector_and_code(bits_together):
    quantizer = LFQ(18, bits_together=bits_together)
    assert quantizer.num_embeddings == 2**18
    z = jax.random.normal(jax.random.key(0), (2000, 18))

    def step(z):
        quantized = run(quantizer, z)
        return quantized.loss, (quantized.values, quantized.indices)

    compiled = jax.jit(jax.value_and_grad(step, has_aux=True)).lower(z).compile()
    # All probabilities would be 2.1 GB; of 18 bits together the 2^9 of each half are 2 x 4 MB.
    assert compiled.memory_analysis().temp_size_in_bytes < 100e6
    (loss, (values, indices)), gradient = compiled(z)
    assert values.shape == (2000, 18)
    assert indices.shape == (2000,)
    assert int(indices.max()) < 2**18
    assert np.isfinite(loss)
    assert np.all(np.isfinite(gradient))


@pytest.mark.parametrize("bits_together", [1, 4])
def test_gradient_is_finite_where_the_bits_are_certain(bits_together):
    z = jnp.array([[1e4, -1e4, 1e4, -1e4], [1e4, -1e4, 1e4, 1e4], [0.0, 30.0, -30.0, 1e-20]])
    quantizer = LFQ(4, 0.0, temperature=0.01, bits_together=bits_together)
    step = jax.jit(jax.value_and_grad(lambda z, mask: quantizer(z, mask).loss))
    for mask in ([True, True, True], [True, False, False], [True, True, False]):
        loss, gradient = step(z, jnp.array(mask))
        assert np.isfinite(loss)
        assert np.all(np.isfinite(gradient))


def test_gradient_of_bsq_is_finite_at_zero():
    loss, gradient = jax.jit(jax.value_and_grad(lambda z: BSQ(4)(z).loss))(jnp.zeros((2, 4)))
    assert np.isfinite(loss)
    assert np.all(np.isfinite(gradient))


@pytest.mark.parametrize("make", [LFQ, BSQ])
@pytest.mark.parametrize(
    ("dim", "options", "message"),
    [
        (0, {}, "embedding_dim is 0; it must be an integer of at least 1"),
        (31, {}, "embedding_dim is 31; it must be at most 30"),
        (4, {"commitment_cost": -1.0}, "commitment_cost is -1.0"),
        (4, {"entropy_cost": float("nan")}, "entropy_cost is nan"),
        (4, {"diversity": -0.5}, "diversity is -0.5"),
        (4, {"temperature": 0.0}, "temperature is 0.0; it must be a finite number above 0"),
        (25, {"bits_together": None}, "bits_together is None; with 25 bits it must be at most 24"),
        (30, {"bits_together": 25}, "bits_together is 25; with 30 bits it must be at most 24"),
        (4, {"bit_order": "both"}, "bit_order is 'both'; it must be one of little, big"),
        (4, {"bits_together": 0}, "bits_together is 0; it must be an integer of at least 1"),
    ],
)
def test_arguments_out_of_range(make, dim, options, message):
    with pytest.raises(ValueError, match=message):
        make(dim, **options)
