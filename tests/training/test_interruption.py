"""A signal while packages are imported: it waits, and then counts."""

import subprocess
import sys
from pathlib import Path

import pytest

# Sends the signal from inside a module that is being imported, as it would meet an extension.
IMPORT = """
import os, sys
from vqvae_jax.training.interruption import Interrupted, catch_signals, importing
catch_signals()
sys.path.insert(0, {folder!r})
try:
    with importing():
        import module
    print("on")
except Interrupted as signal:
    print(signal, module.loaded)
    sys.exit(signal.exit_status)
"""


@pytest.mark.parametrize(
    ("sent", "output", "status"),
    [("", "on\n", 0), ("os.kill(os.getpid(), signal.SIGTERM)", "SIGTERM True\n", 143)],
)
def test_a_signal_waits_for_the_end_of_the_imports(tmp_path, sent, output, status):
    module = f"import os, signal, time\n{sent}\ntime.sleep(0.1)\nloaded = True\n"
    (tmp_path / "module.py").write_text(module)
    result = subprocess.run(
        [sys.executable, "-c", IMPORT.format(folder=str(tmp_path))],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert (result.stdout, result.stderr, result.returncode) == (output, "", status)
