"""Makes the golden values with PyTorch: python tests/golden/make_golden.py (torch==2.13.0, CPU).

For each case of cases.py: all values of one forward pass, all gradients of the loss, and the
losses of 20 steps of Adam. When a value moves, something in the arithmetic has changed: do not
make the file again before you know what.
"""

from pathlib import Path

import numpy as np
import torch
from cases import ADAM_STEPS, CASES, Case, batch, state_dict
from torch_vqvae import VQVAE

# Two codes closer together than this could be chosen either way by another rounding.
_MIN_MARGIN = 2e-5


def golden(case: Case) -> dict[str, np.ndarray]:
    model = VQVAE(*case.arguments)
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    weights = {name: torch.tensor(value) for name, value in state_dict(shapes).items()}
    model.load_state_dict(weights)

    def images(step: int) -> torch.Tensor:
        return torch.tensor(batch(case, step)).permute(0, 3, 1, 2)

    output = model(images(0))
    nearest = model.vq_layer.distances(output["latents"]).topk(2, largest=False).values
    margin = float((nearest[..., 1] - nearest[..., 0]).min().detach())
    used = len(output["indices"].unique())
    print(f"{case.name}: {used} codes used, smallest margin {margin:.2g}")
    assert margin > _MIN_MARGIN, "two codes are nearly as near: draw other weights"
    assert used >= 10, "hardly any code is used: draw other weights"
    output["loss"].backward()
    values = {f"forward/{name}": value.detach().numpy() for name, value in output.items()}
    for name, parameter in model.named_parameters():
        values[f"gradient/{name}"] = parameter.grad.numpy().copy()

    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    losses = []
    for step in range(ADAM_STEPS):
        loss = model(images(step))["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    values["adam_losses"] = np.array(losses)
    return {f"{case.name}/{name}": value for name, value in values.items()}


if __name__ == "__main__":
    torch.use_deterministic_algorithms(True)
    everything = {name: value for case in CASES for name, value in golden(case).items()}
    np.savez_compressed(Path(__file__).with_name("golden.npz"), **everything)
