"""Data parallelism: splits a batch over devices, and on each device into parts that fit its cache.

The devices are GPUs, TPU cores or, in `train.py` on CPUs, one per core: XLA:CPU computes two halves
of a batch on two devices in little more than the time of one half, but with two threads it computes
a whole batch hardly faster than with one.

There may be several processes (`jax.distributed`). Then each holds the whole state, and all arrays
of data, or reads its own share of what is in files. It computes its devices' part of every batch;
sums are all-reduced, and the first process writes the files.
"""

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from vqvae_jax.errors import ConfigError

Tree = TypeVar("Tree")
Result = TypeVar("Result")
Sums = TypeVar("Sums")
Each = TypeVar("Each")

_AXIS = "batch"

# Dispatches that may be pending: enough to place the next batches ahead of time. With more than 32,
# collectives of several CPU devices have deadlocked.
MAX_IN_FLIGHT = 8

# Pixels that a CPU core computes at a time, if that is at least one image: four images of 28 x 28,
# for which a VQ-VAE's outputs and patches take about the size of a core's L2 cache, 2 MB.
_CPU_PIXELS = 4 * 28 * 28

# Every part reads all weights and adds up their gradients: more weights a pixel would take over.
_WEIGHTS_A_PIXEL = 512
_MOST = 8  # times the positions that fit the cache, to bound memory


