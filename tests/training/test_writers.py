"""Scalars, images and buckets, as writers take them from a log."""

import itertools

import numpy as np
import pytest

from vqvae_jax.training.tensorboard import TensorBoard
from vqvae_jax.training.wandb import Wandb
from vqvae_jax.training.writers import LogWriter, buckets, images, scalars


def test_scalars_are_the_metrics_of_a_split():
    record = {"step": 3, "epoch": 1, "split": "test", "images": 8, "nmse": 0.5, "loss": 1.0}
    assert [*scalars(record).items()] == [("test/loss", 1.0), ("test/nmse", 0.5)]
    assert scalars(record | {"split": "settings", "schedule": "linear"}) == {}


def test_images_are_the_figures_that_are_png():
    png = b"\x89PNG\r\n\x1a\n and so on"
    assert images({"a.png": png, "b.png": b"<svg>", "c.html": b""}) == {"a": png}


@pytest.mark.parametrize(("count", "expected"), [(1, 1), (512, 512), (513, 257), (4096, 512)])
def test_buckets_hold_all_counts(count, expected):
    counts = np.random.RandomState(0).randint(0, 9, count)
    in_buckets, edges = buckets(counts)
    assert (len(in_buckets), edges[0], edges[-1]) == (expected, 0, count)
    places = [slice(*pair) for pair in itertools.pairwise(edges)]
    np.testing.assert_array_equal(in_buckets, [counts[place].sum() for place in places])
    assert len({*np.diff(edges)[:-1]}) <= 1


class Least(LogWriter):
    def open(self, workdir, resume_step):
        pass

    def write(self, record):
        pass


def test_a_writer_need_not_take_figures_and_histograms():
    writer = Least()
    assert isinstance(writer, LogWriter)
    writer.figures(1, {"a.png": b""})
    writer.histograms(1, {"codes": np.ones(2, int)})
    writer.flush()
    writer.close()
    assert issubclass(TensorBoard, LogWriter)
    assert issubclass(Wandb, LogWriter)
    with pytest.raises(TypeError, match="abstract"):
        LogWriter()
