"""Worker: times a network of networks.py in PyTorch: eager, channels_last or compiled."""

import sys
import time
from typing import Any

import torch
from networks import NETWORKS
from networks_pytorch import build
from workers import answer_all


def main(network: str, mode: str) -> None:
    torch.manual_seed(0)
    sizes = dict(NETWORKS[network])
    count, size = sizes.pop("batch"), sizes.pop("size")
    # Floats already, and in memory.
    images = torch.rand(2 * count, sizes["channels"], size, size) - 0.5
    model = build(network, **sizes)
    layout = torch.contiguous_format if mode == "eager" else torch.channels_last
    model.to(memory_format=layout)
    forward = torch.compile(model) if mode == "compiled" else model
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)

    def answer(steps: int, backward: bool) -> dict[str, Any]:
        start = time.perf_counter()
        with torch.set_grad_enabled(backward):
            for _ in range(steps):
                batch = images[torch.randint(0, len(images), (count,))]
                loss = forward(batch.contiguous(memory_format=layout))["loss"]
                if backward:
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
        return {"seconds": time.perf_counter() - start}

    answer_all(answer)


if __name__ == "__main__":
    main(*sys.argv[1:])
