"""The gated PixelCNN over the codes of configs/mnist.py: 20 epochs, without classes.

    python train.py --config configs/mnist_prior.py

The VQ-VAE is looked for in runs/mnist, and trained there first if there is none.

Expected on the full 60,000 images, in 40 minutes on two cores: train nll of the last epoch 0.919
nats a token, held-out nll 1.064; at its best, after 7 epochs, 1.028. From there on it learns by
heart.
"""

import ml_collections

from configs import mnist
from vqvae_jax.training.config import Config, PriorConfig, TrainingConfig


def get_config() -> ml_collections.ConfigDict:
    return Config.of_prior(
        Config.from_dict(mnist.get_config().to_dict()),
        PriorConfig(vqvae="runs/mnist", kind="pixelcnn"),
        TrainingConfig(batch_size=128, learning_rate=1e-3, num_epochs=20, seed=0),
    ).to_config_dict()
