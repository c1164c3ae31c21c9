"""Attention with rotary positions: to the last positions, or inside windows."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from vqvae_jax.checks import check_integer
from vqvae_jax.layers.linear import Linear
from vqvae_jax.layers.streaming import Context, Layer


def rotated(
    x: Float[Array, "b t heads d"], positions: Int[Array, " t"], base: float = 10_000.0
) -> Float[Array, "b t heads d"]:
    """Rotates queries or keys by their positions (Su et al. 2021, RoFormer, arXiv:2104.09864).

    Number i of the first half and number i of the second are a pair, turned by position base^(-2 i
    / D).

    Args:
        x: [B, T, heads, D], D even.
        positions: [T].
        base: of the wavelengths.
    """
    half = x.shape[-1] // 2
    speeds = base ** -(jnp.arange(half, dtype=jnp.float32) / half)
    angles = (positions.astype(jnp.float32)[:, None] * speeds[None])[None, :, None]
    cosines, sines = jnp.cos(angles).astype(x.dtype), jnp.sin(angles).astype(x.dtype)
    first, second = jnp.split(x, 2, axis=-1)
    return jnp.concatenate(
        [first * cosines - second * sines, second * cosines + first * sines], axis=-1
    )


class SlidingBlock(Layer):
    """A transformer block in which a position attends to itself and the ones just before it.

        x <- x + a W_o attention(LN(x)),    x <- x + b W_2 GELU(W_1 LN(x))

    with rotary positions, learned a and b per channel (Touvron et al. 2021, LayerScale,
    arXiv:2103.17239), and no biases but those of the normalizations.

    Args:
        features: C, a multiple of num_heads.
        num_heads: heads of the attention, each of an even number of channels.
        context: positions that one attends to, its own included, at least 1.
        hidden: outputs of W_1, at least 1.
        head_dim: channels of a head; None: C / num_heads.
        rotary_base: see `rotated`.
        epsilon: of the normalizations.
        rngs: `params` draws the weights as in `Linear`; a and b are 0.01 at first.

    Raises:
        ValueError: an argument out of its range.
    """

    def __init__(
        self,
        features: int,
        num_heads: int,
        *,
        context: int,
        hidden: int,
        head_dim: int | None = None,
        rotary_base: float = 10_000.0,
        epsilon: float = 1e-5,
        rngs: nnx.Rngs,
    ):
        self.num_heads = check_integer("num_heads", num_heads)
        self.context = check_integer("context", context)
        if head_dim is None and features % num_heads:
            raise ValueError(f"features is {features}; it must be a multiple of {num_heads} heads")
        self.head_dim = features // num_heads if head_dim is None else head_dim
        if check_integer("head_dim", self.head_dim) % 2:
            raise ValueError(f"a head has {self.head_dim} channels; it must be an even number")
        self.rotary_base = rotary_base
        inner = num_heads * self.head_dim
        norm: dict[str, Any] = {"epsilon": epsilon, "use_fast_variance": False, "rngs": rngs}
        self.norm_attention = nnx.LayerNorm(features, **norm)
        self.norm_mlp = nnx.LayerNorm(features, **norm)
        self.query, self.key, self.value = (
            Linear(features, inner, use_bias=False, rngs=rngs) for _ in range(3)
        )
        self.out = Linear(inner, features, use_bias=False, rngs=rngs)
        self.widen = Linear(features, hidden, use_bias=False, rngs=rngs)
        self.narrow = Linear(hidden, features, use_bias=False, rngs=rngs)
        self.attention_scale = nnx.Param(jnp.full(features, 0.01))
        self.mlp_scale = nnx.Param(jnp.full(features, 0.01))

    def __call__(self, x: Float[Array, "b t c"]) -> Float[Array, "b t c"]:
        """Maps [B, T, C] to the same shape, in parts of `context` positions."""
        given, context = self.start(len(x)), self.context
        whole = x.shape[1] - x.shape[1] % context
        if whole <= context:
            return self._attended(x, given)[0]
        parts = x[:, :whole].reshape(len(x), -1, context, x.shape[2]).swapaxes(0, 1)

        def advanced(given: Context, part: Array) -> tuple[Context, Array]:
            part, given = self._attended(part, given)
            return given, part

        given, done = jax.lax.scan(advanced, given, parts)
        done = done.swapaxes(0, 1).reshape(len(x), whole, x.shape[2])
        if whole == x.shape[1]:
            return done
        return jnp.concatenate([done, self._attended(x[:, whole:], given)[0]], axis=1)

    def start(self, batch_size: int) -> Context:
        """Returns the last keys and values [B, context - 1, heads, D], and how many were seen."""
        shape = (batch_size, self.context - 1, self.num_heads, self.head_dim)
        dtype = self.key.kernel[...].dtype
        return jnp.zeros(shape, dtype), jnp.zeros(shape, dtype), jnp.zeros((), jnp.int32)

    def step(
        self, x: Float[Array, "b t c"], context: Context, first: Bool[Array, ""]
    ) -> tuple[Float[Array, "b t c"], Context]:
        """See `Layer.step`."""
        return self._attended(x, context)

    def _attended(self, x: Array, context: Context) -> tuple[Array, Context]:
        keys, values, seen = context
        before, length = keys.shape[1], x.shape[1]
        positions = seen + jnp.arange(length, dtype=jnp.int32)
        normalized = self.norm_attention(x)
        query, key, value = (
            project(normalized).reshape(len(x), length, self.num_heads, self.head_dim)
            for project in (self.query, self.key, self.value)
        )
        query, key = (rotated(each, positions, self.rotary_base) for each in (query, key))
        keys, values = (jnp.concatenate(pair, axis=1) for pair in ((keys, key), (values, value)))
        known = seen - before + jnp.arange(before + length, dtype=jnp.int32)
        distances = positions[:, None] - known[None]
        visible = (distances >= 0) & (distances < self.context) & (known >= 0)[None]
        attended = jax.nn.dot_product_attention(query, keys, values, mask=visible[None, None])
        attended = self.out(attended.reshape(len(x), length, -1))
        x = x + self.attention_scale[...][None, None] * attended
        widened = nnx.gelu(self.widen(self.norm_mlp(x)), approximate=False)
        x = x + self.mlp_scale[...][None, None] * self.narrow(widened)
        kept = (keys[:, length:], values[:, length:], seen + jnp.asarray(length, jnp.int32))
        return x, kept


class LocalAttention(Layer):
    """x + W_o attention(LN(x)) inside windows that do not overlap, with rotary positions.

    Args:
        features: C, a multiple of head_dim.
        window_size: positions of a window, at least 1.
        head_dim: channels of a head, an even number.
        rngs: `params` draws the weights as in `Linear`, without biases.

    Raises:
        ValueError: an argument out of its range.
    """

    def __init__(self, features: int, window_size: int, *, head_dim: int = 64, rngs: nnx.Rngs):
        if features % head_dim or head_dim % 2:
            raise ValueError(f"features is {features}; it must be a multiple of {head_dim}")
        self.window_size = check_integer("window_size", window_size)
        self.num_heads = features // head_dim
        self.norm = nnx.LayerNorm(features, epsilon=1e-5, use_fast_variance=False, rngs=rngs)
        self.project = Linear(features, 3 * features, use_bias=False, rngs=rngs)
        self.out = Linear(features, features, use_bias=False, rngs=rngs)

    def __call__(self, x: Float[Array, "b t c"]) -> Float[Array, "b t c"]:
        """Maps [B, T, C] to the same shape; the last window may be shorter."""
        (batch_size, length, features), size = x.shape, self.window_size
        count = -(-length // size)
        filled = jnp.pad(self.norm(x), ((0, 0), (0, count * size - length), (0, 0)))
        heads = (batch_size * count, size, 3 * self.num_heads, features // self.num_heads)
        query, key, value = jnp.split(self.project(filled).reshape(heads), 3, axis=2)
        positions = jnp.arange(size, dtype=jnp.int32)
        lengths = jnp.minimum(length - size * jnp.arange(count, dtype=jnp.int32), size)
        attended = jax.nn.dot_product_attention(
            rotated(query, positions),
            rotated(key, positions),
            value,
            key_value_seq_lengths=jnp.tile(lengths, batch_size),
        )
        attended = self.out(attended.reshape(batch_size, count * size, features))
        return x + attended[:, :length]

    def start(self, batch_size: int) -> Context:
        """Refuses: a position attends to later ones."""
        raise ValueError("attention inside windows is not causal; it cannot be streamed")
