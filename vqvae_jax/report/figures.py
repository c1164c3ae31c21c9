"""The pictures of a run. Each function returns a file's bytes, PNG unless stated otherwise."""

import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np

from vqvae_jax.extras import extra
from vqvae_jax.quantizers import perplexity

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLUMNS = 16
_MAP_COLUMNS = 4
_GAP, _TITLE, _SHEET_WIDTH = 6, 28, 1600  # pixels
_TITLES = {
    "nmse": "nmse: mse / data variance",
    "bits_per_dim": "-log2 p(x | z), bits per dimension",
    "nll": "nats per token",
    "bits_per_image": "bits per image",
    "bits_per_example": "bits per example",
}


def reconstructions(
    images: np.ndarray, reconstructed: np.ndarray, title: str, shown: str = "reconstruction"
) -> bytes:
    """Draws originals above their reconstructions and the absolute errors of these.

    Args:
        images: floats [N, H, W, C] in [-0.5, 0.5], C 1 or 3.
        reconstructed: the same shape; clipped to that range.
        title: one line.
        shown: what is shown below the originals, in a few words.
    """
    count, height = images.shape[:2]
    reconstructed = np.clip(reconstructed, -0.5, 0.5)
    rows = []
    for start in range(0, count, _COLUMNS):
        for source in (images, reconstructed, np.abs(images - reconstructed) - 0.5):
            tiles = list(source[start : start + _COLUMNS])
            blank = np.full_like(tiles[0], 0.5)
            rows.append(np.concatenate(tiles + [blank] * (_COLUMNS - len(tiles)), axis=1))
    sheet = np.concatenate(rows) + 0.5
    figure = _figure(10.0, 10 * sheet.shape[0] / sheet.shape[1] + 0.45)
    axes = figure.subplots()
    axes.imshow(sheet.squeeze(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    for edge in range(3 * height, sheet.shape[0], 3 * height):
        axes.axhline(edge - 0.5, color="tab:orange", linewidth=1)
    axes.set_title(f"{title}\nby threes: original, {shown}, absolute error", fontsize=9)
    axes.set_axis_off()
    return _encoded(figure)


def pairs(
    images: Sequence[tuple[np.ndarray, np.ndarray]], title: str, file_format: str = "png"
) -> bytes:
    """Draws pairs of images of any size, one above the other, pixel by pixel.

    Args:
        images: pairs of uint8 [H, W, C] of one size, C 1 or 3.
        title: one line.
        file_format: png, jpg, jpeg or webp.
    """
    with extra("train"):
        from PIL import Image, ImageDraw, ImageFont

    places, left, top, lowest = [], _GAP, _TITLE, _TITLE
    for first, _ in images:
        height, width = first.shape[:2]
        if left > _GAP and left + width > _SHEET_WIDTH:
            left, top = _GAP, lowest
        places.append((left, top))
        left, lowest = left + width + _GAP, max(lowest, top + 2 * (height + _GAP))
    right = max(x + first.shape[1] for (x, _), (first, _) in zip(places, images, strict=True))
    sheet = Image.new("RGB", (max(right + _GAP, 480), lowest), "white")
    font = ImageFont.load_default(_GAP + 6)
    ImageDraw.Draw(sheet).text((_GAP, _GAP), title, fill="black", font=font)
    for (left, top), pair in zip(places, images, strict=True):
        for line, image in enumerate(pair):
            rgb = np.broadcast_to(image, (*image.shape[:2], 3))
            below = top + line * (len(image) + _GAP // 3)
            sheet.paste(Image.fromarray(np.ascontiguousarray(rgb)), (left, below))
    buffer = io.BytesIO()
    sheet.save(buffer, {"jpg": "jpeg"}.get(file_format, file_format))
    return buffer.getvalue()


def samples(
    images: np.ndarray, labels: np.ndarray | None, title: str, file_format: str = "png"
) -> bytes:
    """Draws a sheet of images; with labels, each class begins a row.

    Args:
        images: floats [N, H, W, C] in [-0.5, 0.5], C 1 or 3; clipped to that range.
        labels: int [N], written left of the rows; None: no labels.
        title: one line.
        file_format: png, jpg, jpeg or webp.
    """
    count, height, width, channels = images.shape
    groups = [np.arange(count)]
    if labels is not None:
        groups = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    largest = max(len(group) for group in groups)
    columns = min(largest, max(math.ceil(math.sqrt(count)), _COLUMNS if len(groups) > 1 else 1))
    lines = [
        group[start : start + columns]
        for group in groups
        for start in range(0, len(group), columns)
    ]
    cell = (height + 2, width + 2)
    sheet = np.ones((len(lines) * cell[0], columns * cell[1], channels))
    figure = _figure(
        max(4.0, 0.85 * columns), 0.85 * columns * sheet.shape[0] / sheet.shape[1] + 0.4
    )
    axes = figure.subplots()
    for line, indices in enumerate(lines):
        y = line * cell[0]
        for column, index in enumerate(indices):
            x = column * cell[1]
            sheet[y : y + height, x : x + width] = np.clip(images[index] + 0.5, 0, 1)
        if labels is not None:
            at = {"x": -width / 8, "y": y + height / 2}
            axes.text(s=str(labels[indices[0]]), fontsize=8, ha="right", va="center", **at)
    axes.imshow(sheet.squeeze(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_axis_off()
    axes.set_title(title, fontsize=9)
    return _encoded(figure, file_format)


def codebook(
    code_counts: np.ndarray, tiles: np.ndarray, images: np.ndarray, codes: np.ndarray, title: str
) -> bytes:
    """Draws how often each code is used, codes decoded alone, and the code maps of a few images.

    Args:
        code_counts: int [K] or [num_codebooks, K], over a whole split.
        tiles: what the most used codes of the first codebook give by themselves, most used first:
            floats [M, H, W, C] in [-0.5, 0.5], C 1 or 3; clipped to that range.
        images: floats [N, H, W, C] in [-0.5, 0.5], C 1 or 3.
        codes: int [N, h, w] or [N, h, w, num_codebooks], the images' codes; those of the first
            codebook are shown.
        title: the title of the whole, one line.
    """
    counts = np.atleast_2d(code_counts)
    shown = "its codes"
    if code_counts.ndim == 2:
        codes, shown = codes[..., 0], f"its codes of codebook 1 of {len(counts)}"
    rank = np.argsort(np.argsort(-counts[0], kind="stable"))
    used = np.count_nonzero(counts[0])

    figure = _figure(10.0, 6.4)
    figure.suptitle(title, fontsize=9)
    left, maps = figure.subfigures(1, 2, width_ratios=[1.1, 1], squeeze=False)[0]
    axes, below = left.subplots(2, 1, height_ratios=[3, 2])
    _show_tiles(below, tiles)
    _show_use(axes, counts)

    lines = 2 * -(-len(images) // _MAP_COLUMNS)
    grid = maps.subplots(lines, _MAP_COLUMNS, squeeze=False)
    for index, (image, code_map) in enumerate(zip(images, codes, strict=True)):
        line, column = divmod(index, _MAP_COLUMNS)
        grid[2 * line, column].imshow(image.squeeze() + 0.5, cmap="gray", vmin=0, vmax=1)
        grid[2 * line + 1, column].imshow(rank[code_map], vmin=0, vmax=max(1, used - 1))
    for axes in grid.flat:
        axes.set_axis_off()
    maps.suptitle(f"images, and below each {shown} (dark: often used)", fontsize=9)
    return _encoded(figure)


def usage(code_counts: np.ndarray, title: str) -> bytes:
    """Draws how often each code is used.

    Args:
        code_counts: int [K] or [num_codebooks, K], over a whole split.
        title: the title of the whole, one line.
    """
    figure = _figure(10.0, 4.0)
    figure.suptitle(title, fontsize=9)
    _show_use(figure.subplots(), np.atleast_2d(code_counts))
    return _encoded(figure)


def _show_use(axes: "Axes", counts: np.ndarray) -> None:
    """Shows the shares of the codes [num_codebooks, K], of each codebook the most used first."""
    ordered = -np.sort(-counts, axis=1)
    shares = ordered / np.maximum(1, counts.sum(1, keepdims=True))
    places = np.arange(1, shares.shape[1] + 1)
    if len(shares) == 1:
        axes.bar(places, shares[0], width=1.0)
    else:
        for index, share in enumerate(shares):
            axes.step(places, np.where(share > 0, share, np.nan), where="mid", label=str(index + 1))
        axes.legend(title="codebook", fontsize=8)
    axes.set_yscale("log")
    axes.set_ylim(bottom=min(shares[shares > 0], default=1.0) / 2)
    axes.set_xlim(0, shares.shape[1] + 1)
    axes.set_xlabel(f"code, most used first ({np.count_nonzero(counts)} of {counts.size} used)")
    axes.set_ylabel("share of all tokens")
    mean, effective = "mean " if len(counts) > 1 else "", perplexity(jnp.asarray(counts)).mean()
    axes.set_title(f"use of the codes: {mean}perplexity {effective:.1f}", fontsize=9)


def _show_tiles(axes: "Axes", tiles: np.ndarray) -> None:
    """Shows tiles in rows, most used first."""
    count, height, width, channels = tiles.shape
    cell, columns = (height + 1, width + 1), math.ceil(math.sqrt(2.5 * count))
    sheet = np.ones((-(-count // columns) * cell[0] + 1, columns * cell[1] + 1, channels))
    for index, tile in enumerate(tiles):
        y, x = index // columns * cell[0] + 1, index % columns * cell[1] + 1
        sheet[y : y + height, x : x + width] = np.clip(tile + 0.5, 0, 1)
    axes.imshow(sheet.squeeze(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_axis_off()
    axes.set_title(f"the {count} most used codes, each decoded alone", fontsize=9)


def training(
    records: list[dict[str, Any]], names: Sequence[str], num_codes: int | None = None
) -> bytes:
    """Draws the training curves of a run.

    Args:
        records: the run's log, as in metrics.jsonl.
        names: the metrics of both splits to draw.
        num_codes: the number of codes in all codebooks, to draw how many are used; None: not drawn.
    """
    with extra("train"):
        from matplotlib.ticker import LogLocator

    figure = _figure(10.0, 3.8)
    both = list(figure.subplots(1, len(names) + (num_codes is not None), squeeze=False)[0])
    codes = None if num_codes is None else both.pop()
    for split in ("train", "test"):
        lines = [record for record in records if record["split"] == split]
        steps = [line["step"] for line in lines]
        marked = split == "test" or len(lines) == 1  # a line of one point cannot be seen
        style = {"linewidth": 1, "marker": "." if marked else ""}
        for axes, name in zip(both, names, strict=True):
            axes.plot(steps, [line[name] for line in lines], label=split, **style)
        if split == "test" and codes is not None:
            for name in ("perplexity", "codes_used"):
                label = f"{name.replace('_', ' ')} (test)"
                codes.plot(steps, [line[name] for line in lines], label=label, **style)
    for axes, name in zip(both, names, strict=True):
        values = [record[name] for record in records if name in record]
        low, high = min(values), max(values)
        if 0 < low < high / 4:  # an entropy loss may make a loss negative
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if low > high / 1000 else (1,)))
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter("")
        _label(axes, _TITLES.get(name, name))
    if codes is not None and num_codes is not None:
        codes.set_ylim(0, num_codes * 1.02)
        _label(codes, f"codes, of {num_codes}")
    return _encoded(figure)


def _label(axes: "Axes", title: str) -> None:
    axes.set_title(title, fontsize=9)
    axes.set_xlabel("step")
    axes.locator_params(axis="x", nbins=4, integer=True, min_n_ticks=1)
    axes.grid(alpha=0.3, which="both")
    # Below the axes, where it covers no curve.
    axes.legend(fontsize=8, frameon=False, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.18))


def _figure(width: float, height: float) -> "Figure":
    with extra("train"):
        from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=110, layout="constrained")


def _encoded(figure: "Figure", file_format: str = "png") -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=file_format)
    return buffer.getvalue()
