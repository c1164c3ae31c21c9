"""A VQ-VAE whose decoder ends in a distribution of pixels: bits, in place of squared errors.

    python train.py --config configs/mnist_likelihood.py

The head is a small masked network over the pixels before, conditioned on the decoder's features.
The cheaper heads: --config.model.likelihood.kind=CategoricalHead, or LogisticMixtureHead.

Expected on the full 60,000 images: bits_per_dim 1.046 held out, which is -log2 p(x | z) / pixels.
"""

import ml_collections

from configs import mnist_ema


def get_config() -> ml_collections.ConfigDict:
    config = mnist_ema.get_config()
    config.model.likelihood = {"kind": "AutoregressiveHead", "in_dim": 32, "hidden_dim": 32}
    config.training.num_epochs = 5
    config.training.schedule = "cosine"
    return config
