"""Worker: times quantizers and searches, on one CPU device."""

import functools
import math
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from workers import answer_all

from vqvae_jax.quantizers import (
    FSQ,
    LFQ,
    EMAVectorQuantizer,
    Quantizer,
    ResidualVQ,
    VectorQuantizer,
    nearest_code,
)

DIM = 64


def made(what: str, k: int) -> Quantizer:
    if what == "VQ":
        return VectorQuantizer(DIM, k, rngs=nnx.Rngs(0))
    if what == "EMA":
        return EMAVectorQuantizer(DIM, k, rngs=nnx.Rngs(0))
    if what == "RVQ":
        return ResidualVQ([EMAVectorQuantizer(DIM, k, rngs=nnx.Rngs(i)) for i in range(8)])
    if what == "FSQ":
        return FSQ((8, 5, 5, 5))
    bits = round(math.log2(k))
    return LFQ(bits, bits_together=bits)


def training_step(quantizer: Quantizer, n: int) -> Callable[[], Any]:
    """A function that takes the gradients, and the step of what learns without them."""
    graphdef, params, state = nnx.split(quantizer, nnx.Param, ...)
    random = np.random.RandomState(0)
    z, weights = (
        jnp.asarray(random.randn(n, quantizer.embedding_dim).astype(np.float32)) for _ in range(2)
    )

    def loss(params: nnx.State, z: jax.Array, state: nnx.State, key: jax.Array) -> Any:
        quantized = nnx.merge(graphdef, params, state)(z, key=key)
        # The whole output is returned: what is not used, XLA would not compute.
        return quantized.loss + jnp.sum(quantized.values * weights), quantized

    @jax.jit
    def step(params: nnx.State, state: nnx.State, z: jax.Array, key: jax.Array) -> Any:
        given = jax.value_and_grad(loss, (0, 1), has_aux=True)(params, z, state, key)
        updated = nnx.merge(graphdef, params, state)
        updated.update(z, given[0][1].indices)
        return given, nnx.split(updated, nnx.Param, ...)[2]

    key = jax.random.key(0)

    def call() -> Any:
        nonlocal state
        given, state = step(params, state, z, key)
        return given, state

    return call


@functools.cache
def prepared(what: str, n: int, k: int) -> Callable[[], Any]:
    if what not in ("bare product", "nearest_code", "argmin of the whole matrix"):
        return training_step(made(what, k), n)
    random = np.random.RandomState(0)
    z, codebook = (jnp.asarray(random.randn(m, DIM).astype(np.float32)) for m in (n, k))

    def whole(z: jax.Array, codebook: jax.Array) -> jax.Array:
        norms = jnp.sum(z**2, axis=1, keepdims=True) + jnp.sum(codebook**2, axis=1)
        return jnp.argmin(norms - 2 * z @ codebook.T, axis=1)

    def product(z: jax.Array, codebook: jax.Array) -> jax.Array:
        return jnp.max(z @ codebook.T, axis=1)

    functions = {"bare product": product, "nearest_code": nearest_code}
    return functools.partial(jax.jit(functions.get(what, whole)), z, codebook)


def answer(what: str, n: int, k: int, repeat: int) -> dict[str, Any]:
    function = prepared(what, n, k)
    start = time.perf_counter()
    for _ in range(repeat):
        jax.block_until_ready(function())
    return {"seconds": time.perf_counter() - start}


if __name__ == "__main__":
    answer_all(answer)
