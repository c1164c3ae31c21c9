"""A full disk: one line, nothing lost, and the run resumes once there is room."""

import os
import subprocess
import time

import pytest

from tests.end_to_end.programs import assert_same_run, finish, metrics, run, start
from tests.faults.commands import command, prepare
from vqvae_jax.training.checkpoint import latest_checkpoint

pytestmark = pytest.mark.faults


@pytest.fixture
def disk(tmp_path):
    """A disk of its own, 8 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "none", folder]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("only root may mount a file system")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def fill(disk, left):
    """Fills a disk but for so many bytes; returns the file that does."""
    filler = disk / "filler"
    room = os.statvfs(disk)
    with filler.open("wb") as file:
        file.write(bytes(max(0, room.f_bavail * room.f_frsize - left)))
    return filler


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    root = tmp_path_factory.mktemp("whole")
    data_dir = prepare(root)
    assert run(command("seed", root / "run", data_dir)).returncode == 0
    return data_dir, root / "run"


@pytest.mark.parametrize("kilobytes", [0, 16, 256, 512, 1024])
def test_a_full_disk_costs_nothing_but_time(disk, whole_run, kilobytes):
    (data_dir, whole), workdir = whole_run, disk / "run"
    assert run(command("seed", workdir, data_dir, training__max_steps=24)).returncode == 0
    before = metrics(workdir)
    filler = fill(disk, kilobytes * 1024)
    result = run(command("seed", workdir, data_dir))
    assert result.returncode == 1
    assert result.stderr.startswith("train.py: ")
    assert f"No space left on device: '{workdir}/" in result.stderr
    assert result.stderr.count("\n") == 1
    latest = latest_checkpoint(workdir)
    assert latest.step >= 24
    assert [r for r in metrics(workdir) if r["step"] <= 24] == before
    filler.unlink()
    assert run(command("seed", workdir, data_dir)).returncode == 0
    assert_same_run(workdir, whole, 40)
    assert not list(workdir.rglob(".*"))


def test_a_disk_that_fills_while_a_run_goes_on_ends_it(disk, whole_run):
    """Without a checkpoint for long, so that only the logs grow."""
    endless = {
        "training__max_steps": 1_000_000,
        "training__num_epochs": 1_000_000,
        "training__batch_size": 90,
        "training__log_every": 1,
    }
    process = start(command("seed", disk / "run", whole_run[0], **endless))
    assert "steps 0 to" in process.stdout.readline()
    while not list((disk / "run").glob("checkpoints/*.safetensors")):
        assert process.poll() is None
        time.sleep(0.1)
    fill(disk, 100 * 1024)
    result = finish(process, timeout=120)
    assert result.returncode == 1
    assert f"No space left on device: '{disk}/run/" in result.stderr
    assert result.stderr.count("\n") == 1
