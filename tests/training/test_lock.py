"""Two processes in one folder, and the lock of a dead one."""

import os
import signal
import subprocess
import sys

import pytest

from vqvae_jax.errors import BusyError
from vqvae_jax.training.lock import locked

HOLD = """
import sys, time
from pathlib import Path
from vqvae_jax.training.lock import locked
with locked(Path(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(600)
"""


def test_the_second_is_refused_and_a_dead_ones_lock_is_free(tmp_path):
    arguments = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "locked\n"
        expected = rf"{tmp_path} is in use by process {holder.pid} on .*; wait for it, stop it"
        for _ in range(2):
            with pytest.raises(BusyError, match=expected), locked(tmp_path):
                pass
        holder.send_signal(signal.SIGKILL)
    with locked(tmp_path):
        assert (tmp_path / "lock").read_text().startswith(f"process {os.getpid()} on ")


def test_the_lock_is_given_back(tmp_path):
    for _ in range(2):
        with locked(tmp_path):
            pass
