"""A VQ-VAE on a folder of images: 64 x 64 RGB, the paper's residual network, 512 codes.

    python train.py --config configs/images.py --config.data.path=PHOTOS

PHOTOS holds images of any size, in any folders; those of a folder test are held out, if there are
folders train and test, else every tenth. Of each image training sees another part of 64 x 64 pixels
in every epoch, after its shorter side was scaled to 96 pixels; --config.data.crop=center and
--config.data.resize=64 would show the whole image. --config.data.size=128 is what it says.
"""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    network = {"width": 128, "num_blocks": 2, "downsampling": 4}
    return ml_collections.ConfigDict(
        {
            "data": {
                "kind": "ImageFolder",
                "path": "PHOTOS",
                "size": 64,
                "resize": 96,
                "crop": "random",
                "flip": True,
            },
            "model": {
                "encoder": {"kind": "ResNetEncoder", **network},
                "quantizer": {
                    "kind": "EMAVectorQuantizer",
                    "embedding_dim": 64,
                    "num_embeddings": 512,
                    "revival_threshold": 0.1,
                    "kmeans_init": True,
                },
                "decoder": {"kind": "ResNetDecoder", **network},
                "likelihood": {"kind": "SquaredError"},
            },
            "training": {
                "batch_size": 32,
                "learning_rate": 3e-4,
                "num_epochs": 100,
                "workers": 2,
                "seed": 0,
            },
        }
    )
