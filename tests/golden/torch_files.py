"""Makes weight files with PyTorch: python tests/golden/torch_files.py (torch==2.13.0, CPU).

They are small files of each form that torch.save has; expected.npz beside them has the values.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

FOLDER = Path(__file__).parent / "torch_files"


class Block(nn.Module):
    """Parameters, buffers of both kinds, a submodule that has two names, and attributes."""

    def __init__(self):
        super().__init__()
        self.width = 3
        self.conv = nn.Conv1d(2, 3, 2)
        self.norm = nn.BatchNorm1d(3)
        self.layers = nn.ModuleList([nn.Linear(3, 2, bias=False), nn.ReLU()])
        self.again = self.layers[0]
        self.register_buffer("scale", torch.tensor(2.5))
        self.register_buffer("passing", torch.ones(2), persistent=False)


TYPES = (
    *(torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32),
    *(torch.int16, torch.int8, torch.uint8, torch.bool, torch.complex64, torch.complex128),
)
NEW_TYPES = (torch.uint16, torch.uint32, torch.uint64, torch.float8_e4m3fn, torch.float8_e5m2)


def tensors(types):
    """A tensor of each type."""
    return {f"of_{dtype}": torch.arange(6).reshape(2, 3).to(dtype) for dtype in types}


def views():
    """Tensors that are parts of others, in any order of axes."""
    base = torch.arange(24.0).reshape(2, 3, 4)
    return {
        "base": base,
        "tied": base,
        "transposed": base.permute(2, 0, 1),
        "slice": base[1, 1:, ::2],
        "single": base[:1, :, 3:],
        "scalar": base[1, 2, 3],
        "empty": base[:0],
        "other": torch.arange(5, dtype=torch.int32)[2:],
        "expanded": torch.arange(4).expand(3, 4),
        "parameter": nn.Parameter(torch.ones(2)),
    }


def lightning(state_dict):
    """What lies beside a state dict in a checkpoint of a trainer."""
    attributed = nn.Parameter(torch.zeros(2))
    attributed.note = "with attributes"
    return {
        "epoch": 3,
        "state_dict": state_dict | {"attributed": attributed},
        "loss": np.float64(0.5),
        "array": np.arange(3),
        "hyper_parameters": argparse.Namespace(width=3, path=Path("x")),
        "callbacks": {nn.Module: {"best": torch.tensor(1.0)}, (1, "a"): {1, 2}},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(3)}}}],
        "kind": torch.float32,
        "device": torch.device("cpu"),
    }


def main():
    sys.modules["__main__"].Block.__module__ = "released_model"  # a module that nobody has
    sys.modules["released_model"] = sys.modules["__main__"]
    torch.serialization.get_source_lines_and_file = None  # so that no file holds PyTorch's source
    torch.manual_seed(0)
    FOLDER.mkdir(exist_ok=True)
    block = Block()
    old, new = tensors(TYPES), tensors((*TYPES, *NEW_TYPES))
    files = {
        "types.pt": (new, new),
        "views.pth": (views(), views()),
        "module.pkl": (block, block.state_dict()),
        "lightning.ckpt": (lightning(block.state_dict()), None),
        "ema.pt": ({"model": views(), "ema": {"one": torch.ones(1)}}, {"one": torch.ones(1)}),
        "types.legacy.pt": (old, old),
        "views.legacy.pt": (views(), views()),
        "module.legacy.pkl": (block, block.state_dict()),
    }
    expected = {}
    for name, (content, state_dict) in files.items():
        torch.save(content, FOLDER / name, _use_new_zipfile_serialization=".legacy." not in name)
        for key, tensor in (state_dict or content["state_dict"]).items():
            kind = str(tensor.dtype).removeprefix("torch.")
            value = tensor.detach().contiguous()
            numbers = value.reshape(-1).view(torch.uint8).numpy().reshape(-1)
            expected[f"{name}/{key}/{kind}/{','.join(map(str, value.shape))}"] = numbers
    np.savez_compressed(FOLDER / "expected.npz", **expected)
    print(sum(file.stat().st_size for file in FOLDER.iterdir()), "bytes")


if __name__ == "__main__":
    main()
