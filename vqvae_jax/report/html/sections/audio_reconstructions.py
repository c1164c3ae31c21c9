"""The section of an audio tokenizer's reconstructions, the worst, the best and the first."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from vqvae_jax.metrics import SISDR
from vqvae_jax.report.html.content import Heard, Report
from vqvae_jax.report.html.sounds import sounds
from vqvae_jax.signals import to_signal
from vqvae_jax.words import counted

_EACH = 3
_DEPTHS = 8  # with more codebooks, 1, 2, 4, 8, ... of them


def audio_reconstructions(report: Report) -> dict[str, Any] | None:
    """Plays held-out recordings and their reconstructions, of some from fewer codebooks too."""
    heard = report.heard.get(report.runs[0].name)
    if heard is None:
        return None
    order = np.argsort(heard.si_sdr, kind="stable")
    each = min(_EACH, len(order))
    first = np.arange(each)
    groups = {"The worst": order[:each], "The best": order[::-1][:each], "The first": first}
    shown = np.unique([*groups.values()])
    followed = list(dict.fromkeys(int(indices[0]) for indices in groups.values()))
    by_depth = {depth: heard.from_first(depth, followed) for depth in _depths(heard)}
    quality = {depth: _si_sdr(heard.signals[followed], of) for depth, of in by_depth.items()}
    both = {"original": heard.signals[shown], "reconstruction": heard.reconstructions[shown]}
    of, axes = sounds({**both, **by_depth}, heard.sample_rate)
    pairs = {
        int(index): {
            "index": int(index),
            "original": of["original"][place],
            "reconstruction": of["reconstruction"][place],
            "si_sdr": f"{heard.si_sdr[index]:.1f}",
            "mel_distance": f"{heard.mel_distance[index]:.1f}",
        }
        for place, index in enumerate(shown)
    }
    return {
        "count": len(order),
        "si_sdr": f"{np.median(heard.si_sdr):.1f}",
        "mel_distance": f"{np.median(heard.mel_distance):.1f}",
        "bit_rate": f"{heard.bit_rate(len(heard.codebook_sizes)):.3g}",
        "axes": axes,
        "groups": [(name, [pairs[int(i)] for i in indices]) for name, indices in groups.items()],
        "by_depth": [
            {
                "index": index,
                "original": pairs[index]["original"],
                "depths": [
                    {
                        "codebooks": counted(depth, "codebook"),
                        "bit_rate": f"{heard.bit_rate(depth):.3g}",
                        "si_sdr": f"{quality[depth][place]:.1f}",
                        "sound": of[depth][place],
                    }
                    for depth in by_depth
                ],
            }
            for place, index in enumerate(followed if by_depth else [])
        ],
    }


def _depths(heard: Heard) -> Sequence[int]:
    """Returns the numbers of codebooks to listen to; none if there is only one."""
    most = len(heard.codebook_sizes)
    if most == 1:
        return []
    if most <= _DEPTHS:
        return range(1, most + 1)
    return [*(2**power for power in range((most - 1).bit_length())), most]


def _si_sdr(signals: np.ndarray, others: np.ndarray) -> np.ndarray:
    return np.asarray(SISDR()(*(to_signal(jnp.asarray(of)) for of in (signals, others))))
