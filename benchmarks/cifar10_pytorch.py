"""Trains the VQ-VAE of configs/cifar10.py in PyTorch, and prints its held-out figures."""

import json
import math
import sys
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

CODES, DIM, DECAY = 512, 64, 0.99


class Block(nn.Module):
    """x + Conv 1x1(ReLU(Conv 3x3(ReLU(x))))."""

    def __init__(self, width: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.ReLU(), nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 1)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.layers(x)


def encoder(width: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, width, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(width, width, 4, stride=2, padding=1),
        Block(width),
        Block(width),
        nn.ReLU(),
        nn.Conv2d(width, DIM, 1),
    )


def decoder(width: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(DIM, width, 3, padding=1),
        Block(width),
        Block(width),
        nn.ReLU(),
        nn.ConvTranspose2d(width, width, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.ConvTranspose2d(width, 3, 4, stride=2, padding=1),
    )


class Codebook:
    """Codes that are moving averages of the vectors that chose them (the paper's appendix A.1).

    They start from k-means. A code that is used less than a tenth of its fair share, on average
    over at least 20 vectors a code, becomes a vector of the batch that is far from its own code.
    """

    def __init__(self, vectors: torch.Tensor):
        self.codes = vectors[torch.randperm(len(vectors))[:CODES]].clone()
        for _ in range(10):  # k-means
            self.counts, sums = self._totals(vectors, self.nearest(vectors))
            used = self.counts > 0
            self.codes[used] = sums[used] / self.counts[used, None]
        self.sums = self.counts[:, None] * self.codes
        self.usage, self.steps, self.seen = torch.ones(CODES), 0, len(vectors) / CODES

    def nearest(self, vectors: torch.Tensor) -> torch.Tensor:
        return ((self.codes**2).sum(1) - 2 * vectors @ self.codes.t()).argmin(1)

    def update(self, vectors: torch.Tensor, indices: torch.Tensor) -> None:
        counts, sums = self._totals(vectors, indices)
        self.counts.lerp_(counts, 1 - DECAY)
        self.sums.lerp_(sums, 1 - DECAY)
        used = counts > 0
        self.codes[used] = self.sums[used] / self.counts[used, None]
        self._revive(vectors, indices, counts)

    def _revive(self, vectors: torch.Tensor, indices: torch.Tensor, counts: torch.Tensor) -> None:
        share = len(vectors) / CODES
        spanned = min(self.seen / (self.seen + share), 1 - share / 20)
        kept = min(DECAY, max((1 + self.steps) / (20 + self.steps), spanned))
        self.usage = kept * self.usage + (1 - kept) * counts / share
        self.steps, self.seen = self.steps + 1, min(self.seen + share, 20)
        dead = torch.nonzero(self.usage < 0.1)[:, 0]
        if len(dead):
            errors = ((vectors - self.codes[indices]) ** 2).sum(1)
            self.codes[dead] = vectors[torch.multinomial(errors, len(dead))]
            self.usage[dead], self.counts[dead], self.sums[dead] = 1.0, 0.0, 0.0

    def _totals(
        self, vectors: torch.Tensor, indices: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        chosen = F.one_hot(indices, CODES).to(vectors.dtype)
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
    batch = settings["batch_size"]
    variance = (train.numpy() / np.float32(255)).var(dtype=np.float64)
    encode, decode = encoder(settings["width"]), decoder(settings["width"])
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
                codebook = Codebook(vectors)
            codes, indices = quantized(codebook, z.detach())
            codebook.update(vectors, indices)
            reconstruction = decode(z + (codes - z).detach())
            loss = F.mse_loss(reconstruction, x) / variance + 0.25 * F.mse_loss(z, codes)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    assert codebook is not None
    squares, uses = 0.0, np.zeros(CODES)
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
