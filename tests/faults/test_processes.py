"""Several processes that train together, and one that dies."""

import signal
import socket
import time

import numpy as np
import pytest

from tests.end_to_end.programs import finish, metrics, run, saved_state, start
from tests.faults.commands import command, prepare

pytestmark = pytest.mark.faults


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """92 images: batches of 8, the last one of 4, which 4 processes can share."""
    return prepare(tmp_path_factory.mktemp("data"), train=92)


def start_all(arguments, processes, devices, *, last=()):
    """Starts processes that train together, the last one with further arguments."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    together = [f"--coordinator_address=localhost:{port}", f"--num_processes={processes}"]
    commands = [[*arguments, *together, f"--process_id={index}"] for index in range(processes)]
    commands[-1] += last
    return [start(each, JAX_NUM_CPU_DEVICES=str(devices)) for each in commands]


def wait_for_step(workdir, step):
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline:
        records = metrics(workdir) if (workdir / "metrics.jsonl").exists() else []
        if records and records[-1]["step"] >= step:
            return
        time.sleep(0.1)
    raise TimeoutError


@pytest.mark.parametrize(("kind", "counts"), [("ema", (2, 4)), ("prior", (2,)), ("folder", (2,))])
def test_processes_do_not_change_a_run(tmp_path, data_dir, kind, counts):
    settings = {"training__max_steps": 12}
    elsewhere = [f"--config.data.data_dir={prepare(tmp_path, train=92)}"]
    whole = run(command(kind, tmp_path / "1", data_dir, **settings), JAX_NUM_CPU_DEVICES="4")
    assert whole.returncode == 0, whole.stderr
    for processes in counts:
        arguments = command(kind, tmp_path / str(processes), data_dir, **settings)
        started = start_all(arguments, processes, 4 // processes, last=elsewhere)
        for index, result in enumerate([finish(process) for process in started]):
            assert result.returncode == 0, result.stderr
            said = result.stderr.splitlines()
            assert all(line.startswith("decoding ") for line in said), result.stderr
            assert ("on 4 cpu devices" in result.stdout) == (index == 0)
    for processes in counts:
        ours, expected = metrics(tmp_path / str(processes)), metrics(tmp_path / "1")
        assert [record.keys() for record in ours] == [record.keys() for record in expected]
        for record, wanted in zip(ours, expected, strict=True):
            for name, value in wanted.items():
                if name != "split":
                    np.testing.assert_allclose(record[name], value, rtol=1e-6, err_msg=name)
        state = saved_state(tmp_path / str(processes), 12)
        for name, value in saved_state(tmp_path / "1", 12).items():
            np.testing.assert_allclose(state[name], value, rtol=1e-4, atol=1e-6, err_msg=name)
            if name.startswith("state.variables") and value.dtype.kind in "iub":
                np.testing.assert_array_equal(state[name], value, err_msg=name)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
@pytest.mark.parametrize("victim", [0, 1])
def test_a_process_that_is_gone_ends_the_others(tmp_path, data_dir, victim, number):
    endless = {"training__max_steps": 1_000_000, "training__num_epochs": 100_000}
    workdir = tmp_path / "run"
    processes = start_all(command("ema", workdir, data_dir, **endless), 2, 2)
    wait_for_step(workdir, 24)
    processes[victim].send_signal(number)
    since = time.monotonic()
    result = finish(processes[1 - victim])
    assert time.monotonic() - since < 60
    assert result.returncode != 0
    assert "train.py: JAX gave up: " in result.stderr or "another task died" in result.stderr
    processes[victim].kill()
    finish(processes[victim])
    step = metrics(workdir)[-1]["step"]
    resumed = run(
        command("ema", workdir, data_dir, training__max_steps=step + 24), JAX_NUM_CPU_DEVICES="1"
    )
    assert resumed.returncode == 0, resumed.stderr
    assert "on 1 cpu device" in resumed.stdout
    steps = [record["step"] for record in metrics(workdir) if record["split"] == "train"]
    assert steps == sorted(set(steps))
    assert steps[-1] == step + 24


def test_a_batch_that_processes_cannot_share_is_refused(tmp_path):
    started = start_all(command("seed", tmp_path / "run", prepare(tmp_path, train=91)), 2, 1)
    for result in [finish(process) for process in started]:
        assert result.returncode == 2
        assert "a batch of 3 images cannot be divided among 2 processes" in result.stderr


@pytest.mark.parametrize("what", ["settings", "data"])
def test_a_process_that_would_train_something_else_is_refused(tmp_path, data_dir, what):
    last = ["--config.training.learning_rate=0.5"]
    if what == "data":
        last = [f"--config.data.data_dir={prepare(tmp_path, train=100)}"]
    started = start_all(command("seed", tmp_path / "run", data_dir), 2, 1, last=last)
    for result in [finish(process) for process in started]:
        assert result.returncode == 2
        assert "differs from another process in its settings or data" in result.stderr
        assert result.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--num_processes=2"], "must all be given, or none"),
        (
            ["--coordinator_address=here", "--num_processes=2", "--process_id=0"],
            "coordinator_address is 'here'; it must be HOST:PORT",
        ),
        (
            ["--coordinator_address=here:1", "--num_processes=2", "--process_id=2"],
            "process_id is 2; it must be from 0 to 1",
        ),
    ],
)
def test_wrong_flags_are_refused(tmp_path, flags, message):
    result = run([*command("seed", tmp_path / "run", tmp_path), *flags])
    assert result.returncode == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
