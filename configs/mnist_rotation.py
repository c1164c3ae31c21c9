"""configs/mnist.py with the rotation trick: k-means initialisation, hardly used codes revived.

python train.py --config configs/mnist_rotation.py
"""

import ml_collections

from configs import mnist


def get_config() -> ml_collections.ConfigDict:
    config = mnist.get_config()
    config.model.estimator = "rotation_trick"
    config.model.revival_threshold = 0.1
    config.model.kmeans_init = True
    return config
