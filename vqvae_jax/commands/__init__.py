"""The commands of `python -m vqvae_jax`, each a function."""

from vqvae_jax.commands.encoding import decode, encode, reconstruct
from vqvae_jax.commands.evaluation import evaluate, extract
from vqvae_jax.commands.exporting import export
from vqvae_jax.commands.lossless import compress, decompress
from vqvae_jax.commands.priors import sample
from vqvae_jax.commands.reports import compare, report

__all__ = [
    "compare",
    "compress",
    "decode",
    "decompress",
    "encode",
    "evaluate",
    "export",
    "extract",
    "reconstruct",
    "report",
    "sample",
]
