"""Pairs of a VQ-VAE and a prior, which together give images a probability."""

from vqvae_jax.likelihoods import PixelHead
from vqvae_jax.models import Tokenizer
from vqvae_jax.priors import Prior


def check_pair(vqvae: Tokenizer, prior: Prior) -> None:
    """Checks that p(x | z) and p(z) exist and use the same z.

    Args:
        vqvae: must have a `PixelHead` as its likelihood.
        prior: must be over as many codes and codebooks as the VQ-VAE's quantizer has.

    Raises:
        ValueError: one is missing, or they differ.
    """
    if not isinstance(vqvae.likelihood, PixelHead):
        raise ValueError("the VQ-VAE has no head; without a distribution there are no bits")
    for name in ("num_embeddings", "num_codebooks"):
        given, expected = getattr(prior, name), getattr(vqvae.quantizer, name)
        if given != expected:
            raise ValueError(
                f"the prior's {name} is {given}; it must be {expected}, like the quantizer's"
            )
