"""The prior over the codes of configs/cifar10_likelihood.py, for bits per dimension.

    python train.py --config configs/cifar10_likelihood_prior.py
    python -m vqvae_jax evaluate --model runs/cifar10_likelihood_prior

The VQ-VAE is looked for in runs/cifar10_likelihood, and trained there first if there is none.
"""

import ml_collections

from configs import cifar10_likelihood


def get_config() -> ml_collections.ConfigDict:
    config = cifar10_likelihood.get_config()
    config.vqvae_training = config.training
    config.prior = {"vqvae": "runs/cifar10_likelihood", "kind": "GatedPixelCNN"}
    config.training = {
        "batch_size": 128,
        "learning_rate": 1e-3,
        "schedule": "cosine",
        "num_epochs": 5,
        "seed": 0,
    }
    return config
