"""The settings of the program's process, in processes of their own."""

import os
import subprocess
import sys

import pytest

# Allocates and frees 40 blocks of 48 MB, each written to, and prints the page faults it took.
FAULTS = """
import ctypes, resource
from vqvae_jax.training.process import keep_memory
{keep}
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(40):
    block = libc.malloc(48 * 2**20)
    ctypes.memset(block, 1, 48 * 2**20)
    libc.free(ctypes.c_void_p(block))
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""

CACHE = """
import jax
from vqvae_jax.training.process import keep_compilations
keep_compilations()
jax.jit(lambda x: x * 3 + 1)(1.0)
"""


DEVICES = """
import jax
from vqvae_jax.training.process import use_all_cores
use_all_cores()
print(jax.device_count())
"""


def run(script, **env):
    result = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        env={**os.environ, "JAX_PLATFORMS": "cpu", **env},
    )
    return result.stdout


@pytest.mark.slow
def test_every_core_is_a_device_unless_configured():
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert int(run(DEVICES)) == cores
    assert int(run(DEVICES, JAX_NUM_CPU_DEVICES="3")) == 3
    assert int(run(DEVICES, XLA_FLAGS="--xla_force_host_platform_device_count=5")) == 5


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="page faults of glibc")
def test_memory_that_is_kept_is_not_mapped_again():
    kept = int(run(FAULTS.format(keep="keep_memory()")))
    given_back = int(run(FAULTS.format(keep="")))
    assert kept < given_back / 10


def test_compiled_programs_are_kept_where_the_user_keeps_caches(tmp_path):
    run(CACHE, XDG_CACHE_HOME=str(tmp_path))
    assert list((tmp_path / "vqvae_jax" / "compiled").iterdir())


def test_a_cache_that_is_configured_is_respected(tmp_path):
    run(
        CACHE,
        XDG_CACHE_HOME=str(tmp_path / "default"),
        JAX_COMPILATION_CACHE_DIR=str(tmp_path / "mine"),
        JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0",
    )
    assert list((tmp_path / "mine").iterdir())
    assert not (tmp_path / "default").exists()
