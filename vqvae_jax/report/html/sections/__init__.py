"""The sections of the pages: each maps a `Report` to what its template needs, or to None."""

from vqvae_jax.report.html.sections.atlas import atlas
from vqvae_jax.report.html.sections.audio_reconstructions import audio_reconstructions
from vqvae_jax.report.html.sections.audio_samples import audio_samples
from vqvae_jax.report.html.sections.code_map import code_map
from vqvae_jax.report.html.sections.code_use import code_use
from vqvae_jax.report.html.sections.codebooks import codebooks
from vqvae_jax.report.html.sections.curves import curves
from vqvae_jax.report.html.sections.differences import differences
from vqvae_jax.report.html.sections.reconstructions import reconstructions
from vqvae_jax.report.html.sections.same_recordings import same_recordings
from vqvae_jax.report.html.sections.samples import samples
from vqvae_jax.report.html.sections.settings import settings
from vqvae_jax.report.html.sections.side_by_side import side_by_side

__all__ = [
    "atlas",
    "audio_reconstructions",
    "audio_samples",
    "code_map",
    "code_use",
    "codebooks",
    "curves",
    "differences",
    "reconstructions",
    "same_recordings",
    "samples",
    "settings",
    "side_by_side",
]
