"""The section of what each codebook of an audio tokenizer carries."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from vqvae_jax.quantizers import perplexity
from vqvae_jax.report.html.content import Report


def codebooks(report: Report) -> dict[str, Any] | None:
    """Lists the use of each codebook on the recordings heard, and the bit rate up to it."""
    heard = report.heard.get(report.runs[0].name)
    if heard is None or len(heard.codebook_sizes) == 1:
        return None
    rows = []
    for place, size in enumerate(heard.codebook_sizes):
        counts = np.bincount(heard.codes[..., place].ravel(), minlength=size)
        rows.append(
            {
                "number": place + 1,
                "size": size,
                "used": int(np.count_nonzero(counts)),
                "perplexity": f"{float(perplexity(jnp.asarray(counts))):.1f}",
                "bit_rate": f"{heard.bit_rate(place + 1):.3g}",
            }
        )
    return {"rows": rows, "count": len(heard.codes)}
