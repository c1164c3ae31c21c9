"""Likelihoods of the data given the decoder's output: errors, pixel distributions."""

from vqvae_jax.likelihoods.autoregressive import AutoregressiveColorHead, AutoregressiveHead
from vqvae_jax.likelihoods.base import Likelihood
from vqvae_jax.likelihoods.color import ColorMixture
from vqvae_jax.likelihoods.distributions import (
    CATEGORICAL,
    PixelDistribution,
    categorical_log_prob,
    categorical_log_probs,
    logistic_mixture,
    logistic_mixture_log_prob,
    logistic_mixture_log_probs,
    sample_values,
)
from vqvae_jax.likelihoods.heads import (
    CategoricalHead,
    ColorMixtureHead,
    LogisticMixtureHead,
    PixelHead,
)
from vqvae_jax.likelihoods.pointwise import AbsoluteError, SquaredError
from vqvae_jax.likelihoods.spectral import SpectralError

__all__ = [
    "CATEGORICAL",
    "AbsoluteError",
    "AutoregressiveColorHead",
    "AutoregressiveHead",
    "CategoricalHead",
    "ColorMixture",
    "ColorMixtureHead",
    "Likelihood",
    "LogisticMixtureHead",
    "PixelDistribution",
    "PixelHead",
    "SpectralError",
    "SquaredError",
    "categorical_log_prob",
    "categorical_log_probs",
    "logistic_mixture",
    "logistic_mixture_log_prob",
    "logistic_mixture_log_probs",
    "sample_values",
]
