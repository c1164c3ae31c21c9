"""configs/mnist.py with DiVeQ, whose codes learn from the reconstruction alone.

python train.py --config configs/mnist_diveq.py
"""

import ml_collections

from configs import mnist


def get_config() -> ml_collections.ConfigDict:
    config = mnist.get_config()
    config.model.estimator = "diveq"
    config.model.revival_threshold = 0.1
    config.model.kmeans_init = True
    return config
