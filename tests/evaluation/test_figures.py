"""The pictures show what they are given: looked up in the pixels."""

import io

import numpy as np
import pytest
from PIL import Image

from vqvae_jax.evaluation import figures


def pixels(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("L"), np.float64)


@pytest.mark.parametrize(("count", "channels"), [(1, 1), (16, 1), (20, 3), (64, 1)])
def test_reconstructions_alternate_with_originals(count, channels):
    bright = np.full((count, 12, 12, channels), 0.5, np.float32)
    picture = pixels(figures.reconstructions(bright, -10 * bright, "title"))
    middle = picture[:, int(picture.shape[1] * 0.02)]  # through the first column of images
    dark_runs = np.flatnonzero(np.diff((middle < 10).astype(int)) == 1)
    assert len(dark_runs) == -(
        -count // 16
    )  # one dark row of reconstructions under each bright one


@pytest.mark.parametrize(
    ("file_format", "is_one"),
    [("png", "PNG"), ("jpg", "JPEG"), ("jpeg", "JPEG"), ("webp", "WEBP")],
)
def test_samples_are_a_picture_of_the_format_asked_for(file_format, is_one):
    images = np.full((4, 12, 12, 1), -0.5, np.float32)
    content = figures.samples(images, None, "title", file_format)
    with Image.open(io.BytesIO(content)) as picture:
        assert picture.format == is_one
    same = pixels(figures.samples(images, None, "title"))
    assert np.abs(pixels(content) - same).mean() < 3  # JPEG and WebP are lossy


def test_codebook_draws_one_bar_a_used_code():
    counts = np.array([0, 50, 0, 30, 20] + [0] * 11)
    images = np.zeros((3, 8, 8, 1), np.float32)
    codes = np.array([[[1, 3], [4, 1]]] * 3)
    with_used = figures.codebook(counts, images, codes, "title")
    without = figures.codebook(np.where(counts == 20, 0, counts), images, codes, "title")
    assert not np.array_equal(pixels(with_used), pixels(without))
    assert figures.codebook(counts, images, codes, "title") == with_used


def test_training_draws_a_run_of_any_length():
    def record(step, split):
        return {
            "step": step,
            "split": split,
            "loss": 1 / step,
            "nmse": 1 / step,
            "perplexity": 3.0,
            "codes_used": 5,
        }

    def lowered(records, by):
        return [r | {"loss": r["loss"] - by} for r in records]

    # A loss below 0 is drawn: where it lies makes a difference.
    below = [record(s, k) for s in (1, 2, 3) for k in ("train", "test")]
    drawn = [pixels(figures.training(lowered(below, by), ["loss", "nmse"], 16)) for by in (1.5, 15)]
    assert drawn[0].shape == drawn[1].shape
    assert not np.array_equal(*drawn)
    short = figures.training([record(1, "train"), record(1, "test")], ["loss", "nmse"], 16)
    longer = figures.training(
        [record(s, k) for s in (1, 2, 3) for k in ("train", "test")], ["loss", "nmse"], 16
    )
    assert not np.array_equal(pixels(short), pixels(longer))