def all_devices(count: int | None = None) -> list[jax.Device]:
    """Returns the devices to use: GPUs, TPU cores, or as many CPU devices as JAX is set to make.

    Args:
        count: how many; None for all.

    Returns:
        Devices of all processes, equally many of each.

    Raises:
        ConfigError: there are fewer, or `count` cannot be divided among the processes.
    """
    devices, processes = jax.devices(), jax.process_count()
    of_each = [sum(d.process_index == index for d in devices) for index in range(processes)]
    devices = _first_of_each(devices, min(of_each))
    if count is None:
        return devices
    if count > len(devices):
        raise ConfigError(
            f"training.devices is {count}; it must be at most {len(devices)}, "
            f"the number of {devices[0].platform} devices"
        )
    if count % processes != 0:
        raise ConfigError(
            f"training.devices is {count}; it must be a multiple of {processes}, "
            "the number of processes"
        )
    return _first_of_each(devices, count // processes)


def are_accelerators(devices: Sequence[jax.Device]) -> bool:
    """Returns whether the devices are GPUs or TPU cores, not CPU cores."""
    return devices[0].platform != "cpu"


def mesh_for(devices: Sequence[jax.Device], batch_size: int) -> Mesh:
    """Returns a batch's devices: the most, equally many per process, whose number divides it.

    Raises:
        ConfigError: the number of processes does not divide it.
    """
    processes = len({device.process_index for device in devices})
    most = len(devices) // processes
    counts = [n for n in range(1, most + 1) if batch_size % (n * processes) == 0]
    if not counts:
        raise ConfigError(
            f"a batch of {batch_size} images cannot be divided among {processes} processes; "
            "training.batch_size, and the last batch of either split, must be multiples of it"
        )
    return Mesh(np.array(_first_of_each(devices, max(counts))), (_AXIS,))


def _first_of_each(devices: Sequence[jax.Device], count: int) -> list[jax.Device]:
    """Returns the first `count` devices of each process."""
    own: dict[int, list[jax.Device]] = {}
    for device in devices:
        own.setdefault(device.process_index, []).append(device)
    return [device for group in own.values() for device in group[:count]]


def place(tree: Tree, sharding: NamedSharding) -> Tree:
    """Places arrays, the same in every process, on the devices of a sharding."""
    if sharding.is_fully_addressable:
        return jax.device_put(tree, sharding)

    def placed(leaf: Any) -> jax.Array:
        if isinstance(leaf, jax.Array) and leaf.sharding == sharding:
            return leaf
        value = np.asarray(leaf)
        return jax.make_array_from_callback(value.shape, sharding, lambda index: value[index])

    return jax.tree.map(placed, tree)


def process_share() -> tuple[int, int]:
    """Returns which part of a batch is this process's: its number, from 0, and how many there are.

    The devices of `mesh_for` have a batch in the order of their processes.
    """
    return jax.process_index(), jax.process_count()


def place_share(tree: Tree, sharding: NamedSharding) -> Tree:
    """Places arrays of which each process has its own part, on the devices of a sharding."""
    return jax.tree.map(lambda leaf: jax.make_array_from_process_local_data(sharding, leaf), tree)


def is_first_process() -> bool:
    """Returns whether this process is the one that writes files, if there are several."""
    return jax.process_index() == 0


def first_process_first(function: Callable[[], Result]) -> Result:
    """Calls a function, in the first process before the others.

    So they find the files that it writes. All processes must call this.
    """
    if is_first_process():
        result = function()
        wait_for_all()
        return result
    wait_for_all()
    return function()


def check_same(value: Any, what: str) -> None:
    """Checks that all processes have the same value.

    Args:
        value: JSON values.
        what: what the value describes, in words.

    Raises:
        ConfigError: the values differ.
    """
    text = json.dumps(value, sort_keys=True).encode()
    digest = np.frombuffer(hashlib.sha256(text).digest(), np.uint8)
    digests = multihost_utils.process_allgather(digest).reshape(-1, len(digest))
    if np.any(digests != digest):
        raise ConfigError(f"process {jax.process_index()} differs from another process in {what}")


def wait_for_all() -> None:
    """Waits until all processes have reached this call."""
    multihost_utils.sync_global_devices("vqvae_jax")


def replicated(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of arrays that every device holds a copy of."""
    return NamedSharding(mesh, PartitionSpec())


def split(mesh: Mesh, axis: int = 0) -> NamedSharding:
    """Returns the sharding of examples, with each device holding its part of `axis`."""
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, _AXIS))


def sum_over_examples(
    function: Callable[[Any, Any], tuple[Sums, Each]],
    mesh: Mesh,
    params: Any,
    examples: Any,
    *,
    at_a_time: int | None,
    accumulate: int = 1,
) -> tuple[Sums, Each]:
    """Returns the sum of function(params, part) over parts of a batch; call it under jit.

    The gradient with respect to any parameters is such a sum, if the loss is a sum over examples.

    Args:
        function: returns sums over the examples of a part, and results per example, as two pytrees
            of arrays; the latter with the examples on the first axis.
        mesh: from `mesh_for`.
        params: a pytree, replicated over it.
        examples: a pytree of arrays [B, ...], split over it.
        at_a_time: the most examples that a CPU core computes at a time; a GPU or TPU core computes
            its share of the batch at once. None if the function's result is not a sum over
            examples, such as the entropy of a batch: then the batch stays whole, and XLA divides
            the work among the devices.
        accumulate: the least number of parts that every device computes one after the other.

    Returns:
        The result of function(params, examples), up to the order of additions; the sums replicated.
    """
    if at_a_time is None:
        return function(params, examples)

    def on_one_device(params: Any, examples: Any) -> tuple[Sums, Each]:
        share = len(jax.tree.leaves(examples)[0])
        most = max(1, share // accumulate)
        if not are_accelerators(list(mesh.devices.flat)):
            most = min(most, at_a_time)
        size = max(n for n in range(1, most + 1) if share % n == 0)
        parts = jax.tree.map(lambda leaf: leaf.reshape(-1, size, *leaf.shape[1:]), examples)
        first = jax.tree.map(lambda leaf: leaf[0], parts)
        shapes, _ = jax.eval_shape(function, params, first)
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)

        def add(total: Sums, part: Any) -> tuple[Sums, Each]:
            sums, each = function(params, part)
            return jax.tree.map(jnp.add, total, sums), each

        total, each = jax.lax.scan(add, zeros, parts)
        each = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), each)
        return jax.lax.psum(total, _AXIS), each

    return jax.shard_map(
        on_one_device,
        mesh=mesh,
        in_specs=(PartitionSpec(), PartitionSpec(_AXIS)),
        out_specs=(PartitionSpec(), PartitionSpec(_AXIS)),
        check_vma=False,  # with the check, JAX would add gradients up over devices at every part
    )(params, examples)


def examples_at_a_time(
    spatial: Sequence[int], weights: Any = (), positions: int = _CPU_PIXELS
) -> int:
    """Returns how many examples a CPU core computes at a time.

    Args:
        spatial: the lengths of an example's spatial axes.
        weights: a pytree, the parameters, where they are much of the work.
        positions: how many positions, such as pixels, fit the cache with all that is computed.
    """
    number = sum(leaf.size for leaf in jax.tree.leaves(weights))
    wanted = min(max(positions, number // _WEIGHTS_A_PIXEL), _MOST * positions)
    return max(1, wanted // math.prod(spatial))
