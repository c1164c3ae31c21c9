"""The section of code maps that one can read and edit, a token at a time.

What each change gives was decoded when the page was made, so it is exact; only the window of pixels
that can change is kept.
"""

import json
import math
from typing import Any

import numpy as np

from vqvae_jax.extras import extra
from vqvae_jax.report.html.content import HeldOut, Report
from vqvae_jax.report.html.page import png
from vqvae_jax.report.html.sections.atlas import alone

with extra("train"):
    from markupsafe import Markup
    from matplotlib import colormaps

_IMAGES, _REPLACEMENTS = 3, 16
_MOST_TOKENS = 1024  # of a map
_DECODED = 2**25  # numbers, of all changed images together
_KEPT = 2**22  # numbers, of the windows of an image's changes
_DECODED_AT_A_TIME = 64


def code_map(report: Report) -> dict[str, Any] | None:
    """Shows the code maps of the first held-out images, with the changes of single tokens."""
    held_out = report.held_out.get(report.runs[0].name)
    if held_out is None or math.prod(held_out.codes.shape[1:3]) > _MOST_TOKENS:
        return None
    count = min(_IMAGES, len(held_out.images))
    replacements = _replacements(held_out, count)
    rank = np.argsort(np.argsort(-held_out.shares, kind="stable"), kind="stable")
    maps = [_map(held_out, index, replacements) for index in range(count)]
    colors = [_color(rank[code] / max(1, len(held_out.most_used))) for code in range(len(rank))]
    used = np.unique(held_out.codes[:count, ..., 0])
    data = {
        "maps": maps,
        "colors": {int(code): colors[code] for code in used},
        "shares": {int(code): f"{100 * held_out.shares[code]:.2g}" for code in used},
        "replacements": [
            {"code": int(code), "image": png(tile)}
            for code, tile in zip(replacements, alone(held_out, replacements), strict=True)
        ]
        if len(replacements)
        else [],
    }
    return {
        # No "</script>" may end the element early.
        "data": Markup(json.dumps(data).replace("<", "\\u003c")),
        "count": count,
        "rows": held_out.codes.shape[1],
        "columns": held_out.codes.shape[2],
        "codebooks": held_out.codes.shape[-1],
        "replacements": len(replacements),
    }


def _replacements(held_out: HeldOut, count: int) -> np.ndarray:
    """Returns the codes that a token may be replaced by: often and rarely used, as many as fit."""
    tokens, pixels = math.prod(held_out.codes.shape[1:3]), math.prod(held_out.images.shape[1:])
    most = min(_REPLACEMENTS, _DECODED // (count * tokens * pixels))
    used = held_out.most_used
    return used[np.linspace(0, len(used) - 1, min(most, len(used))).round().astype(int)]


def _map(held_out: HeldOut, index: int, replacements: np.ndarray) -> dict[str, Any]:
    codes, image = held_out.codes[index], held_out.reconstructions[index]
    changes, corners = _changes(held_out, codes, image, replacements)
    return {
        "original": png(held_out.images[index]),
        "image": png(image),
        "size": [image.shape[1], image.shape[0]],
        "codes": codes[..., 0].tolist(),
        "changes": changes,
        "corners": corners,
    }


def _changes(
    held_out: HeldOut, codes: np.ndarray, image: np.ndarray, replacements: np.ndarray
) -> tuple[dict[str, Any] | None, list[list[int]]]:
    """Returns the windows that change with each token, as one picture, and where they belong.

    The picture has a row for each token and a column for each replacement.
    """
    if len(replacements) == 0:
        return None, []
    rows, columns, codebooks = codes.shape
    tokens = rows * columns
    edited = np.broadcast_to(codes, (tokens, len(replacements), *codes.shape)).copy()
    flat = edited.reshape(tokens, len(replacements), tokens, codebooks)
    flat[np.arange(tokens), :, np.arange(tokens), 0] = replacements
    edited = edited.reshape(-1, *codes.shape)
    parts = [
        held_out.decode(edited[start : start + _DECODED_AT_A_TIME])
        for start in range(0, len(edited), _DECODED_AT_A_TIME)
    ]
    decoded = np.concatenate(parts).reshape(tokens, len(replacements), *image.shape)
    changed = np.any(decoded != image, axis=(1, 4))
    ends = [_extent(changed.any(axis=axis)) for axis in (2, 1)]
    height, width = (int((last - first).max()) for first, last in ends)
    if tokens * len(replacements) * height * width * image.shape[-1] > _KEPT:
        return None, []
    corners = [
        (min(int(top), image.shape[0] - height), min(int(left), image.shape[1] - width))
        for top, left in zip(ends[0][0], ends[1][0], strict=True)
    ]
    sheet = np.concatenate(
        [
            np.concatenate([*one[:, y : y + height, x : x + width]], axis=1)
            for one, (y, x) in zip(decoded, corners, strict=True)
        ]
    )
    return {"image": png(sheet), "size": [width, height]}, [[x, y] for y, x in corners]


def _extent(changed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the first place that changed along the last axis, and the one after the last."""
    length = changed.shape[-1]
    first = changed.argmax(axis=-1)
    last = length - changed[..., ::-1].argmax(axis=-1)
    nothing = ~changed.any(axis=-1)
    return np.where(nothing, 0, first), np.where(nothing, 0, last)


def _color(value: float) -> str:
    return "#{:02x}{:02x}{:02x}".format(*(int(255 * v) for v in colormaps["viridis"](value)[:3]))
