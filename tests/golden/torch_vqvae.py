"""The VQ-VAE in PyTorch with every term of its loss: the reference for the golden values."""

import torch
from torch import nn
from torch.nn import functional as F


class Autoencoder(nn.Module):
    """Holds the layers under the name convs, so that the parameters have the names that we read."""

    def __init__(self, *layers: nn.Module):
        super().__init__()
        self.convs = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.convs(x)


def encoder(in_dim: int, latent_dim: int) -> Autoencoder:
    return Autoencoder(
        nn.Conv2d(in_dim, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(64, latent_dim, 1),
    )


def decoder(out_dim: int, latent_dim: int) -> Autoencoder:
    return Autoencoder(
        nn.ConvTranspose2d(latent_dim, 64, 3, stride=2, padding=1, output_padding=1),
        nn.ReLU(),
        nn.ConvTranspose2d(64, 32, 3, stride=2, padding=1, output_padding=1),
        nn.ReLU(),
        nn.ConvTranspose2d(32, out_dim, 3, padding=1),
    )


class VectorQuantizer(nn.Module):
    """Nearest code by |z|^2 + |e|^2 - 2 z.e; the straight-through estimator."""

    def __init__(self, embedding_dim: int, num_embeddings: int):
        super().__init__()
        self.embeddings = nn.Embedding(num_embeddings, embedding_dim)

    def distances(self, z: torch.Tensor) -> torch.Tensor:
        codes = self.embeddings.weight
        return (z**2).sum(-1, keepdim=True) + (codes**2).sum(-1) - 2 * z @ codes.t()

    def forward(
        self, z: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        indices = self.distances(z).argmin(-1)
        codes = self.embeddings(indices)
        codebook_loss = F.mse_loss(codes, z.detach())
        commitment_loss = F.mse_loss(z, codes.detach())
        return z + (codes - z).detach(), indices, codebook_loss, commitment_loss


class VQVAE(nn.Module):
    """Takes images [B, C, H, W] in [-0.5, 0.5] and returns all that can be compared."""

    def __init__(
        self,
        in_dim: int,
        embedding_dim: int,
        num_embeddings: int,
        data_variance: float,
        commitment_cost: float = 0.25,
    ):
        super().__init__()
        self.data_variance, self.commitment_cost = data_variance, commitment_cost
        self.encoder = encoder(in_dim, embedding_dim)
        self.vq_layer = VectorQuantizer(embedding_dim, num_embeddings)
        self.decoder = decoder(in_dim, embedding_dim)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        z = self.encoder(x).permute(0, 2, 3, 1).contiguous()
        values, indices, codebook_loss, commitment_loss = self.vq_layer(z)
        reconstruction = self.decoder(values.permute(0, 3, 1, 2).contiguous())
        reconstruction_loss = F.mse_loss(reconstruction, x) / self.data_variance
        quantizer_loss = codebook_loss + self.commitment_cost * commitment_loss
        return {
            "latents": z,
            "indices": indices,
            "reconstruction": reconstruction.permute(0, 2, 3, 1),
            "codebook_loss": codebook_loss,
            "commitment_loss": commitment_loss,
            "reconstruction_loss": reconstruction_loss,
            "loss": reconstruction_loss + quantizer_loss,
        }
