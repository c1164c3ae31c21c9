"""SIGKILL at any moment: the same command, again and again, ends as if nothing had happened."""

import json
import random
import signal
import subprocess
import time

import pytest

from tests.end_to_end.programs import assert_same_run, finish, metrics, run, start
from tests.faults.commands import KINDS, command, prepare

pytestmark = pytest.mark.faults

KILLS = {"seed": 20, "ema": 20, "prior": 20, "folder": 10}


@pytest.mark.parametrize("kind", KINDS)
def test_random_kills_change_nothing(tmp_path, kind):
    data_dir = prepare(tmp_path)
    for name in ("cold", "whole"):  # the second finds all programs compiled
        begun = time.monotonic()
        result = run(command(kind, tmp_path / name, data_dir))
        assert result.returncode == 0, result.stderr
        seconds = time.monotonic() - begun
    delays = random.Random(kind)
    killed, rounds = [], 0
    while len(killed) < KILLS[kind]:
        rounds += 1
        workdir = tmp_path / f"run{rounds}"
        arguments = command(kind, workdir, data_dir)
        while True:
            process = start(arguments)
            delay = delays.uniform(0, 0.6 * seconds) if len(killed) < KILLS[kind] else None
            try:
                process.wait(delay)
            except subprocess.TimeoutExpired:
                process.kill()
            result = finish(process)
            if result.returncode == 0:
                break
            assert result.returncode == -signal.SIGKILL, result.stderr
            killed.append((result.stdout.splitlines() or ["before the first line"])[-1])
            for log in tmp_path.glob("run*/metrics.jsonl"):
                assert all(json.loads(line) for line in log.read_text().splitlines())
        for part in ("", "_vqvae") if kind == "prior" else ("",):
            ours, expected = (tmp_path / f"{name}{part}" for name in (workdir.name, "whole"))
            assert_same_run(ours, expected, metrics(expected)[-1]["step"])
            assert not list(ours.rglob(".*"))
    print(f"{kind}: {len(killed)} kills in {rounds} runs of {seconds:.1f} s, killed after:")
    print("\n".join(killed))
