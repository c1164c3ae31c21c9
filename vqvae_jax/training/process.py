"""Settings of the program's process: all cores, retained memory, a compilation cache.

The library leaves these alone: they affect the whole process, so the program decides.
"""

import contextlib
import ctypes
import os
import sys

import jax

from vqvae_jax.errors import TrainingError
from vqvae_jax.extras import extra

# Parameters of mallopt, from glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4

# A process that sends no heartbeat for this long counts as dead to the others.
_HEARTBEAT_SECONDS = 20

_HOST_DEVICES_FLAG = "xla_force_host_platform_device_count"


def use_all_cores() -> None:
    """Makes every CPU core a device for JAX, if nothing else is configured; before JAX starts."""
    configured = jax.config.jax_num_cpu_devices != -1  # type: ignore[attr-defined]
    if not configured and _HOST_DEVICES_FLAG not in os.environ.get("XLA_FLAGS", ""):
        jax.config.update("jax_num_cpu_devices", _cpu_cores())


def _cpu_cores() -> int:
    """Returns the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def join_processes(coordinator_address: str, num_processes: int, process_id: int) -> None:
    """Makes this process one of several that train together; call it before JAX starts.

    Only the first process writes to standard output.

    Args:
        coordinator_address: HOST:PORT where the first process listens.
        num_processes: how many there are.
        process_id: the number of this one, from 0.

    Raises:
        TrainingError: they cannot connect.
    """
    try:
        jax.distributed.initialize(
            coordinator_address,
            num_processes,
            process_id,
            heartbeat_timeout_seconds=_HEARTBEAT_SECONDS,
        )
    except jax.errors.JaxRuntimeError as error:
        reason = str(error).partition("\n")[0]
        raise TrainingError(
            f"the processes cannot connect at {coordinator_address}: {reason}"
        ) from error
    if process_id != 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def leave_others(status: int) -> None:
    """Ends this process without waiting for others that may be dead."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def keep_memory() -> None:
    """Makes glibc keep freed memory for the next allocation; does nothing without glibc.

    Otherwise the kernel may map, clear and unmap the temporaries' pages at every step, which costs
    as much as the arithmetic.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def keep_compilations() -> None:
    """Makes JAX cache compiled programs in the user's cache folder, if no other is configured."""
    if jax.config.jax_compilation_cache_dir is None:  # type: ignore[attr-defined]
        with extra("train"):
            import platformdirs
        folder = platformdirs.user_cache_path("vqvae_jax") / "compiled"
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
