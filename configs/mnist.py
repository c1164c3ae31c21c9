"""The VQ-VAE on MNIST: 128 codes of 16 numbers, Adam 1e-3, batches of 128, 30 epochs.

    python train.py --config configs/mnist.py

Expected on the full 60,000 images after 3 epochs, with the seeds 0, 1 and 2: train loss 0.30 to
0.34, test nmse 0.066 to 0.075, perplexity 5.8 to 8.6, 56 to 80 codes used. PyTorch, same protocol,
seeds 0 to 3: 0.32 to 0.39, 0.069 to 0.093, 5.5 to 8.6, 39 to 77; and after 30 epochs (one seed)
0.167, 0.036, 12.5, 118. The perplexity stays far below 128: this quantizer's codebook collapses.
"""

import ml_collections

from vqvae_jax.training.config import Config, DataConfig, ModelConfig, TrainingConfig


def get_config() -> ml_collections.ConfigDict:
    return Config(
        data=DataConfig(name="mnist"),
        model=ModelConfig(embedding_dim=16, num_embeddings=128, commitment_cost=0.25),
        training=TrainingConfig(batch_size=128, learning_rate=1e-3, num_epochs=30, seed=0),
    ).to_config_dict()
