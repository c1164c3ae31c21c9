"""A long run: memory and open files."""

import json
import os
import re
import time
from pathlib import Path

import numpy as np
import pytest

from tests.end_to_end.programs import ROOT, finish, start

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="reads Linux's /proc"),
]

STEPS = 20_000


def measured(pid):
    """The resident memory of its own in MiB, and the open files, of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"RssAnon:\s+(\d+) kB", status)
    if found is None:  # dead, but not buried yet
        raise ProcessLookupError
    return int(found[1]) / 1024, len(os.listdir(f"/proc/{pid}/fd"))


def test_a_long_run_does_not_grow(tmp_path):
    workdir = tmp_path / "run"
    settings = {
        "data.data_dir": tmp_path / "data",
        "training.batch_size": 8,
        "training.num_epochs": 1000,
        "training.max_steps": STEPS,
    }
    flags = [f"--config.{name}={value}" for name, value in settings.items()]
    config = ROOT / "configs" / "mnist_ema.py"
    process = start(["--config", config, "--workdir", workdir, *flags], JAX_NUM_CPU_DEVICES="2")
    log, samples = workdir / "metrics.jsonl", []
    while process.poll() is None:
        lines = log.read_bytes().splitlines(keepends=True) if log.exists() else []
        if lines and lines[-1].endswith(b"\n"):
            try:
                samples.append((json.loads(lines[-1])["step"], *measured(process.pid)))
            except (FileNotFoundError, ProcessLookupError):  # it ended meanwhile
                break
        time.sleep(0.5)
    result = finish(process)
    assert result.returncode == 0, result.stderr
    steps, memory, files = np.array(samples).T
    second = (steps > STEPS // 4) & (steps <= STEPS // 2)
    last = (steps > STEPS * 3 // 4) & (steps <= STEPS)
    assert min(second.sum(), last.sum()) >= 10
    growth = np.median(memory[last]) / np.median(memory[second]) - 1
    print(f"memory grew by {growth:+.2%} to {np.median(memory[last]):.0f} MiB; open files:")
    print(np.unique(files[second | last], return_counts=True))
    assert growth < 0.02
    assert np.median(files[last]) == np.median(files[second])
