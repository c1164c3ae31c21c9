"""diffusers' of released.py, as a worker; it draws the weights and writes them first."""

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import VQModel
from workers import answer_all

FOLDER = Path(sys.argv[1])
LEVELS = 5
CONFIG = {
    "down_block_types": ["DownEncoderBlock2D"] * (LEVELS - 1) + ["AttnDownEncoderBlock2D"],
    "up_block_types": ["AttnUpDecoderBlock2D"] + ["UpDecoderBlock2D"] * (LEVELS - 1),
    "block_out_channels": [128, 128, 256, 256, 512],
    "layers_per_block": 2,
    "latent_channels": 256,
    "num_vq_embeddings": 1024,
}


class Model:
    def load(self) -> None:
        model = VQModel.from_pretrained(FOLDER).eval()
        self.model = model.to(memory_format=torch.channels_last)

    def warm(self) -> None:
        images = torch.from_numpy(np.load(FOLDER / "images.npy")).permute(0, 3, 1, 2)
        self.images = images.contiguous(memory_format=torch.channels_last)
        self.codes, shape = self.encode()
        images = self.decode().permute(0, 2, 3, 1).numpy()
        codes = self.codes.reshape(len(images), *shape).numpy().astype(np.int32)
        np.savez(FOLDER / "PyTorch.npz", codes=codes, images=images)

    def encode(self) -> tuple[torch.Tensor, torch.Size]:
        latents = self.model.encode(self.images).latents
        self.shape = (len(latents), *latents.shape[2:], latents.shape[1])
        return self.model.quantize(latents)[2][2], latents.shape[2:]

    def decode(self) -> torch.Tensor:
        codes = self.model.quantize.get_codebook_entry(self.codes, self.shape)
        return self.model.decode(codes, force_not_quantize=True).sample


torch.manual_seed(0)
VQModel(**CONFIG).save_pretrained(FOLDER)
model = Model()


@torch.inference_mode()
def answer(what: str) -> dict[str, Any]:
    start = time.perf_counter()
    getattr(model, what)()
    seconds = time.perf_counter() - start
    if what == "load":
        model.warm()
    return {"seconds": seconds}


answer_all(answer)
