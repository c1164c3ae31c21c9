"""TensorBoard: what a reader of its files finds."""

import io
import struct

import numpy as np
import pytest
from PIL import Image
from tensorboardX.proto.event_pb2 import Event, SessionLog

from vqvae_jax.training.tensorboard import TensorBoard


def events(folder):
    """The events of all files, oldest first."""
    found = []
    for file in sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime_ns):
        content = file.read_bytes()
        while content:
            (size,) = struct.unpack("<Q", content[:8])
            found.append(Event.FromString(content[12 : 12 + size]))
            content = content[16 + size :]
    return found


def values(folder):
    """The values written, and their steps."""
    return [(event.step, value) for event in events(folder) for value in event.summary.value]


@pytest.fixture
def writer(tmp_path):
    made = TensorBoard()
    made.open(tmp_path, 4)
    return made


def test_scalars_are_those_of_records(tmp_path, writer):
    for split in ("train", "test"):
        writer.write({"step": 5, "epoch": 1, "split": split, "images": 8, "nmse": 0.5})
    writer.write({"step": 5, "epoch": 1, "split": "settings", "images": 0, "schedule": "linear"})
    writer.close()
    found = [
        (step, value.tag, value.simple_value) for step, value in values(tmp_path / "tensorboard")
    ]
    assert found == [(5, "train/nmse", 0.5), (5, "test/nmse", 0.5)]


def test_steps_that_are_taken_again_are_discarded(tmp_path, writer):
    writer.close()
    starts = [
        e.step for e in events(tmp_path / "tensorboard") if e.session_log.status == SessionLog.START
    ]
    assert starts == [5]


def test_figures_are_images(tmp_path, writer):
    drawn = io.BytesIO()
    Image.new("RGB", (7, 5)).save(drawn, "PNG")
    writer.figures(6, {"codebook.png": drawn.getvalue(), "note.png": b"not drawn"})
    writer.close()
    ((step, value),) = values(tmp_path / "tensorboard")
    assert (step, value.tag) == (6, "codebook")
    assert (value.image.width, value.image.height) == (7, 5)
    assert value.image.encoded_image_string == drawn.getvalue()


def test_histograms_are_of_codes(tmp_path, writer):
    counts = np.arange(600) % 7
    writer.histograms(6, {"codes": counts})
    writer.close()
    ((step, value),) = values(tmp_path / "tensorboard")
    assert (step, value.tag) == (6, "codes")
    codes = np.repeat(np.arange(600), counts)
    of = value.histo
    assert (of.min, of.max, of.num, of.sum) == (0, 600, len(codes), codes.sum())
    assert of.sum_squares == (codes**2).sum()
    limits = np.asarray(of.bucket_limit)
    assert len(limits) == 300
    expected, _ = np.histogram(codes, [0, *limits])
    np.testing.assert_array_equal(of.bucket, expected)


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "tensorboard").write_text("")
    with pytest.raises(OSError) as refusal:
        TensorBoard().open(tmp_path, 0)
    assert refusal.value.filename == str(tmp_path / "tensorboard")
