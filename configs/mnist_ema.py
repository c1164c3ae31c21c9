"""configs/mnist.py with an EMA codebook: k-means initialisation, hardly used codes revived.

python train.py --config configs/mnist_ema.py
"""

import ml_collections

from configs import mnist


def get_config() -> ml_collections.ConfigDict:
    config = mnist.get_config()
    config.model.quantizer = "ema"
    config.model.revival_threshold = 0.1
    config.model.kmeans_init = True
    return config
