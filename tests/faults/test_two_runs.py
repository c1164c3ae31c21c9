"""Two runs in one folder."""

import pytest

from tests.end_to_end.programs import finish, run, start
from tests.faults.commands import command, prepare

pytestmark = pytest.mark.faults


def test_the_second_is_refused_until_the_first_is_dead(tmp_path):
    endless = {"training__max_steps": 1_000_000, "training__num_epochs": 100_000}
    data_dir, workdir = prepare(tmp_path), tmp_path / "run"
    first = start(command("seed", workdir, data_dir, **endless))
    assert "steps 0 to" in first.stdout.readline()
    refused = run(command("seed", workdir, data_dir, **endless))
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"train.py: {workdir} is in use by process {first.pid} on ")
    assert refused.stderr.count("\n") == 1
    assert refused.stdout == ""
    assert first.poll() is None
    first.kill()
    finish(first)
    assert run(command("seed", workdir, data_dir)).returncode == 0
