"""Metrics: sums over examples on the devices, and the numbers that they become."""

from vqvae_jax.metrics.audio import SISDR, AudioMetric, MelDistance
from vqvae_jax.metrics.base import Metric
from vqvae_jax.metrics.evaluate import Evaluator
from vqvae_jax.metrics.images import PSNR, SSIM, ImageMetric
from vqvae_jax.metrics.totals import Totals
from vqvae_jax.metrics.usage import Usage

__all__ = [
    "PSNR",
    "SISDR",
    "SSIM",
    "AudioMetric",
    "Evaluator",
    "ImageMetric",
    "MelDistance",
    "Metric",
    "Totals",
    "Usage",
]
