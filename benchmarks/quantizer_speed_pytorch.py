"""Worker: times the quantizers of vector-quantize-pytorch."""

import functools
import math
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from vector_quantize_pytorch import FSQ, LFQ, ResidualVQ, VectorQuantize
from workers import answer_all

DIM = 64


@functools.cache
def prepared(what: str, n: int, k: int) -> Callable[[], Any]:
    """A function that takes the gradients of a call in training; of EMA, the call moves the codes.

    Their vector quantizers default to the rotation trick; without it they are straight-through.
    """
    torch.manual_seed(0)
    arguments: dict[str, Any] = {}
    ema = {"decay": 0.99, "rotation_trick": False}
    if what == "VQ":
        module = VectorQuantize(
            DIM, k, ema_update=False, learnable_codebook=True, rotation_trick=False
        )
    elif what == "EMA":
        module = VectorQuantize(DIM, k, **ema)
    elif what == "RVQ":
        module = ResidualVQ(dim=DIM, num_quantizers=8, codebook_size=k, **ema)
    elif what == "FSQ":
        module = FSQ([8, 5, 5, 5])
    else:
        bits = round(math.log2(k))
        module = LFQ(dim=bits, codebook_size=k, commitment_loss_weight=0.25)
        arguments = {"inv_temperature": 1.0}
    module.train()
    dim = module.dim if what in ("FSQ", "LFQ") else DIM
    z, weights = torch.randn(1, n, dim, requires_grad=True), torch.randn(1, n, dim)
    parameters = [z, *module.parameters()]

    def call() -> tuple[Tensor, ...]:
        values, _, *losses = module(z, **arguments)
        total = (values * weights).sum()
        for loss in losses:
            total = total + loss.sum()
        return torch.autograd.grad(total, parameters)

    return call


def answer(what: str, n: int, k: int, repeat: int) -> dict[str, Any]:
    function = prepared(what, n, k)
    start = time.perf_counter()
    for _ in range(repeat):
        function()
    return {"seconds": time.perf_counter() - start}


if __name__ == "__main__":
    answer_all(answer)
