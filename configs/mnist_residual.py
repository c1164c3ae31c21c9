"""configs/mnist.py with two EMA codebooks of 11 codes in a row (6.9 bits), kept alive.

    python train.py --config configs/mnist_residual.py

docs/quantizers.md compares it with the others.
"""

import ml_collections

from configs import mnist


def get_config() -> ml_collections.ConfigDict:
    config = mnist.get_config()
    config.model.quantizer = "residual"
    config.model.num_quantizers = 2
    config.model.num_embeddings = 11
    config.model.revival_threshold = 0.1
    config.model.kmeans_init = True
    return config
