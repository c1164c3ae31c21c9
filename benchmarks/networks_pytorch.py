"""The networks of networks.py in PyTorch."""

import sys
from pathlib import Path

import cifar10_pytorch
import torch
from networks import VARIANCE, Layers, vqgan_decoder, vqgan_encoder
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "golden"))
from torch_vqvae import VQVAE


def build(network: str, channels: int, codes: int, dim: int, width: int = 0) -> nn.Module:
    model = VQVAE(channels, dim, codes, VARIANCE)
    if network == "resnet":
        assert (channels, dim) == (3, cifar10_pytorch.DIM)
        model.encoder = cifar10_pytorch.encoder(width)
        model.decoder = cifar10_pytorch.decoder(width)
    elif network == "vqgan":
        model.encoder = chain(vqgan_encoder(channels, dim, width))
        model.decoder = chain(vqgan_decoder(channels, dim, width))
    return model


def chain(layers: Layers) -> nn.Module:
    return nn.Sequential(*(KINDS[kind](*dims) for kind, *dims in layers))


class Block(nn.Module):
    """shortcut(x) + Conv 3x3(act(Conv 3x3(act(x))))."""

    def __init__(self, before: int, after: int):
        super().__init__()
        self.layers = nn.Sequential(
            activation(before, before),
            conv3(before, after),
            activation(after, after),
            conv3(after, after),
        )
        self.shortcut = nn.Identity() if before == after else nn.Conv2d(before, after, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.shortcut(x) + self.layers(x)


def activation(before: int, after: int) -> nn.Module:
    return nn.Sequential(nn.GroupNorm(32, before, eps=1e-6), nn.SiLU())


def conv3(before: int, after: int) -> nn.Module:
    return nn.Conv2d(before, after, 3, padding=1)


KINDS = {
    "conv3": conv3,
    "activation": activation,
    "block": Block,
    "down": lambda before, after: nn.Conv2d(before, after, 3, stride=2, padding=1),
    "up": lambda before, after: nn.Sequential(nn.Upsample(scale_factor=2), conv3(before, after)),
}
