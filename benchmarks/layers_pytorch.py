"""Worker: times single layers in PyTorch, eager or channels_last."""

import functools
import json
import sys
import time
from typing import Any

import torch
from torch import nn
from workers import answer_all


@functools.cache
def prepared(layer: str, layout: torch.memory_format) -> Any:
    """A layer with its ReLU, and an input that wants a gradient."""
    spec = json.loads(layer)
    build = {"conv": nn.Conv2d, "conv_transpose": nn.ConvTranspose2d}[spec["kind"]]
    module = build(spec["in"], spec["out"], spec["k"], **spec["options"])
    model = nn.Sequential(module, nn.ReLU()) if spec["relu"] else module
    x = torch.randn(spec["batch"], spec["in"], spec["size"], spec["size"])
    x = x.contiguous(memory_format=layout)
    return model.to(memory_format=layout), x.requires_grad_()


def main(mode: str) -> None:
    layout = torch.contiguous_format if mode == "eager" else torch.channels_last

    def answer(layer: str, backward: bool, repeat: int) -> dict[str, Any]:
        model, x = prepared(layer, layout)
        start = time.perf_counter()
        for _ in range(repeat):
            if backward:
                y = model(x)
                torch.autograd.grad(y, [x, *model.parameters()], y.detach())
            else:
                with torch.no_grad():
                    model(x)
        return {"seconds": time.perf_counter() - start}

    answer_all(answer)


if __name__ == "__main__":
    main(sys.argv[1])
