"""The section of code maps that one can read and edit, a token at a time.

What each change gives was decoded when the page was made, so it is exact; only the window of pixels
that can change is kept.
"""

import dataclasses
import json
import math
from typing import Any

import numpy as np

from vqvae_jax.extras import extra
from vqvae_jax.report.html.content import HeldOut, Report
from vqvae_jax.report.html.page import png

with extra("train"):
    from markupsafe import Markup
    from matplotlib import colormaps

_IMAGES, _REPLACEMENTS = 3, 16
_MOST_TOKENS = 1024  # of a map
_DECODED = 2**25  # numbers, of all changed images together
_KEPT = 2**21  # numbers, of all windows together
_DECODED_AT_A_TIME = 64


@dataclasses.dataclass(frozen=True)
class _Edits:
    """The decoder's output where single tokens of a map are replaced.

    Attributes:
        windows: the pixels that can change [tokens, replacements, height, width, C].
        corners: the upper left pixels of the windows of each token, x and y.
    """

    windows: np.ndarray
    corners: list[list[int]]


def code_map(report: Report) -> dict[str, Any] | None:
    """Shows the code maps of the first held-out images, with the changes of single tokens."""
    held_out = report.held_out.get(report.runs[0].name)
    if held_out is None or math.prod(held_out.codes.shape[1:3]) > _MOST_TOKENS:
        return None
    decoded = math.prod(held_out.codes.shape[1:3]) * math.prod(held_out.images.shape[1:])
    count = min(_IMAGES, len(held_out.images))
    if count * decoded * _REPLACEMENTS > _DECODED:
        count = 1
    replacements = _spread(held_out.most_used, _DECODED // (count * decoded))
    edits = [_edits(held_out, index, replacements) for index in range(count)]
    of_one = sum(edit.windows[:, :1].size for edit in edits)
    kept = _spread(np.arange(len(replacements)), _KEPT // max(1, of_one))
    used = np.unique(held_out.codes[:count, ..., 0])
    rank = np.argsort(np.argsort(-held_out.shares, kind="stable"), kind="stable")
    data = {
        "maps": [_map(held_out, index, edit, kept) for index, edit in enumerate(edits)],
        "colors": {int(code): _color(rank[code] / len(held_out.most_used)) for code in used},
        "shares": {int(code): f"{100 * held_out.shares[code]:.2g}" for code in used},
        "replacements": [
            {"code": int(code), "image": png(held_out.alone(code[None])[0])}
            for code in replacements[kept]
        ],
    }
    return {
        # No "</script>" may end the element early.
        "data": Markup(json.dumps(data).replace("<", "\\u003c")),
        "count": count,
        "rows": held_out.codes.shape[1],
        "columns": held_out.codes.shape[2],
        "codebooks": held_out.codes.shape[-1],
        "replacements": len(kept),
    }


def _spread(values: np.ndarray, most: int) -> np.ndarray:
    """Returns at most so many of some values, from the first to the last, evenly spread."""
    number = min(_REPLACEMENTS, most, len(values))
    return values[np.linspace(0, len(values) - 1, number).round().astype(int)]


def _map(held_out: HeldOut, index: int, edits: _Edits, kept: np.ndarray) -> dict[str, Any]:
    """Returns a map as the page's script takes it.

    The windows are one picture, with a row for each token and a column for each replacement.
    """
    image = held_out.reconstructions[index]
    shown = {
        "original": png(held_out.images[index]),
        "image": png(image),
        "size": [image.shape[1], image.shape[0]],
        "codes": held_out.codes[index, ..., 0].tolist(),
        "changes": None,
    }
    if len(kept):
        _, _, height, width, channels = edits.windows.shape
        sheet = edits.windows[:, kept].transpose(0, 2, 1, 3, 4)
        sheet = sheet.reshape(-1, len(kept) * width, channels)
        shown["changes"] = {"image": png(sheet), "size": [width, height], "corners": edits.corners}
    return shown


def _edits(held_out: HeldOut, index: int, replacements: np.ndarray) -> _Edits:
    codes, image = held_out.codes[index], held_out.reconstructions[index]
    tokens, number = math.prod(codes.shape[:2]), len(replacements)
    edited = np.broadcast_to(codes, (tokens, number, *codes.shape)).copy()
    flat = edited.reshape(tokens, number, tokens, codes.shape[2])
    flat[np.arange(tokens), :, np.arange(tokens), 0] = replacements
    edited = edited.reshape(tokens * number, *codes.shape)
    parts = [
        held_out.decode(edited[start : start + _DECODED_AT_A_TIME])
        for start in range(0, len(edited), _DECODED_AT_A_TIME)
    ]
    if not parts:
        return _Edits(np.zeros((tokens, 0, 0, 0, image.shape[2]), np.uint8), [])
    decoded = np.concatenate(parts).reshape(tokens, number, *image.shape)
    changed = np.any(decoded != image, axis=(1, 4))
    (tops, height), (lefts, width) = (_windows(changed.any(axis=axis)) for axis in (2, 1))
    windows = np.stack(
        [
            of_token[:, top : top + height, left : left + width]
            for of_token, top, left in zip(decoded, tops, lefts, strict=True)
        ]
    )
    return _Edits(windows, [[int(x), int(y)] for x, y in zip(lefts, tops, strict=True)])


def _windows(changed: np.ndarray) -> tuple[np.ndarray, int]:
    """Returns where windows of one length begin that hold all that changed, and the length.

    Args:
        changed: for each token, which places along an axis change [tokens, places].
    """
    places = changed.shape[1]
    first, last = changed.argmax(axis=1), places - changed[:, ::-1].argmax(axis=1)
    length = int(np.max(np.where(changed.any(axis=1), last - first, 1)))
    return np.minimum(first, places - length), length


def _color(value: float) -> str:
    return "#{:02x}{:02x}{:02x}".format(*(int(255 * v) for v in colormaps["viridis"](value)[:3]))
