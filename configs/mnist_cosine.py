"""configs/mnist.py with codes on the unit sphere, kept alive.

python train.py --config configs/mnist_cosine.py
"""

import ml_collections

from configs import mnist


def get_config() -> ml_collections.ConfigDict:
    config = mnist.get_config()
    config.model.quantizer = "cosine"
    config.model.revival_threshold = 0.1
    config.model.kmeans_init = True
    return config
