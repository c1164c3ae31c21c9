"""Trains a VQ-VAE or a prior; `python train.py --help` lists the settings."""

import sys

from vqvae_jax.training.interruption import catch_signals
from vqvae_jax.training.program import main

if __name__ == "__main__":
    catch_signals()
    sys.exit(main())
