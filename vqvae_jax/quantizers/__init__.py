"""Vector quantisers. Every one takes float [..., D] and returns a `Quantized`."""

from vqvae_jax.quantizers.core import (
    Leaf,
    Quantized,
    code_counts,
    lookup,
    nearest_code,
    perplexity,
    straight_through,
)
from vqvae_jax.quantizers.vector import VectorQuantizer

__all__ = [
    "Leaf",
    "Quantized",
    "VectorQuantizer",
    "code_counts",
    "lookup",
    "nearest_code",
    "perplexity",
    "straight_through",
]
