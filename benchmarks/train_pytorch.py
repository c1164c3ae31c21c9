"""Worker: times training steps of the same model in PyTorch: eager, channels_last or compiled."""

import sys
import time
from pathlib import Path
from typing import Any

import torch
from workers import answer_all

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "golden"))
from torch_vqvae import VQVAE

BATCH = 128


def main(mode: str) -> None:
    torch.manual_seed(0)
    images = torch.rand(2 * BATCH, 1, 28, 28) - 0.5  # floats already, and in memory
    model = VQVAE(1, 16, 128, 0.0949)
    layout = torch.contiguous_format if mode == "eager" else torch.channels_last
    model.to(memory_format=layout)
    forward = torch.compile(model) if mode == "compiled" else model
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)

    def answer(steps: int) -> dict[str, Any]:
        start = time.perf_counter()
        for _ in range(steps):
            batch = images[torch.randint(0, len(images), (BATCH,))]
            loss = forward(batch.contiguous(memory_format=layout))["loss"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return {"seconds": time.perf_counter() - start}

    answer_all(answer)


if __name__ == "__main__":
    main(sys.argv[1])
