"""The commands of `python -m vqvae_jax`, each a function."""

from vqvae_jax.commands.evaluation import evaluate, extract
from vqvae_jax.commands.images import decode, encode, reconstruct
from vqvae_jax.commands.lossless import compress, decompress
from vqvae_jax.commands.priors import sample

__all__ = [
    "compress",
    "decode",
    "decompress",
    "encode",
    "evaluate",
    "extract",
    "reconstruct",
    "sample",
]
