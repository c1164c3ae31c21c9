"""The pictures show what they are given: looked up in the pixels."""

import io
import itertools

import numpy as np
import pytest
from PIL import Image

from vqvae_jax.report import figures


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


def test_errors_are_below_the_reconstructions(drawn_figures):
    images = np.random.RandomState(0).rand(20, 4, 5, 3).astype(np.float32) - 0.5
    figures.reconstructions(images, images[::-1], "title")
    sheet = drawn_figures[0].axes[0].images[0].get_array()
    for index in range(20):
        line, column = divmod(index, 16)
        group = sheet[12 * line : 12 * line + 12, 5 * column : 5 * column + 5]
        shown = [images[index] + 0.5, images[19 - index] + 0.5]
        np.testing.assert_allclose(np.concatenate([*shown, abs(shown[0] - shown[1])]), group, 1e-5)


def test_samples_of_a_class_share_a_row(drawn_figures):
    labels = np.array([3, 0, 3, 0, 0])
    images = np.arange(5)[:, None, None, None] / 5 * np.ones((5, 4, 4, 1)) - 0.5
    figures.samples(images, labels, "title")
    (axes,) = drawn_figures[0].axes
    assert [text.get_text() for text in axes.texts] == ["0", "3"]
    rows = axes.images[0].get_array()[[1, 7]][:, [1, 7, 13]]
    np.testing.assert_allclose(rows, [[0.2, 0.6, 0.8], [0.0, 0.4, 1.0]], atol=1e-6)


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
    tiles = np.zeros((5, 4, 4, 1), np.float32)
    with_used = figures.codebook(counts, tiles, images, codes, "title")
    without = figures.codebook(np.where(counts == 20, 0, counts), tiles, images, codes, "title")
    assert not np.array_equal(pixels(with_used), pixels(without))
    assert figures.codebook(counts, tiles, images, codes, "title") == with_used


def test_use_is_one_falling_line_a_codebook(drawn_figures):
    figures.usage(np.array([[0, 6, 2, 0], [1, 3, 2, 2]]), "the run")
    (axes,) = drawn_figures[0].axes
    assert axes.get_title() == "use of the codes: mean perplexity 2.8"
    assert axes.get_xlabel() == "code, most used first (6 of 8 used)"
    first, second = (line.get_ydata() for line in axes.lines)
    np.testing.assert_allclose(first, [0.75, 0.25, np.nan, np.nan])
    np.testing.assert_allclose(second, [0.375, 0.25, 0.25, 0.125])


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


@pytest.fixture
def drawn_figures(monkeypatch):
    """The figures themselves, as they are encoded."""
    kept = []
    encoded = figures._encoded

    def keep(figure, *given):
        kept.append(figure)
        return encoded(figure, *given)

    monkeypatch.setattr(figures, "_encoded", keep)
    return kept


def curve(values, split):
    return [
        {"step": 100 * (i + 1), "split": split, "nll": value, "perplexity": 9.0, "codes_used": 16}
        for i, value in enumerate(values)
    ]


@pytest.mark.parametrize(
    ("low", "high"), [(0.02, 0.1), (0.036, 0.3), (0.0951, 0.96), (0.1, 1.0), (1e-3, 0.9), (1e-6, 9)]
)
def test_labels_of_a_log_axis_do_not_overlap(drawn_figures, low, high):
    figures.training(curve(np.geomspace(high, low, 20), "train"), ["nll"])
    (axes,) = drawn_figures[0].axes
    assert axes.get_yscale() == "log"
    bottom, top = axes.get_ylim()
    ticks = [*axes.yaxis.get_major_ticks(), *axes.yaxis.get_minor_ticks()]
    labels = [t.label1 for t in ticks if t.label1.get_text() and bottom <= t.get_loc() <= top]
    boxes = sorted((label.get_window_extent() for label in labels), key=lambda box: box.y0)
    assert len(boxes) > 1
    for below, above in itertools.pairwise(boxes):
        assert below.y1 < above.y0


def test_a_curve_of_one_point_has_a_marker(drawn_figures):
    for count in (1, 2):
        figures.training(curve([3.0] * count, "train") + curve([2.0], "test"), ["nll"])
    markers = [
        {line.get_label(): line.get_marker() for line in figure.axes[0].lines}
        for figure in drawn_figures
    ]
    assert markers == [{"train": ".", "test": "."}, {"train": "", "test": "."}]
    assert [tick for tick in drawn_figures[0].axes[0].get_xticks() if 99 < tick < 101] == [100]


def test_legends_cover_no_curve(drawn_figures):
    figures.training(curve([3.0, 1.0], "train") + curve([2.0, 1.0], "test"), ["nll"], 16)
    for axes in drawn_figures[0].axes:
        legend = axes.get_legend().get_window_extent()
        assert not legend.overlaps(axes.get_window_extent())
        assert drawn_figures[0].bbox.y0 <= legend.y0


def test_codebook_titles_say_what_is_shown(drawn_figures):
    images, codes = np.zeros((2, 8, 8, 1), np.float32), np.zeros((2, 2, 2), int)
    tiles = np.linspace(-0.5, 0.5, 4, dtype=np.float32)[:, None, None, None] * np.ones((4, 3, 5, 1))
    figures.codebook(np.array([5, 5, 5, 0]), tiles, images, codes, "the run")
    two = np.array([[6, 6, 0, 0], [3, 3, 3, 3]])
    figures.codebook(two, tiles, images, np.stack([codes, codes], axis=-1), "the run")
    for figure, use, maps in zip(
        drawn_figures,
        ("use of the codes: perplexity 3.0", "use of the codes: mean perplexity 3.0"),
        ("its codes (dark", "its codes of codebook 1 of 2 (dark"),
        strict=True,
    ):
        assert figure.get_suptitle() == "the run"
        bars, shown = figure.subfigs
        assert bars.axes[0].get_title() == use
        assert bars.axes[1].get_title() == "the 4 most used codes, each decoded alone"
        sheet = bars.axes[1].images[0].get_array()
        for index in range(4):
            place = sheet[1:4, 6 * index + 1 : 6 * index + 6]
            np.testing.assert_allclose(place, index / 3, atol=1e-6)
        assert shown.get_suptitle() == f"images, and below each {maps}: often used)"
        extent = shown._suptitle.get_window_extent()
        assert extent.x0 >= shown.bbox.x0
        assert extent.x1 <= figure.bbox.x1
