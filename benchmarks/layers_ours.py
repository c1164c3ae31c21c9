"""Worker: times single layers, over all devices and, if they have parts, one after the other."""

import functools
import json
import sys
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import PartitionSpec
from workers import answer_all

from vqvae_jax.layers import Conv, ConvTranspose, winograd
from vqvae_jax.parallel import all_devices, mesh_for, replicated, split
from vqvae_jax.training.process import keep_memory, use_all_cores


@functools.cache
def prepared(layer: str, backward: bool) -> Any:
    """A compiled function and its arguments."""
    spec = json.loads(layer)
    batch = spec["batch"]
    mesh = mesh_for(all_devices(), batch)
    random = np.random.RandomState(0)
    if spec["kind"] == "matmul":
        a = random.randn(batch * spec["rows"], spec["inner"]).astype(np.float32)
        b = random.randn(spec["inner"], spec["columns"]).astype(np.float32)
        return jax.jit(jnp.dot), jax.device_put(a, split(mesh)), jax.device_put(b, replicated(mesh))

    build = {"conv": Conv, "conv_transpose": ConvTranspose}[spec["kind"]]
    module = build(spec["in"], spec["out"], spec["k"], **spec["options"], rngs=nnx.Rngs(0))
    graphdef, params = nnx.split(module)
    params = jax.device_put(params, replicated(mesh))
    x = random.randn(batch, spec["size"], spec["size"], spec["in"]).astype(np.float32)
    x = jax.device_put(x, split(mesh))

    def forward(params: nnx.State, x: jax.Array) -> jax.Array:
        y = nnx.merge(graphdef, params)(x)
        return nnx.relu(y) if spec["relu"] else y

    def both(params: nnx.State, x: jax.Array) -> Any:
        y, pull = jax.vjp(forward, params, x)
        return pull(y)

    def on_one_device(params: nnx.State, x: jax.Array) -> Any:
        def part(total: nnx.State, x: jax.Array) -> Any:
            if not backward:
                return total, forward(params, x)
            of_params, of_input = both(params, x)
            return jax.tree.map(jnp.add, total, of_params), of_input

        zeros = jax.tree.map(jnp.zeros_like, params)
        if spec["part"] is None:
            return part(zeros, x)
        return jax.lax.scan(part, zeros, x.reshape(-1, spec["part"], *x.shape[1:]))

    shared, parted = PartitionSpec(), PartitionSpec(*mesh.axis_names)
    function = jax.shard_map(
        on_one_device,
        mesh=mesh,
        in_specs=(shared, parted),
        out_specs=(shared, parted),
        check_vma=False,
    )
    return jax.jit(function), params, x


def answer(layer: str, backward: bool, repeat: int) -> dict[str, Any]:
    function, *arguments = prepared(layer, backward)
    start = time.perf_counter()
    for _ in range(repeat):
        jax.block_until_ready(function(*arguments))
    return {"seconds": time.perf_counter() - start}


def use(form: str) -> None:
    """Has all convolutions take this form: chosen, products or XLA."""
    if form != "chosen":
        winograd.pays = lambda windows, kernel: False
    if form == "XLA":
        convolutions = sys.modules[Conv.__module__]
        convolutions._by_platform = lambda form, native, *given: native(*given)


if __name__ == "__main__":
    use(sys.argv[1])
    use_all_cores()
    keep_memory()
    answer_all(answer)
