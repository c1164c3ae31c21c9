"""configs/mnist.py with the rotation trick: k-means initialization, dead-code revival.

    python train.py --config configs/mnist_rotation.py

After 10 epochs on the full 60,000 images, seed 0: test nmse 0.0634, perplexity 39.4, all 128 codes
used; configs/mnist.py: 0.0491, 7.9, 92 of 128.
"""

import ml_collections

from configs import mnist


def get_config() -> ml_collections.ConfigDict:
    config = mnist.get_config()
    config.model.quantizer.update(
        estimator="rotation_trick", revival_threshold=0.1, kmeans_init=True
    )
    return config
