"""LSTM, attention with rotary positions and Snake against NumPy; in pieces as in one."""

import math

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.conftest import drawn, run_compiled
from tests.layers.test_conv1d import pieces_of
from vqvae_jax.layers import (
    ELU,
    LSTM,
    Chain,
    Conv1d,
    LocalAttention,
    Residual,
    SlidingBlock,
    Snake,
    causal,
)
from vqvae_jax.layers.rotary import rotated


def random(*shape, seed=0):
    return np.random.RandomState(seed).randn(*shape).astype(np.float32)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_lstm_is_pytorchs():
    layer, x = drawn(lambda: LSTM(5, rngs=nnx.Rngs(0))), random(2, 7, 5)
    kernels = [np.asarray(gates.kernel[...]) for gates in (layer.inputs, layer.hidden)]
    biases = [np.asarray(gates.bias[...]) for gates in (layer.inputs, layer.hidden)]
    h, c, outputs = np.zeros((2, 5)), np.zeros((2, 5)), []
    for t in range(7):
        gates = x[:, t] @ kernels[0] + biases[0] + h @ kernels[1] + biases[1]
        i, f, g, o = np.split(gates, 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        outputs.append(h)
    computed = run_compiled(lambda layer, x: layer(x), layer, jnp.asarray(x))
    np.testing.assert_allclose(computed, np.stack(outputs, 1), rtol=1e-5, atol=1e-6)


def test_snake():
    layer, x = Snake(3), random(1, 4, 3)
    layer.alpha[...] = jnp.asarray([0.5, 1.0, 2.0])
    alpha = np.asarray([0.5, 1.0, 2.0])
    expected = x + np.sin(alpha * x) ** 2 / alpha
    np.testing.assert_allclose(layer(jnp.asarray(x)), expected, rtol=1e-5, atol=1e-6)


def turned(x, positions):
    """Queries or keys [T, D], each turned by its position."""
    first, second = np.split(x, 2, axis=-1)
    speeds = 10_000.0 ** -(np.arange(first.shape[-1]) / first.shape[-1])
    angles = np.asarray(positions)[:, None] * speeds
    return np.concatenate(
        [
            first * np.cos(angles) - second * np.sin(angles),
            second * np.cos(angles) + first * np.sin(angles),
        ],
        axis=-1,
    )


def attended(query, key, value, visible):
    scores = np.where(visible, query @ key.T / np.sqrt(query.shape[-1]), -np.inf)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True) @ value


def normalized(norm, x):
    centered = x - x.mean(axis=-1, keepdims=True)
    deviation = np.sqrt((centered**2).mean(axis=-1, keepdims=True) + 1e-5)
    return centered / deviation * np.asarray(norm.scale[...]) + np.asarray(norm.bias[...])


def test_rotated_products_depend_on_the_distance_alone():
    query, key = random(1, 8), random(1, 8, seed=1)
    products = [
        np.vdot(
            *(
                rotated(jnp.asarray(x)[None, :, None], jnp.asarray([at]))
                for x, at in ((query, position), (key, other))
            )
        )
        for position, other in ((9, 4), (105, 100), (9, 5))
    ]
    np.testing.assert_allclose(products[0], products[1], rtol=1e-4)
    assert abs(products[0] - products[2]) > 1e-2
    np.testing.assert_allclose(
        rotated(jnp.asarray(query)[None, :, None], jnp.asarray([3]))[0, :, 0],
        turned(query, [3]),
        rtol=1e-5,
    )


def test_a_sliding_block_sees_the_last_positions():
    context, length = 4, 11
    block = drawn(lambda: SlidingBlock(8, 2, context=context, hidden=16, rngs=nnx.Rngs(0)))
    x, at = random(1, length, 8), np.arange(length)
    distances = at[:, None] - at
    visible = (distances >= 0) & (distances < context)

    def linear(layer, x):
        return x @ np.asarray(layer.kernel[...])

    given = normalized(block.norm_attention, x[0])
    query, key, value = (
        linear(layer, given).reshape(length, 2, 4)
        for layer in (block.query, block.key, block.value)
    )
    heads = [
        attended(turned(query[:, head], at), turned(key[:, head], at), value[:, head], visible)
        for head in range(2)
    ]
    y = x[0] + np.asarray(block.attention_scale[...]) * linear(block.out, np.concatenate(heads, 1))
    widened = linear(block.widen, normalized(block.norm_mlp, y))
    gelu = widened * 0.5 * (1 + np.vectorize(math.erf)(widened / math.sqrt(2)))
    expected = y + np.asarray(block.mlp_scale[...]) * linear(block.narrow, gelu)
    computed = run_compiled(lambda block, x: block(x), block, jnp.asarray(x))
    np.testing.assert_allclose(computed[0], expected, rtol=1e-4, atol=1e-5)


def test_local_attention_stays_in_its_window():
    layer = drawn(lambda: LocalAttention(8, 4, head_dim=8, rngs=nnx.Rngs(0)))
    x = random(2, 10, 8)
    computed = run_compiled(lambda layer, x: layer(x), layer, jnp.asarray(x))
    for example in range(2):
        given = normalized(layer.norm, x[example]) @ np.asarray(layer.project.kernel[...])
        for start in (0, 4, 8):
            query, key, value = np.split(given[start : start + 4], 3, axis=1)
            at = np.arange(len(query))
            out = attended(turned(query, at), turned(key, at), value, True)
            expected = x[example, start : start + 4] + out @ np.asarray(layer.out.kernel[...])
            np.testing.assert_allclose(
                computed[example, start : start + 4], expected, rtol=1e-4, atol=1e-5
            )
    with pytest.raises(ValueError, match="cannot be streamed"):
        layer.start(1)


def test_layers_in_pieces():
    layer = drawn(
        lambda: Chain(
            [
                ELU(),
                Residual(LSTM(8, rngs=nnx.Rngs(0))),
                SlidingBlock(8, 2, context=5, hidden=16, rngs=nnx.Rngs(0)),
                Residual(
                    Conv1d(8, 4, 3, padding=causal(3), rngs=nnx.Rngs(0)),
                    Conv1d(8, 4, 1, rngs=nnx.Rngs(0)),
                ),
            ]
        )
    )
    x = jnp.asarray(random(2, 18, 8))
    whole = run_compiled(lambda layer, x: layer(x), layer, x)
    np.testing.assert_allclose(pieces_of(layer, x, (6, 6, 6)), whole, rtol=1e-5, atol=1e-5)
