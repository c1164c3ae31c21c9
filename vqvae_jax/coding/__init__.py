"""Lossless compression of images with a VQ-VAE and a prior: bits per dimension as a file."""

from vqvae_jax.coding.codec import compress, decompress

__all__ = ["compress", "decompress"]
