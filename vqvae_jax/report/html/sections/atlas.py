"""The section that shows each code: decoded alone, the patches nearest to it, its use."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from vqvae_jax.metrics import Usage
from vqvae_jax.report.html.content import HeldOut, Report
from vqvae_jax.report.html.page import png

_CODES, _PATCHES = 256, 6


def atlas(report: Report) -> dict[str, Any] | None:
    """Shows the most used codes of the first codebook."""
    held_out = report.held_out.get(report.runs[0].name)
    if held_out is None:
        return None
    usage = {
        step: next(iter(of.values())) for step, of in report.runs[0].usage_shown.items()
    }  # of the first codebook
    shown = held_out.most_used[:_CODES]
    tiles = held_out.alone(shown)
    return {
        "codes": [
            {
                "code": int(code),
                "share": f"{100 * held_out.shares[code]:.2g}",
                "alone": png(tile),
                "patches": png(_nearest(held_out, int(code))),
                "trend": _trend(usage, int(code)),
            }
            for code, tile in zip(shown, tiles, strict=True)
        ],
        "used": len(held_out.most_used),
        "number": held_out.num_embeddings,
        "images": len(held_out.images),
        "patch": "{} x {}".format(*held_out.patch),
        "codebooks": held_out.codes.shape[-1],
        "evaluations": len(usage),
        "kept": max((len(of.counts) for of in usage.values() if _is_cut(of)), default=None),
    }


def _is_cut(usage: Usage) -> bool:
    return len(usage.counts) < usage.used


def _trend(usage: Mapping[int, Usage], code: int) -> dict[str, str] | None:
    """Returns a code's share at each evaluation as points of a curve, 100 wide and 30 high."""
    if not usage:
        return None
    steps = np.array([*usage])
    shares = np.array([of.share(code) for of in usage.values()])
    x = 100 * (steps - steps[0]) / (steps[-1] - steps[0])
    y = 30 - 30 * shares / (shares.max() or 1)
    first, last, most = (f"{100 * share:.2g} %" for share in (shares[0], shares[-1], shares.max()))
    return {
        "points": " ".join(f"{a:.4g},{b:.3g}" for a, b in zip(x, y, strict=True)),
        "text": f"Code {code}: {first} after step {steps[0]}, {last} after step {steps[-1]}, "
        f"at most {most}",
    }


def _nearest(held_out: HeldOut, code: int) -> np.ndarray:
    """Returns the patches that have a code and are nearest to it, with half a patch around each.

    They lie side by side, nearest first, white where there are no more: uint8 [2 p, ..., C].
    """
    (height, width), channels = held_out.patch, held_out.images.shape[-1]
    around = (height // 2, width // 2)
    places = np.argwhere(held_out.codes[..., 0] == code)
    order = np.argsort(held_out.distances[tuple(places.T)], kind="stable")[:_PATCHES]
    size = (height + 2 * around[0], width + 2 * around[1])
    row = np.full((size[0], _PATCHES * (size[1] + 1) - 1, channels), 255, np.uint8)
    for number, (index, i, j) in enumerate(places[order]):
        edges = ((around[0], around[0]), (around[1], around[1]), (0, 0))
        padded = np.pad(held_out.images[index], edges, mode="edge")
        patch = padded[i * height : i * height + size[0], j * width : j * width + size[1]]
        row[:, number * (size[1] + 1) :][:, : size[1]] = patch
    return row
