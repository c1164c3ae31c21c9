"""configs/mnist_prior.py with a transformer, with dropout and a falling step size.

python train.py --config configs/mnist_prior_transformer.py
"""

import ml_collections

from configs import mnist_prior


def get_config() -> ml_collections.ConfigDict:
    config = mnist_prior.get_config()
    config.prior.kind = "transformer"
    config.prior.dropout = 0.1
    config.training.schedule = "cosine"
    return config
