"""The autoregressive head: raster order, without blind spots, the same whole or pixel by pixel."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from vqvae_jax import AutoregressiveHead
from vqvae_jax.likelihoods import CATEGORICAL, ColorMixture, logistic_mixture

HEIGHT, WIDTH = 5, 6


def make(out_dim=2, num_layers=2, size=5, distribution=CATEGORICAL):
    return AutoregressiveHead(
        3,
        out_dim,
        hidden_dim=8,
        num_layers=num_layers,
        size=size,
        distribution=distribution,
        rngs=nnx.Rngs(0),
    )


@pytest.fixture
def features():
    return jnp.asarray(np.random.RandomState(0).randn(2, HEIGHT, WIDTH, 3), jnp.float32)


def images(out_dim, seed=1):
    random = np.random.RandomState(seed)
    return jnp.asarray(random.randint(0, 256, (2, HEIGHT, WIDTH, out_dim)), jnp.uint8)


def in_reach(num_layers, size):
    """[H, W, H, W]: the pixels before each that a path through the layers leads to.

    Along the vertical stack, then across, then along the horizontal stack, from where it stands.
    """
    seen = np.zeros((HEIGHT, WIDTH, HEIGHT, WIDTH), bool)
    reach = size // 2
    for i in range(HEIGHT):
        for j in range(WIDTH):
            seen[i, j, i, max(j - reach - num_layers, 0) : j] = True
            for layer in range(num_layers):  # crosses at it, with the horizontal layers above left
                up, side = reach + layer + 1, reach + layer + 1
                left = side + num_layers - 1 - layer
                seen[i, j, max(i - up, 0) : i, max(j - left, 0) : j + side + 1] = True
    return seen


@pytest.mark.parametrize(("num_layers", "size"), [(1, 3), (3, 7)])
def test_sees_what_is_before_and_no_more(features, num_layers, size):
    """The derivative at every pixel by every pixel: exactly zero later, nonzero in all the reach.

    With 3 layers after a window of 7 all earlier pixels of so small an image are in reach.
    """
    head = make(1, num_layers, size)
    graphdef, state = nnx.split(head)

    def parameters(pixels):
        model = nnx.merge(graphdef, state)
        return jnp.sum(model._from_pixels(pixels[None, :, :, None], features[:1])[0], -1)

    pixels = jnp.asarray(np.random.RandomState(2).rand(HEIGHT, WIDTH), jnp.float32)
    jacobian = np.asarray(jax.jit(jax.jacobian(parameters))(pixels)) != 0
    np.testing.assert_array_equal(jacobian, in_reach(num_layers, size))
    order = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH)
    earlier = order[:, :, None, None] > order
    assert not (jacobian & ~earlier).any()
    assert (jacobian == earlier).all() == (size == 7)


def test_later_pixels_do_not_matter(features):
    """The integers themselves: all later pixels changed at once, the table stays bit-exact."""
    head = make()
    first, second = images(2, 1), images(2, 2)
    table = jax.jit(head.log_probs)
    expected = table(features, first).reshape(2, -1, 2, 256)
    for position in (0, 4, WIDTH, HEIGHT * WIDTH - 1):
        later = np.arange(HEIGHT * WIDTH).reshape(1, HEIGHT, WIDTH, 1) >= position
        mixed = jnp.where(jnp.asarray(later), second, first)
        actual = table(features, mixed).reshape(2, -1, 2, 256)
        np.testing.assert_array_equal(actual[:, : position + 1], expected[:, : position + 1])
        if position + 1 < HEIGHT * WIDTH:
            assert (actual[:, position + 1] != expected[:, position + 1]).all(-1).all()


def test_second_pixel_is_proper_whatever_the_first():
    """P(second | first) adds up to 1 for several first values, and depends on them."""
    call, features, tables = jax.jit(make(1).__call__), jnp.ones((256, 1, 2, 3)), []
    for first in (0, 1, 100, 254, 255):
        x = jnp.stack([jnp.full(256, first), jnp.arange(256)], axis=1).astype(jnp.uint8)
        x = x.reshape(256, 1, 2, 1)
        log_prob = call(features, x)[:, 0, :, 0]
        np.testing.assert_allclose(np.exp(log_prob[:, 1]).sum(), 1, rtol=0, atol=1e-5)
        np.testing.assert_allclose(log_prob[:, 0], log_prob[0, 0], rtol=1e-6)
        tables.append(np.asarray(log_prob[:, 1]))
    assert all(np.abs(table - tables[0]).max() > 1e-3 for table in tables[2:])


@pytest.mark.parametrize(
    "distribution",
    [CATEGORICAL, logistic_mixture(3), ColorMixture(3)],
    ids=["categorical", "mixture", "color"],
)
@pytest.mark.parametrize(("num_layers", "size"), [(2, 5), (1, 3)])
def test_pixel_by_pixel_is_all_at_once(features, distribution, num_layers, size):
    head, x = make(2, num_layers, size, distribution), images(2)
    expected = jax.jit(head.log_probs)(features, x).reshape(2, -1, 2, 256)
    pixels = x.reshape(2, -1, 2)
    graphdef, state = nnx.split(head)
    step = jax.jit(lambda state, *args: nnx.merge(graphdef, state).step(*args))
    of_channel = jax.jit(distribution.of_channel, static_argnums=2)
    # What is called the pixel before the first is not looked at.
    cache, previous = jax.jit(head.start)(features), jnp.full((2, 2), 77, jnp.uint8)
    for position in range(HEIGHT * WIDTH):
        parameters, cache = step(state, cache, jnp.int32(position), previous)
        previous = pixels[:, position]
        tables = [of_channel(parameters, previous, channel) for channel in range(2)]
        np.testing.assert_allclose(np.stack(tables, 1), expected[:, position], rtol=1e-5, atol=1e-5)


def test_steps_in_a_loop_are_steps(features):
    """In `lax.scan`, at the same batch size, to rounding."""
    head, x = make(), images(2)
    pixels = x.reshape(2, -1, 2).swapaxes(0, 1)
    previous = jnp.concatenate([jnp.zeros_like(pixels[:1]), pixels[:-1]])

    def body(cache, inputs):
        parameters, cache = head.step(cache, *inputs)
        return cache, head.distribution.of_channels(parameters)

    inputs = (jnp.arange(HEIGHT * WIDTH, dtype=jnp.int32), previous)
    _, tables = jax.jit(lambda: jax.lax.scan(body, head.start(features), inputs))()
    expected = jax.jit(head.log_probs)(features, x).reshape(2, -1, 2, 256)
    np.testing.assert_allclose(tables.swapaxes(0, 1), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_samples_follow_the_distribution():
    """For 1x2 pixels, the first's and, given which half it is in, the second's, each half's count.

    Within 5 standard deviations of the binomial, and the two pixels are seen to depend.
    """
    n = 4000
    head = make(1, 1, 3)
    head.left.kernel[...] = 20 * head.left.kernel[...]  # so that the first pixel matters
    features = jnp.broadcast_to(jnp.ones((1, 1, 2, 3)), (n, 1, 2, 3))
    samples = np.asarray(jax.jit(head.sample)(features, jax.random.key(0))).reshape(n, 2)
    firsts = (
        jnp.zeros((256, 1, 2, 1), jnp.uint8).at[:, 0, 0, 0].set(jnp.arange(256, dtype=jnp.uint8))
    )
    tables = np.exp(np.asarray(jax.jit(head.log_probs)(features[:256], firsts), np.float64))[
        :, 0, :, 0
    ]
    first, second = tables[0, 0], tables[:, 1]  # [256], [first, second]
    joint = first[:, None] * second
    for i in range(2):
        for j in range(2):
            rows, columns = slice(128 * i, 128 * i + 128), slice(128 * j, 128 * j + 128)
            p = joint[rows, columns].sum()
            count = np.sum((samples[:, 0] // 128 == i) & (samples[:, 1] // 128 == j))
            assert abs(count - n * p) < 5 * np.sqrt(n * p * (1 - p))
    value = np.arange(256)
    for pixel, p in ((0, first), (1, joint.sum(0))):
        mean = (p * value).sum()
        deviation = np.sqrt((p * (value - mean) ** 2).sum() / n)
        assert abs(samples[:, pixel].mean() - mean) < 5 * deviation
    conditional = (second * value).sum(1)
    assert conditional.max() - conditional.min() > 10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"hidden_dim": 0}, "hidden_dim is 0; it must be an integer of at least 1"),
        ({"num_layers": 0}, "num_layers is 0; it must be an integer of at least 1"),
        ({"size": 1}, "size is 1; it must be an integer of at least 3"),
        ({"size": 4}, "size is 4; it must be odd"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        AutoregressiveHead(3, 1, **arguments, rngs=nnx.Rngs(0))


def test_table_without_images_is_refused(features):
    with pytest.raises(ValueError, match="x is None"):
        make().log_probs(features)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("shape", "dtype"), [((2, 1), jnp.uint8), ((1, 2), jnp.uint8), ((2, 2), jnp.int32)]
)
def test_wrong_previous_is_named(features, shape, dtype):
    head = make()
    with pytest.raises(ValueError, match=r"previous has shape .*; it must be \(2, 2\), uint8"):
        head.step(head.start(features), jnp.int32(1), jnp.zeros(shape, dtype))
