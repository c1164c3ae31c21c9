"""Trains the VQ-VAE of configs/cifar10.py in PyTorch, and prints its held-out figures."""

import json
import math
import sys
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


class Block(nn.Module):
    """x + Conv 1x1(ReLU(Conv 3x3(ReLU(x))))."""

    def __init__(self, width: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.ReLU(), nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 1)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.layers(x)


def encoder(width: int, latent_dim: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, width, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(width, width, 4, stride=2, padding=1),
        Block(width),
        Block(width),
        nn.ReLU(),
        nn.Conv2d(width, latent_dim, 1),
    )


def decoder(width: int, latent_dim: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(latent_dim, width, 3, padding=1),
        Block(width),
        Block(width),
        nn.ReLU(),
        nn.ConvTranspose2d(width, width, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.ConvTranspose2d(width, 3, 4, stride=2, padding=1),
    )


class Codebook:
    """Codes that are moving averages of the vectors that chose them (the paper's appendix A.1)."""

    def __init__(self, vectors: torch.Tensor, number: int, decay: float = 0.99):
        self.codes = vectors[torch.randperm(len(vectors))[:number]].clone()
        self.decay = decay
        for _ in range(10):  # k-means
            counts, sums = self._totals(vectors, self.nearest(vectors))
            used = counts > 0
            self.codes[used] = sums[used] / counts[used, None]
        self.counts, self.sums = counts, counts[:, None] * self.codes

    def nearest(self, vectors: torch.Tensor) -> torch.Tensor:
        return ((self.codes**2).sum(1) - 2 * vectors @ self.codes.t()).argmin(1)

    def update(self, vectors: torch.Tensor, indices: torch.Tensor) -> None:
        counts, sums = self._totals(vectors, indices)
        self.counts.lerp_(counts, 1 - self.decay)
        self.sums.lerp_(sums, 1 - self.decay)
        used = counts > 0
        self.codes[used] = self.sums[used] / self.counts[used, None]

    def _totals(
        self, vectors: torch.Tensor, indices: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        chosen = F.one_hot(indices, len(self.codes)).to(vectors.dtype)
        return chosen.sum(0), chosen.t() @ vectors


def vectors_of(z: torch.Tensor) -> torch.Tensor:
    """Latents [B, D, h, w] as vectors [B h w, D]."""
    return z.permute(0, 2, 3, 1).reshape(-1, z.shape[1])


def quantized(codebook: Codebook, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The nearest codes in the form of the latents, and which they are."""
    indices = codebook.nearest(vectors_of(z))
    codes = codebook.codes[indices].reshape(len(z), *z.shape[2:], z.shape[1])
    return codes.permute(0, 3, 1, 2), indices


def floats(images: torch.Tensor) -> torch.Tensor:
    """Pixels uint8 [B, H, W, 3] as the networks' input."""
    return images.permute(0, 3, 1, 2).to(torch.float32) / 255 - 0.5


def main(path: str, seed: int, settings: dict[str, Any]) -> None:
    torch.manual_seed(seed)
    with np.load(path) as held:
        train, test = (torch.from_numpy(held[split]) for split in ("train", "test"))
    batch, dim = settings["batch_size"], settings["embedding_dim"]
    variance = (train.numpy() / np.float32(255)).var(dtype=np.float64)
    encode, decode = encoder(settings["width"], dim), decoder(settings["width"], dim)
    for network in (encode, decode):
        network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam([*encode.parameters(), *decode.parameters()], 2e-4)
    codebook: Codebook | None = None
    for _ in range(settings["epochs"]):
        for places in torch.randperm(len(train)).split(batch):
            x = floats(train[places])
            z = encode(x)
            vectors = vectors_of(z.detach())
            if codebook is None:
                codebook = Codebook(vectors, settings["num_embeddings"])
            codes, indices = quantized(codebook, z.detach())
            codebook.update(vectors, indices)
            reconstruction = decode(z + (codes - z).detach())
            loss = F.mse_loss(reconstruction, x) / variance + 0.25 * F.mse_loss(z, codes)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    assert codebook is not None
    squares, uses = 0.0, np.zeros(settings["num_embeddings"])
    with torch.no_grad():
        for images in test.split(batch):
            x = floats(images)
            codes, indices = quantized(codebook, encode(x))
            squares += ((decode(codes) - x).double() ** 2).sum().item()
            uses += np.bincount(indices.numpy(), minlength=len(uses))
    mse = squares / test.numel()
    shares = uses[uses > 0] / uses.sum()
    figures = {
        "mse": mse,
        "nmse": mse / variance,
        "psnr": -10 * math.log10(mse),
        "perplexity": math.exp(-(shares * np.log(shares)).sum()),
        "codes_used": int((uses > 0).sum()),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3]))
