"""The section of a tokenizer's reconstructions, the worst, the best and the first."""

from typing import Any

import numpy as np

from vqvae_jax.extras import extra
from vqvae_jax.report.html.content import HeldOut, Report
from vqvae_jax.report.html.page import png

with extra("train"):
    from matplotlib import colormaps

_EACH = 8


def reconstructions(report: Report) -> dict[str, Any] | None:
    """Shows held-out images above their reconstructions and the errors of these."""
    held_out = report.held_out.get(report.runs[0].name)
    if held_out is None:
        return None
    psnr = held_out.psnr()
    order = np.argsort(psnr, kind="stable")
    each = min(_EACH, len(psnr))
    first = np.arange(each)
    groups = {"The worst": order[:each], "The best": order[::-1][:each], "The first": first}
    scale = int(max(1, errors(held_out, order[:each]).max()))
    return {
        "count": len(psnr),
        "median": f"{np.median(psnr):.1f}",
        "scale": scale,
        "groups": [
            (
                name,
                [
                    {
                        "index": int(index),
                        "psnr": f"{psnr[index]:.1f}",
                        "image": png(_above(held_out, int(index), scale)),
                    }
                    for index in indices
                ],
            )
            for name, indices in groups.items()
        ],
    }


def errors(held_out: HeldOut, indices: Any) -> np.ndarray:
    """Returns the absolute errors of reconstructions, means over channels: float [M, H, W]."""
    images = held_out.images[indices].astype(np.float32)
    return np.abs(images - held_out.reconstructions[indices]).mean(axis=-1)


def _above(held_out: HeldOut, index: int, scale: int) -> np.ndarray:
    """Returns an image, its reconstruction and its error below each other, uint8 [3 H, W, 3]."""
    error = errors(held_out, [index])[0] / scale
    of_error = (colormaps["magma"](np.clip(error, 0, 1))[..., :3] * 255).astype(np.uint8)
    both = [held_out.images[index], held_out.reconstructions[index]]
    return np.concatenate([*(np.broadcast_to(one, of_error.shape) for one in both), of_error])
