"""transformers' of audio.py, as a worker; it draws the weights and writes them first."""

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import EncodecConfig, EncodecModel
from workers import answer_all

FOLDER = Path(sys.argv[1])


class Model:
    def load(self) -> None:
        self.model = EncodecModel.from_pretrained(FOLDER).eval()
        self.bandwidth = max(self.model.config.target_bandwidths)

    def warm(self) -> None:
        self.audio = torch.from_numpy(np.load(FOLDER / "audio.npy")).mT
        self.codes = self.encode()
        codes = self.codes[0].mT.numpy().astype(np.int32)
        np.savez(FOLDER / "PyTorch.npz", codes=codes, audio=self.decode().mT.numpy())

    def encode(self) -> torch.Tensor:
        return self.model.encode(self.audio, bandwidth=self.bandwidth).audio_codes

    def decode(self) -> torch.Tensor:
        return self.model.decode(self.codes, [None]).audio_values


def draw() -> EncodecModel:
    """The model with weights with which latents are as large as codes, so that many are used."""
    torch.manual_seed(0)
    drawn = EncodecModel(EncodecConfig())
    for name, array in drawn.state_dict().items():
        if name.endswith("codebook.embed"):
            array.normal_()
        elif name.endswith("weight.original0"):  # the norms of the weights
            array.mul_(2)
    return drawn


draw().save_pretrained(FOLDER)
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
