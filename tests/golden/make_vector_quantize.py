"""Makes vector_quantize.npz: python tests/golden/make_vector_quantize.py

With torch==2.13.0 on a CPU and vector-quantize-pytorch==1.32.0. For each case: the state dict
before, the indices and values of each step, and the state dict after the last one.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import vector_quantize_pytorch
from vector_quantize_cases import SMALL, STEPS, VECTORS, Case


def module_with_random_state(case: Case) -> torch.nn.Module:
    torch.manual_seed(0)
    module = getattr(vector_quantize_pytorch, case.kind)(**case.config)
    for part in module.modules() if case.learns_averages else ():
        if hasattr(part, "cluster_size"):
            part.cluster_size.uniform_(0.5, 20)
            part.embed_avg.copy_(part.embed * part.cluster_size[..., None])
    return module.train()


def state_of(module: torch.nn.Module) -> dict[str, np.ndarray]:
    return {name: value.numpy().copy() for name, value in module.state_dict().items()}


def run(
    module: torch.nn.Module, case: Case, steps: int, vectors: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The indices, in our order, and the values of each step, after which the module learns."""
    for step in range(steps):
        z = torch.tensor(case.batch(step, vectors), requires_grad=True)
        if case.kind == "RandomProjectionQuantizer":
            indices = module(z)
            values = module.vq.codebook[0][indices]
        else:
            values, indices, *losses = module(z)
        if case.learning_rate > 0:
            losses[0].sum().backward()
            with torch.no_grad():
                for parameter in module.parameters():
                    parameter -= case.learning_rate * parameter.grad
                    parameter.grad = None
        indices = indices.numpy()
        if case.kind == "GroupedResidualVQ":  # [groups, ..., n]
            indices = np.concatenate(indices, axis=-1)
        yield indices, values.detach().numpy().copy()


def golden(case: Case) -> dict[str, np.ndarray]:
    module = module_with_random_state(case)
    results = {f"before/{name}": value for name, value in state_of(module).items()}
    indices, values = zip(*run(module, case, STEPS, VECTORS), strict=True)
    results |= {"indices": np.stack(indices).astype(np.int16), "values": np.stack(values)}
    results |= {f"after/{name}": value for name, value in state_of(module).items()}
    return {f"{case.name}/{name}": value for name, value in results.items()}


if __name__ == "__main__":
    everything = {name: value for case in SMALL for name, value in golden(case).items()}
    np.savez_compressed(Path(__file__).with_name("vector_quantize.npz"), **everything)
