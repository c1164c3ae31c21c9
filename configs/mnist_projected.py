"""configs/mnist.py with an EMA codebook of 8 numbers per code, between two learned projections.

    python train.py --config configs/mnist_projected.py

After 10 epochs on the full 60,000 images, seed 0: test nmse 0.0333, perplexity 35.0, all 128 codes
used; configs/mnist.py: 0.0491, 7.9, 92 of 128.
"""

import ml_collections

from configs import mnist


def get_config() -> ml_collections.ConfigDict:
    config = mnist.get_config()
    config.model.quantizer = {
        "kind": "ProjectedQuantizer",
        "embedding_dim": 16,
        "quantizer": {
            "kind": "EMAVectorQuantizer",
            "embedding_dim": 8,
            "num_embeddings": 128,
            "commitment_cost": 1.0,
            "revival_threshold": 0.1,
            "kmeans_init": True,
        },
    }
    return config
