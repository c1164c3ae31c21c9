"""Batches that are read ahead: the same ones, in the same order, however they are read."""

import os
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from vqvae_jax import ArraySource
from vqvae_jax.data import InOrder, TrainingOrder, epoch_order, read_batches
from vqvae_jax.errors import DataError

ROOT = Path(__file__).parents[2]


class Numbers:
    """Examples that are their index, and a number that is drawn."""

    fingerprint = "numbers"

    def __init__(self, length, broken=None):
        self.length, self.broken = length, broken
        self.spec = {
            "index": jax.ShapeDtypeStruct((), np.int64),
            "drawn": jax.ShapeDtypeStruct((), np.float64),
        }

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        if index == self.broken:
            raise DataError(f"number {index} is broken")
        return {"index": np.int64(index), "drawn": np.float64(-1)}

    def draw(self, index, random):
        return self[index] | {"drawn": np.float64(random.rand())}


def read(source, order, first=0, **options):
    with read_batches(source, order, first, **options) as batches:
        return [*batches]


def test_training_visits_each_epoch_in_its_order():
    order = TrainingOrder(seed=3, num_examples=10, batch_size=4, num_batches=7)
    batches = read(Numbers(10), order)
    assert [len(batch["index"]) for batch in batches] == [4, 4, 2, 4, 4, 2, 4]
    seen = np.concatenate([batch["index"] for batch in batches])
    np.testing.assert_array_equal(seen[:10], epoch_order(3, 0, 10))
    np.testing.assert_array_equal(seen[10:20], epoch_order(3, 1, 10))
    drawn = np.concatenate([batch["drawn"] for batch in batches])
    assert len(np.unique(drawn)) == len(drawn)
    assert (drawn >= 0).all()


def test_a_run_goes_on_where_it_stopped():
    order = TrainingOrder(0, 10, 4, 8)
    whole = read(Numbers(10), order)
    rest = read(Numbers(10), order, 5)
    assert len(rest) == 3
    for batch, other in zip(whole[5:], rest, strict=True):
        for name, array in batch.items():
            np.testing.assert_array_equal(array, other[name])


def test_evaluations_draw_nothing():
    batches = read(Numbers(10), InOrder(10, 4))
    np.testing.assert_array_equal(np.concatenate([b["index"] for b in batches]), np.arange(10))
    assert (np.concatenate([batch["drawn"] for batch in batches]) == -1).all()


@pytest.mark.parametrize("parts", [2, 4])
@pytest.mark.parametrize("of_array", [False, True])
def test_the_shares_of_all_processes_are_the_batch(parts, of_array):
    source = ArraySource({"index": np.arange(8)}) if of_array else Numbers(8)
    order = TrainingOrder(0, 8, 4, 3)
    whole = read(source, order)
    shares = [read(source, order, share=(part, parts)) for part in range(parts)]
    for number, batch in enumerate(whole):
        together = np.concatenate([share[number]["index"] for share in shares])
        np.testing.assert_array_equal(together, batch["index"])


@pytest.mark.parametrize("is_safe", [False, True])
def test_a_source_is_read_by_one_thread_unless_it_allows_more(is_safe):
    class Watched(Numbers):
        is_thread_safe = is_safe
        inside, most = 0, 0

        def __getitem__(self, index):
            type(self).inside += 1
            type(self).most = max(self.most, self.inside)
            time.sleep(0.02)
            type(self).inside -= 1
            return super().__getitem__(index)

    read(Watched(60), InOrder(60, 4))
    assert (Watched.most > 1) == (is_safe and len(os.sched_getaffinity(0)) > 1)


def test_what_cannot_be_read_is_raised():
    with pytest.raises(DataError, match=r"^number 7 is broken$"):
        read(Numbers(10, broken=7), InOrder(10, 4))


PROGRAM = """
import os, signal, sys, time
import numpy as np
from tests.data.test_reading import Numbers, read
from vqvae_jax.data import TrainingOrder, read_batches
from vqvae_jax.errors import DataError

class Slow(Numbers):
    is_decoded = False

    def __getitem__(self, index):
        if index == self.broken and os.getpid() != {parent}:
            if {how!r} == "die":
                os.kill(os.getpid(), signal.SIGKILL)
            raise DataError(f"number {{index}} is broken")
        return super().__getitem__(index)

if __name__ == "__main__":
    order = TrainingOrder(0, 50, 4, 200)
    {body}
"""


def run(tmp_path, body, how="raise"):
    file = tmp_path / "program.py"
    text = PROGRAM.format(body=body.strip().replace("\n", "\n    "), how=how, parent=-1)
    file.write_text(text)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    return subprocess.Popen(
        [sys.executable, str(file)],
        env=environment,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_workers_read_the_same(tmp_path):
    body = """
here = read(Slow(50), order, 3)
there = read(Slow(50), order, 3, workers=2)
for batch, other in zip(here, there, strict=True):
    for name, array in batch.items():
        np.testing.assert_array_equal(array, other[name])
try:
    read(Slow(50, broken=7), order, workers=2)
except DataError as error:
    print(error)
"""
    process = run(tmp_path, body)
    out, err = process.communicate(timeout=100)
    assert (process.returncode, out) == (0, "number 7 is broken\n"), err


@pytest.mark.slow
def test_a_worker_that_dies_is_one_line(tmp_path):
    body = """
try:
    read(Slow(50, broken=7), order, workers=2)
except DataError as error:
    print(error)
"""
    process = run(tmp_path, body, "die")
    out, err = process.communicate(timeout=100)
    assert out.startswith("a process that reads examples ended: "), (out, err)
    assert out.count("\n") == 1


@pytest.mark.slow
def test_workers_end_with_their_parent(tmp_path):
    """Also if it is killed, and cannot tell them."""
    body = """
with read_batches(Slow(50), order, workers=2) as batches:
    next(batches)
    import multiprocessing
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
    time.sleep(100)
"""
    process = run(tmp_path, body)
    children = [int(number) for number in process.stdout.readline().split()]
    assert len(children) == 2
    process.kill()
    process.wait()
    process.stdout.close()
    process.stderr.close()
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{child}").exists() for child in children):
        assert time.monotonic() < deadline
        time.sleep(0.1)
