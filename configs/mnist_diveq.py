"""configs/mnist.py with DiVeQ, whose codes learn from the reconstruction alone.

    python train.py --config configs/mnist_diveq.py

After 10 epochs on the full 60,000 images, seed 0: test nmse 0.0330, perplexity 27.7, all 128 codes
used; configs/mnist.py: 0.0491, 7.9, 92 of 128.
"""

import ml_collections

from configs import mnist


def get_config() -> ml_collections.ConfigDict:
    config = mnist.get_config()
    config.model.quantizer.update(
        estimator="diveq",
        codebook_cost=0.0,
        commitment_cost=0.0,
        revival_threshold=0.1,
        kmeans_init=True,
    )
    return config
